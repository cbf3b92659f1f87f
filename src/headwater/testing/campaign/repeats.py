"""The repeats campaign: kill an intake, let its clients retry, and check that no event is stored twice.

    python -m headwater.testing.campaign.repeats --kills 30

How this works: a child runs an intake on the embedded log and reads numbered requests of several clients from its
standard input; it prints each number once the request is stored. The parent keeps every client one request ahead, kills
the child with SIGKILL at a random moment, and starts the next one, to which each client first repeats the unanswered
request and the one before it, whose response it may have missed. At the end every event of every answered request must
be in the log exactly once, and no other event twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO
from uuid import UUID

from headwater.config import IntakeConfig
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.intake import Intake
from headwater.log.sqlite.log import SqliteLog
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.job_kit import OpenSchemas

CLIENTS = 4
EVENTS_MAX = 400
KILL_SECONDS_MAX = 0.6
START_SECONDS_MAX = 60.0
# At least half of them are remembered: more than is stored between two kills.
IDS_MAX = 1_000_000

Request = tuple[int, int]


@dataclass(slots=True)
class RepeatsReport:
    """What a campaign found. Sound when `problems` is empty."""

    kills: int = 0
    requests_answered: int = 0
    requests_repeated: int = 0
    events_stored: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def event_ids(client: int, number: int) -> list[str]:
    """The ids of the events of one request: UUIDs of one client, other text of the next."""
    count = 1 + (client * 131 + number * 37) % EVENTS_MAX
    if client % 2:
        return [f"{client}/{number}/{index}" for index in range(count)]
    digests = [blake2b(b"%d/%d/%d" % (client, number, index), digest_size=16).digest() for index in range(count)]
    return [str(UUID(bytes=digest)) for digest in digests]


def _slices(client: int, number: int) -> list[bytes]:
    stream = ("one", "two")[client // 2 % 2]
    return [
        json.dumps({"$schema": "/repeated/1.0.0", "meta": {"stream": stream, "id": one}, "text": "x" * 80}).encode()
        for one in event_ids(client, number)
    ]


async def _child(path: Path) -> None:
    log = SqliteLog(path)
    await log.open()
    streams = StreamRegistry(
        [Stream("one", schema_title="repeated", partitions=3), Stream("two", schema_title="repeated")]
    )
    gate = Gate(streams, Validator(OpenSchemas()), GateSettings())
    intake = Intake(gate, log, IntakeConfig(dedupe_ids_max=IDS_MAX), Telemetry())
    await intake.start()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    os.write(1, b"ready\n")

    async def take(client: int, number: int) -> None:
        receipt = await intake.write_slices(_slices(client, number))
        if receipt.accepted == receipt.count:
            os.write(1, b"[%d,%d]\n" % (client, number))

    tasks: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(take(*json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


class _Server:
    """One child, from its start to its kill."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", __spec__.name, "--child", "--file", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout
        os.set_blocking(self._answers.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._rest = b""

    def send(self, request: Request) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(b"[%d,%d]\n" % request)
            self._requests.flush()

    def lines(self, seconds: float) -> list[bytes]:
        """The output of the child, after waiting this long for it."""
        if not self._selector.select(seconds):
            return []
        return self._split(os.read(self._answers.fileno(), 1 << 16))

    def kill(self) -> list[bytes]:
        """End it; returns its unread output."""
        self._process.kill()
        self._process.wait()
        os.set_blocking(self._answers.fileno(), True)
        lines = self._split(self._answers.read())
        self._selector.close()
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        return lines

    def _split(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


class Campaign:
    """Clients that retry, and servers that are killed; one log for all."""

    def __init__(self, path: Path, seed: int | None = None) -> None:
        self._path = path
        self._random = random.Random(seed)
        self._next = dict.fromkeys(range(CLIENTS), 0)
        self._answered: set[Request] = set()
        self.report = RepeatsReport()

    def kill_once(self) -> None:
        """Start a server, repeat what is not known to be stored, continue for a moment, and kill it."""
        server = _Server(self._path)
        try:
            if not self._is_ready(server):
                self.report.problems.append(f"after {self.report.kills} kills the server did not start")
                return
            for client, number in self._next.items():
                if number:
                    server.send((client, number - 1))
                server.send((client, number))
                self.report.requests_repeated += 1 + (number > 0)
            until = time.monotonic() + self._random.random() * KILL_SECONDS_MAX
            while (left := until - time.monotonic()) > 0:
                for line in server.lines(left):
                    self._answer(line, server)
        finally:
            for line in server.kill():
                self._answer(line, None)
        self.report.kills += 1

    def _is_ready(self, server: _Server) -> bool:
        until = time.monotonic() + START_SECONDS_MAX
        while (left := until - time.monotonic()) > 0:
            if b"ready" in server.lines(left):
                return True
        return False

    def _answer(self, line: bytes, server: _Server | None) -> None:
        if line == b"ready":
            return
        client, number = json.loads(line)
        self._answered.add((client, number))
        if number == self._next[client]:
            self._next[client] = number + 1
            if server is not None:
                server.send((client, number + 1))

    async def check(self) -> None:
        """Read everything, and compare."""
        log = SqliteLog(self._path)
        await log.open()
        kept: Counter[str] = Counter()
        try:
            position = await log.first(["one", "two"])
            while found := await log.read(position, records_max=5_000):
                kept.update(json.loads(record.value)["meta"]["id"] for record in found)
                for record in found:
                    position = position.after(record)
        finally:
            await log.close()
        self.report.events_stored = kept.total()
        self.report.requests_answered = len(self._answered)
        twice = [one for one, count in kept.items() if count > 1]
        lost = [one for request in sorted(self._answered) for one in event_ids(*request) if one not in kept]
        if twice:
            self.report.problems.append(f"{len(twice)} events are stored more than once, the first of them {twice[0]}")
        if lost:
            self.report.problems.append(f"{len(lost)} events were acknowledged and lost, the first of them {lost[0]}")


def run_campaign(path: Path, kills: int, *, seed: int | None = None) -> RepeatsReport:
    """Kill `kills` times, then compare."""
    campaign = Campaign(path, seed)
    started = time.monotonic()
    while campaign.report.kills < kills and not campaign.report.problems:
        campaign.kill_once()
        if sys.stderr.isatty():
            print(f"\r{campaign.report.kills} of {kills} kills", end="", file=sys.stderr, flush=True)
    asyncio.run(campaign.check())
    campaign.report.seconds = round(time.monotonic() - started, 1)
    return campaign.report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if nothing was lost or stored twice."""
    parser = argparse.ArgumentParser(
        prog="python -m headwater.testing.campaign.repeats", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=30, help="how often to kill (default 30)")
    parser.add_argument("--seed", type=int, help="for the moments of the kills")
    parser.add_argument("--file", type=Path, help="the log (default: a temporary one)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        asyncio.run(_child(options.file))
        return 0
    with tempfile.TemporaryDirectory(prefix="headwater-repeats-") as directory:
        report = run_campaign(options.file or Path(directory) / "events.db", options.kills, seed=options.seed)
    print(json.dumps(asdict(report), indent=2))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
