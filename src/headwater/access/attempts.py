"""Failed attempts to use an API key, counted by address, so that keys cannot be guessed by trying."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from headwater.errors import TooManyRequests

ADDRESSES_MAX = 10_000
WINDOW_SECONDS = 60.0


class Attempts:
    """The failed attempts of each address within a minute; of very many addresses the oldest are forgotten."""

    def __init__(self, per_minute_max: int, clock: Callable[[], float]) -> None:
        self._max = per_minute_max
        self._clock = clock
        # Address → (when its minute began, failed attempts since), oldest first.
        self._failed: dict[str, tuple[float, int]] = {}

    def check(self, address: str) -> None:
        """Raise TooManyRequests where an address has failed too often within its minute."""
        address = network_of(address)
        since, count = self._failed.get(address, (0.0, 0))
        left = since + WINDOW_SECONDS - self._clock()
        if count >= self._max and left > 0:
            raise TooManyRequests(
                f"More than {self._max} API keys that are not good within a minute, from this address.",
                retry_after_seconds=int(left) + 1,
            )

    def failed(self, address: str) -> None:
        """Count a key that was not good."""
        address = network_of(address)
        now = self._clock()
        since, count = self._failed.pop(address, (now, 0))
        if now - since >= WINDOW_SECONDS:
            since, count = now, 0
        self._failed[address] = (since, count + 1)
        if len(self._failed) > ADDRESSES_MAX:
            del self._failed[next(iter(self._failed))]


def network_of(address: str) -> str:
    """The address range of one client: an IPv4 address, or the /64 of an IPv6 address; else the text unchanged."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = found.ipv4_mapped
    return str(mapped) if mapped is not None else str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
