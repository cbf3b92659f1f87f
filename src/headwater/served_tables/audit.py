"""Writes down who has read what: one event for each request for a restricted table, stored before it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from headwater.errors import ConfigInvalid, HeadwaterError, LogUnavailable, SchemaNotFound
from headwater.event import encode_event
from headwater.intake.gate import SchemaPending
from headwater.intake.intake import Intake
from headwater.intake.outcome import Refused
from headwater.served_tables.declared import ServedTable
from headwater.times import utc_of

# A schema may be compiled, and then replaced by a newer one.
ATTEMPTS_MAX = 3


class Access(NamedTuple):
    """One request. `key`: the name of the API key; `status`: of the response, which had `rows` rows."""

    request: str
    key: str
    client_address: str
    status: int
    rows: int


def audit_event(served: ServedTable, access: Access, *, schema: str, at: datetime) -> dict[str, Any]:
    """The event about a request for a table that was answered at this time."""
    meta = {"stream": served.options.audit}
    return {"$schema": schema, "meta": meta, "dt": utc_of(at), "served_table": served.name, **access._asdict()}


class AccessAudit:
    """Stores the events of all restricted tables of a platform."""

    def __init__(
        self,
        intake: Intake,
        schema_of: Callable[[str], str | None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`schema_of`: the `$schema` of new events of a stream; None if it has none. May block."""
        self._intake = intake
        self._schema_of = schema_of
        self._clock = clock

    async def write(self, served: ServedTable, access: Access) -> None:
        """Store the event about a request. It is durable when this returns.

        Raises ConfigInvalid if the stream does not accept it, and what the log raises: then nothing may be answered.
        """
        stream = served.options.audit
        assert stream is not None
        schema = await asyncio.to_thread(self._schema_of, stream)
        if schema is None:
            raise self._refused(served, SchemaNotFound(f"There is no schema for events of {stream}."))
        event = audit_event(served, access, schema=schema, at=self._clock())
        await self._store(served, encode_event(event)[0], event)

    async def _store(self, served: ServedTable, encoded: bytes, event: Mapping[str, Any]) -> None:
        gate = self._intake.gate
        for _ in range(ATTEMPTS_MAX):
            verdict = gate.try_admit(event, raw=encoded, own=True)
            if isinstance(verdict, Refused):
                raise self._refused(served, verdict.reason)
            if isinstance(verdict, SchemaPending):
                await asyncio.to_thread(gate.compile, verdict.uri)
                continue
            receipt = await self._intake.write_judged([encoded], [verdict])
            for _, refused in receipt.refused:
                raise self._refused(served, refused.reason)
            for _, failed in receipt.failed:
                raise failed.reason
            return
        raise LogUnavailable("The schema of the audit is unavailable.")

    def _refused(self, served: ServedTable, reason: HeadwaterError) -> ConfigInvalid:
        return ConfigInvalid(
            f"The stream {served.options.audit} does not accept the audit of {served.name}: {reason.message}",
            hint="See docs/how-to/serve-a-table.md for its schema.",
        )
