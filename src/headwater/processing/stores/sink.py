"""A sink as the store of a job: rows and position are written in one transaction of the target.

The log is not part of that transaction. Error events are appended before the rows are written: if that fails, or the
process is killed in between, the same events with the same ids are appended once more when the batch is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.connectors.contained import ContainedSink
from headwater.connectors.contract import Delivery, Sink
from headwater.log.contract import Log, Record, StateChange
from headwater.processing.stores.contract import RefusesRecords, RowTarget


class SinkStore:
    """Commits rows to `sink`, and appends the error events about events that cannot be rows to `log`."""

    keeps_state = False
    takes_events = False

    def __init__(self, sink: Sink, log: Log) -> None:
        self._sink = ContainedSink(sink)
        self._log = log
        # The token of the commit whose events were appended and whose rows are not written yet.
        self._appended: str | None = None
        self.rows: RowTarget | None = self
        self.refuses: RefusesRecords | None = log if isinstance(log, RefusesRecords) else None

    async def open(self) -> str | None:
        """The token in the target, as the sink reads it. Raises SinkUnavailable, ExtraMissing."""
        self._appended = None
        return await self._sink.open()

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return {}

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        return []

    async def commit(
        self, records: Sequence[Record], token: str, changes: Sequence[StateChange], rows: Sequence[Delivery] = ()
    ) -> None:
        if records and self._appended != token:
            await self._log.append(records)
            self._appended = token
        await self._sink.write(rows, token)
        self._appended = None

    async def flush(self) -> None:
        """Nothing to wait for: both the events and the rows are there when `commit` returns."""

    async def close(self) -> None:
        """The sink stays open: its table can be viewed while the job does not run."""

    def check(self, delivery: Delivery) -> None:
        self._sink.check(delivery)

    async def ready(self, token: str) -> None:
        await self._sink.write([], token)

    async def set_aside(self) -> str | None:
        return await self._sink.set_aside()
