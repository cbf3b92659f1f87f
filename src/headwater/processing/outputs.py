"""The events of a job: their envelope, their repeatable ids, and the error events about what it could not process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import orjson

from headwater.errors import EventTooLarge, HeadwaterError, JobInvalid
from headwater.event import get_path
from headwater.foreign import contain, name_of, original, text_of
from headwater.intake.error_event import WITHHELD
from headwater.intake.gate import Gate, SchemaPending
from headwater.intake.outcome import Admitted, Refused
from headwater.jobs.ids import derived_id
from headwater.jobs.job import Job
from headwater.jobs.output_schema import output_schema_uri
from headwater.jobs.steps import Element, Failure
from headwater.log.contract import LogWriter, Record
from headwater.processing.stack import bare_stack_text, stack_text, without_paths
from headwater.schemas.validation.validator import CompiledSchema
from headwater.times import time_ms, utc_milliseconds, utc_text

MESSAGE_CHARS_MAX = 2_000
STACK_CHARS_MAX = 8_000
# An error event holds the event that failed and has to pass the Gate itself.
ENVELOPE_BYTES = 65_536
# How much of an event goes into its error event if the whole is too large for the log.
RAW_BYTES_MAX = 65_536


class OutputBuilder:
    """Turns the results of the steps of one job into records that passed the Gate."""

    def __init__(self, job: Job, gate: Gate, log: LogWriter | None = None, *, dated_by_event: bool = False) -> None:
        """`log`, which has `Features.refuses_records`, is asked whether it would store each record.

        `dated_by_event`: `meta.dt` of an output is that of the event it is derived from, or the time of a timer, as if
        it had been written then, so that each run gives the same; otherwise it is the time of the run.
        """
        self._dated_by_event = dated_by_event
        # Streams whose events have a `meta.dt`.
        self._dated: set[str] = set()
        self._job = job
        self._writes = job.writes()
        self._gate = gate
        self._log = log
        self._schema_uris: dict[str, str | None] = {}
        self._error_schema: CompiledSchema = gate.built_in.compiled

    def prepare(self) -> None:
        """Find the schemas of the job's outputs. Blocks on I/O. Raises StreamUnknown, SchemaNotFound, JobInvalid."""
        for name in filter(None, (self._writes.errors, self._writes.late)):
            self._gate.streams.get(name)
        repository = self._gate.validator.repository
        for stream in self._writes.outputs:
            uri = output_schema_uri(self._job, stream, self._gate.streams, repository)
            if uri is not None:
                self._gate.compile(uri)
                if self._dated_by_event and self._gate.validator.compile(uri).schema.declares("meta.dt"):
                    self._dated.add(stream)
            self._schema_uris[stream] = uri

    async def output(self, item: Element) -> Admitted | Failure:
        """The event for the stream that it was emitted to, else for the job's output stream."""
        stream = item.to or self._writes.output
        assert stream is not None
        try:
            if type(item.value) is not dict and not isinstance(item.value, Mapping):
                raise JobInvalid(f"A job gives events, not {type(item.value).__name__}.")
            value = dict(item.value)
            if (uri := self._schema_uris.get(stream)) is not None:
                value["$schema"] = uri
            value["meta"] = self._meta(item, value.get("meta"), stream)
        except BaseException as error:  # a mapping type of the job's own runs its code, too
            contain(error)
            return Failure(item, "output", error)
        return await self._admit(item, value)

    async def late(self, item: Element) -> Admitted | Failure:
        """The late event as it was, in the job's late stream."""
        stream = self._writes.late
        assert stream is not None
        value = dict(item.source or item.value)
        meta = value.get("meta")
        kept = meta if isinstance(meta, dict) else {}
        value["meta"] = {
            **kept,
            "stream": stream,
            "id": derived_id(self._job.name, stream, item.lineage_id),
        }
        return await self._admit(item, value)

    async def error(self, failure: Failure, now_ms: int) -> Admitted | Failure:
        """The error event about `failure`: the event as it was read, the exception and its stack.

        If the error stream is readable by more people than the streams the job reads, nothing of the event is in it.
        """
        made = await self._error(failure, now_ms)
        raw = failure.item.raw
        if isinstance(made, Failure) and isinstance(made.error, EventTooLarge) and raw is not None:
            item = dataclasses.replace(failure.item, raw=raw[:RAW_BYTES_MAX])
            made = await self._error(dataclasses.replace(failure, item=item), now_ms)
        return made

    async def instead_of(self, record: Record, error: HeadwaterError, now_ms: int) -> Record | None:
        """The error event for a record of this job that the log refused later; None if it is an error event itself."""
        stream = self._gate.streams.get(self._writes.errors)
        if record.topic in stream.topics:
            return None
        try:
            value: Any = orjson.loads(record.value)
        except orjson.JSONDecodeError:
            value = {}
        event_id = get_path(value, "meta.id")
        name = get_path(value, "meta.stream")
        item = Element(value, now_ms, str(event_id), name if isinstance(name, str) else None, record.value, value)
        made = await self.error(Failure(item, "output", error), now_ms)
        return None if isinstance(made, Failure) else made.record

    async def _error(self, failure: Failure, now_ms: int) -> Admitted | Failure:
        item, schema, project = failure.item, self._error_schema.schema, self._job.project
        stream = self._writes.errors
        now, lineage_id, withheld = utc_text(now_ms), original(failure.error), self._withholds()
        source = item.source if isinstance(item.source, Mapping) and not withheld else {}
        text = "" if withheld else without_paths(text_of(lineage_id), project)
        stack = (bare_stack_text if withheld else stack_text)(lineage_id, project)
        value: dict[str, Any] = {
            "$schema": schema.uri,
            "meta": {"stream": stream, "id": derived_id(self._job.name, stream, f"{item.lineage_id}/{failure.step}")},
            "dt": now,
            "emitter_id": self._job.name,
            "error_type": name_of(lineage_id),
            "errored_schema_uri": _text(source.get("$schema")),
            "errored_stream_name": "unknown" if withheld else item.stream or "unknown",
            "message": f"{failure.step}: {text or name_of(lineage_id)}"[:MESSAGE_CHARS_MAX],
            "raw_event": WITHHELD if withheld else self._raw_text(item),
            "stack": stack[-STACK_CHARS_MAX:],
        }
        if not schema.declares("stack"):
            value["message"] = f"{value['message']}\n{value['stack']}"
        kept = {name: part for name, part in value.items() if name == "$schema" or schema.declares(name)}
        kept["meta"] = self._meta_from(source.get("meta"), dict(value["meta"]))
        return await self._admit(item, kept)

    def _withholds(self) -> bool:
        streams = self._gate.streams
        error_stream = streams.find(self._writes.errors)
        return error_stream is not None and not streams.visibility.may_copy(self._job.reads(), error_stream)

    def _raw_text(self, item: Element) -> str:
        # The output of a timer has no event: its state is still there, and its cause names the key.
        raw = item.raw if item.raw is not None else orjson.dumps({"cause": item.lineage_id})
        limit = max(1024, self._gate.settings.event_bytes_max // 2 - ENVELOPE_BYTES)
        text = raw[:limit].decode("utf-8", "replace")
        return text if len(raw) <= limit else f"{text}… ({len(raw)} bytes in all)"

    def _meta(self, item: Element, given: Any, stream: str) -> dict[str, Any]:
        own = {"stream": stream, "id": derived_id(self._job.name, stream, item.lineage_id)}
        source = item.source.get("meta") if item.source is not None else None
        if stream in self._dated:
            received = source.get("dt") if isinstance(source, Mapping) else None
            is_time = isinstance(received, str) and time_ms(received) is not None
            own["dt"] = str(received) if is_time else utc_milliseconds(item.event_time_ms)
        # A function may pass on its input, whose own id and time must not be copied.
        if isinstance(given, Mapping):
            own = {**{name: part for name, part in given.items() if name not in ("id", "dt")}, **own}
        return self._meta_from(source, own)

    def _meta_from(self, source: Any, meta: dict[str, Any]) -> dict[str, Any]:
        if isinstance(source, Mapping):
            for name in ("domain", "request_id"):
                if name not in meta and isinstance(source.get(name), str):
                    meta[name] = source[name]
        return meta

    async def _admit(self, item: Element, value: dict[str, Any]) -> Admitted | Failure:
        try:
            verdict = self._verdict(value)
            while isinstance(verdict, SchemaPending):
                await asyncio.to_thread(self._gate.compile, verdict.uri)
                verdict = self._verdict(value)
        except HeadwaterError as error:
            if error.retriable:
                raise
            return Failure(item, "output", error)
        if isinstance(verdict, BaseException):
            return Failure(item, "output", verdict)
        if isinstance(verdict, Refused):
            return Failure(item, "output", verdict.reason)
        refusal = await self._log.refusal(verdict.record) if self._log is not None else None
        return verdict if refusal is None else Failure(item, "output", refusal)

    def _verdict(self, value: dict[str, Any]) -> Admitted | Refused | SchemaPending | BaseException:
        """The verdict of the Gate; an error if the value is not JSON, or its own code fails while it is read."""
        try:
            return self._gate.try_admit(value, own=True)
        except HeadwaterError:
            raise
        except BaseException as error:
            contain(error)
            return error


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else "unknown"
