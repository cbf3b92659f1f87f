"""One reading of the newest events for all clients that want the same: each frame is made once and kept for a moment.

How this works: the tail reads the log from its position on and turns every read into one Chunk of ready bytes. Chunks
are numbered and stand in a ring of bounded size. A client owns nothing but the number of the chunk it takes next, so a
thousand clients cost no more memory than one, and nobody waits for anybody. Whoever falls out of the ring was too slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice

from headwater.consumption.extent import Extent
from headwater.consumption.framing import Chunk, Framer, notice
from headwater.consumption.resume import Start, within
from headwater.errors import HeadwaterError, LogUnavailable, PositionLost
from headwater.log.contract import LogReader, Position

READ_RECORDS_MAX = 500
READ_BYTES_MAX = 262_144
RETRY_SECONDS = 0.5

_log = logging.getLogger(__name__)

Look = Callable[[], Awaitable[Extent]]
Beginnings = Callable[[], Awaitable[Mapping[tuple[str, int], int]]]


class LiveTail:
    """Reads on from `position` until stopped. `ring_bytes_max` is kept for clients that are a little behind."""

    def __init__(
        self,
        log: LogReader,
        framer: Framer,
        *,
        look: Look,
        beginnings: Beginnings | None,
        ring_bytes_max: int,
        tick_seconds: float,
    ) -> None:
        """`beginnings` tells where the partitions there are now begin; without, none is followed that is new."""
        self.position: Position = framer.position
        self.token: bytes = framer.token
        self.next_number = 0
        self.failure: HeadwaterError | None = None
        self._log = log
        self._framer = framer
        self._look = look
        self._beginnings = beginnings
        self._ring: deque[Chunk] = deque()
        self._ring_bytes = 0
        self._ring_bytes_max = ring_bytes_max
        self._tick_seconds = tick_seconds
        self._waiting: list[asyncio.Future[None]] = []
        self._joining: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._passing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        self._task = self._loop.create_task(self._run(), name="live tail")

    async def stop(self) -> None:
        """End the reading and wake everybody who waits for it; idempotent."""
        tasks = [task for task in (self._task, self._passing) if task is not None]
        self._task = self._passing = None
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.wake()

    @property
    def is_stopped(self) -> bool:
        return self._task is None

    def since(self, number: int) -> list[Chunk] | None:
        """The chunks from `number` on, or None when some of them are no longer there."""
        behind = self.next_number - number
        if behind == 0:
            return []
        if behind == 1 and self._ring:
            return [self._ring[-1]]
        kept = len(self._ring)
        return list(islice(self._ring, kept - behind, kept)) if behind <= kept else None

    def wait(self) -> asyncio.Future[None]:
        """Done when there is a new chunk, or a tick has passed. A future of one's own: cancelling it harms nobody."""
        return self._wait_in(self._waiting)

    def wait_to_move(self) -> asyncio.Future[None]:
        """Done when the position has moved, even past events that nobody here wants, or a tick has passed."""
        return self._wait_in(self._joining)

    def _wait_in(self, waiting: list[asyncio.Future[None]]) -> asyncio.Future[None]:
        future = self._loop.create_future()
        if self.failure is None and self._task is not None:
            waiting.append(future)
        else:
            future.set_result(None)
        return future

    async def pass_gap(self, position: Position) -> None:
        """Move up to `position` where no record is left before it: transactions leave marks that nobody reads.

        Those who ask at once share the answer.
        """
        if self._passing is None or self._passing.done():
            self._passing = self._loop.create_task(self._pass_gap(position), name="live tail passes a gap")
        await asyncio.shield(self._passing)

    async def _pass_gap(self, position: Position) -> None:
        before = self.position.offsets
        ahead = {key: at for key, at in position.offsets.items() if before.get(key, at) < at}
        if not ahead:
            return
        try:
            found = await self._log.read(Position({key: before[key] for key in ahead}), records_max=1)
        except HeadwaterError:
            # The tail's own reading meets the same trouble, and deals with it.
            return
        # Nothing at all says it of every partition, a record of its own only.
        passed = {(one.topic, one.partition): ahead[one.topic, one.partition] for one in found} if found else ahead
        if any(one.offset < ahead[one.topic, one.partition] for one in found):
            return
        now = self.position.offsets
        # What came meanwhile has moved the tail itself.
        moved = {key: at for key, at in passed.items() if now.get(key) == before[key]}
        if moved:
            self._move({**now, **moved})
            self._wake(self._joining)

    def wake(self) -> None:
        """Let everybody look again. A future of a client that has gone is done already."""
        self._wake(self._waiting)
        self._wake(self._joining)

    def _wake(self, waiting: list[asyncio.Future[None]]) -> None:
        woken = waiting[:]
        waiting.clear()
        for future in woken:
            if not future.done():
                future.set_result(None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        tick = loop.time() + self._tick_seconds
        while True:
            try:
                await self._step(max(0.0, tick - loop.time()))
                if loop.time() >= tick:
                    tick = loop.time() + self._tick_seconds
                    await self._grow()
                    self.wake()
            except LogUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except HeadwaterError as error:
                self._fail(error)
                return
            except Exception:
                # A mistake of ours: clients are told and come back to a new tail, instead of waiting here for ever.
                _log.exception("a live tail has failed")
                self._fail(HeadwaterError("The live stream broke off.", hint="Resume with the last id."))
                return

    def _fail(self, error: HeadwaterError) -> None:
        self.failure = error
        self.wake()

    async def _step(self, wait_seconds: float) -> None:
        try:
            records = await self._log.read(
                self.position, records_max=READ_RECORDS_MAX, bytes_max=READ_BYTES_MAX, wait_seconds=wait_seconds
            )
        except PositionLost:
            self._skip(within(await self._look(), Start(self.position)))
            return
        if records:
            self._publish(self._framer.frames(records))
            # Clients run now; those with free buffers have taken everything before the next read is begun.
            await asyncio.sleep(0)

    def _publish(self, chunk: Chunk) -> None:
        self.position = chunk.position
        self.token = chunk.token
        if chunk.data:
            while self._ring and self._ring_bytes > self._ring_bytes_max:
                self._ring_bytes -= len(self._ring.popleft().data)
            self._ring.append(chunk)
            self._ring_bytes += len(chunk.data)
            self.next_number += 1
            self._wake(self._waiting)
        self._wake(self._joining)

    def _skip(self, start: Start) -> None:
        self._move(start.position.offsets)
        lost = b"".join(notice(self._framer.form, "position-lost", self.token, one.details()) for one in start.lost)
        self._publish(Chunk(lost, 0, self.position, self.token, self.token))

    async def _grow(self) -> None:
        """Follow partitions made since, from their beginning."""
        if self._beginnings is None:
            return
        made = {key: first for key, first in (await self._beginnings()).items() if key not in self.position.offsets}
        if made:
            self._move({**self.position.offsets, **made})

    def _move(self, offsets: Mapping[tuple[str, int], int]) -> None:
        self._framer.move(Position(dict(offsets)))
        self.position, self.token = self._framer.position, self._framer.token
