"""A cache of bounded size in which several callers who want the same thing at once cause one request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_V = TypeVar("_V")
# What an entry costs in addition to its value.
ENTRY_BYTES = 1_024
# A larger value would displace too many others.
_SHARE_MAX = 4


@dataclass(slots=True)
class _Entry(Generic[_V]):
    value: _V
    until: float
    size: int


@dataclass(slots=True)
class _Flight(Generic[_V]):
    task: asyncio.Task[_V]
    waiting: int = 0


class Cache(Generic[_V]):
    """Values by key, the least recently used of which leave when `bytes_max` is reached. Belongs to one event loop."""

    def __init__(self, bytes_max: int, clock: Callable[[], float], size: Callable[[_V], int | None]) -> None:
        """`size`: of a value in bytes; None if it must not be kept."""
        self._bytes_max = bytes_max
        self._clock = clock
        self._size = size
        self._entries: OrderedDict[Hashable, _Entry[_V]] = OrderedDict()
        self._flights: dict[Hashable, _Flight[_V]] = {}
        self.bytes = 0

    async def get(self, key: Hashable, seconds: float, make: Callable[[], Awaitable[_V]]) -> _V:
        """The value of `key`, which is kept for `seconds`. Raises what `make` raises; that is not kept."""
        entry = self._entries.get(key)
        if entry is not None:
            if self._clock() < entry.until:
                self._entries.move_to_end(key)
                return entry.value
            self.forget(key)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(self._make(key, seconds, make)))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # All who wanted it were cancelled. Others must not join a request that ends.
                self._flights.pop(key, None)
                flight.task.cancel()

    def forget(self, key: Hashable) -> None:
        """Drop the value of `key`, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size

    async def _make(self, key: Hashable, seconds: float, make: Callable[[], Awaitable[_V]]) -> _V:
        try:
            value = await make()
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is asyncio.current_task():
                del self._flights[key]
        self._keep(key, value, seconds)
        return value

    def _keep(self, key: Hashable, value: _V, seconds: float) -> None:
        size = self._size(value)
        if size is None or (size := size + ENTRY_BYTES) * _SHARE_MAX > self._bytes_max:
            return
        self.forget(key)
        self._entries[key] = _Entry(value, self._clock() + seconds, size)
        self.bytes += size
        while self.bytes > self._bytes_max:
            self.forget(next(iter(self._entries)))
