"""Runs of jobs over history that are killed: they resume, and hand over to a server, as if they had not been.

How this works: some events are in a file and in the log, others only in the log, and the rest comes later. Some jobs
run over the file and the log, are killed several times, and then hand over: the server continues with their state. A
run over the file alone, into files, is killed as well, and compared with one that was not: line by line, or, if the
order depends on when an event is tried again, id by id.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from headwater.config import Config
from headwater.testing.job_campaign.feed import REQUEST_EVENTS_MAX, LogSender
from headwater.testing.job_campaign.inputs import Event
from headwater.testing.job_campaign.processes import descendants, kill_all
from headwater.testing.whole_platform.process import OUTPUT, environment_of

# Jobs of each kind: state, windows, a join, timers, and calls with state behind them.
HANDED_OVER = ("totals", "tumbled", "visits", "joined", "ordered", "quiet", "unique", "asked", "kept")
INTO_FILES = ("asked", "parked", "totals", "joined", "visits")
# Whose parked events come in the order of their retries.
ORDERED_BY_CLOCK = ("parked",)
KILLS = 2
RUN_SECONDS_MAX = 120.0


class HistoryRuns:
    """The runs of one life in `directory`. `kills` counts; `problems` says what was wrong."""

    def __init__(self, directory: Path, config: Config, settings: Mapping[str, str], chance: random.Random) -> None:
        self._directory = directory
        self._config = config
        self._settings = settings
        self._chance = chance
        # How long a run takes that is not killed: a first guess.
        self._seconds = 2.0
        self.kills = 0
        self.problems: list[str] = []

    async def run(self, events: Sequence[Event]) -> None:
        """Put `events` into the log, the first of them also into a file, and hand two jobs over."""
        file = self._directory / "history.jsonl"
        file.write_text("".join(f"{json.dumps(event)}\n" for event in events[: len(events) * 2 // 3]))
        sender = LogSender(self._config)
        await sender.start()
        for first in range(0, len(events), REQUEST_EVENTS_MAX):
            while not await sender.send(events[first : first + REQUEST_EVENTS_MAX]):
                pass
        await sender.stop()
        for job in self._chance.sample(HANDED_OVER, 2):
            await self._killed_and_resumed(job, ("--from", str(file), "--from", "log", "--to", "log", "--hand-over"))
        await self._compare_files(self._chance.choice(INTO_FILES), file)

    async def _compare_files(self, job: str, file: Path) -> None:
        """A run into files that is killed, and one that is not."""
        contents = []
        for name, kills in (("whole", 0), ("killed", KILLS)):
            into = self._directory / f"history-{name}"
            into.mkdir()
            targets = ("--to", str(into / "out.jsonl"), "--errors", str(into / "errors.jsonl"))
            await self._killed_and_resumed(job, ("--from", str(file), *targets), kills=kills)
            contents.append({path.name: _content(job, path) for path in sorted(into.glob("*.jsonl"))})
        whole, killed = contents
        for name in sorted(whole.keys() | killed.keys()):
            if whole.get(name) != killed.get(name):
                sizes = [len(one.get(name, ())) for one in contents]
                self.problems.append(f"{job} over history: {name} has {sizes[0]} lines, {sizes[1]} if it is killed")

    async def _killed_and_resumed(self, job: str, arguments: Sequence[str], kills: int = KILLS) -> None:
        for _ in range(kills):
            run = self._start(job, arguments)
            after = self._chance.random() * self._seconds
            if await asyncio.to_thread(_ended, run, after):
                # It was faster.
                self._check(job, run)
                return
            kill_all([*descendants(run.pid), run.pid])
            run.wait()
            self.kills += 1
        began = time.monotonic()
        run = self._start(job, arguments)
        if not await asyncio.to_thread(_ended, run, RUN_SECONDS_MAX):
            run.kill()
            run.wait()
            self.problems.append(f"{job} over history did not end within {RUN_SECONDS_MAX:g} s")
            return
        self._seconds = time.monotonic() - began
        self._check(job, run)

    def _check(self, job: str, run: subprocess.Popen[bytes]) -> None:
        if run.returncode and not self._was_handed_over(job):
            self.problems.append(f"{job} over history ended with {run.returncode}; see {self._directory / OUTPUT}")

    def _was_handed_over(self, job: str) -> bool:
        """Whether an earlier run was killed when all was done: a second hand-over is refused."""
        printed = (self._directory / OUTPUT).read_text(encoding="utf-8").splitlines()
        return any(f"The job {job} has run on this log already" in line for line in printed[-2:])

    def _start(self, job: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from headwater.cli import main; main()", "job", "run", job]
        command += ["--project", str(self._directory), "--order", "arrival", *arguments]
        with (self._directory / OUTPUT).open("ab") as output:
            return subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=os.environ | environment_of(self._settings),
            )


def _content(job: str, path: Path) -> list[bytes]:
    """The lines of each stream; how those of several are mixed depends on what was committed together."""
    lines = [(json.loads(line)["meta"], line) for line in path.read_bytes().splitlines()]
    if job in ORDERED_BY_CLOCK:
        return sorted(meta["id"].encode() for meta, _ in lines)
    return [line for _, line in sorted(lines, key=lambda one: str(one[0]["stream"]))]


def _ended(run: subprocess.Popen[bytes], seconds_max: float) -> bool:
    try:
        run.wait(seconds_max)
    except subprocess.TimeoutExpired:
        return False
    return True
