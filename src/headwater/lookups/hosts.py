"""What one host is spared: requests beyond a number and a rate, and requests during a pause it asked for.

How this works: a request enters before it is sent and leaves afterwards. It enters at once if the host has room, is not
paused and its rate allows it; otherwise it waits in a queue, in order. A host that refuses requests for now (429,
`Retry-After`, `maxlag`) is paused for all who ask it; then it is sent one request, and more with each success, up to
half of what it had before, and from there slowly more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable

from headwater.backoff import Backoff
from headwater.errors import LookupUnavailable
from headwater.lookups.retry_budget import RetryBudget
from headwater.settings import LookupsConfig

# Pauses of a host that refuses requests but does not say for how long.
_PAUSE_SECONDS_FIRST = 1.0
_PAUSE_SECONDS_UNASKED_MAX = 30.0
_PAUSE_SECONDS_MIN = 0.05
# How far behind its rate a host may fall and catch up, since timers are not exact.
_CATCH_UP_SECONDS = 0.1


class Host:
    """The limits, the pause and the retries of one host. Belongs to one event loop."""

    def __init__(self, name: str, settings: LookupsConfig, clock: Callable[[], float]) -> None:
        """`name` is for messages; `clock` gives seconds that only grow."""
        self.name = name
        self.in_flight = 0
        self._settings = settings
        self._clock = clock
        self._room = float(settings.requests_per_host_max)
        self._fast_up_to = self._room
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._refused_at = float("-inf")
        self._backoff = Backoff(_PAUSE_SECONDS_FIRST, _PAUSE_SECONDS_UNASKED_MAX)
        self._unasked_seconds = 0.0
        rate = settings.requests_per_second_per_host_max
        self._spacing = 1 / rate if rate else 0.0
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.retries = RetryBudget(settings, clock)

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost if the host were forgotten."""
        return not (self.in_flight or self._waiting or not self.retries.is_empty or self._clock() < self._paused_until)

    @property
    def room(self) -> float:
        """How many requests it may be sent at once now; parts of one count for the next."""
        return self._room

    async def enter(self, deadline: float) -> None:
        """Wait until a request may be sent; `leave` must follow.

        Raises LookupUnavailable as soon as it is certain that this will not be before `deadline`.
        """
        now = self._clock()
        if not self._waiting and self.in_flight < int(self._room) and now >= self._open_at():
            self._let_in(now)
            return
        if self._paused_until > deadline:
            raise self._paused(now)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in_those_who_may()
        try:
            async with asyncio.timeout(deadline - now):
                await turn
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                raise self._paused(self._clock()) from None
            raise

    def leave(self) -> None:
        """The request is over."""
        self.in_flight -= 1
        if self._waiting:
            self._let_in_those_who_may()

    def succeeded(self, request: Hashable) -> None:
        """The host answered it."""
        self._backoff.reset()
        most = self._settings.requests_per_host_max
        if self._room < most:
            self._room = min(most, self._room + (1 if self._room < self._fast_up_to else 1 / self._room))
        self.retries.succeeded(request)

    def pause(self, seconds: float | None, sent_at: float | None = None) -> float:
        """Send nothing for `seconds` (None: the host did not say); how long the pause is, which is bounded.

        `sent_at`: when the request was sent that was refused, by the clock; None: it is not known.
        """
        now = self._clock()
        # Only the first refusal counts: others are of requests that were sent before it arrived.
        if sent_at is None or sent_at >= self._refused_at:
            if now >= self._paused_until:
                self._unasked_seconds = self._backoff.next_pause()
                self._fast_up_to = max(1.0, self._room / 2)
                self._refused_at = now
            self._room = 1.0
        if seconds is None:
            seconds = self._unasked_seconds
        seconds = max(_PAUSE_SECONDS_MIN, min(seconds, self._settings.pause_seconds_max))
        self._paused_until = max(self._paused_until, now + seconds)
        return self._paused_until - now

    def may_be_asked_before(self, deadline: float) -> bool:
        """Whether there is time before `deadline`, and the host's pause is over by then."""
        return max(self._clock(), self._paused_until) < deadline

    def _open_at(self) -> float:
        return max(self._paused_until, self._next_at)

    def _let_in(self, now: float) -> None:
        self.in_flight += 1
        if self._spacing:
            self._next_at = max(self._next_at, now - _CATCH_UP_SECONDS) + self._spacing

    def _let_in_those_who_may(self) -> None:
        now = self._clock()
        while self._waiting and self.in_flight < int(self._room):
            open_at = self._open_at()
            if now < open_at:
                self._look_again_at(open_at, now)
                return
            turn = self._waiting.popleft()
            if not turn.done():
                self._let_in(now)
                turn.set_result(None)

    def _look_again_at(self, when: float, now: float) -> None:
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = asyncio.get_running_loop().call_later(when - now, self._timer_is_due)

    def _timer_is_due(self) -> None:
        self._timer = None
        self._let_in_those_who_may()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.leave()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _paused(self, now: float) -> LookupUnavailable:
        left = self._paused_until - now
        if left > 0:
            return LookupUnavailable(
                f"{self.name} asked not to be called for another {left:.1f} seconds.", back_off_seconds=left
            )
        return LookupUnavailable(
            f"{self.name} was not asked in time: {self.in_flight} requests to it are in flight, and others wait.",
            hint="The limits are the settings `lookups.requests_per_host_max` and `…requests_per_second_per_host_max`.",
            back_off_seconds=1.0,
        )


class Hosts:
    """The hosts that were asked lately, by name."""

    # Names may come from events, so that any number of them may occur.
    KEPT_MAX = 10_000

    def __init__(self, settings: LookupsConfig, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._hosts: dict[str, Host] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    def host(self, name: str) -> Host:
        """The host of this name."""
        found = self._hosts.get(name)
        if found is None:
            if len(self._hosts) >= self.KEPT_MAX:
                self._hosts = {other: host for other, host in self._hosts.items() if not host.is_idle}
            found = self._hosts[name] = Host(name, self._settings, self._clock)
        return found
