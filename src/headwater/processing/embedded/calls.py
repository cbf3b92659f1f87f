"""The calls of one `Await` step: how many run at once, in which order those of a key, and when one is made again.

How this works: the events come in order. An event whose key has an earlier one that has not ended waits for it, also
while that one waits for its retry. The others are called as soon as fewer than `concurrency` calls run, the oldest
first; an event that waits for its retry is not a running call. Each call is a task of its own, which is all that the
job's code can cancel. A call that fails with an error that may pass is made again after a pause, until the `within` of
the step's `Retry` has passed since its first attempt; while the circuit is open that time does not count.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from headwater.backoff import Backoff
from headwater.errors import LookupUnavailable
from headwater.foreign import original
from headwater.jobs.outcomes import Postpone, Retry
from headwater.jobs.steps import Await, Element, Failure, Results
from headwater.processing.embedded.breaker import Breaker
from headwater.processing.embedded.in_flight import InFlight

# How long a call may take to end after it was cancelled; then it is not waited for.
CANCEL_SECONDS = 5.0


class Call:
    """The call for one event, or for one of several that the steps before have made of it.

    `order`: calls are started in this order. `attempts`: how many were made. `kept`: the element before the first of
    them, if it cannot be made again. `row`: the number of the parked event that it is for, and `parks`, how often that
    was parked.
    """

    __slots__ = (
        *(
            "attempts",
            "backoff",
            "element",
            "event",
            "is_late",
            "is_parked",
            "is_probe",
            "kept",
            "key",
            "order",
            "parks",
        ),
        *("place", "row", "since", "task"),
    )

    def __init__(self, event: InFlight, index: int, element: Element) -> None:
        self.event = event
        self.order = (event.number, index)
        # Which of the results of the event are its.
        self.place = index
        self.element = element
        self.kept: Element | None = None
        self.key: bytes | None = None
        self.attempts = 0
        self.task: asyncio.Task[Results] | None = None
        self.backoff: Backoff | None = None
        # By the clock of the breaker; None before the first attempt.
        self.since: float | None = None
        self.row: int | None = None
        self.parks = 0
        self.is_parked = False
        self.is_late = False
        self.is_probe = False

    def __lt__(self, other: Call) -> bool:
        return self.order < other.order


class CallsOwner(Protocol):
    """What the calls of a step ask of the steps around it."""

    def attempt(self, call: Call) -> Coroutine[Any, Any, Results]:
        """One attempt of the call."""
        ...

    def restore(self, call: Call) -> None:
        """Make the element of the call what it was before the first attempt: the function may have changed it."""
        ...

    def may_call(self, event: InFlight) -> bool:
        """Whether there is memory for the results."""
        ...

    def ended(self, call: Call, results: Results) -> None:
        """It succeeded, or failed for good."""
        ...

    def gave_up(self, call: Call, error: BaseException) -> Results:
        """It was retried in place as long as it may be, or asks to be made again later: what becomes of it."""
        ...

    def holds(self, call: Call) -> bool:
        """Whether a parked event before it has the key, and is to be done first."""
        ...

    def queued(self, call: Call) -> Results:
        """What becomes of a call whose key is held."""
        ...

    def retries(self) -> None:
        """A call is made again."""
        ...

    def attempted(self, outcome: str) -> None:
        """An attempt ended: `succeeded`, `transient` or `failed`."""
        ...

    def broke(self, error: Exception) -> None:
        """The run cannot continue."""
        ...


class StepCalls:
    """The calls of `step`. Belongs to one run."""

    def __init__(self, step: Await, owner: CallsOwner, breaker: Breaker) -> None:
        self.step = step
        self.breaker = breaker
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._seconds_max = step.timeout_ms / 1000
        # By their order: comparing tuples costs less than comparing calls.
        self._ready: list[tuple[tuple[int, int], Call]] = []
        # Those that failed while the circuit is open: others are tried before them.
        self._held: list[Call] = []
        # The calls of each key after the first one that has not ended.
        self._queued: dict[bytes, deque[Call]] = {}
        self._pauses: dict[Call, asyncio.TimerHandle] = {}
        # The running calls and their deadlines, which are in order.
        self._running: dict[Call, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many events wait for their next attempt, or for the circuit to close."""
        return len(self._pauses) + len(self._held) + (len(self._ready) if self.breaker.is_open else 0)

    def add(self, call: Call) -> None:
        """Make this call when it is its turn. To be called in the order of the events."""
        if call.key is not None:
            if (before := self._queued.get(call.key)) is not None:
                before.append(call)
                return
            self._queued[call.key] = deque()
        self._turn(call)
        self.start()

    def start(self) -> None:
        """Start as many calls as may run."""
        if self._held and not (self.breaker.is_open and self._ready):
            for call in self._held:
                heapq.heappush(self._ready, (call.order, call))
            self._held.clear()
        while self._ready and len(self._running) < self.step.concurrency:
            is_allowed = self.breaker.is_open or self._owner.may_call(self._ready[0][1].event)
            if not is_allowed or not self.breaker.may_start():
                return
            self._start(heapq.heappop(self._ready)[1])

    def close(self) -> list[asyncio.Task[Results]]:
        """Cancel everything; the tasks that were cancelled, which may take some time to end."""
        self._is_closed = True
        self.breaker.close()
        if self._timer is not None:
            self._timer.cancel()
        for pause in self._pauses.values():
            pause.cancel()
        tasks = [call.task for call in self._running if call.task is not None]
        for task in tasks:
            task.cancel()
        return tasks

    def _start(self, call: Call) -> None:
        deadline = self._loop.time() + self._seconds_max
        if call.since is None:
            call.since = self.breaker.seconds()
        else:
            self._owner.retries()
            self._owner.restore(call)
        call.attempts += 1
        call.is_late, call.is_probe = False, self.breaker.is_open
        task = call.task = self._loop.create_task(self._owner.attempt(call))
        task.add_done_callback(lambda done: self._done(call, done))
        self._running[call] = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._time_out)

    def _done(self, call: Call, task: asyncio.Task[Results]) -> None:
        try:
            self._ended(call, task)
        except Exception as error:  # in a callback nobody else would notice
            self._owner.broke(error)

    def _ended(self, call: Call, task: asyncio.Task[Results]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._is_closed or call.task is not task:
            return
        call.task = None
        del self._running[call]
        if task.cancelled():
            self._failed(call, self._timeout() if call.is_late else asyncio.CancelledError("it cancelled its own call"))
        elif isinstance(error, Postpone):
            self._owner.attempted("transient")
            self.breaker.attempted(call.event.number, None, is_probe=call.is_probe)
            self._owner.restore(call)
            self._settle(call, self._owner.gave_up(call, error))
        elif error is not None:
            self._failed(call, original(error))
        else:
            self._owner.attempted("succeeded")
            self.breaker.attempted(call.event.number, None, is_probe=call.is_probe)
            self._settle(call, task.result())
        self.start()

    def _failed(self, call: Call, error: BaseException) -> None:
        retry = self.step.retry
        # Without a policy every failure is final, and no sign of an outage.
        is_transient = retry is not None and retry.is_transient(error)
        self._owner.attempted("transient" if is_transient else "failed")
        self.breaker.attempted(call.event.number, error if is_transient else None, is_probe=call.is_probe)
        if retry is None or not is_transient:
            self._owner.restore(call)
            self._settle(call, Results(failures=[Failure(call.element, self.step.name, error)]))
        elif self.breaker.is_open:
            self._held.append(call)
        elif (pause := self._next_pause(call, retry, error)) is not None:
            self._pauses[call] = self._loop.call_later(pause, self._again, call)
        else:
            self._owner.restore(call)
            self._settle(call, self._owner.gave_up(call, error))

    def _next_pause(self, call: Call, retry: Retry, error: BaseException) -> float | None:
        """How long to wait before the next attempt; None if its time is over. The last attempt is at its end.

        It is at least as long as the service asked for. What was parked is tried once after each park.
        """
        assert call.since is not None
        if call.parks:
            return None
        left = retry.within_ms / 1000 - (self.breaker.seconds() - call.since)
        if left <= 0:
            return None
        if call.backoff is None:
            call.backoff = Backoff(retry.base_ms / 1000, retry.max_ms / 1000)
        asked = error.back_off_seconds if isinstance(error, LookupUnavailable) else 0.0
        return min(max(call.backoff.next_pause(), asked), left)

    def _again(self, call: Call) -> None:
        del self._pauses[call]
        heapq.heappush(self._ready, (call.order, call))
        self.start()

    def _settle(self, call: Call, results: Results) -> None:
        self._owner.ended(call, results)
        if (following := self._following(call)) is not None:
            self._turn(following)

    def _turn(self, call: Call) -> None:
        """It is the first of its key: let it be called, or be queued behind a parked event of the key."""
        following: Call | None = call
        while following is not None and self._owner.holds(following):
            self._owner.ended(following, self._owner.queued(following))
            following = self._following(following)
        if following is not None:
            heapq.heappush(self._ready, (following.order, following))

    def _following(self, call: Call) -> Call | None:
        """The next call of the key, whose turn it is now."""
        if call.key is None:
            return None
        if queued := self._queued[call.key]:
            return queued.popleft()
        del self._queued[call.key]
        return None

    def _time_out(self) -> None:
        """Cancel the calls that take too long, and look again when the next of them will."""
        now = self._loop.time()
        self._timer = None
        for call, deadline in self._running.items():
            if call.is_late:
                continue
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._time_out)
                return
            call.is_late = True
            if (task := call.task) is not None:
                task.cancel()
                self._loop.call_later(CANCEL_SECONDS, self._abandon, call, task)

    def _abandon(self, call: Call, task: asyncio.Task[Results]) -> None:
        """The job's code has caught the cancellation and continues: it is not waited for any longer."""
        if call.task is not task or self._is_closed:
            return
        call.task = None
        del self._running[call]
        self._failed(call, self._timeout())
        self.start()

    def _timeout(self) -> TimeoutError:
        return TimeoutError(f"it took longer than {self._seconds_max:g} s")
