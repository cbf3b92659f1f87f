"""Accepts `hasty` events: answered before they are stored, in a bounded backlog, or on disk while the log is slow.

How this works: while the log keeps up, a request waits in memory for its append, like any other. With a spool, that
changes as soon as the oldest of them has waited for a second, a quarter of the backlog is full, or something is
already spooled: events are then validated and written to the spool before they are answered, and one task delivers
them from there, oldest first, for as long as that takes. What could not be stored from memory is spooled as well.
Without a spool it is lost, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

from headwater.backoff import Backoff
from headwater.config import IntakeConfig
from headwater.errors import HeadwaterError, LogUnavailable
from headwater.intake.counters import Counters
from headwater.intake.gate import NO_HEADERS, SchemaPending
from headwater.intake.outcome import NOTHING_UNREADABLE, Admitted, Failed, Receipt, Unreadable
from headwater.intake.spool import Batch, Spool
from headwater.schemas.limits import ExplanationBudget, explanation_budget
from headwater.telemetry import Telemetry

SPOOL_AFTER_SECONDS = 1.0
SPOOL_FROM_SHARE = 0.25
SYNC_SECONDS = 1.0
BATCH_EVENTS_MAX = 500
BATCH_BYTES_MAX = 1_048_576
PAUSE_SECONDS_FIRST = 0.1
PAUSE_SECONDS_MAX = 2.0

_log = logging.getLogger(__name__)


class Writes(Protocol):
    """The intake, as far as `hasty` events need it."""

    def judge(self, slices: Sequence[bytes], headers: Mapping[str, str]) -> Sequence[object]: ...

    async def write_slices(
        self, slices: Sequence[bytes], headers: Mapping[str, str] = ..., unreadable: Unreadable = ...
    ) -> Receipt: ...


class HastyQueue:
    """The `hasty` events that are not stored yet. Belongs to one event loop; `start` it before the first event."""

    def __init__(
        self, intake: Writes, config: IntakeConfig, counters: Counters, telemetry: Telemetry, spool: Spool | None
    ) -> None:
        self._intake = intake
        self._config = config
        self._counters = counters
        self._spool = spool
        # Oldest first: when each request in memory came.
        self._waiting: dict[asyncio.Task[None], float] = {}
        self._backlog_bytes = 0
        self._arrived = asyncio.Event()
        self._drain: asyncio.Task[None] | None = None
        self._sync: asyncio.Task[None] | None = None
        self._stopping = False
        backlog = telemetry.gauge("headwater_intake_hasty_backlog_bytes", "Bytes of fire-and-forget events in memory.")
        backlog.set_function(lambda: self._backlog_bytes)
        if spool is not None:
            spooled = telemetry.gauge("headwater_intake_hasty_spool_bytes", "Bytes of fire-and-forget events on disk.")
            spooled.set_function(lambda: spool.bytes_stored)

    def start(self) -> None:
        """Open the spool, and deliver what an earlier process left in it. Raises ConfigInvalid."""
        if self._spool is not None:
            self._stopping = False
            self._spool.open()
            self._drain = asyncio.get_running_loop().create_task(self._deliver(self._spool), name="hasty spool")
            self._arrived.set()

    async def stop(self) -> None:
        """Wait until everything in memory is stored or spooled; what is spooled stays for the next start."""
        while self._waiting:
            await asyncio.gather(*self._waiting, return_exceptions=True)
        self._stopping = True
        self._arrived.set()
        tasks = [task for task in (self._drain, self._sync) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._drain = self._sync = None
        if self._spool is not None:
            self._spool.close()

    def take(
        self, slices: Sequence[bytes], headers: Mapping[str, str], unreadable: Unreadable = NOTHING_UNREADABLE
    ) -> None:
        """Accept the events of a request, of which `unreadable` are already refused.

        Raises LogUnavailable when there is no room for them.
        """
        try:
            if not (self._spool is not None and self._log_is_slow() and self._spool_admitted(slices, headers)):
                self._keep(slices, headers, unreadable)
        except LogUnavailable as error:
            self._counters.hasty_refused.inc(len(slices))
            error.retry_after_seconds = self._config.retry_after_seconds
            raise
        self._counters.hasty.inc(len(slices))

    def _log_is_slow(self) -> bool:
        if self._spool is not None and not self._spool.is_empty:
            return True
        if self._backlog_bytes > self._config.hasty_backlog_bytes_max * SPOOL_FROM_SHARE:
            return True
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and asyncio.get_running_loop().time() - oldest > SPOOL_AFTER_SECONDS

    def _spool_admitted(self, slices: Sequence[bytes], headers: Mapping[str, str]) -> bool:
        """Spool the events as they would be stored now; False if that needs a schema that is not known yet."""
        explanation_budget.set(ExplanationBudget())
        verdicts = self._intake.judge(slices, headers)
        if any(isinstance(verdict, SchemaPending) for verdict in verdicts):
            return False
        # Refused ones are refused again, with their error event, when they are delivered.
        self._to_spool(
            [
                verdict.encoded if isinstance(verdict, Admitted) else one
                for verdict, one in zip(verdicts, slices, strict=True)
            ]
        )
        return True

    def _keep(self, slices: Sequence[bytes], headers: Mapping[str, str], unreadable: Unreadable) -> None:
        size = sum(map(len, slices))
        if self._backlog_bytes + size > self._config.hasty_backlog_bytes_max and self._backlog_bytes:
            raise LogUnavailable("Too many fire-and-forget events are waiting.", hint="Send them again a little later.")
        self._backlog_bytes += size
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._write(self._intake.write_slices(slices, headers, unreadable), size))
        self._waiting[task] = loop.time()
        task.add_done_callback(self._waiting.pop)

    async def _write(self, writing: Awaitable[Receipt], size: int) -> None:
        try:
            receipt = await writing
            self._settle([failed for _, failed in receipt.failed])
        finally:
            self._backlog_bytes -= size

    def _settle(self, failed: Sequence[Failed]) -> None:
        """Spool what may be stored later; count as lost what may not, or what there is no room for."""
        later = [one.encoded for one in failed if one.reason.retriable] if self._spool is not None else []
        lost = len(failed) - len(later)
        if later:
            try:
                self._to_spool(later)
            except LogUnavailable as error:
                _log.warning("%d fire-and-forget events are lost: %s", len(later), error)
                lost += len(later)
        self._counters.hasty_lost.inc(lost)

    def _to_spool(self, events: Sequence[bytes]) -> None:
        assert self._spool is not None
        self._spool.append(events)
        self._counters.hasty_spooled.inc(len(events))
        self._arrived.set()
        if self._sync is None or self._sync.done():
            self._sync = asyncio.get_running_loop().create_task(self._make_durable(self._spool))

    async def _make_durable(self, spool: Spool) -> None:
        if not self._stopping:
            await asyncio.sleep(SYNC_SECONDS)
        await asyncio.to_thread(spool.sync)

    async def _deliver(self, spool: Spool) -> None:
        """Store what is spooled, oldest first, until the intake stops."""
        while not self._stopping:
            self._arrived.clear()
            damaged = spool.bytes_damaged
            batch = spool.peek(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
            self._counters.hasty_spool_damaged.inc(spool.bytes_damaged - damaged)
            if batch is None:
                await self._arrived.wait()
                continue
            await self._deliver_batch(spool, batch)

    async def _deliver_batch(self, spool: Spool, batch: Batch) -> None:
        """Retry until the log has stored every event of the batch, or the intake stops; then spool the rest again."""
        left: Sequence[bytes] = batch.events
        backoff = Backoff(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX)
        while True:
            try:
                receipt = await self._intake.write_slices(left, NO_HEADERS)
            except HeadwaterError as error:
                # Not JSON: it was when it was received, so the disk changed it in a way no checksum noticed.
                _log.warning("%d spooled events are lost: %s", len(left), error)
                self._counters.hasty_lost.inc(len(left))
                break
            failed = [one for _, one in receipt.failed]
            others = [one for one in failed if not isinstance(one.reason, LogUnavailable)]
            left = [one.encoded for one in failed if isinstance(one.reason, LogUnavailable)]
            # Events that wait for something other than the log move to the end of the queue, so others need not wait.
            self._settle(others)
            if not left and not others:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_pause()):
                    while not self._stopping:
                        await self._arrived.wait()
                        self._arrived.clear()
            if not left:
                break
            if self._stopping:
                if len(left) < len(batch.events):
                    self._settle([one for _, one in receipt.failed if isinstance(one.reason, LogUnavailable)])
                    break
                return
        spool.advance(batch.mark)
