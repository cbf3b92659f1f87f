"""Reads the error events of a job from its log, and their groups by cause."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from headwater.errors import EventMalformed
from headwater.event import decode_json, get_path
from headwater.log.contract import LogReader, Position, StoredRecord
from headwater.log.reading_on import read_on
from headwater.processing.failures.causes import OUTPUT, group_of
from headwater.processing.failures.counts import MESSAGE_CHARS_MAX, ErrorGroup, largest_first
from headwater.processing.failures.details import Details, details_of
from headwater.processing.failures.failed_events import stored_bytes
from headwater.times import time_ms

READ_BYTES = 8_388_608


@dataclass(slots=True)
class Reading:
    """How error events are read: so many bytes at a time; at most so many events, for at most so long.

    `events` were read so far, of all jobs; `is_complete`: no limit was reached.
    """

    bytes_at_once: int = READ_BYTES
    events_max: float = math.inf
    seconds_max: float = math.inf
    events: int = 0
    is_complete: bool = True
    started: float = field(default_factory=time.monotonic)

    def goes_on(self) -> bool:
        """Whether more may be read."""
        within = self.events < self.events_max and time.monotonic() - self.started < self.seconds_max
        self.is_complete = self.is_complete and within
        return within


@dataclass(frozen=True, slots=True)
class StoredError:
    """One error event of `job`, as it is in the log at `record`."""

    job: str
    record: StoredRecord
    event: Mapping[str, Any]
    details: Details

    @property
    def id(self) -> str:
        """The id of the error event; its place if it has none."""
        found = get_path(self.event, "meta.id")
        return found if isinstance(found, str) else self.place

    @property
    def place(self) -> str:
        """Where the error event is: `topic/partition/offset`."""
        return f"{self.record.topic}/{self.record.partition}/{self.record.offset}"

    @property
    def kind(self) -> str:
        return _text(self.event.get("error_type"), "UNKNOWN")

    @property
    def message(self) -> str:
        return _text(self.event.get("message"), "")

    @property
    def stream(self) -> str | None:
        """The stream that the event was read from; None if it is unknown or withheld."""
        name = self.details.stream or self.event.get("errored_stream_name")
        return name if isinstance(name, str) and name != "unknown" else None

    @property
    def at_ms(self) -> int:
        """When processing failed."""
        at = self.event.get("dt")
        return (time_ms(at) if isinstance(at, str) else None) or self.record.timestamp_ms

    @property
    def group(self) -> str:
        """The group of its cause; that of an error event of an earlier version is made of its message."""
        if self.details.group:
            return self.details.group
        step, _, text = self.message.split("\n", 1)[0].partition(": ")
        return group_of((self.job, step), self.kind, text)

    @property
    def event_id(self) -> str | None:
        """`meta.id` of the event that failed."""
        return self.details.event_id or _event_id(self.event.get("raw_event"))

    def fields(self) -> dict[str, Any]:
        """What filters look at: the error event, and the event that failed as `event`."""
        raw = self.event.get("raw_event")
        try:
            original = decode_json(raw.encode()) if isinstance(raw, str) else None
        except (EventMalformed, UnicodeEncodeError):
            original = None
        return {**self.event, "event": original}


async def stored_errors(
    log: LogReader,
    job: str,
    topics: Sequence[str],
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    reading: Reading | None = None,
) -> AsyncIterator[StoredError]:
    """The error events of `job` in these topics, oldest first by partition; some may be there twice, with one id.

    `since_ms`, `until_ms` (not included): when processing failed. Raises LogUnavailable.
    """
    reading = reading or Reading()
    there = [name for name in topics if name in await log.partition_counts(topics)]
    if not there:
        return
    end = (await log.last(there)).offsets
    position = await (log.first(there) if since_ms is None else log.at(there, since_ms))
    while behind := {place: at for place, at in position.offsets.items() if at < end.get(place, 0)}:
        if not reading.goes_on():
            return
        records, position = await read_on(log, Position(behind), bytes_max=reading.bytes_at_once)
        if not records:
            return
        reading.events += len(records)
        for record in records:
            found = error_of(job, record)
            if found is None or _is_outside(found, since_ms, until_ms):
                continue
            yield found


def error_of(job: str, record: StoredRecord) -> StoredError | None:
    """The error event of a record; None if that is not JSON."""
    try:
        event = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        return None
    return StoredError(job, record, event, details_of(event, record.headers)) if isinstance(event, dict) else None


@dataclass(slots=True)
class Groups:
    """The groups of a job's stored errors; `redriven`: of each group, how many were redriven."""

    groups: dict[str, ErrorGroup] = field(default_factory=dict)
    redriven: dict[str, int] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    def add(self, error: StoredError, *, redriven: bool) -> None:
        """Count one more. A sink's error events may be stored again after a crash, and those of a job after a reset."""
        if (mark := hash(error.id)) in self._seen:
            return
        self._seen.add(mark)
        name, at_ms = error.group, error.at_ms
        before = self.groups.get(name)
        newer = before is None or at_ms >= before.last_ms
        self.groups[name] = ErrorGroup(
            name,
            error.kind if newer or before is None else before.kind,
            error.details.step or error.message.partition(":")[0],
            error.details.exception or error.kind,
            error.message[:MESSAGE_CHARS_MAX] if newer or before is None else before.message,
            error.id if newer or before is None else before.event_id,
            1 + (before.count if before else 0),
            min(at_ms, before.first_ms) if before else at_ms,
            max(at_ms, before.last_ms) if before else at_ms,
            error.details.is_compact + (before.compact if before else 0),
        )
        self.redriven[name] = self.redriven.get(name, 0) + redriven

    def largest_first(self) -> tuple[ErrorGroup, ...]:
        return largest_first(self.groups.values())


async def original_of(log: LogReader, error: StoredError) -> tuple[bytes, bytes] | str:
    """The bytes of the event that failed, and the input of the step to continue with; or why they are not available."""
    details = error.details
    raw_event = error.event.get("raw_event")
    match details.kept:
        case "text":
            raw = raw_event.encode("utf-8", "replace") if isinstance(raw_event, str) else b""
            return raw, (details.input or "").encode()
        case "base64":
            return _decoded(details.raw_base64), (details.input or "").encode()
        case "stored":
            size = details.raw_bytes + details.input_bytes
            found = await stored_bytes(log, error.id, error.record.timestamp_ms, size)
            if found is not None:
                return found[: details.raw_bytes], found[details.raw_bytes :]
            return await _from_source(log, details)
        case "log":
            return await _from_source(log, details)
        case "none":
            return _without_event(details, raw_event)


def _without_event(details: Details, raw_event: Any) -> tuple[bytes, bytes] | str:
    if details.resume is not None and details.input:
        return b"", details.input.encode()
    if not details.group and isinstance(raw_event, str) and _event_id(raw_event) is not None:
        # An error event of an earlier version: whole if it is JSON.
        return raw_event.encode("utf-8", "replace"), b""
    if details.group and details.topic is None and details.step != OUTPUT:
        return (
            "a timer failed, not an event, and it does not fire again; the state of its key is as it was, and the next"
            " event of the key may set it again"
        )
    return "only a part of the event was kept"


async def _from_source(log: LogReader, details: Details) -> tuple[bytes, bytes] | str:
    if details.topic is None or details.partition is None or details.offset is None:
        return "where the event was read is not known"
    gone = f"{details.place} is not in the log any more"
    if details.topic not in await log.partition_counts([details.topic]):
        return gone
    at = Position({(details.topic, details.partition): details.offset})
    records, _ = await read_on(log, at, records_max=1)
    if not records or records[0].offset != details.offset or len(records[0].value) != details.raw_bytes:
        return gone
    return records[0].value, b""


def _is_outside(error: StoredError, since_ms: int | None, until_ms: int | None) -> bool:
    at = error.at_ms
    return (since_ms is not None and at < since_ms) or (until_ms is not None and at >= until_ms)


def _decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def _event_id(raw_event: Any) -> str | None:
    if not isinstance(raw_event, str):
        return None
    try:
        found = get_path(orjson.loads(raw_event), "meta.id")
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    return found if isinstance(found, str) else None


def _text(value: Any, default: str) -> str:
    return value if isinstance(value, str) and value else default
