"""Puts failed events into a job's redrive topic, each once, with a record of who did it and which.

How this works: the records of redrives are in a topic of the platform's own and name each error event that was
redriven; they are appended in one transaction with the events. So a redrive that was interrupted continues when it is
repeated, and an error event that was redriven before is left out. Of several error events about one attempt to process
an event only one puts it back.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from headwater.errors import EventMalformed, JobInvalid
from headwater.event import EXACT, EXACT_HEADER, decode_json, encode_event, get_path
from headwater.foreign import contain, described
from headwater.log.contract import Commit, Log, LogReader, Position, Record, TopicSettings
from headwater.log.reading_on import read_on
from headwater.processing.failures.details import Details
from headwater.processing.failures.redriven import (
    SETTINGS,
    decode_input,
    encode_input,
    next_attempt,
    redrive_record,
    redrive_topic,
)
from headwater.processing.failures.stored import StoredError, original_of
from headwater.times import utc_text

TOPIC = "headwater.redrives"
BATCH_EVENTS_MAX = 200
BATCH_BYTES_MAX = 2_097_152
REASONS_LISTED_MAX = 20
# Later than any error event.
NOW = 2**62

# `(event) -> event | None`: what is processed instead of the event that failed; None leaves it out.
Mapper = Callable[[Any], Any]
# The event, the input of the step, and whether the event has numbers that only its text has; None: as before.
_Mapped = tuple[bytes, bytes, bool | None]


@dataclass(frozen=True, slots=True)
class Order:
    """Who redrives what: `filter` and `mapper` as they were written, for the record."""

    job: str
    by: str
    filter: Mapping[str, Any] = field(default_factory=dict)
    mapper: str | None = None


@dataclass(slots=True)
class Outcome:
    """What became of the selected errors. `impossible`: why some cannot be redriven; the first of them are listed."""

    redriven: int = 0
    events: int = 0
    before: int = 0
    left_out: int = 0
    impossible: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        return self.redriven + self.before + self.left_out + self.impossible


@dataclass(slots=True)
class Redrives:
    """What was redriven of one job so far, and when (epoch milliseconds): error events, and attempts by name."""

    errors: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)

    def has(self, error: StoredError) -> bool:
        """Whether the error was redriven after it was stored.

        A job that was reset makes the same error events again, with the same ids.
        """
        return self.errors.get(error.id, -1) >= error.record.timestamp_ms

    def has_attempt(self, name: str, error: StoredError) -> bool:
        """The same for the attempt that the error is about."""
        return self.attempts.get(name, -1) >= error.record.timestamp_ms

    def add(self, errors: Iterable[str], attempts: Iterable[str], at_ms: int) -> None:
        self.errors.update(dict.fromkeys(errors, at_ms))
        self.attempts.update(dict.fromkeys(attempts, at_ms))


async def redrives_of(log: LogReader, job: str) -> Redrives:
    """What the log says was redriven. Raises LogUnavailable."""
    found = Redrives()
    async for one in redrive_entries(log):
        if one.get("job") == job:
            found.add(one.get("errors", ()), one.get("attempts", ()), one["at_ms"])
    return found


async def redrive_entries(log: LogReader) -> AsyncIterator[dict[str, Any]]:
    """The records of redrives of all jobs, oldest first, with `at_ms`, the time at which the log received each."""
    if not await log.partition_counts([TOPIC]):
        return
    position, end = await log.first([TOPIC]), (await log.last([TOPIC])).offsets
    while any(at < end.get(place, 0) for place, at in position.offsets.items()):
        records, position = await read_on(log, position)
        if not records:
            return
        for record in records:
            yield {**orjson.loads(record.value), "at_ms": record.timestamp_ms}


class Redriver:
    """Redrives errors of one job. One at a time for a job: `open` fences others on a log that several processes
    write; on another one the caller holds a lock."""

    def __init__(
        self, log: Log, order: Order, *, mapper: Mapper | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.outcome = Outcome()
        self._log = log
        self._order = order
        self._mapper = mapper
        self._clock = clock
        self._id = str(uuid.uuid4())
        self._group = f"headwater.redrive/{order.job}"
        self._known = Redrives()
        self._records: list[Record] = []
        self._errors: list[str] = []
        self._attempts: list[str] = []
        self._bytes = 0

    async def open(self, *, dry: bool = False) -> None:
        """Find out what was redriven before. `dry`: nothing will be redriven. Raises LogUnavailable, WriterFenced."""
        if not dry:
            await self._log.ensure_topic(redrive_topic(self._order.job), SETTINGS)
            await self._log.ensure_topic(TOPIC, TopicSettings())
            if self._log.features.transactional_commit:
                await self._log.claim(self._group)
        self._known = await redrives_of(self._log, self._order.job)

    async def add(self, error: StoredError, *, dry: bool = False) -> None:
        """Redrive one error, with the next batch. Raises JobInvalid if the mapper fails, and what the log raises."""
        if self._known.has(error):
            self.outcome.before += 1
            return
        found = await original_of(self._log, error)
        if isinstance(found, str):
            self._cannot(error, found)
            return
        attempt = _attempt_of(error)
        if self._known.has_attempt(attempt, error):
            # Another error of the same attempt has put the event back.
            self._note(error, attempt)
            return
        raw, step_input = found
        details = msgspec.structs.replace(_placed(error), headers=dict(error.details.headers))
        if self._mapper is not None:
            mapped = self._mapped(error, raw, step_input)
            if mapped is None:
                self.outcome.left_out += 1
                return
            raw, step_input, is_exact = mapped
            if is_exact is not None:
                details.headers.pop(EXACT_HEADER[0], None)
                details.headers.update([(EXACT_HEADER[0], EXACT_HEADER[1].decode())] if is_exact else ())
        header = next_attempt(details, error_id=error.id, redrive=self._id, stream=error.stream)
        record = redrive_record(self._order.job, header, raw, step_input)
        if not dry and self._log.features.refuses_records:
            refusal = await self._log.refusal(record)
            if refusal is not None:
                self._cannot(error, refusal.message)
                return
        self._records.append(record)
        self._bytes += len(record.value)
        self.outcome.events += 1
        self._note(error, attempt)

    @property
    def is_full(self) -> bool:
        """Whether a batch is complete."""
        return len(self._errors) >= BATCH_EVENTS_MAX or self._bytes >= BATCH_BYTES_MAX

    async def flush(self, *, dry: bool = False) -> None:
        """Make what was added durable, all of it or nothing. Raises what the log raises."""
        records, errors, attempts = self._records, self._errors, self._attempts
        self._records, self._errors, self._attempts, self._bytes = [], [], [], 0
        if dry or not errors:
            return
        entry = {
            "redrive": self._id,
            "job": self._order.job,
            "by": self._order.by,
            "at": utc_text(int(self._clock() * 1000)),
            "filter": dict(self._order.filter),
            "mapper": self._order.mapper,
            "errors": errors,
            "attempts": attempts,
        }
        records = [*records, Record(TOPIC, orjson.dumps(entry))]
        if self._log.features.transactional_commit:
            await self._log.append(records, commit=Commit(self._group, Position().token()))
        else:
            await self._log.append(records)

    async def close(self) -> None:
        """Let others redrive errors of the job."""
        if self._log.features.transactional_commit:
            await self._log.release(self._group)

    def _note(self, error: StoredError, attempt: str) -> None:
        self._errors.append(error.id)
        if not self._known.has_attempt(attempt, error):
            self._attempts.append(attempt)
        self._known.add([error.id], [attempt], NOW)
        self.outcome.redriven += 1

    def _cannot(self, error: StoredError, why: str) -> None:
        self.outcome.impossible += 1
        if len(self.outcome.reasons) < REASONS_LISTED_MAX:
            self.outcome.reasons.append((error.id, why))

    def _mapped(self, error: StoredError, raw: bytes, step_input: bytes) -> _Mapped | None:
        assert self._mapper is not None
        try:
            if step_input:
                made = self._mapper(decode_input(step_input))
                return None if made is None else (raw, encode_input(made), None)
            return _mapped_event(self._mapper, raw)
        except BaseException as problem:  # the project's code
            contain(problem)
            raise JobInvalid(
                f"{self._order.mapper} fails on the event of {error.id}: {described(problem)}.",
                hint="The events before it were redriven; repeat the command once it is repaired.",
            ) from problem


def _mapped_event(mapper: Mapper, raw: bytes) -> _Mapped | None:
    """What the mapper makes of an event, which keeps its id; it gets the bytes of what is not JSON."""
    try:
        value = decode_json(raw)
    except EventMalformed:
        value = raw
    event_id = get_path(value, "meta.id")
    made = mapper(value)
    if made is None or isinstance(made, bytes):
        return None if made is None else (made, b"", False)
    if not isinstance(made, dict):
        raise TypeError(f"it returns {type(made).__name__}: return the event, or None to leave it out")
    if event_id is not None:
        made["meta"] = {**made.get("meta", {}), "id": event_id}
    data, flags = encode_event(made)
    return data, b"", bool(flags & EXACT)


def _placed(error: StoredError) -> Details:
    """The details, with a place that stands for that of an event whose error event is of an earlier version."""
    details, record = error.details, error.record
    if details.group:
        return details
    return msgspec.structs.replace(
        details,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        received_ms=record.timestamp_ms,
        first_failed_at=utc_text(error.at_ms),
    )


def _attempt_of(error: StoredError) -> str:
    """What names the attempt to process an event that the error is about, and where it would continue."""
    details = error.details
    if details.place is None or details.resume is not None:
        return error.id
    return f"{details.place}@{details.attempt}"
