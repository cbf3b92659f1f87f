"""Recognises an event that was sent again: a bounded memory of the ids accepted within a window.

How this works: key (see `event_key`) → when it was stored, or the `Reservation` of the request that is storing it right
now (one of those for every event of the last minutes would double the memory). A repeat of a stored id is a duplicate
at once; a repeat of one in flight waits for the first one's outcome, and takes over where that failed. Nothing of a
failed attempt stays.
The memory is two generations of ids: when the younger one is half of what may be kept, or as old as the window, it
becomes the older one and the older one is dropped whole, so that forgetting costs nothing per id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable


class Reservation:
    """The ids one request is about to store; `stored_at` is when it has, `missed` those it could not store then."""

    __slots__ = ("_done", "generation", "keys", "missed", "stored_at")

    def __init__(self) -> None:
        self.keys: list[str] = []
        # Where all of them are, if they were reserved together.
        self.generation: dict[str, Reservation | float] | None = None
        self.missed: Collection[str | None] = ()
        self.stored_at: float | None = None
        self._done: asyncio.Event | bool | None = None

    @property
    def stored(self) -> bool:
        return self.stored_at is not None

    async def wait(self) -> bool:
        """Whether the ids were stored, but for those `missed`, once that is known."""
        if self._done is None:
            self._done = asyncio.Event()
        if isinstance(self._done, asyncio.Event):
            await self._done.wait()
        return self.stored

    def finish(self, stored_at: float | None) -> None:
        """Wake those who wait."""
        self.stored_at = stored_at
        if isinstance(self._done, asyncio.Event):
            self._done.set()
        self._done = True


class DuplicateWindow:
    """What was accepted in the last `seconds`, at most `ids_max` of it. Belongs to one event loop."""

    def __init__(self, seconds: float, ids_max: int, clock: Callable[[], float]) -> None:
        self.enabled = seconds > 0 and ids_max > 0
        self._seconds = seconds
        self._generation_max = max(1, ids_max // 2)
        self._clock = clock
        self._younger: dict[str, Reservation | float] = {}
        self._older: dict[str, Reservation | float] = {}
        self._younger_since = clock()

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def reserve(self, key: str, reservation: Reservation) -> bool | Reservation:
        """False: reserved, store it. True: stored before. A Reservation: being stored, by it."""
        found = self._younger.get(key)
        if found is None:
            found = self._older.get(key)
        if found is None or (found.__class__ is float and found < self._clock() - self._seconds):
            self._younger[key] = reservation
            reservation.keys.append(key)
            return False
        return found if isinstance(found, Reservation) else True

    def reserve_new(self, keys: list[str], reservation: Reservation) -> bool:
        """Reserve ids of which none was seen before, all at once; False, with nothing done, where one was."""
        younger = self._younger
        news: dict[str, Reservation | float] = dict.fromkeys(keys, reservation)
        if len(news) < len(keys) or not (younger.keys().isdisjoint(news) and self._older.keys().isdisjoint(news)):
            return False
        younger.update(news)
        reservation.keys, reservation.generation = keys, younger
        return True

    def settle(self, reservation: Reservation, *, stored: bool, missed: Collection[str | None] = ()) -> None:
        """The reserved ids were stored, but for those `missed`, or none of them was."""
        now = self._clock()
        reservation.missed = missed
        younger, older = self._younger, self._older
        together = stored and not missed and reservation.generation is younger
        if together:
            younger.update(dict.fromkeys(reservation.keys, now))
        for key in () if together else reservation.keys:
            # A generation may have ended while the ids were being stored.
            generation = younger if younger.get(key) is reservation else older
            if generation.get(key) is reservation:
                if stored and not (missed and key in missed):
                    generation[key] = now
                else:
                    del generation[key]
        reservation.finish(now if stored else None)
        if len(self._younger) >= self._generation_max or now - self._younger_since >= self._seconds:
            self._older, self._younger, self._younger_since = self._younger, {}, now

    def remember(self, keys: Iterable[str]) -> None:
        """Ids known to be stored, from before a restart."""
        reservation = Reservation()
        for key in keys:
            self.reserve(key, reservation)
        self.settle(reservation, stored=True)
