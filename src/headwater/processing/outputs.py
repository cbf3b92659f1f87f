"""The events of a job: their envelope and their repeatable ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.errors import JobInvalid
from headwater.foreign import contain
from headwater.intake.gate import Gate
from headwater.intake.outcome import Admitted
from headwater.jobs.ids import derived_id
from headwater.jobs.job import Job
from headwater.jobs.output_schema import late_wrapper_uri, output_schema_uri
from headwater.jobs.steps import Element, Failure
from headwater.log.contract import LogWriter
from headwater.processing.output_gate import OutputGate, with_context
from headwater.times import time_ms, utc_milliseconds


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
        self._schema_uris: dict[str, str | None] = {}
        # The schema in which late events are wrapped, if they may have other schemas than their stream.
        self._late_wrapper_uri: str | None = None
        self._door = OutputGate(gate, log)

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
        if self._writes.late is not None:
            title = self._gate.streams.get(self._writes.late).schema_title
            if any(self._gate.streams.get(name).schema_title != title for name in self._job.reads()):
                self._late_wrapper_uri = late_wrapper_uri(self._job, self._gate.streams, self._gate.validator)

    def try_output(self, item: Element) -> Admitted | Failure | None:
        """As `output`, which is called for few events; None if that has to wait, for a schema or for the log."""
        value = self._value(item)
        return value if isinstance(value, Failure) else self._door.try_admit(item, value)

    async def output(self, item: Element) -> Admitted | Failure:
        """The event for the stream that it was emitted to, else for the job's output stream."""
        value = self._value(item)
        return value if isinstance(value, Failure) else await self._door.admit(item, value)

    async def late(self, item: Element) -> Admitted | Failure:
        """The late event as it was, its id included, in the job's late stream.

        If the sources have other schemas than the late stream, it is wrapped: `event` is the whole event, `stream` its
        stream.
        """
        stream = self._writes.late
        assert stream is not None
        value = dict(item.source or item.value)
        meta = value.get("meta")
        kept = meta if isinstance(meta, dict) else {}
        own_id = kept.get("id")
        event_id = own_id if isinstance(own_id, str) else derived_id(self._job.name, stream, item.lineage_id)
        if self._late_wrapper_uri is not None:
            value = {"$schema": self._late_wrapper_uri, "stream": item.stream or kept.get("stream"), "event": value}
        value["meta"] = {**kept, "stream": stream, "id": event_id}
        return await self._door.admit(item, value)

    def _value(self, item: Element) -> dict[str, Any] | Failure:
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
        return value

    def _meta(self, item: Element, given: Any, stream: str) -> dict[str, Any]:
        own = {"stream": stream, "id": derived_id(self._job.name, stream, item.lineage_id)}
        source = item.source.get("meta") if item.source is not None else None
        if stream in self._dated:
            received = source.get("dt") if isinstance(source, Mapping) else None
            is_time = isinstance(received, str) and time_ms(received) is not None
            own["dt"] = str(received) if is_time else utc_milliseconds(item.event_time_ms)
        # A function may pass on its input, whose own id and time must not be copied.
        if given is not None and isinstance(given, Mapping):
            own = {**{name: part for name, part in given.items() if name not in ("id", "dt")}, **own}
        return with_context(source, own)
