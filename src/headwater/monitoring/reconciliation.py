"""Reconciles counts by stream and hour: events accepted, stored in the log, and delivered to a reader."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any

from headwater.errors import TopicUnknown
from headwater.log.contract import Log, TopicPartition
from headwater.monitoring import intake_counts
from headwater.monitoring.completeness import SETTLE_MS
from headwater.monitoring.hourly_counts import HourlyCounts
from headwater.monitoring.hours import HOUR_MS, hour_text
from headwater.monitoring.intake_counts import ACCEPTED, DUPLICATE, ERROR_EVENT, JOB, STORING, TURNING
from headwater.streams.stream import Stream

# How many hours are processed before the event loop runs other tasks.
IN_A_TURN_MAX = 100
# How many requests the log gets concurrently.
AT_ONCE_MAX = 2

Offsets = Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One hour (of receipt) of a stream. Counts include canaries; None for a count that is not available.

    `accepted` by the intake, `written` otherwise (by jobs, as error events), `stored` by the log's own count,
    `delivered` to the counting reader. `tolerance`: events whose hour is uncertain, being at the turn of an hour.
    """

    stream: str
    hour: int
    accepted: int | None
    written: int
    duplicates: int
    refused: int
    stored: int | None
    delivered: int
    tolerance: int
    notes: tuple[str, ...]

    @property
    def differences(self) -> dict[str, int]:
        """Which counts differ by more than the tolerance, and by how much; {} if none does."""
        found = {}
        stored = self.delivered if self.stored is None else self.stored
        if self.accepted is not None:
            difference = stored - self.accepted - self.written
            if abs(difference) > self.tolerance:
                found["stored - accepted"] = difference
        if self.stored is not None and self.delivered != self.stored:
            found["delivered - stored"] = self.delivered - self.stored
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "stream": self.stream,
            "hour": hour_text(self.hour),
            "accepted": self.accepted,
            "written": self.written,
            "stored": self.stored,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "agrees": not self.differences,
            "differences": self.differences,
            "notes": list(self.notes),
        }


class Reconciliation:
    """Compares counts of complete hours."""

    def __init__(self, log: Log, book: HourlyCounts) -> None:
        self._log = log
        self._book = book

    async def hours(self, streams: Sequence[Stream], first: int, last: int) -> list[Reconciled]:
        """The hours from `first` up to `last`, exclusive, that are over and counted, of these streams."""
        until = self._book.counted_until_ms
        over = -1 if until is None else (until - SETTLE_MS) // HOUR_MS
        found: list[Reconciled] = []
        last = min(last, over)
        if first >= last:
            return found
        topics = await self._topics(streams)
        edges = await self._edges(topics, first, last)
        kept = await self._first(edges[0])
        for stream in streams:
            for hour in range(first, last):
                found.append(self._reconciled(stream, hour, (kept, edges[hour - first], edges[hour - first + 1])))
                # A day of hundreds of streams, or years of one, take a while: let other tasks run in between.
                if len(found) % IN_A_TURN_MAX == 0:
                    await asyncio.sleep(0)
        return found

    async def _first(self, places: Offsets) -> Offsets:
        return (await self._log.first({topic for topic, _ in places})).offsets if places else {}

    async def _topics(self, streams: Sequence[Stream]) -> set[str]:
        """The topics whose offsets count their records; none if the log's offsets do not."""
        if not self._log.features.offsets_without_gaps or not self._log.features.times_never_go_back:
            return set()
        topics = {topic for stream in streams if not stream.compact for topic in stream.topics}
        return topics & {info.name for info in await self._log.topics()}

    async def _edges(self, topics: set[str], first: int, last: int) -> list[Offsets]:
        """The offsets at the beginning of each hour from `first` to `last`, both included.

        Offsets only increase with time. So if a topic has the same ones at two hours, it has them at all hours between,
        and the log is not asked.
        """
        edges: list[dict[TopicPartition, int]] = [{} for _ in range(first, last + 1)]
        turns = asyncio.Semaphore(AT_ONCE_MAX)

        async def ask(hour: int, among: set[str]) -> None:
            async with turns:
                edges[hour - first].update(await self._at(among, hour))

        await asyncio.gather(*(ask(hour, topics) for hour in {first, last}))
        spans = [(first, last, topics)]
        while spans:
            halves = []
            for low, high, among in spans:
                before, after = edges[low - first], edges[high - first]
                moved = _moved(among, before, after)
                still = {place: offset for place, offset in before.items() if place[0] in among - moved}
                for hour in range(low + 1, high):
                    edges[hour - first].update(still)
                    await asyncio.sleep(0)
                middle = (low + high) // 2
                if moved and middle > low:
                    halves.append((low, middle, high, moved))
            await asyncio.gather(*(ask(middle, moved) for _, middle, _, moved in halves))
            spans = [
                span for low, middle, high, moved in halves for span in ((low, middle, moved), (middle, high, moved))
            ]
        return list(edges)

    async def _at(self, topics: set[str], hour: int) -> Offsets:
        if not topics:
            return {}
        try:
            return (await self._log.at(topics, hour * HOUR_MS)).offsets
        except TopicUnknown:
            return {}

    def _reconciled(self, stream: Stream, hour: int, edges: tuple[Offsets, Offsets, Offsets]) -> Reconciled:
        counts, broken_off = intake_counts.hour_of(self._book.intakes, stream.name, hour)
        after, _ = intake_counts.hour_of(self._book.intakes, stream.name, hour + 1)
        since = self._book.intakes_since_ms
        notes = []
        accepted: int | None = counts.get(ACCEPTED, 0)
        if since is None or hour * HOUR_MS < since:
            accepted = None
            notes.append("The counts of intakes do not cover this hour from its start.")
        elif broken_off:
            notes.append("A process ended unexpectedly: its last counts are missing.")
        delivered = sum(self._book.counts.topic_total(topic, hour).received for topic in stream.topics)
        stored = _stored(stream, *edges)
        return Reconciled(
            stream=stream.name,
            hour=hour,
            accepted=accepted,
            written=counts.get(JOB, 0) + counts.get(ERROR_EVENT, 0),
            duplicates=counts.get(DUPLICATE, 0),
            refused=sum(n for what, n in counts.items() if what not in (*STORING, DUPLICATE, TURNING)),
            stored=stored,
            delivered=delivered,
            tolerance=counts.get(TURNING, 0) + after.get(TURNING, 0),
            notes=tuple(notes),
        )


def _moved(topics: set[str], before: Offsets, after: Offsets) -> set[str]:
    """The topics whose offsets differ between the two hours, or are unknown at one of them."""
    known = {topic for topic, _ in before} & {topic for topic, _ in after}
    differing = {topic for (topic, number), offset in after.items() if before.get((topic, number)) != offset}
    return (topics & differing) | (topics - known)


def _stored(stream: Stream, kept: Offsets, begin: Offsets, end: Offsets) -> int | None:
    """The number of offsets of the hour; None if the log does not know, or retention has removed some."""
    # Partitions are numbered without gaps; iterating over all of `end` would cost topics times streams.
    numbered = (((topic, number) for number in count()) for topic in stream.topics)
    places = [place for of_topic in numbered for place in takewhile(end.__contains__, of_topic)]
    if not places or any(place not in begin or 0 < kept.get(place, 0) >= begin[place] for place in places):
        return None
    return sum(end[place] - begin[place] for place in places)
