"""The calls of one `Await` step in one operator of Flink: as many at a time, in which order and how often as embedded.

How this works: the same `StepCalls` as in the embedded runner makes the calls, with its retries, its circuit breaker
and its order of the calls of a key. Flink keeps what is in flight, and passes the results on in the order of the
events. Nothing is parked: what would be, is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from headwater.jobs.apply import Application
from headwater.jobs.outcomes import NotYet
from headwater.jobs.scope import Scope
from headwater.jobs.steps import NO_WATERMARK, Await, Failure, Results
from headwater.log.contract import StoredRecord
from headwater.processing.embedded.breaker import Breaker
from headwater.processing.embedded.calls import Call, StepCalls
from headwater.processing.embedded.in_flight import InFlight
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.flink.exchange import decode_element

_NO_RECORD = StoredRecord("", 0, 0, 0, None, (), b"")


class OperatorCalls:
    """The calls of one operator. To be made, and used, in the event loop in which the calls run."""

    def __init__(self, step: Await, scope: Scope) -> None:
        self._step = step
        self._application = Application(Results(), NO_WATERMARK, scope)
        settings = RunnerSettings()
        self._breaker = Breaker(
            self._start,
            self._start,
            pause_seconds=settings.probe_seconds,
            pause_seconds_max=settings.probe_seconds_max,
        )
        self._calls = StepCalls(step, self, self._breaker)
        self._number = 0
        # Of the calls that have not ended: their elements as they came, and where their results go.
        self._elements: dict[Call, bytes] = {}
        self._ended: dict[Call, asyncio.Future[Results]] = {}

    async def results(self, data: bytes, key: bytes | None, watermark_ms: int) -> Results:
        """What the step makes of an element, encoded; failures are among it. `key`: of the step, if it has one.

        To be called in the order of the events.
        """
        self._number += 1
        self._application.watermark_ms = watermark_ms
        call = Call(InFlight(self._number, _NO_RECORD, len(data), 0), 0, decode_element(data).element)
        call.key = key
        self._elements[call] = data
        ended: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
        self._ended[call] = ended
        self._calls.add(call)
        try:
            return await ended
        finally:
            del self._ended[call], self._elements[call]

    def close(self) -> None:
        """Cancel all calls."""
        self._calls.close()

    def attempt(self, call: Call) -> Coroutine[Any, Any, Results]:
        return self._application.attempt(self._step, call.element, call.attempts)

    def restore(self, call: Call) -> None:
        call.element = decode_element(self._elements[call]).element

    def may_call(self, event: InFlight) -> bool:
        return True

    def ended(self, call: Call, results: Results) -> None:
        ended = self._ended[call]
        if not ended.done():
            ended.set_result(results)

    def gave_up(self, call: Call, error: BaseException) -> Results:
        return Results(failures=[Failure(call.element, self._step.name, error)])

    def holds(self, call: Call) -> bool:
        return False

    def queued(self, call: Call) -> Results:
        return self.gave_up(call, NotYet("nothing is parked here"))

    def retries(self) -> None:
        """Not counted."""

    def attempted(self, outcome: str) -> None:
        """Not counted."""

    def broke(self, error: Exception) -> None:
        for ended in self._ended.values():
            if not ended.done():
                ended.set_exception(error)

    def _start(self) -> None:
        self._calls.start()
