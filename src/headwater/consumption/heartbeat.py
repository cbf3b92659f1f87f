"""One heartbeat for all: it sends signs of life to idle clients, and lets live tails follow new partitions.

How this works: sixteen times per heartbeat interval every tail wakes those of its readers that have been idle for long
enough; that costs nearly nothing for the others. Four times per interval, one request finds out which partitions all
followed topics have, so a thousand tails cost the log no more than one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping

from headwater.consumption.tail import LiveTail
from headwater.errors import HeadwaterError, TopicUnknown
from headwater.log.contract import LogReader, TopicPartition

BEATS = 16
BEATS_PER_LOOK = 4
# In the shortest heartbeat's time: readers break their silence after three quarters of it.
BEATS_AT_LEAST = 8


class Heartbeat:
    """Beats while there are `tails`. Belongs to one event loop."""

    def __init__(
        self,
        log: LogReader,
        tails: Callable[[], Collection[LiveTail]],
        heartbeat_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tails` gives a list of its own each time; `clock` is the readers'."""
        self._log = log
        self._tails = tails
        self._seconds = self._usual = heartbeat_seconds / BEATS
        self._clock = clock
        self._beating: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def beat_within(self, heartbeat_seconds: float) -> None:
        """Beat often enough for a reader with this heartbeat, until there are no tails."""
        seconds = heartbeat_seconds / BEATS_AT_LEAST
        if seconds >= self._seconds:
            return
        self._seconds = seconds
        if self._beating is not None and not self._beating.done():
            # It is in a longer pause.
            self._beating.cancel()
            self._beating = None
            self.start()

    def start(self) -> None:
        """Beat from now on; idempotent."""
        if self._beating is None or self._beating.done():
            self._beating = asyncio.get_running_loop().create_task(self._beat(), name="pulse of streams")

    async def stop(self) -> None:
        """Stop the heartbeat."""
        for task in (self._beating, self._looking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._beating = self._looking = None

    async def _beat(self) -> None:
        waited = 0.0
        while self._tails():
            await asyncio.sleep(self._seconds)
            waited += self._seconds
            now = self._clock()
            for tail in self._tails():
                tail.tick(now)
            if waited < BEATS_PER_LOOK * self._usual:
                continue
            waited = 0.0
            # A log that answers slowly must not hold up the beat.
            if self._looking is None or self._looking.done():
                self._looking = asyncio.get_running_loop().create_task(self._look(), name="new partitions of streams")
        self._seconds = self._usual

    async def _look(self) -> None:
        """Let tails follow new partitions; those whose topics were deleted fail."""
        tails = [tail for tail in self._tails() if tail.topics and tail.failure is None]
        # A log that cannot be reached now, or a topic deleted in the meantime, is handled by the next round.
        with contextlib.suppress(HeadwaterError):
            counts = await self._log.partition_counts({topic for tail in tails for topic in tail.topics})
            made: set[str] = set()
            for tail in tails:
                gone = next((topic for topic, _ in tail.position.offsets if topic not in counts), None)
                if gone is not None:
                    tail.fail(TopicUnknown(f"The log has no topic {gone!r} any longer."))
                made.update(topic for topic, _ in _missing(tail, counts))
            if made:
                first = (await self._log.first(sorted(made))).offsets
                for tail in tails:
                    tail.grow({place: first[place] for place in _missing(tail, counts) if place in first})


def _missing(tail: LiveTail, counts: Mapping[str, int]) -> list[TopicPartition]:
    """The partitions there are that the tail should follow and does not."""
    followed = tail.position.offsets
    places = ((topic, number) for topic in tail.topics for number in range(counts.get(topic, 0)))
    return [place for place in places if place not in followed]
