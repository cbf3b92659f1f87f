"""What an error event says besides the fields of `error/2.1.0`: where the event is, and how it is processed again.

The details are the object `meta.failure`, since the schema allows other fields only in `meta`. If the error stream may
show nothing of the event, most of them are in a header of the record instead, which no reader over HTTP gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
import orjson

from headwater.event import EXACT_HEADER, get_path
from headwater.jobs.steps import ReadRecord
from headwater.log.event_time import HEADER as TIME_HEADER

FAILURE_HEADER = "headwater-failure"
# The headers of the original record that decide how it is read.
KEPT_HEADERS = frozenset({TIME_HEADER, EXACT_HEADER[0]})
Headers = tuple[tuple[str, bytes], ...]

# Where the bytes of the original are: `text` in `raw_event`; `base64` in `raw_base64`, as `raw_event` cannot hold them;
# `stored` in records of their own (`FailedEvents`); `log` only at the place named; `none`: there is no original.
Kept = Literal["text", "base64", "stored", "log", "none"]


class Details(msgspec.Struct, omit_defaults=True):
    """Everything about one failure; `topic`, `partition` and `offset` name the record of the original event.

    `attempt` counts from 1, one more for each time that the event was redriven; `attempts` is how often it was tried
    this time before it was given up. `key` is the JSON of the key that the
    step keeps state by. `resume` is the step with which a redrive continues, whose input is `input`, as JSON; None: it
    starts with the original. `written` are the outputs of the same event that did not fail, by lineage.
    """

    group: str = ""
    step: str = ""
    exception: str = ""
    attempt: int = 1
    attempts: int = 1
    first_failed_at: str = ""
    is_compact: bool = False
    event_id: str | None = None
    lineage_id: str | None = None
    stream: str | None = None
    key: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    received_ms: int | None = None
    record_key: str | None = None
    headers: dict[str, str] = {}
    kept: Kept = "none"
    raw_bytes: int = 0
    raw_base64: str | None = None
    event_time_ms: int | None = None
    resume: str | None = None
    input: str | None = None
    input_bytes: int = 0
    written: list[str] = []

    def public(self) -> dict[str, Any]:
        """What may be seen by those who may not see the event."""
        return {name: getattr(self, name) for name in ("group", "step", "exception", "attempt", "first_failed_at")}

    def whole(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {**self.public(), **found}

    def header(self) -> tuple[str, bytes]:
        """All of it, as a header of the record."""
        return FAILURE_HEADER, orjson.dumps(self.whole())

    @property
    def place(self) -> str | None:
        """Where the original is: `topic/partition/offset`."""
        return None if self.topic is None else f"{self.topic}/{self.partition}/{self.offset}"


def details_of(event: Mapping[str, Any], headers: Headers) -> Details:
    """The details of a stored error event; those of earlier versions have none."""
    for name, content in headers:
        if name == FAILURE_HEADER:
            try:
                return msgspec.json.decode(content, type=Details)
            except msgspec.MsgspecError:
                break
    try:
        return msgspec.convert(get_path(event, "meta.failure") or {}, type=Details)
    except msgspec.MsgspecError:
        return Details()


def kept_headers(record: ReadRecord) -> dict[str, str]:
    """The headers of a record that decide how it is read, as text."""
    return {name: content.decode("latin-1") for name, content in record.headers if name in KEPT_HEADERS}


def restored_headers(kept: Mapping[str, str], more: Iterable[tuple[str, bytes]] = ()) -> Headers:
    """The headers that `kept_headers` has kept, and `more`."""
    return (*((name, text.encode("latin-1", "replace")) for name, text in kept.items()), *more)
