"""The steps of a job up to its last `Await`, through which many events go at the same time.

How this works: each `Await` step, with the `Each` steps before it, is a stage. An event goes through the stages one
after the other; what a stage makes of it goes to the next one in the order of the events, so that the events of a key
stay in order in each stage. After the last stage it is done, and waits in the window for those before it.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec
import orjson

from headwater.errors import JobInvalid
from headwater.jobs.apply import Application
from headwater.jobs.job import Job
from headwater.jobs.outcomes import NotYet, Postpone, Retry
from headwater.jobs.scope import Scope
from headwater.jobs.steps import Await, Each, Element, Failure, PerKey, Results
from headwater.log.contract import StoredRecord
from headwater.processing.embedded.breaker import Breaker
from headwater.processing.embedded.calls import Call, StepCalls
from headwater.processing.embedded.in_flight import InFlight, InFlightWindow
from headwater.processing.embedded.parking import Due, Parking, element_of
from headwater.processing.flight_recorder import JobFlight
from headwater.processing.status import RunnerStatus

# How often an event may be postponed: no event is retried for ever.
POSTPONED_MAX = 100_000
# Makes the elements of a record, as they were when it was read.
Decode = Callable[[StoredRecord], list[Element]]


@dataclass(frozen=True, slots=True)
class Stage:
    """An `Await` step with the `Each` steps since the one before it."""

    before: tuple[Each, ...]
    step: Await


def divided(job: Job) -> tuple[list[Stage], list[Each | PerKey]]:
    """The stages of a job, and its steps after them: a job has no `Await` after a `PerKey`."""
    stages: list[Stage] = []
    before: list[Each] = []
    rest: list[Each | PerKey] = []
    for step in job.steps:
        match step:
            case Each():
                before.append(step)
                rest.append(step)
            case PerKey():
                rest.append(step)
            case Await():
                stages.append(Stage(tuple(before), step))
                before, rest = [], []
            case _:
                assert_never(step)
    return stages, rest


class AwaitSteps:
    """The stages of one run. `on_error` is called if it cannot continue."""

    def __init__(
        self,
        stages: Sequence[Stage],
        window: InFlightWindow,
        *,
        scope: Scope,
        decode: Decode,
        status: RunnerStatus,
        new_breaker: Callable[[Callable[[], None], Callable[[], None]], Breaker],
        parking: Parking | None,
        on_change: Callable[[], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.watermark_ms = 0
        self.window = window
        self.scope = scope
        self.decode = decode
        self.status = status
        self.new_breaker = new_breaker
        self.parking = parking
        self.on_change = on_change
        self.on_error = on_error
        self.flight = JobFlight()
        self._stages = [_StageRun(self, number, stage) for number, stage in enumerate(stages)]

    def add(self, event: InFlight, elements: list[Element]) -> None:
        """Take an event, in order, through all stages."""
        self.enter(0, event, elements)

    def resume(self, event: InFlight, due: Due) -> None:
        """Take an event that was parked through its stages again, from the one on in which it was parked."""
        names = [stage.name for stage in self._stages]
        if due.event.step not in names:
            missing = JobInvalid(f"The step {due.event.step!r}, in which the event was parked, is not in the job.")
            self.give_up(
                event, due, [Failure(element, due.event.step, missing) for element in self.decode(due.event.record)]
            )
            return
        self._stages[names.index(due.event.step)].resumed[event.number] = due
        self.enter(0, event, [])

    def give_up(self, event: InFlight, due: Due, failures: list[Failure]) -> None:
        """Let an event that was parked be these failures, without another call."""
        assert self.parking is not None
        event.results.failures += failures
        event.changes.append(self.parking.delete(due.number, due.event.step, due.event.key))
        self.enter(0, event, [])

    def enter(self, number: int, event: InFlight, elements: list[Element]) -> None:
        """Take an event through the stages from this one on."""
        if number < len(self._stages):
            self._stages[number].enter(event, elements)
        else:
            event.results.items = elements
            self.window.done(event)

    def start(self) -> None:
        """Start calls for which there was no memory."""
        for stage in self._stages:
            stage.calls.start()

    @property
    def open_breaker(self) -> Breaker | None:
        """The circuit that is open; None if none is."""
        return next((stage.calls.breaker for stage in self._stages if stage.calls.breaker.is_open), None)

    @property
    def waiting(self) -> int:
        """How many events wait to be tried again."""
        return sum(stage.calls.waiting for stage in self._stages)

    def close(self) -> list[asyncio.Task[Results]]:
        """Cancel all calls; the tasks that were cancelled."""
        return [task for stage in self._stages for task in stage.calls.close()]


class _StageRun:
    """One stage: hands the events to the calls of its step in order, and collects the results of each event."""

    def __init__(self, steps: AwaitSteps, number: int, stage: Stage) -> None:
        self._steps = steps
        self._number = number
        self._before = stage.before
        self._step = stage.step
        self.name = stage.step.name
        # Parked events that are on their way here, by their number in flight.
        self.resumed: dict[int, Due] = {}
        breaker = steps.new_breaker(self._changed, self._probe)
        self.calls = StepCalls(stage.step, self, breaker)
        # For attempts, whose results are their own.
        self._application = Application(Results(), steps.watermark_ms, steps.scope)
        # Events of which not all calls have ended: how many, and the results so far.
        self._pending: dict[int, tuple[list[Results | None], int]] = {}
        # In later stages: the number of the next event, and those that came before their turn.
        self._next = 1
        self._early: dict[int, tuple[InFlight, list[Element]]] = {}

    def enter(self, event: InFlight, elements: list[Element]) -> None:
        """Take an event, or let it wait until all before it have come."""
        if self._number == 0:
            self._take(event, elements)
            return
        self._early[event.number] = (event, elements)
        while (found := self._early.pop(self._next, None)) is not None:
            self._next += 1
            self._take(*found)

    def attempt(self, call: Call) -> Coroutine[Any, Any, Results]:
        self._application.watermark_ms = self._steps.watermark_ms
        made, flight = self._application.attempt(self._step, call.element, call.attempts), self._steps.flight
        return flight.marked(made) if flight.is_trying else made

    def restore(self, call: Call) -> None:
        if call.kept is not None:
            call.element = copy.deepcopy(call.kept)
        elif self._number == 0:
            elements = self._through_before(self._steps.decode(call.event.record), Results())
            call.element = elements[call.order[1]]

    def may_call(self, event: InFlight) -> bool:
        return self._steps.window.may_call(event)

    def ended(self, call: Call, results: Results) -> None:
        event = call.event
        if call.row is not None and not call.is_parked:
            event.changes.append(self._parking.delete(call.row, self.name, call.key))
        made, left = self._pending[event.number]
        made[call.place] = results
        for made_of_it in (results.items, results.emitted):
            for element in made_of_it:
                self._steps.window.grow(event, _size(element))
        if left > 1:
            self._pending[event.number] = (made, left - 1)
            return
        del self._pending[event.number]
        self._pass_on(event, [one for one in made if one is not None])

    def gave_up(self, call: Call, error: BaseException) -> Results:
        retry = self._step.retry
        pause_ms = None if retry is None else _park_ms(call, error, retry)
        if pause_ms is not None and isinstance(error, Postpone) and error.event is not None:
            call.kept = call.element = msgspec.structs.replace(call.element, value=error.event)
        if retry is None or pause_ms is None or not self._park(call, pause_ms, retry.hold_key):
            return Results(failures=[Failure(call.element, self.name, error)])
        return Results(emitted=list(error.emitted) if isinstance(error, Postpone) else [])

    def holds(self, call: Call) -> bool:
        parking = self._steps.parking
        return parking is not None and parking.holds(self.name, call)

    def queued(self, call: Call) -> Results:
        if self._park(call, None, True):
            return Results()
        full = NotYet("an earlier event of its key is parked, and no more events can be parked")
        return Results(failures=[Failure(call.element, self.name, full)])

    def _park(self, call: Call, pause_ms: int | None, hold_key: bool) -> bool:
        """Whether there was room."""
        with_value = self._number > 0 or call.kept is not None
        change = self._parking.park(self.name, call, pause_ms, hold_key=hold_key, with_value=with_value)
        if change is None:
            return False
        call.is_parked = True
        call.event.changes.append(change)
        return True

    @property
    def _parking(self) -> Parking:
        assert self._steps.parking is not None
        return self._steps.parking

    def retries(self) -> None:
        self._steps.status.calls.retries()

    def attempted(self, outcome: str) -> None:
        self._steps.status.calls.attempted(outcome)

    def broke(self, error: Exception) -> None:
        self._steps.on_error(error)

    def _take(self, event: InFlight, elements: list[Element]) -> None:
        elements = self._through_before(elements, event.results)
        calls = [Call(event, index, element) for index, element in enumerate(elements)]
        if (due := self.resumed.pop(event.number, None)) is not None:
            calls += self._calls_again(event, due)
        made: list[Results | None] = [None] * len(calls)
        self._pending[event.number] = (made, len(calls))
        for place, call in enumerate(calls):
            call.place = place
            if self._number and self._step.retry is not None:
                call.kept = copy.deepcopy(call.element)
            if self._step.key is not None and call.key is None:
                results = Results()
                application = Application(results, self._steps.watermark_ms, self._steps.scope)
                if (found := application.key(self._step, call.element)) is None:
                    self.ended(call, results)
                    continue
                call.key, _ = found
            self.calls.add(call)
        if not calls:
            del self._pending[event.number]
            self._pass_on(event, [])

    def _calls_again(self, event: InFlight, due: Due) -> list[Call]:
        """The call that was parked; none if the job, which was changed, no longer makes it."""
        parked = due.event
        made = self._steps.decode(parked.record)
        if self._number == 0:
            made = self._through_before(made, Results())
        if parked.value is None and parked.index >= len(made):
            event.changes.append(self._parking.delete(due.number, self.name, parked.key))
            return []
        call = Call(event, parked.index, element_of(parked, made))
        call.row, call.key, call.parks, call.attempts = due.number, parked.key, parked.parks, parked.attempts
        if parked.value is not None:
            call.kept = copy.deepcopy(call.element)
        return [call]

    def _pass_on(self, event: InFlight, made: Sequence[Results]) -> None:
        elements: list[Element] = []
        for results in made:
            elements += results.items
            event.results.emitted += results.emitted
            event.results.failures += results.failures
        self._steps.enter(self._number + 1, event, elements)

    def _through_before(self, elements: list[Element], results: Results) -> list[Element]:
        """What the `Each` steps before make of them."""
        for step in self._before:
            made = Results([], results.emitted, results.failures, results.late)
            apply = Application(made, self._steps.watermark_ms, self._steps.scope)
            for element in elements:
                apply.each(step, element)
            elements = made.items
        return elements

    def _changed(self) -> None:
        self._steps.on_change()
        self.calls.start()

    def _probe(self) -> None:
        self.calls.start()


def _park_ms(call: Call, error: BaseException, retry: Retry) -> int | None:
    """For how long to park its event now; None if that is given up."""
    if not isinstance(error, Postpone):
        return retry.park_ms[call.parks] if call.parks < len(retry.park_ms) else None
    return error.after_ms if retry.park_ms and call.parks < POSTPONED_MAX else None


def _size(element: Element) -> int:
    """About how many bytes the value of a result has; 0 if it is not JSON, and so fails anyway."""
    try:
        return len(orjson.dumps(element.value))
    except (TypeError, ValueError, RecursionError):
        return 0
