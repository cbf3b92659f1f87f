"""The crash campaign: kill a process that writes to the embedded log, again and again, and check that nothing is lost.

    python -m headwater.testing.campaign.crash --kills 1000

How this works: a child opens the log and appends from several writers at once, each append to several topics together
with the writer's position and state, while retention and compaction run. Every value is a function of its writer and
number, so the parent recognises an altered or invented record without storing any. The child prints a line for each
acknowledged append; the parent kills it with SIGKILL at a random moment, usually lets the next child recover by itself,
and sometimes reads everything new: all acknowledged appends must be there, whole and in order, and each writer's
position and state must be those of its last append, acknowledged or not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path

from headwater.log.contract import Commit, Position, Record, StateChange, StoredRecord, TopicPartition, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.tables import Durability

TOPICS = {
    "one": TopicSettings(),
    "many": TopicSettings(partitions=3),
    "latest": TopicSettings(compact=True),
    "brief": TopicSettings(retention_seconds=2.0),
}
READ_TOPICS = ("one", "many")
WRITERS = 8
KILL_SECONDS_MAX = 0.5


@dataclass(slots=True)
class CrashReport:
    """The result of a campaign. It has passed if `problems` is empty."""

    kills: int = 0
    appends_acknowledged: int = 0
    records_acknowledged: int = 0
    records_read: int = 0
    unacknowledged_but_stored: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def content(run: int, writer: int, number: int, topic: str, index: int) -> bytes:
    """The one value that this record can have."""
    name = f"{run}/{writer}/{number}/{topic}/{index}"
    noise = blake2b(name.encode(), digest_size=32).hexdigest()
    return json.dumps({"name": name, "noise": noise, "text": "words " * (index * 7 % 30)}).encode()


def records_of(run: int, writer: int, number: int) -> list[Record]:
    """The records of one append: a few, to several topics."""
    count = 1 + (run * 31 + writer * 7 + number) % 5
    key = b"writer-%d" % writer
    rows = [Record("one", content(run, writer, number, "one", i), headers=(("dt", b"now"),)) for i in range(count)]
    rows += [Record("many", content(run, writer, number, "many", i), key) for i in range(count)]
    rows.append(Record("latest", b"%d/%d" % (run, number), key))
    rows.append(Record("brief", b"x" * 200))
    return rows


async def _child(path: Path, durability: Durability, run: int) -> None:
    log = SqliteLog(path, durability=durability, wal_bytes_max=1_048_576)
    await log.open()
    for name, settings in TOPICS.items():
        await log.ensure_topic(name, settings)

    async def write(writer: int) -> None:
        number = 0
        while True:
            token = f"{run}/{number}"
            state = (
                StateChange(f"writer-{writer}", b"last", token.encode()),
                StateChange(f"writer-{writer}", b"%d" % (number % 50), token.encode()),
            )
            placements = await log.append(
                records_of(run, writer, number), commit=Commit(f"writer-{writer}", token, state)
            )
            offsets = [(p.topic, p.partition, p.offset) for p in placements if p.topic in READ_TOPICS]
            os.write(1, json.dumps([run, writer, number, offsets]).encode() + b"\n")
            number += 1

    async def clean() -> None:
        while True:
            await log.trim()
            await asyncio.sleep(0.02)

    os.write(1, b"ready\n")
    await asyncio.gather(clean(), *(write(writer) for writer in range(WRITERS)))


class Campaign:
    """Kills children and checks what they leave; one log for the whole campaign."""

    def __init__(self, path: Path, *, durability: Durability = "fsync", seed: int | None = None) -> None:
        self._path = path
        self._durability: Durability = durability
        self._random = random.Random(seed)
        self._acknowledged: dict[tuple[str, int, int], bytes] = {}
        self._last_acknowledged: dict[int, tuple[int, int]] = {}
        self._seen: dict[int, tuple[int, int]] = {}
        self._position: Position | None = None
        self._run = 0
        self.report = CrashReport()

    def kill_once(self) -> None:
        """Start a child, kill it at a random moment, and record what was acknowledged."""
        options = ["--child", str(self._run), "--file", str(self._path), "--durability", self._durability]
        child = subprocess.Popen([sys.executable, "-m", __spec__.name, *options], stdout=subprocess.PIPE)
        assert child.stdout is not None
        try:
            first = child.stdout.readline()
            if first != b"ready\n":
                self.report.problems.append(f"run {self._run}: the child did not start on the files it found")
            # The pipe is small: a child whose output is not read would stop writing.
            lines = _read_for(child.stdout.fileno(), self._random.random() ** 2 * KILL_SECONDS_MAX)
        finally:
            child.send_signal(signal.SIGKILL)
        lines += child.stdout.read()
        child.stdout.close()
        child.wait()
        for line in lines.split(b"\n")[:-1]:
            self._acknowledge(*json.loads(line))
        self.report.kills += 1
        self._run += 1

    def _acknowledge(self, run: int, writer: int, number: int, offsets: list[tuple[str, int, int]]) -> None:
        rows = [row for row in records_of(run, writer, number) if row.topic in READ_TOPICS]
        for (topic, partition, offset), row in zip(offsets, rows, strict=True):
            self._acknowledged[topic, partition, offset] = row.value
        self._last_acknowledged[writer] = (run, number)
        self.report.appends_acknowledged += 1
        self.report.records_acknowledged += len(rows)

    async def check(self, *, thoroughly: bool = False) -> None:
        """Recover, and read everything that is new since the last check."""
        log = SqliteLog(self._path, durability=self._durability)
        await log.open()
        try:
            await self._check_records(log)
            await self._check_positions(log)
            if thoroughly:
                for damage in (await log.verify()).damages:
                    self._problem(f"verify: {damage.where}: {damage.reason}")
        finally:
            await log.close()

    async def _check_records(self, log: SqliteLog) -> None:
        position = self._position or await log.first(READ_TOPICS)
        present: dict[tuple[int, int, int], dict[TopicPartition, tuple[int, int]]] = {}
        while found := await log.read(position, records_max=5_000):
            for record in found:
                expected_offset = position.offsets[record.topic, record.partition]
                if record.offset != expected_offset:
                    self._problem(f"offsets jump from {expected_offset} to {record}")
                self._check_record(record, present)
                position = position.after(record)
            self.report.records_read += len(found)
        for place in self._acknowledged:
            self._problem(f"lost: {place} was acknowledged")
        self._acknowledged.clear()
        self._position = position
        self._check_appends(present)

    def _check_record(
        self, record: StoredRecord, present: dict[tuple[int, int, int], dict[TopicPartition, tuple[int, int]]]
    ) -> None:
        try:
            run, writer, number, topic, index = json.loads(record.value)["name"].split("/")
        except (ValueError, KeyError):
            self._problem(f"invented or altered: {record}")
            return
        append = (int(run), int(writer), int(number))
        if content(*append, topic, int(index)) != record.value or topic != record.topic:
            self._problem(f"altered: {record}")
        acknowledged = self._acknowledged.pop((record.topic, record.partition, record.offset), None)
        if acknowledged is None:
            self.report.unacknowledged_but_stored += 1
        elif acknowledged != record.value:
            self._problem(f"another record was acknowledged at the place of {record}")
        rows = present.setdefault(append, {})
        if (topic, int(index)) in rows:
            self._problem(f"stored twice: {record}")
        rows[topic, int(index)] = (record.partition, record.offset)

    def _check_appends(self, present: dict[tuple[int, int, int], dict[TopicPartition, tuple[int, int]]]) -> None:
        by_writer: dict[int, list[tuple[int, int]]] = {}
        for (run, writer, number), rows in sorted(present.items()):
            wanted = [row.topic for row in records_of(run, writer, number) if row.topic in READ_TOPICS]
            if sorted(topic for topic, _ in rows) != sorted(wanted):
                self._problem(f"append {run}/{writer}/{number} is not whole: {sorted(rows)}")
            own = by_writer.setdefault(writer, [])
            before = own[-1] if own else self._seen.get(writer)
            if not (before is None or before[0] != run) and number != before[1] + 1:
                self._problem(f"append {run}/{writer}/{number} follows {before}")
            own.append((run, number))
            for topic in READ_TOPICS:
                places = [rows[topic, index] for index in range(len(rows) // 2) if (topic, index) in rows]
                if places != sorted(places):
                    self._problem(f"the records of append {run}/{writer}/{number} are out of order in {topic}")
        for writer, own in by_writer.items():
            self._seen[writer] = own[-1]

    async def _check_positions(self, log: SqliteLog) -> None:
        latest = {r.key: r.value for r in await _read_all(log, "latest")}
        for writer, (run, number) in self._seen.items():
            expected = f"{run}/{number}"
            name = f"writer-{writer}"
            token = await log.committed(name)
            state = await log.state_get(name, [b"last", b"%d" % (number % 50)])
            if token != expected:
                self._problem(f"the position of {name} is {token}, its last records are of {expected}")
            if set(state.values()) != {expected.encode()} or len(state) != 2:
                self._problem(f"the state of {name} is {state}, its last records are of {expected}")
            if latest.get(name.encode()) != expected.encode():
                self._problem(f"the compacted record of {name} is {latest.get(name.encode())!r}, not {expected}")
            if self._last_acknowledged.get(writer, (-1, -1)) > (run, number):
                self._problem(
                    f"{self._last_acknowledged[writer]} was acknowledged to {name}, its last records are of {expected}"
                )

    def _problem(self, text: str) -> None:
        if len(self.report.problems) < 100:
            self.report.problems.append(f"after run {self._run}: {text[:500]}")


async def _read_all(log: SqliteLog, topic: str) -> Sequence[StoredRecord]:
    position = await log.first([topic])
    everything: list[StoredRecord] = []
    while found := await log.read(position):
        everything.extend(found)
        position = position.after(found[-1])
    return everything


def _read_for(descriptor: int, seconds: float) -> bytes:
    deadline = time.monotonic() + seconds
    data = b""
    os.set_blocking(descriptor, False)
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(BlockingIOError):
            data += os.read(descriptor, 1 << 20)
        time.sleep(min(left, 0.002))
    os.set_blocking(descriptor, True)
    return data


def run_campaign(path: Path, kills: int, *, durability: Durability = "fsync", seed: int | None = None) -> CrashReport:
    """Kill `kills` times; stops at the first check that finds a problem."""
    campaign = Campaign(path, durability=durability, seed=seed)
    chance = random.Random(seed)
    started = time.monotonic()
    for number in range(kills):
        campaign.kill_once()
        last = number == kills - 1
        if last or chance.random() < 0.3:
            asyncio.run(campaign.check(thoroughly=last or number % 50 == 49))
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {kills} kills", end="", file=sys.stderr, flush=True)
        if campaign.report.problems:
            break
    campaign.report.seconds = round(time.monotonic() - started, 1)
    return campaign.report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if nothing was lost, invented, altered or out of order."""
    parser = argparse.ArgumentParser(
        prog="python -m headwater.testing.campaign.crash", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=30, help="how often to kill (default 30)")
    parser.add_argument("--seed", type=int, help="the seed of the moments of the kills")
    parser.add_argument("--durability", choices=["fsync", "os"], default="fsync")
    parser.add_argument("--file", type=Path, help="the log (default: a temporary one)")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        asyncio.run(_child(options.file, options.durability, options.child))
        return 0
    with tempfile.TemporaryDirectory(prefix="headwater-crash-") as directory:
        path = options.file or Path(directory) / "events.db"
        report = run_campaign(path, options.kills, durability=options.durability, seed=options.seed)
    print(json.dumps(asdict(report), indent=2))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
