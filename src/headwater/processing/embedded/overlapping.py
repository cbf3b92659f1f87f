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
from functools import partial
from typing import Any

from headwater.jobs.steps import Element, Failure, Results
from headwater.log.contract import Position, StoredRecord, TopicPartition
from headwater.processing.calls_status import CallsReport
from headwater.processing.embedded.await_steps import AwaitSteps, Stage
from headwater.processing.embedded.breaker import Breaker
from headwater.processing.embedded.commits import Prepared
from headwater.processing.embedded.elements import undecoded
from headwater.processing.embedded.fold import Batch
from headwater.processing.embedded.in_flight import InFlight, InFlightWindow, position_after
from headwater.processing.embedded.parking import Parking
from headwater.processing.embedded.read_ahead import ReadAhead, Run, elements_in
from headwater.processing.embedded.watermark import Seen
from headwater.processing.failures.causes import INPUT, PROCESS

# How long cancelled calls may take to end before they are left behind.
CANCEL_SECONDS = 1.0
PARKED_LOOK_SECONDS = 30.0


class OverlappingLoop:
    """Runs a job with `stages` until it is stopped or, with `drain`, until all input is processed."""

    def __init__(self, run: Run, stages: Sequence[Stage], *, drain: bool) -> None:
        self._run = run
        self._drain = drain
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
        # Whether no event is late, and no timer fires, until all input is processed.
        self._holds_watermark = drain and not run.settings.history
        self._parking: Parking | None = None
        self._due: asyncio.TimerHandle | None = None
        self._idle_since = run.clock()
        self._window, self._steps = self._new_window()

    async def run(self) -> None:
        """Raises what reading and committing raise."""
        stopped = asyncio.ensure_future(self._run.stopping.wait())
        stopped.add_done_callback(lambda _: self._wake.set())
        try:
            await self._load_parked()
            end = await self._run.source.end() if self._drain else None
            while not self._run.stopping.is_set():
                if await self._advance(end):
                    return
                await self._wake.wait()
                self._wake.clear()
            # What is completed needs not be done again.
            await self._finish_commit()
            if self._window.completed:
                await self._release()
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
            await self._release()
        if not self._is_drained and self._steps.open_breaker is None and self._ahead.may_read(self._window):
            if end is None and await self._ahead.refresh():
                await self._restart()
            self._ahead.start(self._window, 0.0 if end is not None else self._run.settings.wait_seconds)
        await self._resume_parked()
        self._report()
        if self._is_drained and not len(self._window) and (self._parking is None or not self._parking.events):
            if not self._run.settings.hands_over:
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

    async def _load_parked(self) -> None:
        """Find what is parked, if the job parks events."""
        run = self._run
        if not run.job.parks:
            return
        settings = run.settings
        self._parking = Parking(
            run.job.name,
            run.store,
            events_max=settings.parked_events_max,
            bytes_max=settings.parked_bytes_max,
            now_ms=lambda: int(run.clock() * 1000),
        )
        await self._parking.load()
        self._window, self._steps = self._new_window()

    async def _resume_parked(self) -> None:
        """Try the parked events again whose time has come; if all other input is processed, the others, too."""
        parking, window = self._parking, self._window
        if parking is None or self._steps.open_breaker is not None or not window.room or self._ahead.is_one_by_one:
            return
        due_in_ms = parking.due_in_ms()
        is_last = self._is_drained and not len(window)
        if due_in_ms is None or (due_in_ms > 0 and not is_last):
            if due_in_ms is not None and (self._due is None or self._due.when() < self._loop.time()):
                # The clock may be changed meanwhile.
                self._due = self._loop.call_later(min(due_in_ms / 1000, PARKED_LOOK_SECONDS), self._wake.set)
            return
        for due in await parking.take_due(window.room, everything=is_last):
            event = window.add(due.event.record, len(due.event.record.value), self._reads)
            event.was_parked, event.row = True, due.number
            if (error := self._run.suspects.parked_verdict(due.number)) is None:
                self._steps.resume(event, due)
            else:
                failed = elements_in(self._run, event.record, lambda seen: None, Results())
                self._steps.give_up(event, due, [Failure(element, PROCESS, error) for element in failed])
            await self._run.turn.pause()

    async def _restart(self) -> None:
        """The source moved back: what is in flight is not what it has now."""
        await self._finish_commit()
        tasks = self._steps.close()
        self._run.flight.tried()
        await self._load_parked()
        self._window, self._steps = self._new_window()
        self._ahead.restart()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

    async def _add_all(self, records: Sequence[StoredRecord]) -> None:
        """Start with these records. If they fail each time, they are set aside."""
        source, turn = self._run.source, self._run.turn
        after = source.after(records)
        if await self._run.set_aside(records):
            return
        source.position = after
        self._run.current(records)
        flight = self._run.flight
        flight.reads(after)
        if (alone := self._run.suspects.alone(records)) is not None:
            # Until it is committed.
            flight.tries(alone)
        self._reads += self._run.settings.history
        refused = source.refused(records)
        for index, record in enumerate(records):
            event = self._window.add(record, len(record.value), self._reads)
            if (error := refused.get(index)) is None:
                elements = self._decoded(record, event)
            else:
                elements = []
                failed = undecoded(record, self._run.streams[record.topic])
                event.results.failures.append(Failure(failed, INPUT, error))
            if alone is None:
                self._steps.add(event, elements)
            else:
                with flight.runs():
                    self._steps.add(event, elements)
            if turn.is_over:
                await turn.pause()
        self._run.current(())

    def _decoded(self, record: StoredRecord, event: InFlight) -> list[Element]:
        def saw(seen: Seen) -> None:
            event.seen = seen

        return elements_in(self._run, record, saw, event.results)

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

    async def _release(self) -> None:
        """Fold the completed events through the remaining steps, and start to commit."""
        run, settings = self._run, self._run.settings
        taken = _together(run, self._window.take(settings.batch_records_max, settings.batch_bytes_max))
        batch = Batch()
        elements: list[Element] = []
        read: set[TopicPartition] = set()
        watermarks = run.batches.watermarks
        for event in taken:
            results = event.results
            elements += results.items
            _add_rest(batch.results, results)
            batch.changes += event.changes
            if not event.was_parked:
                read.add((event.record.topic, event.record.partition))
            # An event that was rejected does not move the watermark.
            if event.seen is not None and not results.failures:
                batch.seen.append(event.seen)
        run.current(_records(taken))
        self._stop_lingering()
        self._committed_at = self._loop.time()
        self._taken, self._batch = taken, batch
        try:
            position = position_after(self._ahead.processed, taken)
            prepared = await run.batches.folded(
                elements, batch, position, read=read, hold_watermark=self._holds_watermark
            )
        except Exception as error:
            run.suspects.failed(_records(taken), error, _rows(taken))
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
            self._run.current(_records(taken))
            self._run.suspects.failed(_records(taken), error, _rows(taken))
            raise error
        for row in _rows(taken):
            self._run.suspects.committed(row)
        self._window.committed(taken)
        self._run.flight.tried()
        if self._parking is not None:
            self._parking.committed(self._batch.changes)
        records = _records(taken)
        self._run.status.read(len(records), self._run.batches.watermarks.watermark_ms)
        self._run.status.latency.committed(records, int(self._run.clock() * 1000))
        await self._run.batches.fire_rest(self._batch)
        self._steps.start()

    def _new_window(self) -> tuple[InFlightWindow, AwaitSteps]:
        run = self._run
        window = InFlightWindow(run.settings.in_flight_events_max, run.settings.in_flight_bytes_max, self._advanced)
        steps = _steps_of(
            run, self._stages, window, self._parking, opens=not self._drain, changed=self._wake.set, failed=self._fail
        )
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
        parked = (0, 0) if self._parking is None else (self._parking.events, self._parking.bytes)
        window = self._window
        self._run.status.calls.now(CallsReport(len(window), window.bytes, self._steps.waiting, *parked), reason)

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    async def _close(self) -> None:
        self._stop_lingering()
        if self._due is not None:
            self._due.cancel()
        tasks: list[asyncio.Task[Any]] = list(self._steps.close())
        tasks += self._ahead.close()
        try:
            if self._committing is not None:
                # The next run must find either all of a commit or nothing.
                await asyncio.wait((self._committing,))
        finally:
            self._run.flight.tried()
            if tasks:
                await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
            for task in (*tasks, self._committing):
                if task is not None and task.done() and not task.cancelled():
                    task.exception()
            self._run.status.calls.ended()


def _steps_of(
    run: Run,
    stages: Sequence[Stage],
    window: InFlightWindow,
    parking: Parking | None,
    *,
    opens: bool,
    changed: Callable[[], None],
    failed: Callable[[Exception], None],
) -> AwaitSteps:
    """The stages of one window; `opens`: whether their circuits may open."""
    steps = AwaitSteps(
        stages,
        window,
        scope=run.scope,
        decode=lambda record: elements_in(run, record, lambda seen: None, Results()),
        status=run.status,
        parking=parking,
        new_breaker=partial(
            Breaker,
            pause_seconds=run.settings.probe_seconds,
            pause_seconds_max=run.settings.probe_seconds_max,
            opens=opens,
        ),
        on_change=changed,
        on_error=failed,
    )
    steps.watermark_ms = run.batches.watermarks.watermark_ms
    steps.flight = run.flight
    return steps


def _together(run: Run, events: list[InFlight]) -> list[InFlight]:
    """The first of these events that may be committed together.

    A parked event that made a batch fail is committed alone, and an event that the job stops in front of is not
    committed with those before it.
    """

    def is_apart(event: InFlight) -> bool:
        return run.suspects.is_suspect(event.row) or (run.job.on_error == "stop" and bool(event.results.failures))

    first = next((at for at, event in enumerate(events) if is_apart(event)), len(events))
    return events[: max(1, first)]


def _add_rest(to: Results, results: Results) -> None:
    """Add what becomes of an event besides the items for the next step; most have none."""
    if results.emitted or results.failures or results.resumed or results.redriven:
        to.emitted += results.emitted
        to.failures += results.failures
        to.resumed += results.resumed
        to.redriven += results.redriven


def _rows(events: Sequence[InFlight]) -> list[int]:
    return [event.row for event in events if event.row is not None]


def _records(events: Sequence[InFlight]) -> list[StoredRecord]:
    return [event.record for event in events if not event.was_parked]
