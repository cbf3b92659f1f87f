"""A sink as the store of a job: its rows in the target, and its position there or in the log.

With `token_in_target`, rows and position are written in one transaction of the target. The log is not part of it:
error events are appended before the rows are written, and if that fails, or the process is killed in between, the same
events with the same ids are appended once more when the batch is repeated. Without it, the rows are written first, and
then error events and position are committed to the log together. If only a part of a write succeeds, what was rejected
becomes error events, and what is left is written by the next call of `commit`. An event that the target asks for again
in each of `attempts_max` attempts, while it takes others, becomes an error event, too (`attempts`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from headwater.connectors.contained import ContainedSink
from headwater.connectors.contract import Delivery, Sink
from headwater.errors import SinkUnavailable, WriteIncomplete
from headwater.jobs.job import Job
from headwater.log.contract import Log, LogWriter, Record, StateChange
from headwater.processing.stores.attempts import ATTEMPTS_MAX, Attempts, KeyOrder
from headwater.processing.stores.contract import LogStore, OnRejected, RowTarget


def sink_store(job: Job, sink: Sink, log: Log) -> SinkStore:
    """The store of a job that fills `sink`, which is closed."""
    writes = job.writes()
    return SinkStore(sink, log, job.group, attempts_max=writes.attempts_max, order=KeyOrder.of(writes.target))


class SinkStore:
    """Commits rows to `sink`, and error events about events that cannot be rows to `log`.

    `group` is the consumer group in the log that has the position if the target does not.
    """

    keeps_state = False
    takes_events = False

    def __init__(
        self,
        sink: Sink,
        log: Log,
        group: str,
        *,
        attempts_max: int = ATTEMPTS_MAX,
        order: KeyOrder = KeyOrder(()),  # noqa: B008 - it is frozen
    ) -> None:
        """`order`: which events must not be written after later ones."""
        self._attempts = Attempts(attempts_max)
        self._order = order
        self._sink = ContainedSink(sink)
        self._log = log
        self.token_in_target = sink.features.token_in_target
        self._positions = None if self.token_in_target else LogStore(log, group)
        self._unfinished: _Write | None = None
        self.on_rejected: OnRejected | None = None
        self.rows: RowTarget | None = self
        self.refuses: LogWriter | None = log if log.features.refuses_records else None

    async def open(self) -> str | None:
        """The token in the target, or that of the group. Raises SinkUnavailable, ExtraMissing, LogUnavailable."""
        self._unfinished = None
        found = await self._sink.open()
        return found if self._positions is None else await self._positions.open()

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return {}

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        return []

    async def commit(
        self, records: Sequence[Record], token: str, changes: Sequence[StateChange], rows: Sequence[Delivery] = ()
    ) -> None:
        write = self._unfinished
        if write is None or write.token != token:
            write = self._unfinished = _Write(token, records, rows)
        if self._positions is None:
            await write.append(self._log.append)
            while await self._attempt(write):
                await write.append(self._log.append)
        else:
            while write.left and await self._attempt(write):
                pass
            await self._positions.commit(write.records, token, ())
        self._unfinished = None
        self._attempts.clear()

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

    async def _attempt(self, write: _Write) -> bool:
        """Write what is left of it. Returns whether something has to be written again at once."""
        try:
            await self._sink.write(list(write.left.values()), write.token)
        except WriteIncomplete as incomplete:
            left = list(write.left)
            if any(not 0 <= index < len(left) for index in (*incomplete.rejected, *incomplete.retry)):
                raise SinkUnavailable(
                    f"The sink names events that it was not given: {incomplete}",
                    hint="This is a fault of the connector; nothing is lost, and the write is tried again.",
                ) from incomplete
            is_pending = await self._settle(write, left, incomplete)
            names_any = incomplete.rejected or incomplete.retry
            if is_pending or incomplete.back_off_seconds or not names_any:
                incomplete.has_progressed = len(write.left) < len(left)
                raise
            return bool(write.left) or self.token_in_target
        write.left = {}
        return False

    async def _settle(self, write: _Write, left: Sequence[int], incomplete: WriteIncomplete) -> bool:
        """Keep an error event for each event that was rejected, and of the others those to be written again.

        Whether the target has asked for any of these.
        """
        asked = [left[index] for index in incomplete.retry]
        given_up = {}
        if asked and self._attempts.are_of_events(write.total, len(left), len(asked), incomplete):
            incomplete.is_counted = True
            given_up = self._attempts.given_up({index: write.left[index] for index in asked}, incomplete.reason)
        made = {left[index]: error for index, error in incomplete.rejected.items()} | given_up
        for index, error in made.items():
            if self.on_rejected is not None:
                write.records += await self.on_rejected(index, error)
        names_none = not incomplete.rejected and not asked
        if self.token_in_target or names_none:
            again = set(left) - made.keys()
        else:
            again = self._order.with_followers(set(asked) - made.keys(), write.left)
        write.left = {index: row for index, row in write.left.items() if index in again}
        return bool(set(asked) - given_up.keys())


class _Write:
    """What is left of one commit: its rows by their index, and its records, of which some may be appended already."""

    def __init__(self, token: str, records: Sequence[Record], rows: Sequence[Delivery]) -> None:
        self.token = token
        self.records = list(records)
        self.left = dict(enumerate(rows))
        self.total = len(self.left)
        self._appended = 0

    async def append(self, append: Callable[[Sequence[Record]], Awaitable[object]]) -> None:
        """Append the records that were not yet."""
        if some := self.records[self._appended :]:
            await append(some)
            self._appended = len(self.records)
