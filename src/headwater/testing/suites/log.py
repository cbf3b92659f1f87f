"""What every `Log` must do, as tests: an implementation's test is a subclass with a `log` fixture.

class TestSqliteLog(LogSuite):
    implementations = (SqliteLog,)

    @pytest.fixture
    async def log(self, tmp_path, clock): ...   # yields an open, empty log that takes its time from `clock`

Features that a log does not declare (`Log.features`) are not tested, except that it refuses to use them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headwater.errors import FeatureUnsupported, KeyFieldMissing, LogUnavailable, PositionLost, TopicUnknown
from headwater.intake.append_batcher import Submits
from headwater.log.contract import (
    Commit,
    Log,
    Position,
    Record,
    StateChange,
    StoredRecord,
    TopicPartition,
    TopicSettings,
)
from headwater.log.damage_book import NotesDamage
from headwater.log.inspection import InspectableLog, LooksForDamage
from headwater.migration.positions import ListsGroups, ListsState
from headwater.testing.clock import ManualClock
from headwater.testing.suites.contract_suite import ContractSuite


def records(topic: str, count: int, *, start: int = 0, key: bytes | None = None) -> list[Record]:
    """Distinct records."""
    return [Record(topic, b"%s %d" % (topic.encode(), number), key) for number in range(start, start + count)]


def values(found: Sequence[StoredRecord]) -> list[bytes]:
    return [record.value for record in found]


async def read_all(log: Log, topics: Sequence[str], *, records_max: int = 1000) -> list[StoredRecord]:
    """All records stored in `topics`."""
    position = await log.first(topics)
    everything: list[StoredRecord] = []
    while found := await log.read(position, records_max=records_max):
        everything.extend(found)
        for record in found:
            position = position.after(record)
    return everything


def needs(log: Log, feature: str) -> None:
    """Skip the test if the log declares that it lacks this feature."""
    if not getattr(log.features, feature):
        pytest.skip(f"this log declares that it has no {feature}")


def change(log: Log, *changes: StateChange) -> tuple[StateChange, ...]:
    """The changes, for a log that keeps state."""
    return changes if log.features.keyed_state else ()


class LogSuite(ContractSuite):
    """Subclass it; see the module. Optional features are tested if the log has them."""

    contracts = (
        Log,
        InspectableLog,
        LooksForDamage,
        ListsGroups,
        ListsState,
        NotesDamage,
        Submits,
    )

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    async def reopen(self, log: Log) -> None:
        """Stop and start again on the same storage."""
        await log.close()
        await log.open()

    async def test_the_suite_is_run_on_what_it_names(self, log: Log) -> None:
        self.check_implementation(log)

    async def test_appended_records_are_read_back_as_they_were(self, log: Log, clock: ManualClock) -> None:
        await log.ensure_topic("a", TopicSettings())
        sent = [
            Record("a", b"", None),
            Record("a", b"\x00\xff" * 50, b"key", (("dt", b"2026-01-01T00:00:00Z"), ("n", b""))),
            Record("a", "é".encode(), b""),
        ]
        placements = await log.append(sent)
        found = await log.read(Position({("a", 0): 0}))
        assert [(p.topic, p.partition, p.offset) for p in placements] == [("a", 0, 0), ("a", 0, 1), ("a", 0, 2)]
        assert [(r.value, r.key, r.headers) for r in found] == [(r.value, r.key, r.headers) for r in sent]
        assert {r.timestamp_ms for r in found} == {int(clock() * 1000)}
        assert [(r.offset, r.timestamp_ms) for r in found] == [(p.offset, p.timestamp_ms) for p in placements]

    async def test_placements_are_in_input_order_over_topics_and_partitions(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=3))
        await log.ensure_topic("b", TopicSettings())
        sent = [Record("a", b"%d" % n, partition=n % 3) if n % 4 else Record("b", b"%d" % n) for n in range(40)]
        placements = await log.append(sent)
        stored = {(r.topic, r.partition, r.offset): r.value for r in await read_all(log, ["a", "b"])}
        assert [stored[p.topic, p.partition, p.offset] for p in placements] == [r.value for r in sent]
        assert len(placements) == len(sent)
        assert placements[-1] == list(placements)[-1]

    async def test_a_key_always_goes_to_the_same_partition(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=5))
        first = await log.append([Record("a", b"1", b"k%d" % n) for n in range(50)])
        second = await log.append([Record("a", b"2", b"k%d" % n) for n in range(50)])
        assert [p.partition for p in first] == [p.partition for p in second]
        assert {p.partition for p in first} == set(range(5))

    async def test_records_without_a_key_reach_every_partition(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=3))
        used = {p.partition for _ in range(3) for p in await log.append(records("a", 4))}
        assert used == {0, 1, 2}

    async def test_an_append_with_an_unknown_topic_stores_nothing(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        commit = (
            Commit("g", "t", change(log, StateChange("n", b"k", b"v"))) if log.features.transactional_commit else None
        )
        with pytest.raises(TopicUnknown):
            await log.append([*records("a", 3), Record("missing", b"x")], commit=commit)
        with pytest.raises(TopicUnknown):
            await log.append([*records("a", 3), Record("a", b"x", partition=1)], commit=commit)
        assert await read_all(log, ["a"]) == []
        assert await log.committed("g") is None
        if log.features.keyed_state:
            assert await log.state_get("n", [b"k"]) == {}

    async def test_one_failing_append_leaves_its_neighbours_alone(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        outcomes = await asyncio.gather(
            *(log.append([Record("missing" if n % 3 == 1 else "a", b"%d" % n)]) for n in range(12)),
            return_exceptions=True,
        )
        assert [isinstance(outcome, TopicUnknown) for outcome in outcomes] == [n % 3 == 1 for n in range(12)]
        assert values(await read_all(log, ["a"])) == [b"%d" % n for n in range(12) if n % 3 != 1]

    async def test_concurrent_appends_stay_whole_and_contiguous(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        placed = await asyncio.gather(*(log.append(records("a", 7, start=7 * n)) for n in range(40)))
        offsets = [[p.offset for p in placements] for placements in placed]
        assert all(own == list(range(own[0], own[0] + 7)) for own in offsets)
        assert sorted(offset for own in offsets for offset in own) == list(range(280))
        found = await read_all(log, ["a"])
        assert [r.offset for r in found] == list(range(280))
        for number, own in enumerate(offsets):
            assert values(found[own[0] : own[0] + 7]) == [r.value for r in records("a", 7, start=7 * number)]

    async def test_an_empty_append_is_nothing(self, log: Log) -> None:
        assert list(await log.append([])) == []

    async def test_reading_goes_on_where_it_stopped(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=3))
        await log.ensure_topic("b", TopicSettings())
        for number in range(30):
            await log.append(records("a", 5, start=5 * number) + records("b", 2, start=2 * number))
        for records_max in (1, 7, 1000):
            found = await read_all(log, ["a", "b"], records_max=records_max)
            assert len(found) == 30 * 7
            by_partition: dict[TopicPartition, list[int]] = {}
            for record in found:
                by_partition.setdefault((record.topic, record.partition), []).append(record.offset)
            assert all(offsets == list(range(len(offsets))) for offsets in by_partition.values())

    async def test_a_read_keeps_its_limits_but_gives_at_least_one_record(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.append([Record("a", b"x" * 1000) for _ in range(10)])
        start = Position({("a", 0): 0})
        assert len(await log.read(start, records_max=3)) == 3
        assert len(await log.read(start, bytes_max=3500)) == 3
        assert len(await log.read(start, bytes_max=1)) == 1

    async def test_no_partition_starves_another(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.ensure_topic("b", TopicSettings())
        position = await log.first(["a", "b"])
        await log.append(records("b", 5))
        seen: set[str] = set()
        for number in range(60):
            await log.append(records("a", 20, start=20 * number))
            for record in await log.read(position, records_max=20):
                position = position.after(record)
                seen.add(record.topic)
        assert "b" in seen or len(await read_all(log, ["b"])) == 5

    async def test_a_waiting_reader_is_woken_by_an_append(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        end = await log.last(["a"])
        waiting = [asyncio.ensure_future(log.read(end, wait_seconds=30)) for _ in range(50)]
        await asyncio.sleep(0.05)
        await log.append(records("a", 2))
        for found in await asyncio.wait_for(asyncio.gather(*waiting), 5):
            assert values(found) == [b"a 0", b"a 1"]

    async def test_a_reader_that_follows_closely_misses_nothing(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=2))
        position = await log.last(["a"])

        async def follow(position: Position) -> list[bytes]:
            seen: list[bytes] = []
            while len(seen) < 600:
                for record in await log.read(position, records_max=7, wait_seconds=10):
                    position = position.after(record)
                    seen.append(record.value)
            return seen

        followers = [asyncio.ensure_future(follow(position)) for _ in range(5)]
        for number in range(200):
            await log.append([Record("a", b"%d" % (3 * number + n), b"k%d" % n) for n in range(3)])
        for seen in await asyncio.wait_for(asyncio.gather(*followers), 60):
            assert sorted(seen, key=int) == [b"%d" % n for n in range(600)]

    async def test_waiting_ends_with_nothing_when_nothing_comes(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.ensure_topic("b", TopicSettings())
        waiting = asyncio.ensure_future(log.read(await log.last(["a"]), wait_seconds=0.1))
        await log.append(records("b", 1))
        assert list(await asyncio.wait_for(waiting, 5)) == []

    async def test_a_position_beyond_the_end_is_lost(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.append(records("a", 2))
        assert list(await log.read(Position({("a", 0): 2}))) == []
        with pytest.raises(PositionLost):
            await log.read(Position({("a", 0): 3}))
        with pytest.raises(PositionLost):
            await log.read(Position({("a", 1): 0}))

    async def test_a_lost_position_is_lost_however_few_records_are_asked_for(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=2))
        await log.append([Record("a", b"x", partition=number) for number in (0, 1)])
        for lost in ({("a", 0): 0, ("a", 1): 9}, {("a", 1): 9, ("a", 0): 0}):
            with pytest.raises(PositionLost):
                await log.read(Position(lost), records_max=1)

    async def test_an_unknown_topic_is_refused_everywhere(self, log: Log) -> None:
        with pytest.raises(TopicUnknown):
            await log.read(Position({("missing", 0): 0}))
        for ask in (log.first, log.last):
            with pytest.raises(TopicUnknown):
                await ask(["missing"])
        with pytest.raises(TopicUnknown):
            await log.at(["missing"], 0)

    async def test_first_and_last_name_every_partition(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=2))
        await log.append([Record("a", b"x", partition=1)] * 3)
        assert await log.first(["a"]) == Position({("a", 0): 0, ("a", 1): 0})
        assert await log.last(["a"]) == Position({("a", 0): 0, ("a", 1): 3})

    async def test_partitions_are_counted_as_they_are_and_unknown_topics_are_left_out(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=2))
        await log.ensure_topic("b", TopicSettings())
        assert await log.partition_counts(["a", "b", "missing"]) == {"a": 2, "b": 1}
        await log.ensure_topic("b", TopicSettings(partitions=3))
        assert await log.partition_counts(iter(["b"])) == {"b": 3}

    async def test_seeking_a_time_finds_the_first_record_received_then(self, log: Log, clock: ManualClock) -> None:
        await log.ensure_topic("a", TopicSettings())
        times = []
        for number in range(20):
            times.append(int(clock() * 1000))
            await log.append(records("a", 3, start=3 * number))
            clock.advance(10)
        for number, time_ms in enumerate(times):
            assert await log.at(["a"], time_ms) == Position({("a", 0): 3 * number})
            assert await log.at(["a"], time_ms - 1) == Position({("a", 0): 3 * number})
            assert await log.at(["a"], time_ms + 1) == Position({("a", 0): 3 * number + 3})

    async def test_times_never_go_back_within_a_partition(self, log: Log, clock: ManualClock) -> None:
        needs(log, "times_never_go_back")
        await log.ensure_topic("a", TopicSettings())
        await log.append(records("a", 1))
        clock.advance(-3600)
        await log.append(records("a", 1))
        await self.reopen(log)
        await log.append(records("a", 1))
        times = [r.timestamp_ms for r in await read_all(log, ["a"])]
        assert times == sorted(times)

    async def test_times_never_go_back_while_a_log_is_open(self, log: Log, clock: ManualClock) -> None:
        await log.ensure_topic("a", TopicSettings())
        for seconds in (0, -3600, 1800, 1900):
            clock.advance(seconds)
            await log.append(records("a", 2))
        times = [r.timestamp_ms for r in await read_all(log, ["a"])]
        assert times == sorted(times)

    async def test_times_never_go_back_even_behind_what_retention_has_removed(
        self, log: Log, clock: ManualClock
    ) -> None:
        needs(log, "times_never_go_back")
        await log.ensure_topic("a", TopicSettings(retention_seconds=60))
        removed = (await log.append(records("a", 1)))[0].timestamp_ms
        clock.advance(100)
        assert await log.trim() == 1
        await self.reopen(log)
        clock.advance(-3600)
        assert (await log.append(records("a", 1)))[0].timestamp_ms == removed

    async def test_a_time_that_a_record_comes_with_is_kept(self, log: Log, clock: ManualClock) -> None:
        await log.ensure_topic("a", TopicSettings())
        now_ms = int(clock() * 1000)
        ages = [5_000, 9_000, None, 3_000, 8_000]
        times = [None if age is None else now_ms - age for age in ages]
        placements = await log.append([Record("a", b"%d" % n, timestamp_ms=time) for n, time in enumerate(times)])
        kept = [now_ms if time is None else time for time in times]
        assert [p.timestamp_ms for p in placements] == kept
        assert [r.timestamp_ms for r in await read_all(log, ["a"])] == kept
        await self.reopen(log)
        assert [r.timestamp_ms for r in await read_all(log, ["a"])] == kept
        # The first record that is at least as new, even if older ones follow it.
        assert await log.at(["a"], now_ms - 5_000) == Position({("a", 0): 0})
        assert await log.at(["a"], now_ms - 4_000) == Position({("a", 0): 2})
        assert await log.at(["a"], now_ms + 1) == Position({("a", 0): 5})

    async def test_a_group_has_the_position_it_committed_last(self, log: Log) -> None:
        assert await log.committed("g") is None
        await log.commit("g", "one")
        await log.commit("h", "other")
        await log.commit("g", "two")
        assert await log.committed("g") == "two"
        await self.reopen(log)
        assert (await log.committed("g"), await log.committed("h")) == ("two", "other")

    async def test_records_and_position_commit_together(self, log: Log) -> None:
        needs(log, "transactional_commit")
        await log.ensure_topic("a", TopicSettings(partitions=3))
        position = await log.first(["a"])
        for number in range(4):
            commit = Commit("g", f"t{number}")
            placements = await log.append(
                [Record("a", b"%d %d" % (number, n), b"%d" % n) for n in range(5)], commit=commit
            )
            assert len(placements) == 5
            assert await log.committed("g") == f"t{number}"
            found = await log.read(position)
            assert sorted(values(found)) == [b"%d %d" % (number, n) for n in range(5)]
            assert {(p.partition, p.offset) for p in placements} == {(r.partition, r.offset) for r in found}
            for record in found:
                position = position.after(record)
            assert await log.read(position) == []
        await log.append((), commit=Commit("g", "last"))
        await log.append((), commit=Commit("h", "other"))
        await self.reopen(log)
        assert (await log.committed("g"), await log.committed("h")) == ("last", "other")
        assert await log.read(position, wait_seconds=0.05) == []

    async def test_a_log_without_state_says_so(self, log: Log) -> None:
        if log.features.keyed_state:
            pytest.skip("this log keeps state")
        await log.ensure_topic("a", TopicSettings())
        with pytest.raises(FeatureUnsupported):
            await log.append(records("a", 1), commit=Commit("g", "t", (StateChange("n", b"k", b"v"),)))
        with pytest.raises(FeatureUnsupported):
            await log.state_get("n", [b"k"])
        with pytest.raises(FeatureUnsupported):
            await log.state_scan("n")
        assert await read_all(log, ["a"]) == []

    async def test_records_position_and_state_commit_together(self, log: Log) -> None:
        needs(log, "keyed_state")
        await log.ensure_topic("a", TopicSettings())
        changes = (StateChange("n", b"one", b"1"), StateChange("n", b"two", b"2"), StateChange("m", b"one", b"x"))
        await log.append(records("a", 2), commit=Commit("g", "t1", changes))
        later = (StateChange("n", b"one", None), StateChange("n", b"three", b""), StateChange("n", b"absent", None))
        await log.append((), commit=Commit("g", "t2", later))
        await self.reopen(log)
        assert await log.committed("g") == "t2"
        assert await log.state_get("n", [b"one", b"two", b"three"]) == {b"two": b"2", b"three": b""}
        assert await log.state_get("m", [b"one"]) == {b"one": b"x"}

    async def test_state_is_scanned_in_key_order(self, log: Log) -> None:
        needs(log, "keyed_state")
        pairs = [(b"%03d" % n, b"v%d" % n) for n in range(25)]
        await log.append((), commit=Commit("g", "t", tuple(StateChange("n", k, v) for k, v in reversed(pairs))))
        scanned: list[tuple[bytes, bytes]] = []
        after = b""
        while some := await log.state_scan("n", after=after, rows_max=7):
            scanned.extend(some)
            after = some[-1][0]
        assert scanned == pairs
        assert list(await log.state_scan("other")) == []

    async def test_many_keys_are_looked_up_at_once(self, log: Log) -> None:
        needs(log, "keyed_state")
        changes = tuple(StateChange("n", b"%d" % n, b"v%d" % n) for n in range(1500))
        await log.append((), commit=Commit("g", "t", changes))
        found = await log.state_get("n", [b"%d" % n for n in range(-5, 1500)])
        assert found == {change.key: change.value for change in changes}

    async def test_everything_is_there_after_a_restart(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=2, retention_seconds=5.0, retention_bytes=9, compact=True))
        await log.append(records("a", 10, key=b"k"))
        before, topics = await read_all(log, ["a"]), await log.topics()
        await self.reopen(log)
        assert await read_all(log, ["a"]) == before
        assert [(t.name, t.settings, t.first, t.next) for t in await log.topics()] == [
            (t.name, t.settings, t.first, t.next) for t in topics
        ]
        assert (await log.append(records("a", 1, key=b"k")))[0].offset == 10

    async def test_topics_are_listed_by_name_and_their_partitions_only_grow(self, log: Log) -> None:
        await log.ensure_topic("b", TopicSettings(partitions=2))
        await log.ensure_topic("a", TopicSettings())
        await log.append([Record("b", b"x", partition=1)])
        await log.ensure_topic("b", TopicSettings(partitions=4))
        await log.ensure_topic("b", TopicSettings(partitions=1, retention_seconds=7.0))
        listed = [(t.name, t.settings, t.first, t.next) for t in await log.topics()]
        assert listed == [
            ("a", TopicSettings(), (0,), (0,)),
            ("b", TopicSettings(partitions=4, retention_seconds=7.0), (0, 0, 0, 0), (0, 1, 0, 0)),
        ]
        assert (await log.append([Record("b", b"y", partition=3)]))[0].offset == 0

    async def test_retention_by_age_removes_what_is_older_and_nothing_else(self, log: Log, clock: ManualClock) -> None:
        needs(log, "trim_on_demand")
        await log.ensure_topic("short", TopicSettings(retention_seconds=60))
        await log.ensure_topic("long", TopicSettings())
        for _ in range(5):
            await log.append(records("short", 3) + records("long", 3))
            clock.advance(20)
        # Received 100, 80, 60, 40 and 20 seconds ago: the first two are older than 60 seconds.
        assert await log.trim() == 6
        assert [r.offset for r in await read_all(log, ["short"])] == list(range(6, 15))
        assert len(await read_all(log, ["long"])) == 15
        with pytest.raises(PositionLost) as lost:
            await log.read(Position({("short", 0): 5}))
        assert lost.value.earliest == Position({("short", 0): 6}).token()
        clock.advance(3600)
        await log.trim()
        assert await read_all(log, ["short"]) == []
        await self.reopen(log)
        assert (await log.append(records("short", 1)))[0].offset == 15

    async def test_retention_by_size_keeps_the_newest(self, log: Log) -> None:
        needs(log, "trim_on_demand")
        await log.ensure_topic("a", TopicSettings(retention_bytes=5_000))
        for number in range(50):
            await log.append([Record("a", b"%d " % number + bytes(range(256)) * 4)])
        await log.trim()
        found = await read_all(log, ["a"])
        assert 0 < len(found) < 50
        assert [r.offset for r in found] == list(range(50 - len(found), 50))
        await log.ensure_topic("a", TopicSettings(retention_bytes=0))
        await log.trim()
        assert [r.offset for r in await read_all(log, ["a"])] == [49]

    async def test_compaction_keeps_the_newest_record_of_each_key_and_all_offsets(self, log: Log) -> None:
        needs(log, "compaction")
        needs(log, "trim_on_demand")
        await log.ensure_topic("a", TopicSettings(compact=True))
        for number in range(40):
            await log.append([Record("a", b"%d" % number, b"k%d" % (number % 4)), Record("a", b"free %d" % number)])
        before = await read_all(log, ["a"])
        assert await log.trim() == 36
        found = await read_all(log, ["a"])
        assert found == [r for r in before if r.key is None or r.offset >= 72]
        assert await log.first(["a"]) == Position({("a", 0): 0})
        assert (await log.read(Position({("a", 0): 0}), records_max=1))[0].value == b"free 0"
        assert (await log.append(records("a", 1)))[0].offset == 80
        await self.reopen(log)
        assert await log.trim() == 0
        assert len(await read_all(log, ["a"])) == len(found) + 1

    async def test_a_compacted_topic_that_needs_keys_refuses_an_append_without(self, log: Log) -> None:
        if log.features.compacts_without_keys:
            pytest.skip("this log compacts topics whose records have no keys")
        await log.ensure_topic("a", TopicSettings(compact=True))
        await log.ensure_topic("b", TopicSettings())
        with pytest.raises(KeyFieldMissing):
            await log.append([Record("b", b"1"), Record("a", b"2", b"k"), Record("a", b"3")])
        assert await read_all(log, ["a", "b"]) == []

    async def test_a_closed_log_says_so(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.close()
        await log.close()
        with pytest.raises(LogUnavailable):
            await log.append(records("a", 1))
        with pytest.raises(LogUnavailable):
            await log.committed("g")

    async def test_groups_and_state_are_listed(self, log: Log) -> None:
        if isinstance(log, ListsGroups):
            assert list(await log.groups()) == []
            for group in ("z", "a/b"):
                await log.commit(group, "t")
            assert list(await log.groups()) == ["a/b", "z"]
        if isinstance(log, ListsState):
            changes = (StateChange("n/2", b"k", b"v"), StateChange("n/1", b"k", b""), StateChange("gone", b"k", None))
            await log.append((), commit=Commit("a/b", "t2", changes))
            assert list(await log.namespaces()) == ["n/1", "n/2"]

    async def test_a_sound_log_is_verified_and_counted(self, log: Log) -> None:
        if not (hasattr(log, "verify") and hasattr(log, "stats")):
            pytest.skip("this log has no diagnostics")
        await log.ensure_topic("a", TopicSettings(partitions=2))
        await log.append(records("a", 20, key=b"k"))
        steps: list[tuple[int, int]] = []
        report = await log.verify(progress=lambda done, expected: steps.append((done, expected)))
        assert (report.records, report.damages) == (20, ())
        stats = await log.stats()
        assert (stats.topics, stats.partitions) == (1, 2)

    async def test_a_sound_log_has_no_troubles_and_no_damage(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.append(records("a", 3))
        await read_all(log, ["a"])
        assert (list(log.troubles()), log.cannot_serve()) == ([], None)
        if isinstance(log, LooksForDamage):
            assert await log.look(60.0) is True
        if isinstance(log, NotesDamage):
            assert (log.damages.offsets, log.damages.summary()) == (0, None)

    async def test_asking_whether_topics_could_be_changes_nothing(self, log: Log) -> None:
        assert list(await log.refused_topics({"a": TopicSettings(partitions=2)})) == []
        assert list(await log.topics()) == []

    async def test_the_smallest_limit_is_that_of_one_of_the_topics(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.ensure_topic("b", TopicSettings())
        assert await log.smallest_limit([]) is None
        if not log.features.record_limits:
            assert await log.smallest_limit(["a", "b"]) is None
            return
        found = await log.smallest_limit(["a", "b"])
        assert found is not None
        assert found[0] > 1_000
        assert found[1] in ("a", "b")
        with pytest.raises(TopicUnknown):
            await log.smallest_limit(["a", "missing"])

    async def test_an_append_without_a_coroutine_is_an_append(self, log: Log) -> None:
        if not isinstance(log, Submits):
            pytest.skip("this log accepts appends only by a coroutine")
        await log.ensure_topic("a", TopicSettings())
        placed = await asyncio.gather(*(log.submit(records("a", 2, start=2 * number)) for number in range(5)))
        assert [[p.offset for p in placements] for placements in placed] == [[2 * n, 2 * n + 1] for n in range(5)]
        assert values(await read_all(log, ["a"])) == [r.value for r in records("a", 10)]
        with pytest.raises(TopicUnknown):
            await log.submit([Record("missing", b"x")])

    async def test_a_log_that_is_to_be_closed_in_time_is(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.append(records("a", 1))
        log.close_within(20.0)
        async with asyncio.timeout(60.0):
            await log.close()
        await log.open()
        assert values(await read_all(log, ["a"])) == [b"a 0"]
