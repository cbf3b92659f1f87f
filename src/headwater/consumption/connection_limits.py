"""How many clients may be connected, in all and from one address."""

from __future__ import annotations

from collections import Counter

from headwater.errors import TooManyConnections


class ConnectionLimits:
    """Counts open connections; single-threaded."""

    def __init__(self, connections_max: int, per_address_max: int) -> None:
        self._connections_max = connections_max
        self._per_address_max = per_address_max
        self._by_address: Counter[str] = Counter()
        self.connections = 0

    def enter(self, address: str) -> None:
        """Reserve a connection. Raises TooManyConnections; then there is nothing to leave."""
        if self._by_address[address] >= self._per_address_max:
            raise TooManyConnections(
                "Your HTTP client is likely opening too many concurrent connections.",
                hint=f"One address may have {self._per_address_max}.",
            )
        if self.connections >= self._connections_max:
            raise TooManyConnections("This server has its maximum of stream connections.")
        self._by_address[address] += 1
        self.connections += 1

    def leave(self, address: str) -> None:
        """Give the place back."""
        self.connections -= 1
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]
