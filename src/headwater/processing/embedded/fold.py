"""Folds a batch through the steps of a job: events and due timers, with the state of each key in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from headwater.jobs.apply import Application
from headwater.jobs.job import Job
from headwater.jobs.scope import Scope
from headwater.jobs.steps import Each, Element, PerKey, Results
from headwater.log.contract import StateChange
from headwater.processing.embedded.keyed_state import KeyedState
from headwater.processing.stores.contract import JobStore


@dataclass(slots=True)
class Batch:
    """The results of a batch so far, and state changes in addition to those of its steps.

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

    def __init__(
        self,
        job: Job,
        steps: Sequence[Each | PerKey],
        store: JobStore,
        turn: LoopTurn,
        scope: Scope,
        *,
        timers_max: int,
    ) -> None:
        self._steps = steps
        self._scope = scope
        self._turn = turn
        self._timers_max = timers_max
        self._state = {step.name: KeyedState(store, job.name, step.name) for step in job.keyed_steps}

    async def fold(self, elements: list[Element], batch: Batch, watermark_ms: int, *, moved_ms: int, due: Due) -> None:
        """Fold `elements`, and the timers that are `due`, through the steps.

        Whether an event is late depends on `watermark_ms`, the watermark before the batch; timers get `moved_ms`, the
        one after it.
        """
        for step in self._steps:
            results = Results([], batch.results.emitted, batch.results.failures, batch.results.late)
            apply = Application(results, watermark_ms, self._scope)
            match step:
                case Each():
                    for element in elements:
                        apply.each(step, element)
                        await self._turn.pause()
                case PerKey():
                    await self._fold_events(step, elements, apply)
                    await self._fold_timers(step, batch, Application(results, moved_ms, self._scope), due)
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

    async def _fold_events(self, step: PerKey, elements: list[Element], apply: Application) -> None:
        state = self._state[step.name]
        keyed = [(apply.key(step, element), element) for element in elements]
        await state.load(key for key, _ in keyed if key is not None)
        for key, element in keyed:
            if key is not None:
                state.put(key, apply.event(step, key, element, state.get(key)))
            await self._turn.pause()

    async def _fold_timers(self, step: PerKey, batch: Batch, apply: Application, due: Due) -> None:
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
            state.put(timer.key, apply.timer(step, timer.key, timer.name, timer.at_ms, before))
            await self._turn.pause()
        batch.fired |= bool(timers)
