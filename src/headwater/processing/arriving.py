"""The events of a connector on their way into the log: through the one gate, as events of producers are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.errors import EventMalformed
from headwater.intake.gate import Gate
from headwater.intake.outcome import Admitted
from headwater.jobs.ids import derived_id
from headwater.jobs.job import Job
from headwater.jobs.output_schema import output_schema_uri
from headwater.jobs.steps import Element, Failure
from headwater.log.contract import LogWriter
from headwater.processing.output_gate import STEP, OutputGate


class ConnectorEvents:
    """What an event of one connector gets before it is validated.

    That is the stream that it is for, the configured `$schema` or, if it has none, the newest of the stream, and an id,
    if it has none, that is the same whenever the same delivery comes again. Nothing else of it is changed.
    """

    def __init__(self, job: Job, gate: Gate) -> None:
        assert job.input is not None
        self._job = job
        self._gate = gate
        self._schema = job.input.schema
        self._newest: dict[str, str | None] = {}

    def prepare(self) -> None:
        """Find the schemas. Blocks on I/O. Raises StreamUnknown, SchemaNotFound, JobInvalid."""
        writes, repository = self._job.writes(), self._gate.validator.repository
        for stream in writes.outputs:
            self._gate.streams.get(stream)
        if self._schema is not None:
            self._gate.compile(self._schema)
            return
        for stream in writes.outputs:
            self._newest[stream] = uri = output_schema_uri(self._job, stream, self._gate.streams, repository)
            if uri is not None:
                self._gate.compile(uri)

    def completed(self, event: Mapping[str, Any], stream: str, identity: str | None) -> dict[str, Any]:
        """The event as it is to be validated. `identity` is what it is identified by; None: nothing.

        Raises EventMalformed.
        """
        value = dict(event)
        meta = value.get("meta")
        if meta is not None and not isinstance(meta, Mapping):
            raise EventMalformed("Its `meta` is not an object.", hint="Rename the field.")
        known = {} if meta is None else dict(meta)
        own_id = known.get("id")
        if identity is not None and (own_id is None or (isinstance(own_id, str) and not own_id.strip())):
            known["id"] = derived_id(self._job.name, stream, identity)
        known["stream"] = stream
        value["meta"] = known
        schema = self._schema or (None if "$schema" in value else self._newest.get(stream))
        if schema is not None:
            value["$schema"] = schema
        return value


class ArrivalBuilder:
    """Turns the deliveries of one connector into records that passed the gate."""

    def __init__(self, job: Job, gate: Gate, log: LogWriter | None = None) -> None:
        """`log`, which has `Features.refuses_records`, is asked whether it would store each record."""
        self._job = job
        self._gate = gate
        self._events = ConnectorEvents(job, gate)
        self._door = OutputGate(gate, log, own=False)

    def prepare(self) -> None:
        """Find the schemas. Blocks on I/O. Raises StreamUnknown, SchemaNotFound, JobInvalid."""
        for stream in self._job.writes().streams:
            self._gate.streams.get(stream)
        self._events.prepare()

    def try_output(self, item: Element) -> Admitted | Failure | None:
        """As `output`; None if that has to wait, for a schema or for the log."""
        value = self._value(item)
        return value if isinstance(value, Failure) else self._door.try_admit(item, value)

    async def output(self, item: Element) -> Admitted | Failure:
        """The event in its stream, or why it is refused. Raises retriable errors."""
        value = self._value(item)
        return value if isinstance(value, Failure) else await self._door.admit(item, value)

    async def late(self, item: Element) -> Admitted | Failure:
        """A connector has no late events."""
        return await self.output(item)

    def _value(self, item: Element) -> dict[str, Any] | Failure:
        assert item.stream is not None
        try:
            return self._events.completed(item.value, item.stream, item.lineage_id)
        except EventMalformed as error:
            return Failure(item, STEP, error)
