"""The condition of each stream, derived from canaries and counts: live, idle, low, broken, or not monitored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from headwater.monitoring.canaries import Canaries, Track
from headwater.monitoring.canary_sender import HOPS
from headwater.monitoring.hourly_counts import HourlyCounts
from headwater.monitoring.hours import HOUR_MS, time_text
from headwater.monitoring.intake_counts import Ahead, ahead_in
from headwater.streams.stream import Stream

Condition = Literal["broken", "impossible", "low", "waiting", "live", "idle", "unwatched"]

# In the order in which they are shown.
CONDITIONS: dict[Condition, str] = {
    "broken": "Canaries do not arrive: events may be lost.",
    "impossible": "Canaries are declared, but impossible.",
    "low": "Canaries arrive; fewer events than expected.",
    "waiting": "Waiting for the first canary.",
    "live": "Canaries and events arrive.",
    "idle": "Canaries arrive; no other events.",
    "unwatched": "No canaries: a failure would go unnoticed.",
}
IDLE_AFTER_MS = HOUR_MS
# How many hours a stream is shown to have a producer whose clock runs ahead.
AHEAD_HOURS = 24


@dataclass(frozen=True, slots=True)
class HopAge:
    """When the newest canary that passed a hop was sent; None if none has."""

    hop: str
    sent_ms: int | None


@dataclass(frozen=True, slots=True)
class TopicHealth:
    """One topic of a stream. `error` is the error of the last canary, if it did not arrive."""

    topic: str
    prefix: str
    is_up: bool
    hops: tuple[HopAge, ...]
    error: str | None


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """One stream. Times are epoch milliseconds; `events_last_hour` by receipt, of the last complete hour."""

    name: str
    condition: Condition
    reason: str
    last_canary_ms: int | None
    last_event_ms: int | None
    events_last_hour: int
    required_within_seconds: float | None
    topics: tuple[TopicHealth, ...]
    # Of the last `AHEAD_HOURS`; None if no event was ahead of its receipt.
    clock_ahead: Ahead | None = None

    def without_hops(self, left_out: Callable[[str], bool]) -> StreamHealth:
        """The same without the hops for which `left_out` is true."""
        topics = [
            dataclasses.replace(topic, hops=tuple(one for one in topic.hops if not left_out(one.hop)))
            for topic in self.topics
        ]
        return dataclasses.replace(self, topics=tuple(topics))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; times in ISO 8601."""
        return {
            "stream": self.name,
            "condition": self.condition,
            "reason": self.reason,
            "last_canary": time_text(self.last_canary_ms),
            "last_event": time_text(self.last_event_ms),
            "events_last_hour": self.events_last_hour,
            "required_within_seconds": self.required_within_seconds,
            **(
                {
                    "clock_ahead": {
                        "hours": AHEAD_HOURS,
                        "events": self.clock_ahead.events,
                        "seconds_max": self.clock_ahead.lead_ms / 1000,
                    }
                }
                if self.clock_ahead
                else {}
            ),
            "topics": [
                {
                    "topic": topic.topic,
                    "prefix": topic.prefix,
                    "up": topic.is_up,
                    "hops": {one.hop: time_text(one.sent_ms) for one in topic.hops},
                    **({"error": topic.error} if topic.error else {}),
                }
                for topic in self.topics
            ],
        }


class Health:
    """Derives the condition of streams from their canaries and counts."""

    def __init__(self, canaries: Canaries, book: HourlyCounts) -> None:
        self._canaries = canaries
        self._book = book

    def of(self, streams: Iterable[Stream], now_ms: int) -> Iterator[StreamHealth]:
        tracks: dict[str, list[Track]] = {}
        for (name, _), track in self._canaries.tracks.items():
            tracks.setdefault(name, []).append(track)
        ahead = ahead_in(self._book.intakes, now_ms // HOUR_MS - AHEAD_HOURS + 1)
        for stream in streams:
            health = self._stream(stream, tracks.get(stream.name, []), now_ms)
            yield dataclasses.replace(health, clock_ahead=ahead[stream.name]) if stream.name in ahead else health

    def _stream(self, stream: Stream, tracks: list[Track], now_ms: int) -> StreamHealth:
        progress = [self._book.topic(topic) for topic in stream.topics]
        hour = now_ms // HOUR_MS - 1
        totals = [self._book.counts.topic_total(topic, hour) for topic in stream.topics]
        events = sum(total.received - total.canaries for total in totals)
        last_event = max((one.last_event_ms or 0 for one in progress), default=0) or None
        topics = tuple(self._topic(track) for track in tracks)
        arrived = [found for track in tracks if (found := self._newest(track)) is not None]
        condition, reason = self._condition(stream, tracks, last_event, events, now_ms)
        return StreamHealth(
            name=stream.name,
            condition=condition,
            reason=reason,
            last_canary_ms=min(arrived) if len(arrived) == len(tracks) and arrived else None,
            last_event_ms=last_event,
            events_last_hour=events,
            required_within_seconds=tracks[0].plan.required_within_seconds if tracks else None,
            topics=topics,
        )

    def _newest(self, track: Track) -> int | None:
        """The newest canary that arrived, whichever process saw it, also before this one started."""
        seen = (track.newest_ms(), self._book.topic(track.target.topic).last_canary_ms)
        return max((at for at in seen if at is not None), default=None)

    def _topic(self, track: Track) -> TopicHealth:
        hops = tuple(HopAge(hop, sent) for hop, sent in self._canaries.hops(track).items())
        return TopicHealth(track.target.topic, track.target.prefix, self._canaries.is_up(track), hops, track.error)

    def _condition(
        self, stream: Stream, tracks: list[Track], last_event: int | None, events: int, now_ms: int
    ) -> tuple[Condition, str]:
        plan = self._canaries.plans.get(stream.name)
        if plan is not None and plan.problems:
            return "impossible", " ".join(plan.problems)
        if plan is None or not tracks:
            return "unwatched", CONDITIONS["unwatched"]
        down = [track for track in tracks if not self._canaries.is_up(track)]
        if down:
            return "broken", _why_broken(down[0], self._newest(down[0]))
        if any(self._newest(track) is None for track in tracks):
            return "waiting", CONDITIONS["waiting"]
        least = stream.declared.get("monitor", {}).get("expect", {}).get("min_rate_per_hour")
        if least is not None and events < least and self._counts_whole(stream, now_ms):
            return "low", f"{events:,} events in the last complete hour; at least {least:,} are expected."
        if last_event is None or now_ms - last_event > IDLE_AFTER_MS:
            return "idle", CONDITIONS["idle"]
        return "live", CONDITIONS["live"]

    def _counts_whole(self, stream: Stream, now_ms: int) -> bool:
        """Whether the last hour was monitored from start to end."""
        began = now_ms // HOUR_MS * HOUR_MS - HOUR_MS
        since = [self._book.topic(topic).canaries_since_ms for topic in stream.topics]
        return all(at is not None and at <= began for at in since)


def _why_broken(track: Track, newest: int | None) -> str:
    missed = next((hop for hop in HOPS if hop not in track.passed), None)
    how_long = "None has arrived" if newest is None else f"The last one that arrived was sent at {time_text(newest)}"
    where = f"; none has passed the hop {missed!r}" if missed and track.target.url is None else ""
    return f"{how_long} in {track.target.topic}{where}. {track.error or ''}".strip()
