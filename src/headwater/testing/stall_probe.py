"""Measures how long an event loop is blocked, on machines where other programs run as well.

How this works: a timer of the loop is due every few milliseconds. Its delay is a stall, minus two parts that are due to
the machine and not to the program: the time in which the thread was ready and the kernel ran others, and whatever
exceeds the processor time that the whole process used meanwhile, since a program that blocks its own loop computes, in
this thread or in one that holds the interpreter lock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

TICK_SECONDS = 0.002
# How often the machine is compared with an idle one.
COMPARED_SECONDS = 0.2
# The processor time of the computation in `slowness` on an idle machine.
_IDLE_SECONDS = 0.0012
_ROUNDS = 20_000


def slowness() -> float:
    """How much longer the same work takes now than on an idle machine with unshared caches; at least 1."""
    began, total = time.thread_time(), 0
    for number in range(_ROUNDS):
        total += number * number % 7
    return max(1.0, (time.thread_time() - began) / _IDLE_SECONDS)


class StallProbe:
    """Observes the loop it is started on.

    Since `reset`: `worst_seconds` is the longest stall, `worst_slowness` how slow the machine was at its slowest.
    """

    def __init__(self) -> None:
        self.worst_seconds = 0.0
        self.worst_slowness = 1.0
        self._compared = 0.0
        self._watching: asyncio.TimerHandle | None = None
        self._waits = Path("/proc/self/task")

    def start(self) -> None:
        """Begin; called on the loop."""
        self._waits = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._loop = asyncio.get_running_loop()
        self._ask()

    def stop(self) -> None:
        """End; called on the loop."""
        if self._watching is not None:
            self._watching.cancel()

    def reset(self) -> None:
        """Discard the measurements."""
        self.worst_seconds, self.worst_slowness = 0.0, 1.0

    def _ask(self) -> None:
        self._began, self._used, self._waited = time.monotonic(), time.process_time(), self._waited_seconds()
        self._watching = self._loop.call_later(TICK_SECONDS, self._called)

    def _called(self) -> None:
        late = time.monotonic() - self._began - TICK_SECONDS
        if late > self.worst_seconds:
            own = late - (self._waited_seconds() - self._waited)
            self.worst_seconds = max(self.worst_seconds, min(own, time.process_time() - self._used))
        if time.monotonic() - self._compared > COMPARED_SECONDS:
            self.worst_slowness = max(self.worst_slowness, slowness())
            self._compared = time.monotonic()
        self._ask()

    def _waited_seconds(self) -> float:
        """How long the thread has waited for a processor; 0 if the kernel does not report it."""
        try:
            return int(self._waits.read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0
