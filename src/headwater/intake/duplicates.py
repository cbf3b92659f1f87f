"""Recognises an event that was sent again: a bounded memory of the ids accepted within a window.

How this works: one dictionary in order of arrival, key → when it was stored, or → the `Reservation` of the request
that is storing it right now. A repeat of a stored id is a duplicate at once; a repeat of one in flight waits for the
first one's outcome, and takes over where that failed. Nothing of a failed attempt stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable


class Reservation:
    """The ids one request is about to store."""

    __slots__ = ("_done", "keys", "stored")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.stored = False
        self._done: asyncio.Event | None = None

    async def wait(self) -> bool:
        """Whether the ids were stored, once that is known."""
        if self._done is None:
            self._done = asyncio.Event()
        await self._done.wait()
        return self.stored

    def finish(self, *, stored: bool) -> None:
        self.stored = stored
        if self._done is None:
            self._done = asyncio.Event()
        self._done.set()


class DuplicateWindow:
    """What was accepted in the last `seconds`, at most `ids_max` of it. Belongs to one event loop."""

    def __init__(self, seconds: float, ids_max: int, clock: Callable[[], float]) -> None:
        self.enabled = seconds > 0 and ids_max > 0
        self._seconds = seconds
        self._ids_max = ids_max
        self._clock = clock
        self._known: dict[str, float | Reservation] = {}

    def __len__(self) -> int:
        return len(self._known)

    def reserve(self, key: str, reservation: Reservation) -> bool | Reservation:
        """False: reserved, store it. True: stored before. A Reservation: being stored, by it."""
        found = self._known.get(key)
        if found is None or (found.__class__ is float and found < self._clock() - self._seconds):
            # Taken out first, so that a renewed key stands at the end, where the newest are.
            self._known.pop(key, None)
            self._known[key] = reservation
            reservation.keys.append(key)
            return False
        return found if isinstance(found, Reservation) else True

    def settle(self, reservation: Reservation, *, stored: bool) -> None:
        """The reserved ids were stored, or none of them was."""
        now = self._clock()
        known = self._known
        for key in reservation.keys:
            if known.get(key) is reservation:
                if stored:
                    known[key] = now
                else:
                    del known[key]
        reservation.finish(stored=stored)
        self._forget_old(now - self._seconds)

    def remember(self, keys: Iterable[str]) -> None:
        """Ids known to be stored, from before a restart."""
        now = self._clock()
        for key in keys:
            self._known.pop(key, None)
            self._known[key] = now
        self._forget_old(now - self._seconds)

    def _forget_old(self, before: float) -> None:
        while self._known:
            key, when = next(iter(self._known.items()))
            if len(self._known) <= self._ids_max and (when.__class__ is not float or when > before):
                return
            del self._known[key]
