"""How many retries a host is sent: as many as it answers, and of those that fail a share of the requests.

How this works: a request is a retry if the same one failed before, no matter what repeats it: a caller of ours, or the
runner of a job that calls the function again. Retries take from a budget, which grows a little with each new request
and with time, and one that succeeds is given back. So a host that works may be asked again at once; one that is down is
asked by new requests, by a share of retries, and by one retry a second or so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from headwater.settings import LookupsConfig

# The most retries that a host is allowed at once.
BURST = 10.0
KEPT_MAX = 10_000
# A request that failed longer ago than this is a new one.
KEPT_SECONDS = 600.0


class RetryBudget:
    """The requests to one host that failed, and the retries it may still be sent."""

    def __init__(self, settings: LookupsConfig, clock: Callable[[], float]) -> None:
        self._share = settings.retries_percent_max / 100
        self._per_second = settings.retries_per_second_min
        self._clock = clock
        self._left = BURST
        self._refilled_at = clock()
        self._failed: OrderedDict[Hashable, float] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """Whether no request failed of late."""
        return not self._failed

    def may_send(self, request: Hashable) -> bool:
        """Whether `request` may be sent: always if it is new, and a retry only while retries are left."""
        if not self._failed or request not in self._failed:
            self._left = min(self._left + self._share, max(BURST, self._share))
            return True
        return self.may_retry()

    def may_retry(self) -> bool:
        """Whether a retry may be sent, which counts unless it is given back."""
        now = self._clock()
        self._left = min(self._left + (now - self._refilled_at) * self._per_second, BURST)
        self._refilled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """A retry did not fail, so it does not count."""
        self._left = min(self._left + 1, BURST)

    def seconds_to_wait(self) -> float:
        """After how long a retry may be allowed that is not allowed now."""
        return max(0.0, 1 - self._left) / self._per_second

    def has_failed(self, request: Hashable) -> bool:
        """Whether `request` failed, and did not succeed since."""
        return bool(self._failed) and request in self._failed

    def failed(self, request: Hashable) -> None:
        """The host did not answer it."""
        now = self._clock()
        self._failed[request] = now
        self._failed.move_to_end(request)
        while self._failed:
            oldest, at = next(iter(self._failed.items()))
            if len(self._failed) <= KEPT_MAX and now - at < KEPT_SECONDS:
                break
            del self._failed[oldest]

    def succeeded(self, request: Hashable) -> None:
        """The host answered it."""
        if self.forget(request):
            self.give_back()

    def forget(self, request: Hashable) -> bool:
        """Whether `request` had failed; it is a new one from now on."""
        return bool(self._failed) and self._failed.pop(request, None) is not None
