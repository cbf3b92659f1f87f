"""When a record's event happened: by the clock of its producer, and never later than it was received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from headwater.event import event_time_ms
from headwater.log.contract import StoredRecord
from headwater.times import time_ms

HEADER = "dt"
# How far the clocks of the machines that write and read one log may differ before theirs are not believed either.
CLOCK_SKEW_MS_MAX = 10_000


def own_time_ms(record: StoredRecord, field: str, value: Any = None) -> int | None:
    """The time in the event (epoch milliseconds): its `dt` header, else `field`, else `meta.dt`; None without any.

    `value`: the event, if it is already decoded.
    """
    for name, content in record.headers:
        if name == HEADER:
            at = time_ms(content.decode("utf-8", "replace"))
            if at is not None:
                return at
            break
    if value is None:
        try:
            value = orjson.loads(record.value)
        except orjson.JSONDecodeError:
            return None
    return event_time_ms(value, field) if isinstance(value, Mapping) else None


def event_time_of(record: StoredRecord, field: str, value: Any = None, *, now_ms: int | None = None) -> int:
    """When the event happened (epoch milliseconds): the earlier of the time in it and its time of receipt.

    So a producer's clock that is ahead makes no other event late. If the time of receipt is more than
    `CLOCK_SKEW_MS_MAX` after `now_ms`, as it may be in records that other programs write to Kafka, `now_ms` is used.
    """
    receipt = record.timestamp_ms
    if now_ms is not None and receipt > now_ms + CLOCK_SKEW_MS_MAX:
        receipt = now_ms
    own = own_time_ms(record, field, value)
    return receipt if own is None else min(own, receipt)
