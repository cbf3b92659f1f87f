"""What the topics that a job writes accept, as it was when the job was started: no operator asks the brokers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.errors import HeadwaterError
from headwater.log.contract import Record
from headwater.log.kafka.append import key_missing, record_bytes, too_large


@dataclass(frozen=True, slots=True)
class TopicLimit:
    """`record_bytes_max`: the largest record; `needs_key`: whether each record has a key, as in a compacted topic."""

    record_bytes_max: int
    needs_key: bool = False


class TopicLimits:
    """Refuses what a log on Kafka would refuse."""

    def __init__(self, limits: Mapping[str, TopicLimit]) -> None:
        """`limits` by topic, in the names of the log."""
        self._limits = limits

    def check(self, record: Record) -> HeadwaterError | None:
        """Why the record would be refused; None if it would not."""
        limit = self._limits.get(record.topic)
        if limit is None:
            return None
        size = record_bytes(record)
        if size > limit.record_bytes_max:
            return too_large(record, size, limit.record_bytes_max)
        return key_missing(record) if limit.needs_key and record.key is None else None

    async def refusal(self, record: Record) -> HeadwaterError | None:
        """As `check`, in the form of a log."""
        return self.check(record)
