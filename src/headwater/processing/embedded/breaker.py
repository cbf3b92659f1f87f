"""The circuit breaker of one step: during an outage of what it calls, nothing is given up, and calls wait.

How this works: it knows, of the last events that were tried, whether the latest attempt failed with an error that may
pass. If half of them did, it opens: the runner then starts no calls and reads no events, but tries one event after
another, with growing pauses in between. The first of these attempts that does not fail so closes it. The time that it
was open does not count for how long a call is retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headwater.backoff import Backoff

EVENTS = 50
SHARE = 0.5


class Breaker:
    """Open or closed. `on_change` is called after it opened or closed, `on_probe` when an event may be tried.

    `reason`: the error of the attempt that opened it, or of the last one since; None while it is closed.
    """

    def __init__(
        self,
        on_change: Callable[[], None],
        on_probe: Callable[[], None],
        *,
        pause_seconds: float,
        pause_seconds_max: float,
        opens: bool = True,
    ) -> None:
        """`opens`: false for a run that has to end, also during an outage."""
        self.is_open = False
        self.reason: BaseException | None = None
        self._opens = opens
        self._on_change = on_change
        self._on_probe = on_probe
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff(pause_seconds, pause_seconds_max)
        # The last events that were tried, by their number, and whether the latest attempt failed.
        self._failed: dict[int, bool] = {}
        self._failures = 0
        self._opened_at = 0.0
        self._open_seconds = 0.0
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None

    def seconds(self) -> float:
        """A clock that stops while it is open."""
        now = self._opened_at if self.is_open else self._loop.time()
        return now - self._open_seconds

    def may_start(self) -> bool:
        """Whether a call may be started; while it is open, True once for each probe."""
        if not self.is_open:
            return True
        due, self._is_due = self._is_due, False
        return due

    def attempted(self, event: int, error: BaseException | None, *, is_probe: bool) -> None:
        """An attempt for the event of this number ended; `error`: it failed, and that may pass."""
        if self.is_open:
            if is_probe and error is None:
                self._close()
            elif is_probe:
                self.reason = error
                self._wait()
            return
        failed_before = self._failed.pop(event, False)
        self._failed[event] = error is not None
        self._failures += (error is not None) - failed_before
        if len(self._failed) > EVENTS:
            self._failures -= self._failed.pop(next(iter(self._failed)))
        if self._opens and error is not None and self._failures >= EVENTS * SHARE:
            self._open(error)

    def close(self) -> None:
        """End its timer: it is not used any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _open(self, error: BaseException) -> None:
        self._opened_at = self._loop.time()
        self.is_open, self.reason = True, error
        self._backoff.reset()
        self._wait()
        self._on_change()

    def _close(self) -> None:
        self.close()
        self._open_seconds += self._loop.time() - self._opened_at
        self.is_open, self._is_due, self.reason = False, False, None
        self._failed.clear()
        self._failures = 0
        self._on_change()

    def _wait(self) -> None:
        self._timer = self._loop.call_later(self._backoff.next_pause(), self._due)

    def _due(self) -> None:
        self._is_due = True
        self._on_probe()
