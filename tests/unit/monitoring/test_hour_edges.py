"""Where the hours of a log begin is found with few questions, and is the same as for each hour alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import TopicUnknown
from headwater.log.contract import Position, Record, TopicSettings
from headwater.monitoring.hourly_counts import HourlyCounts
from headwater.monitoring.reconciliation import AT_ONCE_MAX, Reconciliation
from headwater.testing.clock import ManualClock
from headwater.testing.oracle_log import OracleLog

HOUR = 472_222
HOURS = 24
TOPICS = ("a", "b", "c")
# (topic, partition, half hours after the first hour)
records = st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 1), st.integers(-2, 2 * HOURS + 2)), max_size=30)


class CountingLog(OracleLog):
    """Says how often it was asked for a moment, about how many topics, and how many asked at once."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.asked: list[int] = []
        self.now = self.most = 0

    async def at(self, topics: Iterable[str], timestamp_ms: int) -> Position:
        names = list(topics)
        self.asked.append(len(names))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await super().at(names, timestamp_ms)


async def made(written: Iterable[tuple[str, int, int]]) -> CountingLog:
    clock = ManualClock(HOUR * 3600.0 - 7200)
    log = CountingLog(clock)
    await log.open()
    for topic in TOPICS:
        await log.ensure_topic(topic, TopicSettings(partitions=2))
    for topic, partition, half in sorted(written, key=lambda one: one[2]):
        clock.now = HOUR * 3600.0 + half * 1800
        await log.append([Record(topic, b"{}", partition=partition)])
    clock.now = HOUR * 3600.0 + HOURS * 3600 + 7200
    return log


async def edges(log: CountingLog, topics: Iterable[str], last: int = HOUR + HOURS) -> list[dict[tuple[str, int], int]]:
    reconciliation = Reconciliation(log, HourlyCounts(log, 48, lambda: 0.0))
    return [dict(one) for one in await reconciliation._edges(set(topics), HOUR, last)]


@given(records, st.sets(st.sampled_from(TOPICS)), st.integers(1, HOURS))
def test_every_hour_is_as_if_it_were_asked_for_alone(
    written: list[tuple[str, int, int]], topics: set[str], hours: int
) -> None:
    async def compare() -> None:
        log = await made(written)
        found = await edges(log, topics, HOUR + hours)
        expected = [
            dict((await OracleLog.at(log, topics, hour * 3_600_000)).offsets) if topics else {}
            for hour in range(HOUR, HOUR + hours + 1)
        ]
        assert found == expected
        assert log.most <= AT_ONCE_MAX

    asyncio.run(compare())


async def test_topics_in_which_nothing_came_are_asked_about_twice() -> None:
    log = await made([("a", 0, -1), ("b", 1, 2 * HOURS + 1)])
    await edges(log, TOPICS)
    assert log.asked == [3, 3]


async def test_only_topics_in_which_something_came_are_asked_about_again() -> None:
    log = await made([("a", 0, 13), ("a", 1, 13)])
    await edges(log, TOPICS)
    assert log.asked[:2] == [3, 3]
    assert set(log.asked[2:]) == {1}
    # As in a search by halves.
    assert len(log.asked) <= 2 + 5


class FailingLog(CountingLog):
    """A topic that is deleted meanwhile."""

    async def at(self, topics: Iterable[str], timestamp_ms: int) -> Position:
        if timestamp_ms == (HOUR + HOURS // 2) * 3_600_000:
            raise TopicUnknown("The log has no topic 'a'.")
        return await super().at(topics, timestamp_ms)


async def test_what_cannot_be_queried_is_not_listed() -> None:
    log = await made([("a", 0, number) for number in range(2 * HOURS)])
    log.__class__ = FailingLog
    found = await edges(log, ["a"])
    assert found[HOURS // 2] == {}
    assert found[0] == {("a", 0): 0, ("a", 1): 0}
    assert found[3] == {("a", 0): 6, ("a", 1): 0}
