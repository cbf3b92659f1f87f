"""A Hypothesis state machine that applies random operations to a log and to the oracle, and compares them.

    class Machine(LogMachine):
        def make(self, directory, clock): return SqliteLog(directory / "events.db", clock=clock)
    TestSqliteLog = Machine.TestCase

Which records retention and compaction remove is not exactly defined: the machine checks that removed records may be
removed and that the others stayed, and then removes the same records from the oracle. If transactions take offsets, the
machine checks that they take one each, and then lets the oracle skip the same offsets.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headwater.errors import PositionLost, TopicUnknown
from headwater.log.contract import (
    Commit,
    Log,
    Placement,
    Position,
    Record,
    StateChange,
    StoredRecord,
    TopicPartition,
    TopicSettings,
)
from headwater.log.record_batch import partition_of_key
from headwater.testing.clock import ManualClock
from headwater.testing.oracle_log import OracleLog
from headwater.testing.suites.log import read_all

TOPICS = {
    "plain": TopicSettings(),
    "keyed": TopicSettings(partitions=3),
    "aging": TopicSettings(partitions=2, retention_seconds=60.0),
    "small": TopicSettings(retention_bytes=1_500),
    "latest": TopicSettings(partitions=2, compact=True),
    "fading": TopicSettings(compact=True, retention_seconds=300.0),
}

topics = st.sampled_from(sorted(TOPICS))
keys = st.none() | st.sampled_from([b"", b"a", b"b", b"c", b"d" * 40])
headers = st.lists(st.tuples(st.sampled_from(["dt", "é"]), st.binary(max_size=5)), max_size=2).map(tuple)
record_values = st.binary(max_size=40) | st.builds(
    lambda byte, size: byte * size, st.binary(min_size=1, max_size=2), st.integers(100, 900)
)
new_records = st.builds(Record, topic=topics, value=record_values, key=keys, headers=headers)
Batch = list[tuple[list[Record], Commit | None]]
groups = st.sampled_from(["one", "two"])
changes = st.builds(
    StateChange,
    namespace=st.sampled_from(["x", "y"]),
    key=st.sampled_from([b"", b"k1", b"k2", b"\xff"]),
    value=st.none() | st.binary(max_size=20),
)
commits = st.none() | st.builds(
    Commit, group=groups, token=st.text("abc", max_size=5), state=st.lists(changes, max_size=4).map(tuple)
)


class LogMachine(RuleBasedStateMachine):
    """Subclasses define how to make the log, and which files it consists of after a crash.

    Features that the log does not declare (`Log.features`) are not tested.
    """

    # Whether `make` with the same directory, while another is open, gives a log with the same content.
    is_shared = False

    def make(self, directory: Path, clock: ManualClock) -> Log:
        raise NotImplementedError

    def crash_files(self, directory: Path) -> list[Path]:
        """The files that a crash would leave; [] if the log cannot be restarted that way."""
        return []

    def new_clock(self) -> ManualClock:
        """The clock that everything takes its time from."""
        return ManualClock()

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = self.new_clock()
        self.root = Path(tempfile.mkdtemp(prefix="headwater-log-machine-"))
        self.directory = self.root / "0"
        self.directory.mkdir()
        self.oracle = OracleLog(clock=self.clock)
        self.log = self.make(self.directory, self.clock)
        self.crashes = 0

    def run_(self, awaitable: Any) -> Any:
        async def waited() -> Any:
            return await asyncio.wait_for(awaitable, 30)

        return self.runner.run(waited())

    @initialize()
    def start(self) -> None:
        async def open_both() -> None:
            for log in (self.log, self.oracle):
                await log.open()
                for name in TOPICS:
                    await log.ensure_topic(name, self.settings_of(name))

        self.run_(open_both())

    @rule(records=st.lists(new_records, max_size=12), commit=commits)
    def append(self, records: list[Record], commit: Commit | None) -> None:
        self.append_all([(self.fitting(records), self.possible(commit))], self.log)

    @rule(
        records=st.lists(new_records.filter(lambda one: one.topic in ("plain", "keyed")), max_size=8),
        ages_ms=st.lists(st.none() | st.integers(-1_000, 100_000), min_size=8, max_size=8),
    )
    def append_with_times(self, records: list[Record], ages_ms: list[int | None]) -> None:
        now_ms = int(self.clock() * 1000)
        times = [None if age is None else now_ms - age for age in ages_ms]
        dated = [msgspec.structs.replace(one, timestamp_ms=time) for one, time in zip(records, times, strict=False)]
        self.append_all([(dated, None)], self.log)

    @rule(batch=st.lists(st.tuples(st.lists(new_records, max_size=4), commits), min_size=2, max_size=8))
    def append_at_once(self, batch: list[tuple[list[Record], Commit | None]]) -> None:
        self.append_all([(self.fitting(records), self.possible(commit)) for records, commit in batch], self.log)

    @rule(records=st.lists(new_records, max_size=4), commit=commits)
    def append_from_a_second_log(self, records: list[Record], commit: Commit | None) -> None:
        if not self.is_shared and not self.crash_files(self.directory):
            return
        if not self.log.features.keyed_state:
            # If a group belongs to one writer at a time, this would take it from the other log.
            commit = None
        other = self.make(self.directory, self.clock)
        self.run_(other.open())
        self.append_all([(self.fitting(records), commit)], other)
        self.run_(other.close())

    @rule(records=st.lists(new_records, max_size=4), commit=commits, place=st.integers(0, 4))
    def append_what_cannot_be(self, records: list[Record], commit: Commit | None, place: int) -> None:
        records = self.fitting(records)
        bad = [*records[:place], Record("missing", b"x"), *records[place:]]
        try:
            self.run_(self.log.append(bad, commit=self.possible(commit)))
        except TopicUnknown:
            return
        raise AssertionError("an append with an unknown topic succeeded")

    @rule(group=groups, token=st.text("xyz", max_size=3))
    def commit(self, group: str, token: str) -> None:
        for log in (self.log, self.oracle):
            self.run_(log.commit(group, token))

    @rule(seconds=st.sampled_from([0.001, 1.0, 25.0, 70.0, -5.0, -200.0]))
    def time_passes(self, seconds: float) -> None:
        if seconds > 0 or self.log.features.times_never_go_back:
            self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.run_(self.log.close())
        self.log = self.make(self.directory, self.clock)
        self.run_(self.log.open())

    @rule()
    def stop_without_warning(self) -> None:
        files = self.crash_files(self.directory)
        if files:
            self.crashes += 1
            following = self.root / str(self.crashes)
            following.mkdir()
            for file in files:
                shutil.copy(file, following / file.name)
            self.run_(self.log.close())
            self.directory = following
            self.log = self.make(self.directory, self.clock)
            self.run_(self.log.open())

    @rule()
    def trim(self) -> None:
        removed = self.run_(self.log.trim())
        if not self.log.features.trim_on_demand:
            assert removed == 0
            return
        gone = sum(self.check_trimmed(topic, number) for topic, number in self.oracle.partitions())
        assert gone == removed, f"trim says {removed} records were removed, but {gone} are gone"

    @rule(data=st.data(), records_max=st.integers(1, 9), bytes_max=st.sampled_from([1, 300, 1_000_000]))
    def read(self, data: st.DataObject, records_max: int, bytes_max: int) -> None:
        places = data.draw(st.lists(st.sampled_from(self.oracle.partitions()), min_size=1, max_size=4, unique=True))
        position = Position({p: data.draw(st.integers(0, self.oracle.partition(*p).next + 1)) for p in places})
        wait = data.draw(st.sampled_from([0.0, 0.0, 0.001]))
        try:
            expected = self.run_(self.oracle.read(position, records_max=100_000, bytes_max=1 << 60))
        except PositionLost:
            try:
                self.run_(self.log.read(position, records_max=records_max))
            except PositionLost:
                return
            raise AssertionError(f"{position} should be lost") from None
        found = self.run_(self.log.read(position, records_max=records_max, bytes_max=bytes_max, wait_seconds=wait))
        assert bool(found) == bool(expected)
        assert len(found) <= records_max
        assert len(found) == 1 or sum(len(r.value) for r in found) <= bytes_max
        for place in places:
            got = [r for r in found if (r.topic, r.partition) == place]
            assert got == [r for r in expected if (r.topic, r.partition) == place][: len(got)]

    @rule(topic=topics, back_ms=st.integers(-10_000, 300_000))
    def seek_a_time(self, topic: str, back_ms: int) -> None:
        wanted_ms = int(self.clock() * 1000) - back_ms
        expected = self.run_(self.oracle.at([topic], wanted_ms))
        found = self.run_(self.log.at([topic], wanted_ms))
        for place, offset in expected.offsets.items():
            if found.offsets[place] < offset and not self.log.features.offsets_without_gaps:
                # The mark that ends a transaction also has a timestamp, from its server: never too late, but possibly
                # early.
                continue
            # Positions before the same record are equivalent: compaction leaves gaps.
            between = sorted((offset, found.offsets[place]))
            assert not [r for r in self.oracle.partition(*place).records if between[0] <= r.offset < between[1]]

    @invariant()
    def ends_agree(self) -> None:
        if self.oracle._is_open:
            names = list(TOPICS)
            assert self.run_(self.log.first(names)) == self.run_(self.oracle.first(names))
            assert self.run_(self.log.last(names)) == self.run_(self.oracle.last(names))

    @rule()
    def compare_everything(self) -> None:
        for topic, settings in TOPICS.items():
            found = self.run_(read_all(self.log, [topic], records_max=50))
            for number in range(settings.partitions):
                assert [r for r in found if r.partition == number] == self.oracle.partition(topic, number).records
        for group in ("one", "two"):
            assert self.run_(self.log.committed(group)) == self.run_(self.oracle.committed(group))
        for namespace in ("x", "y") if self.log.features.keyed_state else ():
            wanted = [b"", b"k1", b"k2", b"\xff", b"absent"]
            for log in (self.log, self.oracle):
                scanned = dict(self.run_(log.state_scan(namespace)))
                looked_up = self.run_(log.state_get(namespace, wanted))
                assert scanned == {key: value for key, value in looked_up.items() if key}
            assert self.run_(self.log.state_get(namespace, wanted)) == self.run_(
                self.oracle.state_get(namespace, wanted)
            )

    def teardown(self) -> None:
        try:
            if self.oracle._is_open:
                self.compare_everything()
                self.check_sound()
            self.run_(self.log.close())
        finally:
            self.runner.close()
            shutil.rmtree(self.root, ignore_errors=True)

    def check_sound(self) -> None:
        """What else an implementation can report about itself."""

    def settings_of(self, topic: str) -> TopicSettings:
        """The settings of a topic. A log that trims by itself must not do so while the machine runs."""
        settings = TOPICS[topic]
        if self.log.features.trim_on_demand:
            return settings
        seconds, size = settings.retention_seconds, settings.retention_bytes
        return dataclasses.replace(
            settings, retention_seconds=seconds and seconds + 86_400.0, retention_bytes=size and size + 100_000_000
        )

    def fitting(self, records: list[Record]) -> list[Record]:
        """The records that the log accepts."""
        if self.log.features.compacts_without_keys:
            return records
        return [record for record in records if record.key is not None or not TOPICS[record.topic].compact]

    def possible(self, commit: Commit | None) -> Commit | None:
        """The part of the commit that the log supports."""
        features = self.log.features
        if commit is None or not features.transactional_commit:
            return None
        return commit if features.keyed_state else dataclasses.replace(commit, state=())

    def append_all(self, batch: Batch, log: Log) -> None:
        async def both() -> None:
            placed = await asyncio.gather(*(log.append(records, commit=commit) for records, commit in batch))
            if not log.features.offsets_without_gaps:
                await self.take_over(batch, placed, log)
                return
            for (records, commit), placements in zip(batch, placed, strict=True):
                # Only the partition of a record without a key is the log's choice.
                pinned = [
                    msgspec.structs.replace(r, partition=p.partition if r.key is None else None)
                    for r, p in zip(records, placements, strict=True)
                ]
                assert list(await self.oracle.append(pinned, commit=commit)) == list(placements)

        self.run_(both())

    async def take_over(self, batch: Batch, placed: Sequence[Sequence[Placement]], log: Log) -> None:
        """Check the offsets of appends whose relative order is free, and append the same to the oracle."""
        arrived: dict[TopicPartition, dict[int, Record]] = {}
        markers: Counter[TopicPartition] = Counter()
        for (records, commit), placements in zip(batch, placed, strict=True):
            own: dict[TopicPartition, list[int]] = {}
            for record, where in zip(records, placements, strict=True):
                place = (where.topic, where.partition)
                assert where.topic == record.topic
                given = record.timestamp_ms
                assert where.timestamp_ms == (int(self.clock() * 1000) if given is None else given)
                if record.key is not None:
                    assert where.partition == partition_of_key(record.key, TOPICS[record.topic].partitions)
                own.setdefault(place, []).append(where.offset)
                assert where.offset not in arrived.setdefault(place, {}), "two records at one offset"
                arrived[place][where.offset] = record
            assert all(offsets == sorted(offsets) for offsets in own.values()), "records changed their order"
            markers.update(list(own) if commit is not None else [])
        ends = (await log.last(list(TOPICS))).offsets
        for place, records_at in arrived.items():
            partition = self.oracle.partition(*place)
            assert min(records_at) >= partition.next, "an offset was reused"
            assert ends[place] - partition.next == len(records_at) + markers[place], "offsets are missing"
            for offset, r in sorted(records_at.items()):
                time_ms = int(self.clock() * 1000) if r.timestamp_ms is None else r.timestamp_ms
                partition.records.append(StoredRecord(*place, offset, time_ms, r.key, r.headers, r.value))
            partition.next = ends[place]
        for group in {commit.group for _, commit in batch if commit is not None}:
            token = await log.committed(group)
            assert token in {commit.token for _, commit in batch if commit is not None and commit.group == group}
            await self.oracle.commit(group, token or "")

    def check_trimmed(self, topic: str, number: int) -> int:
        """Check the effect of a trim on one partition, apply it to the oracle, and return how many records it
        removed.
        """
        settings = TOPICS[topic]
        partition = self.oracle.partition(topic, number)
        floor = self.run_(self.log.first([topic])).offsets[topic, number]
        kept: list[StoredRecord] = []
        position = Position({(topic, number): floor})
        while found := self.run_(self.log.read(position, records_max=100)):
            kept.extend(found)
            position = position.after(found[-1])
        offsets = {r.offset for r in kept}
        assert kept == [r for r in partition.records if r.offset in offsets], "records were altered or invented"
        oldest_ms = (self.clock() - (settings.retention_seconds or 0.0)) * 1000
        newest = {r.key: r.offset for r in partition.records if r.key is not None}
        for record in partition.records:
            if record.offset in offsets:
                continue
            expired = settings.retention_seconds is not None and record.timestamp_ms < oldest_ms
            crowded = settings.retention_bytes is not None and record.offset != partition.next - 1
            replaced = settings.compact and record.key is not None and newest[record.key] > record.offset
            assert ((expired or crowded) and record.offset < floor) or replaced, f"{record} must not be removed"
        if settings.retention_seconds is not None:
            assert not [r for r in kept if r.timestamp_ms < int(oldest_ms)], "expired records stayed"
        gone = len(partition.records) - len(kept)
        partition.records, partition.floor = kept, floor
        return gone
