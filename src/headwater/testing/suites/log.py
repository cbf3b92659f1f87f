"""What every `Log` must do, as tests: an implementation's test is a subclass with a `log` fixture.

class TestSqliteLog(LogSuite):
    implementations = (SqliteLog,)

    @pytest.fixture
    async def log(self, tmp_path, clock): ...   # yields an open, empty log that takes its time from `clock`

Features that a log does not declare (`Log.features`) are not tested, except that it refuses to use them.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from headwater.errors import LogUnavailable, PositionLost, TopicUnknown
from headwater.log.contract import (
    Commit,
    Log,
    Position,
    Record,
    StateChange,
    TopicPartition,
    TopicSettings,
)
from headwater.log.diagnostics import InspectableLog
from headwater.testing.clock import ManualClock
from headwater.testing.suites.log_features import FeatureTests
from headwater.testing.suites.log_records import change, needs, read_all, records, values

__all__ = ["InspectableLogSuite", "LogSuite", "needs", "read_all", "records", "values"]


class LogSuite(FeatureTests):
    """Subclass it; see the module."""

    contracts: ClassVar[tuple[type[Any], ...]] = (Log,)

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

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

    async def test_reading_resumes_where_it_stopped(self, log: Log) -> None:
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
        if log.features.seek_by_time:
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
        if not log.features.seek_by_time:
            return
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

    async def test_a_closed_log_says_so(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.close()
        await log.close()
        with pytest.raises(LogUnavailable):
            await log.append(records("a", 1))
        with pytest.raises(LogUnavailable):
            await log.committed("g")

    async def test_an_append_without_a_coroutine_is_an_append(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        placed = await asyncio.gather(*(log.submit(records("a", 2, start=2 * number)) for number in range(5)))
        assert [[p.offset for p in placements] for placements in placed] == [[2 * n, 2 * n + 1] for n in range(5)]
        assert values(await read_all(log, ["a"])) == [r.value for r in records("a", 10)]
        with pytest.raises(TopicUnknown):
            await log.submit([Record("missing", b"x")])
        assert values(await read_all(log, ["a"])) == [r.value for r in records("a", 10)]

    async def test_a_log_that_is_to_be_closed_in_time_is(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.append(records("a", 1))
        log.close_within(20.0)
        async with asyncio.timeout(60.0):
            await log.close()
        await log.open()
        assert values(await read_all(log, ["a"])) == [b"a 0"]


class InspectableLogSuite(LogSuite):
    """For a log whose storage can be looked at, instead of `LogSuite`."""

    contracts: ClassVar[tuple[type[Any], ...]] = (InspectableLog,)

    async def test_a_sound_log_is_verified_and_counted(self, log: InspectableLog) -> None:
        await log.ensure_topic("a", TopicSettings(partitions=2))
        await log.append(records("a", 20, key=b"k"))
        steps: list[tuple[int, int]] = []
        report = await log.verify(progress=lambda done, expected: steps.append((done, expected)))
        assert (report.records, report.damages) == (20, ())
        stats = await log.stats()
        assert (stats.topics, stats.partitions) == (1, 2)
