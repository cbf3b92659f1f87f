"""Makes the error events of a job: in the shape of `error/2.1.0`, with everything that is needed to process it again.

How this works: the original bytes are in `raw_event`, or in records of their own (`FailedEvents`) if they do not fit or
must not be seen there. What happened is described in full for a limited number of errors of each cause and minute; the
event of any further one lacks the stack, and is recovered all the same.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from headwater.errors import EventInvalid, EventTooLarge, HeadwaterError
from headwater.event import get_path
from headwater.foreign import contain, original, text_of
from headwater.intake.error_event import WITHHELD
from headwater.intake.gate import Gate
from headwater.intake.outcome import Admitted
from headwater.jobs.ids import derived_id
from headwater.jobs.job import Job
from headwater.jobs.steps import Element, Failure
from headwater.log.contract import Record
from headwater.processing.failures.causes import OUTPUT, Cause, cause_of
from headwater.processing.failures.counts import ErrorCounts
from headwater.processing.failures.details import Details, kept_headers
from headwater.processing.failures.failed_events import FailedEvents
from headwater.processing.failures.redriven import encode_input, redriven_of
from headwater.processing.output_gate import OutputGate, with_context
from headwater.processing.stack import bare_stack_text, stack_text, without_paths
from headwater.times import utc_text

MESSAGE_CHARS_MAX = 2_000
COMPACT_CHARS_MAX = 300
STACK_CHARS_MAX = 8_000
# An error event holds the event that failed and has to pass the Gate itself.
ENVELOPE_BYTES = 65_536
# How much of an event is shown in its error event if the whole is elsewhere.
SHOWN_BYTES_MAX = 16_384
WRITTEN_MAX = 1_000
# What the message of a timer that failed ends with.
OF_TIMER = "(a timer: it does not fire again, and cannot be redriven; the state of its key is as it was)"


class ErrorEvents:
    """Makes the error events of one job, and counts them."""

    def __init__(
        self,
        job: Job,
        gate: Gate,
        door: OutputGate,
        counts: ErrorCounts,
        *,
        full_per_minute_max: int,
        apart: FailedEvents | None = None,
        dated_by_event: bool = False,
    ) -> None:
        """`full_per_minute_max`: how many errors of one cause are described in full each minute. `apart`: where events
        are stored that do not fit; None: nowhere, so that an error event is as large as it must be. `dated_by_event`:
        an error happened at the time of its event, so that each run over the same history gives the same."""
        self._job = job
        self._stream = job.writes().errors
        self._gate = gate
        self._door = door
        self._counts = counts
        self._full_per_minute_max = full_per_minute_max
        self._apart = apart
        self._dated_by_event = dated_by_event
        # The first of the forms of `meta` that the project's schema allows.
        self._form = 0
        # A step with a key has already taken note of an event that fails after it.
        keyed = {step.name for step in job.keyed_steps}
        names = [step.name for step in job.steps]
        first = next((at for at, name in enumerate(names) if name in keyed), len(names))
        self._resumed = frozenset((*names[first + 1 :], OUTPUT) if keyed else ())

    async def records(self, failure: Failure, now_ms: int, written: Sequence[str] = ()) -> list[Record] | Failure:
        """The records to commit about `failure`: its error event, and the original event if that is stored separately.

        `written`: the outputs of the same event that did not fail, by lineage. A Failure if the Gate refuses the error
        event itself.
        """
        now_ms = self._time_of(failure, now_ms)
        withheld = self._withholds()
        cause = cause_of(failure, self._job.name, self._job.project, withheld=withheld)
        record = failure.item.record
        again = redriven_of(record) if record is not None else None
        details = self._details(failure, cause)
        details.first_failed_at = again.first_failed_at if again else utc_text(now_ms)
        details.attempt = again.attempt if again else 1
        details.attempts = failure.attempts
        details.written = [*(again.written if again else ()), *written][:WRITTEN_MAX]
        details.is_compact = not self._counts.allows_full(cause.group, now_ms, self._full_per_minute_max)
        value = self._value(failure, cause, details, now_ms, withheld=withheld)
        made = await self._stored(failure, value, details, withheld=withheld)
        self._counts.add(cause, failure.step, value["message"], value["meta"]["id"], now_ms, compact=details.is_compact)
        return made

    def count(self, failure: Failure, now_ms: int) -> None:
        """Count `failure` among those of its cause, without an error event."""
        withheld = self._withholds()
        cause = cause_of(failure, self._job.name, self._job.project, withheld=withheld)
        event_id = get_path(failure.item.source, "meta.id")
        example = event_id if isinstance(event_id, str) else failure.item.lineage_id
        message = self._message(failure, cause, withheld=withheld)
        self._counts.add(cause, failure.step, message, example, self._time_of(failure, now_ms), compact=False)

    def _time_of(self, failure: Failure, now_ms: int) -> int:
        return failure.item.event_time_ms if self._dated_by_event else now_ms

    async def instead_of(self, record: Record, error: HeadwaterError, now_ms: int) -> list[Record]:
        """The error event for a record of this job that the log refused later; [] if it is an error event itself."""
        stream = self._gate.streams.get(self._stream)
        if record.topic in stream.topics:
            return []
        try:
            value: Any = orjson.loads(record.value)
        except orjson.JSONDecodeError:
            value = {}
        name = get_path(value, "meta.stream")
        lineage_id = str(get_path(value, "meta.id"))
        item = Element(value, now_ms, lineage_id, name if isinstance(name, str) else None, None, value)
        made = await self.records(Failure(item, OUTPUT, error), now_ms)
        return [] if isinstance(made, Failure) else made

    def _details(self, failure: Failure, cause: Cause) -> Details:
        item = failure.item
        record = item.record if item.record is not None and item.record.topic else None
        event_id = get_path(item.source, "meta.id")
        details = Details(
            group=cause.group,
            step=failure.step,
            exception=cause.exception,
            event_id=event_id if isinstance(event_id, str) else None,
            stream=item.stream,
            lineage_id=item.lineage_id,
            key=None if failure.key is None else failure.key.decode("utf-8", "replace"),
            event_time_ms=item.event_time_ms,
            resume=failure.step if failure.step in self._resumed or record is None else None,
        )
        if record is not None:
            details.topic, details.partition, details.offset = record.topic, record.partition, record.offset
            details.received_ms, details.headers = record.timestamp_ms, kept_headers(record)
            if record.key is not None:
                details.record_key = base64.b64encode(record.key).decode()
        return details

    def _value(
        self, failure: Failure, cause: Cause, details: Details, now_ms: int, *, withheld: bool
    ) -> dict[str, Any]:
        """The error event without the original."""
        item, project = failure.item, self._job.project
        error = original(failure.error)
        source = item.source if isinstance(item.source, Mapping) and not withheld else {}
        message = self._message(failure, cause, withheld=withheld)
        lineage_id = f"{item.lineage_id}/{failure.step}"
        if details.attempt > 1:
            lineage_id = f"{lineage_id}/{details.attempt}"
        meta = {"stream": self._stream, "id": derived_id(self._job.name, self._stream, lineage_id)}
        if self._dated_by_event and self._gate.built_in.of_jobs.schema.declares("meta.dt"):
            meta["dt"] = utc_text(now_ms)
        value: dict[str, Any] = {
            "$schema": self._gate.built_in.of_jobs.schema.uri,
            "meta": with_context(source.get("meta"), meta),
            "dt": utc_text(now_ms),
            "emitter_id": self._job.name,
            "error_type": cause.kind,
            "errored_schema_uri": _text(source.get("$schema")),
            "errored_stream_name": "unknown" if withheld else item.stream or "unknown",
            "message": message[: COMPACT_CHARS_MAX if details.is_compact else MESSAGE_CHARS_MAX],
        }
        if not details.is_compact:
            value["stack"] = (bare_stack_text if withheld else stack_text)(error, project)[-STACK_CHARS_MAX:]
        return value

    def _message(self, failure: Failure, cause: Cause, *, withheld: bool) -> str:
        text = "" if withheld else without_paths(text_of(original(failure.error)), self._job.project)
        timer = f" {OF_TIMER}" if is_timer(failure.item) else ""
        times = f" (given up after {failure.attempts} attempts)" if failure.attempts > 1 else ""
        return f"{failure.step}: {text or cause.exception}{times}{timer}"

    async def _stored(
        self, failure: Failure, value: dict[str, Any], details: Details, *, withheld: bool
    ) -> list[Record] | Failure:
        """The event with the original: in it if it fits, else separately, else only where it was read."""
        raw, step_input = self._content(failure.item, details)
        fits = self._apart is None or len(raw) + len(step_input) <= self._inline_bytes_max()
        if not withheld and fits and self._gate.built_in.of_jobs.schema.declares("raw_event"):
            inline = _inline(raw, step_input, details, failure.item.lineage_id)
            made = await self._admitted(failure.item, value, inline, details, withheld=False)
            if isinstance(made, Admitted):
                return [made.record]
            if not isinstance(made.error, EventTooLarge):
                return made
        apart: list[Record] = []
        if self._apart is not None and (raw or step_input):
            apart = await self._apart.records(value["meta"]["id"], raw + step_input)
            if await self._door.refusal(apart) is not None:
                apart = []
        shown = _elsewhere(raw, step_input, details, is_stored=bool(apart))
        made = await self._admitted(failure.item, value, WITHHELD if withheld else shown, details, withheld=withheld)
        return made if isinstance(made, Failure) else [*apart, made.record]

    def _content(self, item: Element, details: Details) -> tuple[bytes, bytes]:
        """The original as it was read, and the input of the step that a redrive continues with if that is another."""
        raw = item.record.value if item.record is not None else b""
        if details.resume is None or item.value is item.source:
            return raw, b""
        try:
            return raw, encode_input(item.value)
        except BaseException as error:  # an event of a class of the job's own runs its code
            contain(error)
            details.resume = None
            return raw, b""

    async def _admitted(
        self, item: Element, value: dict[str, Any], raw_event: str, details: Details, *, withheld: bool
    ) -> Admitted | Failure:
        schema = self._gate.built_in.of_jobs.schema
        value = {**value, "raw_event": raw_event}
        if not schema.declares("stack") and "stack" in value:
            value["message"] = f"{value['message']}\n{value['stack']}"
        kept = {name: part for name, part in value.items() if name == "$schema" or schema.declares(name)}
        # Each project's schema decides how much of the details may be in the event; a header has them otherwise.
        forms: tuple[dict[str, Any], ...] = ({"failure": details.whole()}, {"failure": details.public()}, {})
        made: Admitted | Failure
        for at in range(max(int(withheld), self._form), len(forms)):
            kept["meta"] = {**value["meta"], **forms[at]}
            made = await self._door.admit(item, dict(kept))
            if isinstance(made, Admitted):
                if at > int(withheld):
                    self._form = at
                break
            if not isinstance(made.error, EventInvalid):
                break
        if isinstance(made, Admitted) and at > 0:
            record = msgspec.structs.replace(made.record, headers=(*made.record.headers, details.header()))
            return msgspec.structs.replace(made, record=record)
        return made

    def _withholds(self) -> bool:
        """Whether the error stream is readable by more people than the streams that the job reads."""
        streams = self._gate.streams
        error_stream = streams.find(self._stream)
        job = self._job
        # Of a connector, the events are those that were meant for its outputs.
        copied = job.reads() if job.input is None else job.writes().outputs
        return error_stream is not None and not streams.visibility.may_copy(copied, error_stream)

    def _inline_bytes_max(self) -> int:
        return max(1024, self._gate.settings.event_bytes_max // 2 - ENVELOPE_BYTES)


def is_timer(item: Element) -> bool:
    """Whether it was a timer that failed, and no event."""
    return item.record is None and item.value is None


def _inline(raw: bytes, step_input: bytes, details: Details, lineage_id: str) -> str:
    """`raw_event` with the whole original in it, and the details that belong to it."""
    details.raw_bytes, details.input_bytes = len(raw), len(step_input)
    details.input = step_input.decode() if step_input else None
    if not raw:
        # The output of a timer has no event; its lineage names the step and the key.
        details.kept = "none"
        return orjson.dumps({"cause": lineage_id}).decode()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        details.kept, details.raw_base64 = "base64", base64.b64encode(raw).decode()
        return raw.decode("utf-8", "replace")
    details.kept = "text"
    return text


def _elsewhere(raw: bytes, step_input: bytes, details: Details, *, is_stored: bool) -> str:
    """`raw_event` with the beginning of an original that is stored elsewhere, and the details that belong to it."""
    details.raw_bytes, details.input_bytes = len(raw), len(step_input)
    details.input = details.raw_base64 = None
    details.kept = "stored" if is_stored else "log" if details.topic is not None else "none"
    if not is_stored and step_input:
        details.resume = None
    text = raw[:SHOWN_BYTES_MAX].decode("utf-8", "replace")
    return text if len(raw) <= SHOWN_BYTES_MAX else f"{text}… ({len(raw)} bytes in all)"


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else "unknown"
