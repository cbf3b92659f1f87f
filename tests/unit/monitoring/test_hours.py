"""Hours and counts: what is counted once stays counted once, and what an hour is called follows from it."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import LogUnavailable, TimestampInvalid
from headwater.log.contract import Features, Record, TopicSettings
from headwater.monitoring.completeness import Completeness, StreamHour
from headwater.monitoring.hour_counts import HourCount
from headwater.monitoring.hourly_counts import (
    BEHIND_SECONDS,
    BUSY_SHARE_MAX,
    BUSY_SHARE_MIN,
    TOPIC,
    CountedTopic,
    HourlyCounts,
    busy_share,
)
from headwater.monitoring.hours import hour_text, read_hour
from headwater.monitoring.intake_counts import IntakeCounts
from headwater.monitoring.reconciliation import Reconciliation
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry, bounded, closed
from headwater.testing.clock import ManualClock
from headwater.testing.oracle_log import OracleLog

HOUR = 472_222
START = HOUR * 3600.0
STREAM = Stream(name="notes", partitions=2)
WATCHED = {"notes": CountedTopic("notes", "dt", 600_000)}
LATENESS_MS = 600_000


def text_of(at: float) -> str:
    hour = hour_text(int(at) // 3600)
    return f"{hour[:13]}:{int(at) % 3600 // 60:02d}:{int(at) % 60:02d}Z"


def record(at: float, *, canary: bool = False, partition: int = 0, header: bool = True) -> Record:
    value: dict[str, Any] = {"dt": text_of(at), "meta": {"domain": "canary" if canary else "en.wikipedia.org"}}
    headers = (("dt", text_of(at).encode()),) if header else ()
    return Record("notes", orjson.dumps(value), headers=headers, partition=partition)


class World:
    """A log, a clock and a book that counts."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.log = OracleLog(clock=self.clock)
        self.book = HourlyCounts(self.log, 48, self.clock)

    async def start(self) -> World:
        await self.log.open()
        await self.log.ensure_topic("notes", TopicSettings(partitions=2))
        await self.book.open()
        self.book.expect_canaries(["notes"])
        return self

    async def at(self, minute: float, *records: Record) -> None:
        self.clock.now = START + minute * 60
        if records:
            await self.log.append(records)

    async def judged(self, minute: float, hour: int = HOUR, by: Any = "event") -> StreamHour:
        await self.at(minute)
        await self.book.read_on(WATCHED)
        return Completeness(self.book).hour(STREAM, hour, by=by, max_lateness_ms=LATENESS_MS)

    async def restarted(self) -> World:
        await self.book.save()
        self.book = HourlyCounts(self.log, 48, self.clock)
        await self.book.open()
        return self


async def test_an_hour_with_events_and_a_canary_is_complete_once_its_events_can_come_no_more() -> None:
    world = await World().start()
    await world.at(10, record(START + 600), record(START + 601, partition=1), record(START + 602, canary=True))
    assert (await world.judged(20)).state == "open"
    # Events may be ten minutes late.
    assert (await world.judged(65)).state == "open"
    assert (await world.judged(65, by="receipt")).state == "complete"
    hour = await world.judged(71)
    assert (hour.state, hour.is_whole) == ("complete", True)
    assert [(one.partition, one.events, one.canaries) for one in hour.partitions] == [(0, 1, 1), (1, 1, 0)]


async def test_a_canary_makes_an_hour_without_events_known_to_be_empty() -> None:
    world = await World().start()
    await world.at(10, record(START + 600, canary=True))
    hour = await world.judged(71)
    assert (hour.state, hour.is_whole) == ("empty", True)
    assert {one.state for one in hour.partitions} == {"empty"}


async def test_events_without_a_canary_are_no_whole_hour() -> None:
    world = await World().start()
    await world.at(10, record(START + 600))
    hour = await world.judged(71)
    assert (hour.state, hour.is_whole) == ("missing", False)
    assert "No canary arrived in notes" in (hour.reason or "")


async def test_nothing_is_reported_about_topics_without_canaries() -> None:
    world = await World().start()
    await world.at(10, record(START + 600))
    assert (await world.judged(71, hour=HOUR - 3)).state == "unknown"
    world.book.expect_canaries([])
    hour = await world.judged(71)
    assert (hour.state, hour.is_whole) == ("unknown", False)
    assert "has no canaries" in (hour.reason or "")


async def test_hours_beyond_what_is_kept_are_unknown() -> None:
    world = await World().start()
    await world.at(10, record(START + 600, canary=True))
    assert (await world.judged(71)).state == "empty"
    assert (await world.judged(71 + 50 * 60)).state == "unknown"


async def test_an_hour_is_open_before_anything_was_counted() -> None:
    world = await World().start()
    assert Completeness(world.book).hour(STREAM, HOUR - 5).state == "open"


async def test_late_events_go_to_their_own_hour_and_are_counted_separately() -> None:
    world = await World().start()
    await world.at(10, record(START + 600), record(START + 600, canary=True))
    assert (await world.judged(71)).partitions[0].late == 0
    await world.at(80, record(START + 700))
    hour = await world.judged(81)
    assert (hour.partitions[0].events, hour.partitions[0].late) == (2, 1)
    by_receipt = await world.judged(200, hour=HOUR + 1, by="receipt")
    assert (by_receipt.partitions[0].events, by_receipt.partitions[0].late) == (1, 0)


async def test_events_without_the_header_are_counted_by_their_own_time_field() -> None:
    world = await World().start()
    await world.at(70, record(START + 600, header=False))
    await world.book.read_on(WATCHED)
    assert world.book.counts.of("notes", 0, HOUR).events == 1


async def test_counts_survive_a_restart_and_nothing_is_counted_twice() -> None:
    world = await World().start()
    await world.at(10, record(START + 600), record(START + 601, canary=True))
    await world.judged(20)
    await world.restarted()
    await world.at(30, record(START + 1800))
    hour = await world.judged(71)
    assert (hour.state, sum(one.events for one in hour.partitions)) == ("complete", 2)


class FailingLog(OracleLog):
    """Refuses the append whose number is due."""

    fails_at: int | None = None
    appends = 0

    async def append(self, records: Any, *, commit: Any = None) -> Any:
        if records[0].topic == TOPIC:
            self.appends += 1
            if self.appends == self.fails_at:
                raise LogUnavailable("The log is away.")
        return await super().append(records, commit=commit)


@given(st.lists(st.tuples(st.integers(0, 50 * 60), st.integers(0, 1), st.booleans()), max_size=30), st.data())
def test_whatever_crashes_between_two_appends_every_record_counts_once(events: Any, data: st.DataObject) -> None:
    import asyncio

    async def counted(fails: bool) -> dict[Any, HourCount]:
        clock = ManualClock(START + 50 * 3600)
        log = FailingLog(clock=clock)
        await log.open()
        await log.ensure_topic("notes", TopicSettings(partitions=2))
        book = HourlyCounts(log, 200, clock)
        await book.open()
        for minute, partition, canary in events:
            await log.append([record(START + minute * 60, canary=canary, partition=partition)])
            if fails and data.draw(st.booleans()):
                log.fails_at = log.appends + data.draw(st.integers(1, 3))
                await book.read_on(WATCHED)
                try:
                    await book.save()
                except LogUnavailable:
                    # A new process finds what was kept, however little of it.
                    book = HourlyCounts(log, 200, clock)
                    log.fails_at = None
                    await book.open()
        log.fails_at = None
        await book.read_on(WATCHED)
        return {key: count for row in book.counts.rows.values() for key, count in row.counts.items()}

    assert asyncio.run(counted(fails=True)) == asyncio.run(counted(fails=False))


class Counted:
    """An intake's counters, moved by hand, and what is made of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.telemetry = Telemetry()
        self.events = self.telemetry.counter(
            "headwater_intake_events", "Events.", (bounded("stream"), closed("outcome"))
        )
        self.written: dict[str, int] = {}
        # Past the turn of the hour.
        world.clock.now = START + 60
        self.counts = IntakeCounts(self.telemetry, "errors", job_totals=lambda: self.written, clock=world.clock)

    async def take(self, minute: float, *, ended: bool = False) -> None:
        await self.world.at(minute)
        self.counts.take()
        await self.world.book.save_intake(self.counts.records(ended=ended))
        await self.world.book.follow_intakes()

    async def compared(self, minute: float, stream: Stream = STREAM) -> Any:
        await self.world.at(minute)
        await self.world.book.read_on(WATCHED)
        reconciliation = Reconciliation(self.world.log, self.world.book)
        (found,) = await reconciliation.hours([stream], HOUR, HOUR + 1)
        return found


async def test_accepted_stored_and_delivered_agree_where_all_is_well() -> None:
    world = await World().start()
    counted = Counted(world)
    counted.events.labels("notes", "accepted").inc(3)
    counted.events.labels("notes", "duplicate").inc(2)
    counted.events.labels("notes", "event_invalid").inc(4)
    await world.at(10, *[record(START + 600)] * 3)
    await counted.take(11)
    await counted.take(60.01)
    found = await counted.compared(70)
    assert (found.accepted, found.stored, found.delivered) == (3, 3, 3)
    assert (found.duplicates, found.refused, found.differences) == (2, 4, {})


async def test_an_event_that_was_accepted_and_is_not_in_the_log_is_reported() -> None:
    world = await World().start()
    counted = Counted(world)
    counted.events.labels("notes", "accepted").inc(3)
    await world.at(10, *[record(START + 600)] * 2)
    await counted.take(11)
    await counted.take(60.01)
    found = await counted.compared(70)
    assert found.differences == {"stored - accepted": -1}
    assert found.as_dict()["agrees"] is False


async def test_a_record_that_a_reader_did_not_receive_is_reported() -> None:
    world = await World().start()
    counted = Counted(world)
    counted.events.labels("notes", "accepted").inc(2)
    await world.at(10, *[record(START + 600)] * 2)
    await counted.take(60.01)
    assert (await counted.compared(70)).differences == {}
    world.book.counts.of("notes", 0, HOUR).received -= 1
    assert (await counted.compared(70)).differences == {"delivered - stored": -1}


async def test_what_jobs_write_and_error_events_are_accounted_for() -> None:
    world = await World().start()
    counted = Counted(world)
    counted.written["notes"] = 2
    await world.at(10, *[record(START + 600)] * 2)
    await counted.take(60.01)
    found = await counted.compared(70)
    assert (found.accepted, found.written, found.differences) == (0, 2, {})
    await counted.take(70)
    counted.events.labels("other", "event_invalid").inc(5)
    counted.events.labels("", "log_unavailable").inc(7)
    await counted.take(75)
    assert counted.counts.hours[HOUR + 1]["errors"] == {"error_events": 5}


async def test_events_at_the_turn_of_an_hour_may_belong_to_either() -> None:
    world = await World().start()
    counted = Counted(world)
    await world.at(59.999, record(START + 3599))
    await counted.take(60.0)
    counted.events.labels("notes", "accepted").inc()
    await counted.take(60.03)
    found = await counted.compared(70)
    assert (found.accepted, found.stored, found.tolerance, found.differences) == (0, 1, 1, {})


async def test_a_process_that_was_killed_is_named_as_the_reason() -> None:
    world = await World().start()
    counted = Counted(world)
    counted.events.labels("notes", "accepted").inc(1)
    await world.at(10, *[record(START + 600)] * 3)
    await counted.take(11)
    found = await counted.compared(70)
    assert found.differences == {"stored - accepted": 2}
    assert "ended unexpectedly" in found.notes[0]


async def test_a_process_that_ended_in_order_leaves_no_doubt() -> None:
    world = await World().start()
    counted = Counted(world)
    counted.events.labels("notes", "accepted").inc(1)
    await world.at(10, record(START + 600))
    await counted.take(11, ended=True)
    found = await counted.compared(70)
    assert (found.differences, found.notes) == ({}, ())


async def test_hours_before_the_first_count_raise_no_alarm() -> None:
    world = await World().start()
    await world.at(10, record(START + 600))
    world.book.intakes_since_ms = int((START + 1800) * 1000)
    found = await Counted(world).compared(70)
    assert (found.accepted, found.differences) == (None, {})


async def test_a_log_with_gaps_between_offsets_is_not_asked_for_its_own_account() -> None:
    world = await World().start()
    world.log.features = dataclasses.replace(world.log.features, offsets_without_gaps=False)  # type: ignore[misc]
    assert isinstance(world.log.features, Features)
    await world.at(10, record(START + 600))
    assert (await Counted(world).compared(70)).stored is None


def test_counting_takes_little_of_the_time_while_it_keeps_up_and_more_the_further_it_is_behind() -> None:
    shares = [busy_share(seconds) for seconds in (-5.0, 0.0, 60.0, 300.0, BEHIND_SECONDS, 1e9)]
    assert shares == sorted(shares)
    assert shares[0] == shares[1] == BUSY_SHARE_MIN
    assert shares[-1] == shares[-2] == BUSY_SHARE_MAX
    assert BUSY_SHARE_MIN < busy_share(300.0) < BUSY_SHARE_MAX


def test_hours_are_read_as_people_write_them() -> None:
    for text in (
        "2026-01-31T13",
        "2026-01-31T13:00:00Z",
        "2026-01-31 13:59",
        "2026-01-31T14:30+01:00",
        "1769866200000",
    ):
        assert hour_text(read_hour(text)) == "2026-01-31T13:00:00Z"
    with pytest.raises(TimestampInvalid, match="2026-01-31T13"):
        read_hour("yesterday")
