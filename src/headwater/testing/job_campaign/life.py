"""One life of a platform: its processes are started and killed while events come in, and then process the rest.

How this works: a life has a project, a log and events of its own. Each round starts a process, unless it runs, and ends
it as the schedule says; meanwhile the feed sends events. In the end a process that is not killed runs until everything
is processed, and what is in the log, the state files and the table is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.config import Config, load_config
from headwater.platform import build
from headwater.testing.campaign.found import Found as Printed
from headwater.testing.campaign.found import read_errors_printed
from headwater.testing.job_campaign.feed import Feed, HttpSender, LogSender
from headwater.testing.job_campaign.found import Found, read_all
from headwater.testing.job_campaign.history import HistoryRuns
from headwater.testing.job_campaign.inputs import Event, last_events
from headwater.testing.job_campaign.processes import Processes
from headwater.testing.job_campaign.project import OUTPUTS, PAUSED, RESET, REWOUND, write_job_project
from headwater.testing.job_campaign.schedule import Round
from headwater.testing.whole_platform.connection import Connection, ConnectionEnded
from headwater.testing.whole_platform.process import OUTPUT, environment_of
from headwater.times import ms_of, utc_text

QUIET_SECONDS = 2.5
DRAIN_SECONDS_MAX = 180.0
FIRST_READ_SECONDS_MAX = 10.0
POLL_SECONDS = 0.1
_READ = re.compile(rb'^headwater_job_events_total\{job="([^"]+)",what="read"\} (\S+)$', re.MULTILINE)
_MOVES = re.compile(rb"^headwater_job_events_total\{[^}]*\} (\S+)$", re.MULTILINE)
_WAITS = re.compile(rb"^headwater_job_(?:parked_events|in_flight_events)\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass(slots=True)
class LifeReport:
    """What was done in one life, and what was wrong."""

    kills: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    pauses: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    moved: set[str] = field(default_factory=set)
    events: int = 0
    # How often a process had to run again after it seemed that everything was processed.
    extra_runs: int = 0
    problems: list[str] = field(default_factory=list)
    # What was done, with the time of the day.
    trace: list[str] = field(default_factory=list)


class Life:
    """One life in `directory`, on the log that `settings` name. `seed` decides over the moments of requests.

    `processes`: how many there are at a time; each round ends one of them.
    """

    def __init__(
        self, directory: Path, service_url: str, settings: Mapping[str, str], *, seed: int, processes: int = 1
    ) -> None:
        self._directory = directory
        self._settings = dict(settings)
        self._chance = random.Random(f"life of {seed}")
        self._processes = Processes(directory, self._settings, self._chance, processes)
        self._began = time.time() - 1.0
        self.report = LifeReport()
        write_job_project(directory, service_url)
        self._key = build(self.config).keys.create("campaign", ["streams:write"])

    @property
    def config(self) -> Config:
        return load_config(self._directory, environment=environment_of(self._settings))

    async def run(self, rounds: Sequence[Round], events: Sequence[Event], *, history: int = 0) -> Found:
        """Run the rounds, process the rest, and read everything. `history`: so many events are there before them."""
        if history:
            runs = HistoryRuns(self._directory, self.config, self._settings, self._chance)
            await runs.run(events[:history])
            self.report.endings["killed over history"] += runs.kills
            self.report.problems += runs.problems
            self.report.events += history
        rest = events[history:]
        # The last ones come in the end, so that each job has something to read then.
        before_end = len(rest) - len(list(last_events(0)))
        async with self._fed(rest) as (feed, feeding):
            for done, one in enumerate(rounds, start=1):
                feed.allow(before_end * done // len(rounds))
                await self._run(one)
                if feeding.done():
                    await feeding
        await self._processes.all_ended()
        self.report.problems += self._processes.problems
        return await read_all(self.config)

    async def continued(self, quiet_seconds: float) -> Found:
        """Run a process again, until nothing has moved for so long, and read everything."""
        self.report.extra_runs += 1
        await self._process_rest(None, quiet_seconds)
        return await read_all(self.config)

    def errors_printed(self) -> list[str]:
        """What the processes printed as errors."""
        printed = Printed()
        read_errors_printed(self._directory / OUTPUT, printed)
        return printed.problems

    @contextlib.asynccontextmanager
    async def _fed(self, events: Sequence[Event]) -> AsyncIterator[tuple[Feed, asyncio.Task[None]]]:
        """Send the events meanwhile; at the end of the block, all that are left, and wait until they are processed."""
        sender = HttpSender(self._processes.any_address)
        in_log = None
        if self._settings.get("log.url", "").startswith("kafka:"):
            in_log = LogSender(self.config)
            await in_log.start()
        feed = Feed(events, (in_log or sender).send, self._chance)
        running = asyncio.create_task(feed.run())
        try:
            yield feed, running
            feed.hurry()
            await self._process_rest(running, QUIET_SECONDS)
            self.report.events += feed.sent
        finally:
            running.cancel()
            for slot in self._processes.slots:
                self._processes.kill(slot)
            if in_log is not None:
                await in_log.stop()

    async def _run(self, one: Round) -> None:
        if await self._processes.begin(one):
            if one.awaits_jobs:
                await self._jobs_read(self._processes.addresses[one.slot])
            self.report.pauses += await self._processes.serve(one)
            if one.ending == "killed after a change":
                await self._change(one)
                await asyncio.sleep(one.last_seconds)
        await self._processes.stop_or_kill(one)
        self.report.endings[one.ending] += 1
        self.report.kills += one.kills
        self._note(one)

    async def _jobs_read(self, address: tuple[str, int]) -> None:
        """Wait until a job has read something, but not for ever: it may be paused, or another process may have it."""
        connection = Connection(*address)
        until = time.monotonic() + FIRST_READ_SECONDS_MAX
        with contextlib.suppress(ConnectionEnded):
            while time.monotonic() < until:
                text = (await connection.request("GET", "/metrics")).body
                if any(float(count) for _, count in _READ.findall(text)):
                    break
                await asyncio.sleep(POLL_SECONDS)
        connection.abort()

    async def _change(self, one: Round) -> None:
        """Ask for what the round says; that the answer is lost when the process is killed makes no difference."""
        asked: list[tuple[str, dict[str, Any]]]
        match one.change:
            case "reset":
                asked = [(RESET, {"do": "reset"})]
                self.report.moved.add(RESET)
            case "rewind":
                # Not to a time that it may not have come to: what is between would be left out.
                to = utc_text(ms_of(self._began))
                asked = [(REWOUND, {"do": "rewind", "to": to})]
                self.report.moved.add(REWOUND)
            case "pause":
                asked = [(job, {"do": "pause"}) for job in PAUSED]
        self.report.changes[one.change] += 1
        for job, body in asked:
            await self._ask(self._processes.addresses[one.slot], job, body)

    async def _ask(self, address: tuple[str, int], job: str, body: Mapping[str, Any]) -> None:
        connection = Connection(*address, key=self._key)
        with contextlib.suppress(ConnectionEnded):
            answer = await connection.request("POST", f"/v1/jobs/{job}", json.dumps(body).encode())
            self._expect(answer.status == 202, f"{body} of {job} was answered with {answer.status}: {answer.body!r}")
        connection.abort()

    async def _process_rest(self, feed: asyncio.Task[None] | None, quiet_seconds: float) -> None:
        """With one process that is not killed, and everything resumed."""
        address = await self._processes.alone()
        for job in PAUSED:
            await self._ask(address, job, {"do": "resume"})
        if feed is not None:
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                await feed
        # Its jobs may run in processes that start later: each has last events to read.
        await self._quiet(address, quiet_seconds, readers=set(OUTPUTS) if feed is not None else set())
        await self._processes.stop(0)

    async def _quiet(self, address: tuple[str, int], seconds: float, readers: set[str]) -> None:
        """Wait until no job has moved for a while, none waits for anything, and these have read something."""
        connection = Connection(*address)
        until = time.monotonic() + DRAIN_SECONDS_MAX
        moved, since = -1.0, time.monotonic()
        while time.monotonic() - since < seconds:
            text = (await connection.request("GET", "/metrics")).body
            now = sum(map(float, _MOVES.findall(text)))
            readers -= {job.decode() for job, count in _READ.findall(text) if float(count)}
            if readers or now != moved or any(float(waits) for waits in _WAITS.findall(text)):
                moved, since = now, time.monotonic()
            if time.monotonic() > until:
                self.report.problems.append(
                    f"jobs still move after {DRAIN_SECONDS_MAX:g} s; not read: {sorted(readers)}"
                )
                break
            await asyncio.sleep(POLL_SECONDS)
        connection.abort()

    def _note(self, one: Round) -> None:
        after = f", {one.change}" if one.ending == "killed after a change" else ""
        pause = f", paused for {one.pause_seconds:.1f} s" if one.pause_seconds else ""
        now, running = utc_text(ms_of(time.time())), self._processes.slots
        self.report.trace.append(f"{now} process {one.slot}: {one.ending}{after}{pause}; running: {running}")

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.report.problems.append(f"after {self.report.kills} kills {problem}")
