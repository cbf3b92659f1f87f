"""Folds a batch through the steps of a job: events and due timers, with the state of each key in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from headwater.jobs.job import Job
from headwater.jobs.steps import Each, Element, PerKey, Results, Step, apply_each, apply_event, apply_timer, key_of
from headwater.log.contract import StateChange
from headwater.processing.embedded.keyed_state import KeyedState
from headwater.processing.stores.contract import JobStore


@dataclass(slots=True)
class Batch:
    """The results of a batch so far, and state changes beside those of its steps.

    `fired`: whether any timer fired; `more`: whether due timers are left.
    """

    results: Results = field(default_factory=Results)
    changes: list[StateChange] = field(default_factory=list)
    fired: bool = False
    more: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """Up to when timers fire (epoch milliseconds); None fires none. `strict_ms`: those that do not fire when idle."""

    until_ms: int
    strict_ms: int | None


class LoopTurn:
    """Yields the event loop, which the rest of the process shares, after each `seconds` of work."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = 0.0

    async def pause(self) -> None:
        """Let other tasks run if the time is over."""
        if time.perf_counter() - self._began > self._seconds:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


class StepFold:
    """Folds through `steps` of one job, with the state in `store`. Belongs to one run of one runner."""

    def __init__(self, job: Job, steps: Sequence[Step], store: JobStore, turn: LoopTurn, *, timers_max: int) -> None:
        self._steps = steps
        self._turn = turn
        self._timers_max = timers_max
        self._state = {step.name: KeyedState(store, job.name, step.name) for step in job.keyed_steps}

    async def fold(self, elements: list[Element], batch: Batch, watermark_ms: int, *, moved_ms: int, due: Due) -> None:
        """Fold `elements`, and the timers that are `due`, through the steps.

        Whether an event is late depends on `watermark_ms`, the watermark before the batch; timers get `moved_ms`, the
        one after it.
        """
        for step in self._steps:
            results = Results(failures=batch.results.failures, late=batch.results.late)
            match step:
                case Each():
                    for element in elements:
                        apply_each(step, element, watermark_ms, results)
                        await self._turn.pause()
                case PerKey():
                    await self._fold_events(step, elements, watermark_ms, results)
                    await self._fold_timers(step, batch, results, moved_ms, due)
                case _:
                    assert_never(step)
            elements = results.items
        batch.results.items = elements

    def changes(self) -> list[StateChange]:
        """The state changes for the next commit."""
        return [change for state in self._state.values() for change in state.changes()]

    def committed(self) -> None:
        """The changes were committed."""
        for state in self._state.values():
            state.committed()

    async def _fold_events(self, step: PerKey, elements: list[Element], watermark_ms: int, results: Results) -> None:
        state = self._state[step.name]
        keyed = [(key_of(step, element, watermark_ms, results), element) for element in elements]
        await state.load(key for key, _ in keyed if key is not None)
        for key, element in keyed:
            if key is not None:
                before = state.get(key)
                state.put(key, apply_event(step, key, element, before, watermark_ms=watermark_ms, results=results))
            await self._turn.pause()

    async def _fold_timers(self, step: PerKey, batch: Batch, results: Results, watermark_ms: int, due: Due) -> None:
        state, limit = self._state[step.name], self._timers_max
        timers = await state.due(due.until_ms, strict=False, timers_max=limit)
        if len(timers) >= limit:
            batch.more = True
        elif due.strict_ms is not None:
            # Only when no others wait: a window must not forget before it has emitted its result.
            timers += await state.due(due.strict_ms, strict=True, timers_max=limit)
            batch.more |= len(timers) >= limit
        for timer in timers:
            before = state.get(timer.key)
            after = apply_timer(
                step, timer.key, timer.name, timer.at_ms, before, watermark_ms=watermark_ms, results=results
            )
            state.put(timer.key, after)
            await self._turn.pause()
        batch.fired |= bool(timers)
