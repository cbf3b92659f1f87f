"""Takes the events that a job makes through the Gate, and asks the log whether it would store them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headwater.errors import HeadwaterError
from headwater.foreign import contain
from headwater.intake.gate import Gate, SchemaPending
from headwater.intake.outcome import Admitted, Refused
from headwater.jobs.steps import Element, Failure
from headwater.log.contract import Record

STEP = "output"


class _Refuses(Protocol):
    """The part of a log that says what it would refuse."""

    async def refusal(self, record: Record) -> HeadwaterError | None: ...


class OutputGate:
    """The Gate and the log, for one job."""

    def __init__(self, gate: Gate, log: _Refuses | None = None, *, own: bool = True) -> None:
        """`log`, which has `Features.refuses_records`, is asked whether it would store each record.

        `own`: the events may go to streams that accept nothing from outside."""
        self._gate = gate
        self._own = own
        self._log = log

    def try_admit(self, item: Element, value: dict[str, Any]) -> Admitted | Failure | None:
        """As `admit`; None if that has to wait, for a schema or for the log."""
        if self._log is not None:
            return None
        verdict = self._verdict(item, value)
        return None if isinstance(verdict, SchemaPending) else verdict

    async def admit(self, item: Element, value: dict[str, Any]) -> Admitted | Failure:
        """The event made of `item` as a record, or why it is not stored. Raises retriable errors."""
        verdict = self._verdict(item, value)
        while isinstance(verdict, SchemaPending):
            try:
                await asyncio.to_thread(self._gate.compile, verdict.uri)
            except HeadwaterError as error:
                if error.retriable:
                    raise
                return Failure(item, STEP, error)
            verdict = self._verdict(item, value)
        if self._log is None or isinstance(verdict, Failure):
            return verdict
        refusal = await self._log.refusal(verdict.record)
        return verdict if refusal is None else Failure(item, STEP, refusal)

    async def refusal(self, records: Sequence[Record]) -> HeadwaterError | None:
        """Why the log would refuse one of these records; None if it would store all of them."""
        if self._log is not None:
            for record in records:
                if (refusal := await self._log.refusal(record)) is not None:
                    return refusal
        return None

    def _verdict(self, item: Element, value: dict[str, Any]) -> Admitted | Failure | SchemaPending:
        """The verdict of the Gate; a failure if the value is not JSON, or its own code fails while it is read."""
        try:
            verdict = self._gate.try_admit(value, own=self._own)
        except BaseException as error:
            if isinstance(error, HeadwaterError) and error.retriable:
                raise
            contain(error)
            return Failure(item, STEP, error)
        return Failure(item, STEP, verdict.reason) if isinstance(verdict, Refused) else verdict


def with_context(source: Any, meta: dict[str, Any]) -> dict[str, Any]:
    """`meta` with the domain and the request id of the event that the new one is made of."""
    if type(source) is dict or isinstance(source, Mapping):
        for name in ("domain", "request_id"):
            if name not in meta and isinstance(source.get(name), str):
                meta[name] = source[name]
    return meta
