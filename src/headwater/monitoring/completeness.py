"""The state of each hour of a stream: complete, empty, missing, unknown, or still open.

How this works: the state of a partition's hour is decided once everything received before its end, plus the allowed
lateness, has been counted. A canary in its topic then proves that events could arrive: the hour has all of its events,
and an hour without events is empty. Without a canary nothing is proved, which is an error if one was due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headwater.monitoring.hour_counts import HourCount
from headwater.monitoring.hourly_counts import HourlyCounts
from headwater.monitoring.hours import HOUR_MS, hour_text
from headwater.streams.stream import Stream

State = Literal["complete", "empty", "missing", "unknown", "open"]
Basis = Literal["event", "receipt"]

# The largest delay between time stamp and count, and difference between clocks of several machines.
SETTLE_MS = 30_000
# The state of a stream's hour is the first of these that one of its partitions has.
_WORST_FIRST: tuple[State, ...] = ("missing", "unknown", "open", "complete", "empty")


@dataclass(frozen=True, slots=True)
class PartitionHour:
    """One hour of one partition. `events` by the requested basis, without canaries; `late` of them arrived late."""

    topic: str
    partition: int
    state: State
    events: int
    late: int
    canaries: int


@dataclass(frozen=True, slots=True)
class StreamHour:
    """One hour of a stream: its state, and why it is unknown or missing. `is_whole`: batch jobs may start."""

    stream: str
    hour: int
    state: State
    partitions: Sequence[PartitionHour]
    reason: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.state in ("complete", "empty")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "hour": hour_text(self.hour),
            "state": self.state,
            "whole": self.is_whole,
            "events": sum(one.events for one in self.partitions),
            "late": sum(one.late for one in self.partitions),
            "canaries": sum(one.canaries for one in self.partitions),
            **({"reason": self.reason} if self.reason else {}),
            "partitions": [
                {
                    "topic": one.topic,
                    "partition": one.partition,
                    "state": one.state,
                    "events": one.events,
                    "late": one.late,
                    "canaries": one.canaries,
                }
                for one in self.partitions
            ],
        }


class Completeness:
    """Decides the state of hours from the counts of a book."""

    def __init__(self, book: HourlyCounts) -> None:
        self._book = book

    def hours(
        self, stream: Stream, first: int, last: int, *, by: Basis = "event", max_lateness_ms: int = 0
    ) -> Iterator[StreamHour]:
        """The hours from `first` up to `last`, exclusive. By receipt no event is late."""
        for hour in range(first, last):
            yield self.hour(stream, hour, by=by, max_lateness_ms=max_lateness_ms)

    def hour(self, stream: Stream, hour: int, *, by: Basis = "event", max_lateness_ms: int = 0) -> StreamHour:
        closes_ms = (hour + 1) * HOUR_MS + SETTLE_MS + (max_lateness_ms if by == "event" else 0)
        parts: list[PartitionHour] = []
        reasons: dict[State, str] = {}
        for topic in stream.topics:
            state, reason = self._topic(topic, hour, closes_ms)
            if reason:
                reasons.setdefault(state, reason)
            for partition in sorted(self._book.topic(topic).next) or [0]:
                count = self._book.counts.of(topic, partition, hour)
                events = count.events if by == "event" else count.received - count.canaries
                parts.append(
                    PartitionHour(
                        topic, partition, _of_partition(state, events), events, _late(count, by), count.canaries
                    )
                )
        state = next(worst for worst in _WORST_FIRST if any(part.state == worst for part in parts))
        return StreamHour(stream.name, hour, state, parts, reasons.get(state))

    def _topic(self, topic: str, hour: int, closes_ms: int) -> tuple[State, str | None]:
        """The state of a topic's hour as if it had events, and why."""
        book, progress = self._book, self._book.topic(topic)
        until = book.counted_until_ms
        if until is None:
            return "open", "The events are still being counted; retry soon."
        if hour < until // HOUR_MS - book.hours_kept:
            return "unknown", f"Counts are only kept for {book.hours_kept} hours."
        if until < closes_ms:
            return "open", None
        if book.counts.topic_total(topic, hour).canaries:
            return "complete", None
        since = progress.canaries_since_ms
        if since is None:
            return "unknown", f"{topic} has no canaries: missing events would go unnoticed."
        if hour * HOUR_MS < since:
            return "unknown", f"{topic} has had canaries only since a later time."
        return "missing", f"No canary arrived in {topic} in this hour: events may be missing."


def _of_partition(state: State, events: int) -> State:
    return "empty" if state == "complete" and events == 0 else state


def _late(count: HourCount, by: Basis) -> int:
    return count.late if by == "event" else 0
