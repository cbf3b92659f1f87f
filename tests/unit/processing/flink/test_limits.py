"""What the topics accept that a job writes."""

from __future__ import annotations

from headwater.errors import EventTooLarge, KeyFieldMissing
from headwater.log.contract import Record
from headwater.processing.flink.limits import TopicLimit, TopicLimits

LIMITS = TopicLimits({"small": TopicLimit(10), "compacted": TopicLimit(1_000, needs_key=True)})


def test_a_record_that_is_too_large_is_refused() -> None:
    assert LIMITS.check(Record("small", b"1234567890")) is None
    assert isinstance(LIMITS.check(Record("small", b"1234567890", b"k")), EventTooLarge)


def test_a_compacted_topic_needs_a_key() -> None:
    assert isinstance(LIMITS.check(Record("compacted", b"1")), KeyFieldMissing)
    assert LIMITS.check(Record("compacted", b"1", b"k")) is None


async def test_a_topic_without_a_known_limit_takes_everything() -> None:
    assert await LIMITS.refusal(Record("other", b"1" * 10_000)) is None
