"""The loop of a job that waits for other services: it reads, calls and commits at the same time.

How this works: it reads ahead of what is committed, as far as the window allows, and takes each event through the
`Await` steps while others are on their way. The events that are completed leave the window together, in the order they
were read: they are folded through the remaining steps and committed as one batch, as in the loop of other jobs. So the
watermark moves, and an event is found to be late, when it leaves the window. After an error, or if the source has to
read something again, everything in flight is cancelled, and begins again after what is committed: since ids are
derived, what is made of an event is then the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from headwater.jobs.steps import Element, Failure, Results
from headwater.log.contract import Position, StoredRecord, TopicPartition
from headwater.processing.embedded.await_steps import AwaitSteps, Stage
from headwater.processing.embedded.commits import Prepared
from headwater.processing.embedded.elements import elements_of, undecoded
from headwater.processing.embedded.fold import Batch
from headwater.processing.embedded.in_flight import InFlight, InFlightWindow, position_after
from headwater.processing.embedded.read_ahead import ReadAhead, Run

# How long cancelled calls may take to end before they are left behind.
CANCEL_SECONDS = 1.0


class OverlappingLoop:
    """Runs a job with `stages` until it is stopped or, with `drain`, until all input is processed."""

    def __init__(self, run: Run, stages: Sequence[Stage]) -> None:
        self._run = run
        self._stages = stages
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ahead = ReadAhead(run, self._wake.set)
        self._committing: asyncio.Task[None] | None = None
        self._taken: Sequence[InFlight] = ()
        self._batch = Batch()
        self._committed_at = float("-inf")
        # Numbers the reads, if the batches have to be as they were read.
        self._reads = 0
        self._linger: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._is_drained = False
        self._idle_since = run.clock()
        self._window, self._steps = self._new_window()

    async def run(self, *, drain: bool) -> None:
        """Raises what reading and committing raise."""
        stopped = asyncio.ensure_future(self._run.stopping.wait())
        stopped.add_done_callback(lambda _: self._wake.set())
        try:
            end = await self._run.source.end() if drain else None
            while not self._run.stopping.is_set():
                if await self._advance(end):
                    return
                await self._wake.wait()
                self._wake.clear()
            # What is completed needs not be done again.
            await self._finish_commit()
            if self._window.completed:
                await self._release(hold_watermark=self._holds_watermark(drain=drain))
                await self._finish_commit()
        finally:
            stopped.cancel()
            await self._close()

    async def _advance(self, end: Position | None) -> bool:
        """Everything that can be done now. Returns whether all input is processed, which is so only with `end`."""
        if self._error is not None:
            raise self._error
        if self._committing is not None and self._committing.done():
            await self._finish_commit()
        if self._ahead.has_read:
            await self._take_read(end)
        if self._committing is None and self._is_due():
            await self._release(hold_watermark=self._holds_watermark(drain=end is not None))
        if not self._is_drained and self._steps.open_breaker is None and self._ahead.may_read(self._window):
            if end is None and await self._ahead.refresh():
                await self._restart()
            self._ahead.start(self._window, 0.0 if end is not None else self._run.settings.wait_seconds)
        self._report()
        if self._is_drained and not len(self._window):
            await self._run.batches.finish()
            return True
        return False

    async def _take_read(self, end: Position | None) -> None:
        records, has_moved_back = self._ahead.take()
        if has_moved_back:
            await self._restart()
        await self._run.leave_old_rows()
        if records:
            self._idle_since = self._run.clock()
            await self._add_all(records)
        if end is not None:
            self._is_drained = not records or self._ahead.has_reached(end)
        elif not records and not len(self._window) and self._committing is None:
            await self._run.retries.of(self._run.store.flush)
            await self._run.batches.process_idleness(self._idle_since)

    async def _restart(self) -> None:
        """The source moved back: what is in flight is not what it has now."""
        await self._finish_commit()
        tasks = self._steps.close()
        self._window, self._steps = self._new_window()
        self._ahead.restart()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

    async def _add_all(self, records: Sequence[StoredRecord]) -> None:
        """Start with these records. If they fail each time, they are set aside."""
        source = self._run.source
        after = source.after(records)
        if await self._run.set_aside(records):
            return
        source.position = after
        self._run.current(records)
        self._reads += self._run.settings.history
        refused = source.refused(records)
        for index, record in enumerate(records):
            event = self._window.add(record, len(record.value), self._reads)
            if (error := refused.get(index)) is None:
                elements = self._decoded(record, event)
            else:
                elements = []
                failed = undecoded(record, self._run.streams[record.topic])
                event.results.failures.append(Failure(failed, "input", error))
            self._steps.add(event, elements)
            await self._run.turn.pause()
        self._run.current(())

    def _decoded(self, record: StoredRecord, event: InFlight) -> list[Element]:
        def saw(part: TopicPartition, at_ms: int) -> None:
            event.seen = (part, at_ms)

        return self._elements(record, saw, event.results)

    def _elements(
        self, record: StoredRecord, saw: Callable[[TopicPartition, int], None], results: Results
    ) -> list[Element]:
        run = self._run
        now_ms = int(run.clock() * 1000)
        return elements_of([record], run.streams, saw, results, now_ms=now_ms, canaries=run.job.canaries)

    def _holds_watermark(self, *, drain: bool) -> bool:
        return drain and not self._run.settings.history

    def _is_due(self) -> bool:
        """Whether to commit what is completed, or to wait until there is more: a commit of each event alone is dear."""
        window, settings = self._window, self._run.settings
        count = len(window.completed)
        if not count:
            return False
        if count >= settings.batch_records_max or not window.running or not window.room:
            return True
        left = self._committed_at + settings.commit_seconds - self._loop.time()
        if left <= 0:
            return True
        if self._linger is None:
            self._linger = self._loop.call_later(left, self._wake.set)
        return False

    async def _release(self, *, hold_watermark: bool) -> None:
        """Fold the completed events through the remaining steps, and start to commit."""
        run, settings = self._run, self._run.settings
        taken = self._window.take(settings.batch_records_max, settings.batch_bytes_max)
        batch = Batch()
        elements: list[Element] = []
        read: set[TopicPartition] = set()
        watermarks = run.batches.watermarks
        for event in taken:
            elements += event.results.items
            batch.results.emitted += event.results.emitted
            batch.results.failures += event.results.failures
            batch.changes += event.changes
            if event.record is not None:
                read.add((event.record.topic, event.record.partition))
            if event.seen is not None:
                watermarks.saw(*event.seen)
        run.current(_records(taken))
        self._stop_lingering()
        self._committed_at = self._loop.time()
        self._taken, self._batch = taken, batch
        try:
            position = position_after(self._ahead.processed, taken)
            prepared = await run.batches.folded(elements, batch, position, read=read, hold_watermark=hold_watermark)
        except Exception as error:
            run.suspects.failed(_records(taken), error)
            raise
        run.current(())
        self._steps.watermark_ms = watermarks.watermark_ms
        self._committing = asyncio.ensure_future(self._commit(prepared))
        self._committing.add_done_callback(lambda _: self._wake.set())

    async def _commit(self, prepared: Prepared) -> None:
        await self._run.batches.store(prepared)
        await self._run.source.committed(prepared.position)

    async def _finish_commit(self) -> None:
        """Wait for the commit that was started, if there is one, and let its events leave the window."""
        if self._committing is None:
            return
        # If this is cancelled, `_close` waits for the commit.
        await asyncio.wait((self._committing,))
        committing, self._committing = self._committing, None
        taken, self._taken = self._taken, ()
        if (error := committing.exception()) is not None:
            self._run.suspects.failed(_records(taken), error)
            raise error
        self._window.committed(taken)
        read = sum(event.record is not None for event in taken)
        self._run.status.read(read, self._run.batches.watermarks.watermark_ms)
        await self._run.batches.fire_rest(self._batch)
        self._steps.start()

    def _new_window(self) -> tuple[InFlightWindow, AwaitSteps]:
        run = self._run
        window = InFlightWindow(run.settings.in_flight_events_max, run.settings.in_flight_bytes_max, self._advanced)
        steps = AwaitSteps(
            self._stages,
            window,
            scope=run.scope,
            decode=lambda record: self._elements(record, lambda part, at_ms: None, Results()),
            status=run.status,
            probe_seconds=(run.settings.probe_seconds, run.settings.probe_seconds_max),
            on_change=self._wake.set,
            on_error=self._fail,
        )
        steps.watermark_ms = run.batches.watermarks.watermark_ms
        return window, steps

    def _advanced(self) -> None:
        """More events are completed."""
        if self._window.bytes >= self._run.settings.in_flight_bytes_max:
            # Another event is now the one that all others wait for.
            self._loop.call_soon(self._steps.start)
        self._wake.set()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._wake.set()

    def _report(self) -> None:
        breaker = self._steps.open_breaker
        reason = None if breaker is None else breaker.reason
        self._run.status.calls.now(len(self._window), self._window.bytes, self._steps.waiting, reason)

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    async def _close(self) -> None:
        self._stop_lingering()
        tasks: list[asyncio.Task[Any]] = list(self._steps.close())
        tasks += self._ahead.close()
        try:
            if self._committing is not None:
                # The next run must find either all of a commit or nothing.
                await asyncio.wait((self._committing,))
        finally:
            if tasks:
                await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
            for task in (*tasks, self._committing):
                if task is not None and task.done() and not task.cancelled():
                    task.exception()
            self._run.status.calls.now(0, 0, 0, None)


def _records(events: Sequence[InFlight]) -> list[StoredRecord]:
    return [event.record for event in events if event.record is not None]
