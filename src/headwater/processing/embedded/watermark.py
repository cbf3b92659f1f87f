"""How far a job has progressed in event time: the watermark, committed with the job's position.

It is the newest event time seen in a partition minus the job's
`out_of_order`; of several partitions the one furthest behind counts, unless it is idle. It never moves back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from headwater.jobs.steps import NO_WATERMARK
from headwater.log.contract import TopicPartition

# The partition and event time of an event that was read, and its bytes.
Seen = tuple[TopicPartition, int, bytes]


class Watermarks:
    """The newest event time of each partition, and the watermark computed from them."""

    def __init__(self, encoded: bytes | None = None) -> None:
        value: dict[str, Any] = orjson.loads(encoded) if encoded else {}
        self.watermark_ms: int = value.get("watermark_ms", NO_WATERMARK)
        self._newest: dict[TopicPartition, int] = {
            (topic, partition): newest for topic, partition, newest in value.get("newest", ())
        }

    def encode(self, watermark_ms: int | None = None, **more: Any) -> bytes:
        """As bytes; with another watermark, if one is given, and with what else is kept with it."""
        newest = [[topic, partition, at] for (topic, partition), at in sorted(self._newest.items())]
        at_ms = self.watermark_ms if watermark_ms is None else watermark_ms
        return orjson.dumps({"watermark_ms": at_ms, "newest": newest, **more})

    def of_partitions(self, newest_ms: Mapping[TopicPartition, int]) -> bytes:
        """The same watermark, encoded, with these as the newest event times."""
        self._newest = dict(newest_ms)
        return self.encode()

    def saw(self, partition: TopicPartition, event_time_ms: int) -> None:
        """Record that an event of this time was read."""
        if event_time_ms > self._newest.get(partition, NO_WATERMARK):
            self._newest[partition] = event_time_ms

    def has_seen(self, partition: TopicPartition) -> bool:
        """Whether any event of the partition was read."""
        return partition in self._newest

    def advance(self, active: Iterable[TopicPartition], out_of_order_ms: int) -> None:
        """Move the watermark as far as the `active` partitions allow; one without events so far holds it."""
        times = [self._newest.get(partition, NO_WATERMARK) for partition in active]
        if times and min(times) > NO_WATERMARK:
            self.watermark_ms = max(self.watermark_ms, min(times) - out_of_order_ms)
