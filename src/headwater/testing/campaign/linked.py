"""The crash campaign of linked processes: kill who writes the embedded log, and those that leave the writing to it.

    python -m headwater.testing.campaign.linked --kills 200

How this works: a *writer* process opens the log and starts *members*, each with a link. A member does what a job does:
it claims its group, continues with the number after the one in the token, and appends records with a commit of the
next number, several appends under way at once. The parent of all kills members and the writer at random moments. It
also has a member replaced that is stopped (SIGSTOP), and lets it continue after its successor has started. In the end
each group must have every number once, whole and in order, up to the one in its token, and nothing that was
acknowledged may be missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from headwater.errors import HeadwaterError, LogUnavailable, WriterFenced
from headwater.log.contract import Commit, Position, Record, StateChange, StoredRecord, TopicSettings
from headwater.log.sqlite.linked import LinkedLog
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.serving import LogSession
from headwater.process_link.link import Link

TOPIC = "events"
PARTITIONS = 2
MEMBERS = 3
UNDER_WAY_MAX = 4
KILL_SECONDS_MAX = 0.4
START_SECONDS_MAX = 60.0


@dataclass(slots=True)
class LinkedReport:
    """The result of a campaign. It has passed if `problems` is empty."""

    kills: dict[str, int] = field(default_factory=dict)
    fenced: int = 0
    acknowledged: int = 0
    appends_stored: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def group_of(member: int) -> str:
    return f"member-{member}"


def records_of(member: int, number: int) -> list[Record]:
    """One append: a few records, and now and then one that crosses the link in several parts."""
    size = 150_000 if number % 40 == 7 else 100
    count = 4 if size > 100 else 1 + number % 3
    rows = [{"member": member, "number": number, "of": count, "index": index} for index in range(count)]
    return [Record(TOPIC, json.dumps({**row, "text": "x" * size}).encode()) for row in rows]


def _say(*what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


async def _member(path: Path, member: int, descriptor: int) -> None:
    """Append until it is fenced, or the writer has ended."""
    link = Link(socket.socket(fileno=descriptor), peer="the writing process")
    log = LinkedLog(path, link)
    await link.start()
    await log.open()
    _say("runs", member, os.getpid())
    group = group_of(member)
    try:
        token = await log.claim(group)
        number = 0 if token is None else int(token) + 1
        under_way: deque[tuple[int, asyncio.Future[Sequence[object]]]] = deque()
        while True:
            while len(under_way) < UNDER_WAY_MAX:
                state = (StateChange(group, b"last", b"%d" % number), StateChange(group, b"%d" % (number % 9), b"x"))
                commit = Commit(group, str(number), state)
                under_way.append((number, log.submit(records_of(member, number), commit)))  # type: ignore[arg-type]
                number += 1
            done, placed = under_way.popleft()
            await placed
            _say("stored", member, done)
    except WriterFenced:
        _say("fenced", member, os.getpid())
    except LogUnavailable as error:
        if link.is_open:
            _say("problem", f"member {member}: {error}")
    finally:
        os._exit(0)


class _Writer:
    """The process that writes the log, and starts a member again that has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = SqliteLog(path, wal_bytes_max=1_048_576)
        self._links: dict[int, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        await self._log.open()
        await self._log.ensure_topic(TOPIC, TopicSettings(partitions=PARTITIONS))
        for number in range(MEMBERS):
            self._start(number)
        loop = asyncio.get_running_loop()
        commands = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            what, member = line.decode().split()
            # "replace": as if it had not been noticed that the old one still runs.
            if what == "cut":
                self._links[int(member)].abort()
            self._start(int(member))

    def _start(self, member: int) -> None:
        task = asyncio.get_running_loop().create_task(self._keep(member))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, member: int) -> None:
        here, there = socket.socketpair()
        link = Link(here, peer=f"member {member}")
        LogSession(self._log, link)
        self._links[member] = link
        process = await asyncio.create_subprocess_exec(
            *_command("--member", str(member), "--descriptor", str(there.fileno()), "--file", str(self._path)),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=[there.fileno()],
        )
        there.close()
        await link.start()
        await process.wait()
        link.abort()
        await link.close()
        if self._links[member] is link:
            self._start(member)


def _command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", __spec__.name, *arguments)


class LinkedCampaign:
    """Kills and checks; one log for the whole campaign."""

    def __init__(self, path: Path, *, seed: int | None = None) -> None:
        self._path = path
        self._random = random.Random(seed)
        self._pids: dict[int, int] = {}
        self._stored: dict[int, int] = {}
        self._left = b""
        # What the log has: the numbers of each member, the newest by partition, and how far it was read.
        self._found: dict[int, list[int]] = {member: [] for member in range(MEMBERS)}
        self._newest: dict[tuple[int, int], int] = {}
        self._read_to: dict[int, int] = {}
        self.report = LinkedReport()

    def run(self, kills: int) -> None:
        """Kill `kills` times, and check after each end of the writer."""
        left = kills
        while left > 0 and not self.report.problems:
            writer = subprocess.Popen(
                _command("--writer", "--file", str(self._path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            try:
                left -= self._kills_of(writer, left)
            finally:
                self._end(writer)
            asyncio.run(self._check())

    def _kills_of(self, writer: subprocess.Popen[bytes], left: int) -> int:
        """Kill members, and at last the writer."""
        self._pids.clear()
        if not self._await_members(writer, set(range(MEMBERS))):
            return left
        deck = ["member", "member", "stopped and replaced", "stopped and cut"]
        self._random.shuffle(deck)
        for kills, what in enumerate([*deck[: left - 1], "writer"], 1):
            self._listen(writer, self._random.random() ** 2 * KILL_SECONDS_MAX)
            self.report.kills[what] = self.report.kills.get(what, 0) + 1
            if what == "writer":
                return kills
            if not self._kill_member(writer, what):
                break
        return left

    def _kill_member(self, writer: subprocess.Popen[bytes], what: str) -> bool:
        member = self._random.randrange(MEMBERS)
        pid = self._pids.pop(member)
        assert writer.stdin is not None
        if what == "member":
            os.kill(pid, signal.SIGKILL)
            return self._await_members(writer, {member})
        os.kill(pid, signal.SIGSTOP)
        writer.stdin.write(f"{'replace' if what == 'stopped and replaced' else 'cut'} {member}\n".encode())
        writer.stdin.flush()
        started = self._await_members(writer, {member})
        self._listen(writer, self._random.random() * 0.1)
        os.kill(pid, signal.SIGCONT)
        return started

    def _await_members(self, writer: subprocess.Popen[bytes], members: set[int]) -> bool:
        deadline = time.monotonic() + START_SECONDS_MAX
        while members - self._pids.keys():
            self._listen(writer, 0.05)
            if time.monotonic() > deadline:
                self._problem(f"{members - self._pids.keys()} did not start")
                return False
        return True

    def _end(self, writer: subprocess.Popen[bytes]) -> None:
        writer.kill()
        assert writer.stdout is not None
        assert writer.stdin is not None
        # Members have the other end of the pipe: they end by themselves, and with them the output.
        self._note(writer.stdout.read())
        writer.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            writer.stdin.close()
        writer.wait()

    def _listen(self, writer: subprocess.Popen[bytes], seconds: float) -> None:
        assert writer.stdout is not None
        descriptor = writer.stdout.fileno()
        os.set_blocking(descriptor, False)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(BlockingIOError):
                self._note(os.read(descriptor, 1 << 20))
            time.sleep(min(left, 0.002))
        os.set_blocking(descriptor, True)

    def _note(self, output: bytes) -> None:
        *lines, self._left = (self._left + output).split(b"\n")
        for line in lines:
            match json.loads(line):
                case ["runs", member, pid]:
                    self._pids[member] = pid
                case ["stored", member, number]:
                    self._stored[member] = max(number, self._stored.get(member, -1))
                    self.report.acknowledged += 1
                case ["fenced", _, _]:
                    self.report.fenced += 1
                case ["problem", text]:
                    self._problem(text)

    async def _check(self) -> None:
        """Read everything that is new since the last check."""
        log = SqliteLog(self._path)
        await log.open()
        try:
            for partition in range(PARTITIONS):
                await self._read_new(log, partition)
            for member in range(MEMBERS):
                await self._check_member(log, member)
            self.report.appends_stored = sum(len(numbers) for numbers in self._found.values())
        except HeadwaterError as error:
            self._problem(str(error))
        finally:
            await log.close()

    async def _read_new(self, log: SqliteLog, partition: int) -> None:
        place, left = (TOPIC, partition), list[StoredRecord]()
        position = Position({place: self._read_to.get(partition, 0)})
        while found := await log.read(position):
            position = position.after(found[-1])
            left = self._take_appends([*left, *found], partition)
        self._read_to[partition] = position.offsets[place]
        if left:
            self._problem(f"the last append of partition {partition} is not whole at {left[0].offset}")

    def _take_appends(self, records: list[StoredRecord], partition: int) -> list[StoredRecord]:
        """Check the appends, whose records lie together; returns those of one that may continue."""
        start = 0
        while start < len(records):
            row = json.loads(records[start].value)
            member, number = row["member"], row["number"]
            end = start + int(row["of"])
            if end > len(records):
                break
            if [record.value for record in records[start:end]] != [one.value for one in records_of(member, number)]:
                self._problem(f"append {number} of {group_of(member)} is not whole at {records[start].offset}")
            before = self._newest.get((member, partition), -1)
            if number <= before:
                self._problem(f"append {number} of {group_of(member)} comes after {before}")
            self._newest[member, partition] = number
            self._found[member].append(number)
            start = end
        return records[start:]

    async def _check_member(self, log: SqliteLog, member: int) -> None:
        numbers = self._found[member]
        group, last = group_of(member), max(numbers, default=-1)
        if sorted(numbers) != list(range(last + 1)):
            doubled = sorted(number for number, count in Counter(numbers).items() if count > 1)
            missing = sorted(set(range(last + 1)) - set(numbers))
            self._problem(f"{group}: numbers {doubled[:9]} were stored twice, numbers {missing[:9]} are missing")
        token = await log.committed(group)
        state = (await log.state_get(group, [b"last"])).get(b"last")
        if (token, state) != ((str(last), b"%d" % last) if numbers else (None, None)):
            self._problem(f"{group}: the token is {token}, the state {state!r}, the last append stored {last}")
        if self._stored.get(member, -1) > last:
            self._problem(f"{group}: {self._stored[member]} was acknowledged, the last append stored is {last}")

    def _problem(self, text: str) -> None:
        if len(self.report.problems) < 100:
            self.report.problems.append(text[:500])


def run_linked_campaign(path: Path, kills: int, *, seed: int | None = None) -> LinkedReport:
    """Kill `kills` times; stops at the first check that finds a problem."""
    campaign = LinkedCampaign(path, seed=seed)
    started = time.monotonic()
    campaign.run(kills)
    campaign.report.seconds = round(time.monotonic() - started, 1)
    return campaign.report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if nothing was lost, doubled, altered or out of order."""
    parser = argparse.ArgumentParser(
        prog="python -m headwater.testing.campaign.linked", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=30, help="how often to kill (default 30)")
    parser.add_argument("--seed", type=int, help="the seed of what is killed, and when")
    parser.add_argument("--file", type=Path, help="the log (default: a temporary one)")
    for option in ("--member", "--descriptor"):
        parser.add_argument(option, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--writer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.member is not None:
        asyncio.run(_member(options.file, options.member, options.descriptor))
        return 0
    if options.writer:
        asyncio.run(_Writer(options.file).run())
        return 0
    with tempfile.TemporaryDirectory(prefix="headwater-linked-") as directory:
        report = run_linked_campaign(options.file or Path(directory) / "events.db", options.kills, seed=options.seed)
    print(json.dumps(asdict(report), indent=2))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
