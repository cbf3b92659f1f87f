"""Folds a batch through the steps of a job: events and due timers, with the state of each key in memory."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from headwater.jobs.apply import Application
from headwater.jobs.job import Job
from headwater.jobs.scope import Scope
from headwater.jobs.steps import Each, Element, PerKey, Results
from headwater.log.contract import StateChange
from headwater.processing.embedded.keyed_state import KeyedState, TimerKind, timers_of
from headwater.processing.embedded.row_state import RowState
from headwater.processing.embedded.state_sizes import Size
from headwater.processing.embedded.watermark import Seen
from headwater.processing.failures.causes import OUTPUT
from headwater.processing.flight_recorder import JobFlight
from headwater.processing.stores.contract import JobStore

EVENT_KINDS = (TimerKind.EVENT_OR_IDLE, TimerKind.EVENT)
# Later than any event time.
END_OF_TIME = 2**61


@dataclass(slots=True)
class Batch:
    """The results of a batch so far, and state changes in addition to those of its steps.

    `fired`: whether any timer fired; `more`: whether due timers are left.
    """

    results: Results = field(default_factory=Results)
    changes: list[StateChange] = field(default_factory=list)
    # The events that were read; the watermark follows those that are not rejected.
    seen: list[Seen] = field(default_factory=list)
    fired: bool = False
    more: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """Up to when timers fire (epoch milliseconds); None fires none. `strict_ms`: those that do not fire when idle;
    `wall_ms`: those that the wall clock fires.
    """

    until_ms: int
    strict_ms: int | None
    wall_ms: int | None = None

    def of_kinds(self, delay_ms: int) -> list[tuple[TimerKind, int]]:
        """Each kind that fires and up to when, in order, for a step whose input is delayed by this much."""
        found = [(TimerKind.EVENT_OR_IDLE, self.until_ms - delay_ms)]
        if self.strict_ms is not None:
            found.append((TimerKind.EVENT, self.strict_ms - delay_ms))
        if self.wall_ms is not None:
            found.append((TimerKind.WALL, self.wall_ms))
        return found


class LoopTurn:
    """Yields the event loop, which the rest of the process shares, after each `seconds` of work."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the time is over: asked for each event, it costs less than a call of `pause`."""
        return time.perf_counter() - self._began > self._seconds

    async def pause(self) -> None:
        """Let other tasks run if the time is over."""
        if self.is_over:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


class _Stage(NamedTuple):
    """A step; as a PerKey, if it is one; and for how long in all the steps before it may hold an event.

    `one_by_one`: the timers of a key fire before an event of the key that is later.
    """

    step: Each | PerKey
    keyed: PerKey | None
    delay_ms: int
    one_by_one: bool


class StepFold:
    """Folds through `steps` of one job, with the state in `store`. Belongs to one run of one runner."""

    def __init__(
        self,
        job: Job,
        steps: Sequence[Each | PerKey],
        store: JobStore,
        turn: LoopTurn,
        scope: Scope,
        *,
        timers_max: int,
        one_by_one: bool = False,
        flight: JobFlight,
    ) -> None:
        """`one_by_one`: the timers of a key fire before an event of the key that is later, as if the watermark moved
        with each event: over history a batch may be years long."""
        self.one_by_one = one_by_one
        self._flight = flight
        self._scope = scope
        self._out_of_order_ms = job.out_of_order_ms
        self._turn = turn
        self._timers_max = timers_max
        self._state = {step.name: KeyedState(store, job.name, step.name) for step in job.keyed_steps}
        self._rows = {step.name: RowState(store, job.name, step.name) for step in job.keyed_steps if step.keeps_rows}
        keyed = {step.name: step for step in job.keyed_steps}
        self._stages: list[_Stage] = []
        delay_ms, is_in_order = 0, one_by_one
        for step in steps:
            of_key = keyed.get(step.name)
            self._stages.append(_Stage(step, of_key, delay_ms, is_in_order))
            if of_key is not None:
                delay_ms += of_key.delay_ms
                is_in_order &= not of_key.timers_emit

    async def fold_events(self, elements: list[Element], batch: Batch, watermark_ms: int) -> None:
        """Fold `elements` through the steps. Whether one is late depends on `watermark_ms`, that before the batch."""
        work = self._fold(elements, batch, watermark_ms)
        await (self._flight.marked(work) if self._flight.is_trying else work)

    async def _fold(self, elements: list[Element], batch: Batch, watermark_ms: int) -> None:
        resumed = batch.results.resumed
        for stage in self._stages:
            if resumed:
                elements = [*elements, *(element for name, element in resumed if name == stage.step.name)]
            elements = await self._through(stage, elements, batch, watermark_ms)
        batch.results.items = [*elements, *(element for name, element in resumed if name == OUTPUT)]

    async def fold_timers(self, batch: Batch, watermark_ms: int, *, moved_ms: int, due: Due) -> None:
        """Fire the timers of each step that are `due`, and fold what they emit through the steps after it.

        The timers get `moved_ms`, the watermark after the batch.
        """
        made = batch.results
        emitted: list[Element] = []
        for stage in self._stages:
            if emitted:
                emitted = await self._through(stage, emitted, batch, watermark_ms)
            # While timers of a step wait for the next commit, those after it could not yet have all of its events.
            if stage.keyed is not None and not batch.more:
                results = Results(emitted, made.emitted, made.failures, made.late, made.dropped)
                apply = Application(results, moved_ms - stage.delay_ms, self._scope)
                await self._fold_timers(stage.keyed, batch, apply, due, stage.delay_ms)
        made.items += emitted

    def changes(self) -> list[StateChange]:
        """The state changes for the next commit."""
        changes = [change for state in self._state.values() for change in state.changes()]
        return [*changes, *(change for rows in self._rows.values() for change in rows.changes())]

    def size_changes(self) -> dict[str, Size]:
        """By how much the `changes` that were asked for last change the size of each step's state."""
        found = {}
        for name, state in self._state.items():
            keys, size = state.size_change
            rows = self._rows.get(name)
            found[name] = keys, size + (rows.size_change if rows is not None else 0)
        return found

    def committed(self) -> None:
        """The changes were committed."""
        for state in self._state.values():
            state.committed()
        for rows in self._rows.values():
            rows.committed()

    async def _through(self, stage: _Stage, elements: list[Element], batch: Batch, watermark_ms: int) -> list[Element]:
        made = batch.results
        results = Results([], made.emitted, made.failures, made.late, made.dropped)
        apply = Application(results, watermark_ms - stage.delay_ms, self._scope)
        match stage.step:
            case Each() as step:
                for element in elements:
                    apply.each(step, element)
                    if self._turn.is_over:
                        await self._turn.pause()
            case PerKey() as step:
                await self._fold_events(step, elements, apply, stage)
            case _:
                assert_never(stage.step)
        return results.items

    async def _fold_events(self, step: PerKey, elements: list[Element], apply: Application, stage: _Stage) -> None:
        state, rows, turn = self._state[step.name], self._rows.get(step.name), self._turn
        keyed = []
        for element in elements:
            if (found := apply.key(step, element)) is not None:
                keyed.append((*found, element))
            if turn.is_over:
                await turn.pause()
        await state.load([key for key, _, _ in keyed])
        if rows is not None:
            await rows.load((key, state.get(key)) for key, _, _ in keyed)
        for key, context, element in keyed:
            of_key = None if rows is None else rows.of(key)
            if stage.one_by_one:
                watermark_ms = element.event_time_ms - self._out_of_order_ms - stage.delay_ms
                self._fire_before(step, key, watermark_ms, apply)
            state.put(key, apply.event(step, key, element, state.get(key), context, rows=of_key))
            if turn.is_over:
                await turn.pause()

    def _fire_before(self, step: PerKey, key: bytes, watermark_ms: int, apply: Application) -> None:
        """Fire the timers of a loaded key for times before this watermark, in order."""
        state, rows = self._state[step.name], self._rows.get(step.name)
        while True:
            cell = state.get(key)
            # Of several at one time, those that also fire when idle come first, as elsewhere.
            timers = (one for kind in EVENT_KINDS for one in timers_of(key, cell, kind))
            due = min(timers, key=lambda one: one.at_ms, default=None)
            if due is None or due.at_ms >= watermark_ms:
                return
            moved = Application(apply.results, max(apply.watermark_ms, due.at_ms), self._scope)
            of_key = None if rows is None else rows.of(key)
            if of_key is not None:
                of_key.until_ms = due.at_ms
            state.put(key, moved.timer(step, key, due.name, due.at_ms, cell, rows=of_key))

    async def _fold_timers(self, step: PerKey, batch: Batch, apply: Application, due: Due, delay_ms: int) -> None:
        # What a timer does is not because of the event that moved the watermark.
        self._flight.tried()
        # At the end of the input every time has come: a timer that sets itself again would never end.
        set_again = due.until_ms < END_OF_TIME
        for kind, until_ms in due.of_kinds(delay_ms):
            fired = await self._fire(step, apply, kind, until_ms, set_again=set_again)
            batch.fired |= fired > 0
            if fired >= self._timers_max:
                # The other kinds wait: a window must not forget before it has emitted its result.
                batch.more = True
                return

    async def _fire(self, step: PerKey, apply: Application, kind: TimerKind, until_ms: int, *, set_again: bool) -> int:
        """Fire the due timers of one kind, as many as may be; how many.

        `set_again`: those that they set, for a later time that has come as well, fire with them, in order of time.
        """
        state, rows = self._state[step.name], self._rows.get(step.name)
        due = await state.due(until_ms, kind, timers_max=self._timers_max)
        if rows is not None:
            await rows.load((timer.key, state.get(timer.key)) for timer in due)
        fired = 0
        while due and fired < self._timers_max:
            timer = heapq.heappop(due)
            of_key = None if rows is None else rows.of(timer.key)
            if of_key is not None:
                of_key.until_ms = until_ms
            before = state.get(timer.key)
            after = apply.timer(step, timer.key, timer.name, timer.at_ms, before, rows=of_key)
            state.put(timer.key, after)
            if set_again and after.timers and after is not before:
                for set_timer in timers_of(timer.key, after, kind):
                    if timer.at_ms < set_timer.at_ms <= until_ms and set_timer not in due:
                        heapq.heappush(due, set_timer)
            fired += 1
            if self._turn.is_over:
                await self._turn.pause()
        return fired
