"""The beat by which clients that wait hear from us, and live tails of partitions made since: one for all of them.

How this works: sixteen times in the heartbeat's time every tail is asked to wake those of its readers that have been
silent for long enough; that costs nearly nothing for the others. Four times in it, one look finds out which partitions
there are of all topics that are followed, so a thousand tails cost the log no more than one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection

from headwater.consumption.extent import Extents, Place
from headwater.consumption.tail import LiveTail
from headwater.errors import HeadwaterError, LogUnavailable

BEATS = 16
BEATS_PER_LOOK = 4


class Pulse:
    """Beats while there are `tails`. Belongs to one event loop."""

    def __init__(
        self,
        extents: Extents,
        tails: Callable[[], Collection[LiveTail]],
        heartbeat_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the readers'."""
        self._extents = extents
        self._tails = tails
        self._seconds = heartbeat_seconds / BEATS
        self._clock = clock
        self._beating: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Beat from now on; idempotent."""
        if self._beating is None or self._beating.done():
            self._beating = asyncio.get_running_loop().create_task(self._beat(), name="pulse of streams")

    async def stop(self) -> None:
        """Beat no more."""
        for task in (self._beating, self._looking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._beating = self._looking = None

    async def _beat(self) -> None:
        beat = 0
        while self._tails():
            await asyncio.sleep(self._seconds)
            beat += 1
            for tail in list(self._tails()):
                tail.tick(self._clock())
            # A log that answers slowly must not hold up the beat.
            if beat % BEATS_PER_LOOK == 0 and (self._looking is None or self._looking.done()):
                self._looking = asyncio.get_running_loop().create_task(self._look(), name="new partitions of streams")

    async def _look(self) -> None:
        """Let tails follow what was made since; those whose topics have gone fail."""
        wanted: dict[tuple[str, ...], list[LiveTail]] = {}
        for tail in self._tails():
            if tail.topics and tail.failure is None:
                wanted.setdefault(tail.topics, []).append(tail)
        if not wanted:
            return
        try:
            found = await self._beginnings({topic for topics in wanted for topic in topics})
        except LogUnavailable:
            return
        except HeadwaterError:
            await self._look_for_each(wanted)
            return
        for topics, tails in wanted.items():
            _grow(tails, {place: first for topic in topics for place, first in found.get(topic, {}).items()})

    async def _look_for_each(self, wanted: dict[tuple[str, ...], list[LiveTail]]) -> None:
        """Whose topic has gone has to hear it, and nobody else."""
        for topics, tails in wanted.items():
            try:
                found = await self._beginnings(topics)
            except LogUnavailable:
                return
            except HeadwaterError as error:
                for tail in tails:
                    tail.fail(error)
            else:
                _grow(tails, {place: first for places in found.values() for place, first in places.items()})

    async def _beginnings(self, topics: Collection[str]) -> dict[str, dict[Place, int]]:
        found: dict[str, dict[Place, int]] = {}
        for place, first in (await self._extents.beginnings(topics)).items():
            found.setdefault(place[0], {})[place] = first
        return found


def _grow(tails: Collection[LiveTail], beginnings: dict[Place, int]) -> None:
    for tail in tails:
        made = {place: first for place, first in beginnings.items() if place not in tail.position.offsets}
        if made and not tail.is_stopped:
            tail.grow(made)
