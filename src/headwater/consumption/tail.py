"""One reading of the newest events for all clients with equal requests: each frame is made once and kept briefly.

How this works: the tail reads the log from its position on and turns every read into one Chunk of bytes to send. Chunks
are numbered and kept in a ring of bounded size. A client has only the number of its next chunk, so a thousand clients
need no more memory than one, and none waits for another. A client that falls out of the ring was too slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from headwater.consumption.framing import Chunk, Framer
from headwater.consumption.offset_ranges import OffsetRange
from headwater.consumption.resume import Start, within
from headwater.errors import HeadwaterError, LogCorrupt, LogUnavailable, PositionLost
from headwater.log.contract import LogReader, Position, StoredRecord, TopicPartition
from headwater.log.reading_on import passed

READ_RECORDS_MAX = 500
READ_BYTES_MAX = 262_144
# From this many bytes on, what was read takes milliseconds to decode.
LARGE_BYTES = 131_072
RETRY_SECONDS = 0.5
# What comes ends a read at once.
READ_SECONDS_MAX = 30.0

_log = logging.getLogger(__name__)

Look = Callable[[], Awaitable[OffsetRange]]
Waiting = list[tuple[asyncio.Future[None], float]]


class LiveTail:
    """Reads on from `position` until stopped. `ring_bytes_max` is kept for clients that are a little behind."""

    def __init__(
        self,
        log: LogReader,
        framer: Framer,
        *,
        look: Look,
        topics: tuple[str, ...],
        ring_bytes_max: int,
        turns: asyncio.Lock | None = None,
    ) -> None:
        """`topics`: those of which new partitions are to be followed. `turns`: what all tails of a log share."""
        self.topics = topics
        self.position: Position = framer.position
        self.token: bytes = framer.token
        self.next_number = 0
        self.failure: HeadwaterError | None = None
        self._log = log
        self._framer = framer
        self._look = look
        self._ring: deque[Chunk] = deque()
        self._ring_bytes = 0
        self._ring_bytes_max = ring_bytes_max
        self._waiting: Waiting = []
        self._joining: Waiting = []
        self._due = float("inf")
        # The number of the reading that counts: one that is cancelled may still come back with records.
        self._readings = 0
        self._task: asyncio.Task[None] | None = None
        self._passing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._turns = turns or asyncio.Lock()

    def start(self) -> None:
        self._readings += 1
        self._task = self._loop.create_task(self._run(self._readings), name="live tail")

    async def stop(self) -> None:
        """Stop reading and wake all waiting readers; idempotent."""
        tasks = [task for task in (self._task, self._passing) if task is not None]
        self._task = self._passing = None
        self._readings += 1
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.wake()

    def turn(self, records: Sequence[StoredRecord]) -> contextlib.AbstractAsyncContextManager[Any]:
        """When these records may be turned into frames: every tail decodes them, and large ones one tail at a time.

        If all of them did it at the same moment, no other task could run.
        """
        is_large = sum(len(one.value) for one in records) >= LARGE_BYTES
        return self._turns if is_large else contextlib.nullcontext()

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

    def wait(self, until: float = 0.0) -> asyncio.Future[None]:
        """Done when there is a new chunk, or at the first tick at or after `until`.

        Each caller has its own future, which it may cancel.
        """
        return self._wait_in(self._waiting, until)

    def wait_to_move(self) -> asyncio.Future[None]:
        """Done when the position has moved, even past events that no reader here gets, or at the next tick."""
        return self._wait_in(self._joining, 0.0)

    def _wait_in(self, waiting: Waiting, until: float) -> asyncio.Future[None]:
        future = self._loop.create_future()
        if self.failure is None and self._task is not None:
            waiting.append((future, until))
            self._due = min(self._due, until)
        else:
            future.set_result(None)
        return future

    def tick(self, now: float) -> None:
        """Wake those who waited until `now`, by their clock."""
        if now < self._due:
            return
        due = [one for one, until in self._waiting if until <= now]
        # Nothing is kept for clients that have disconnected.
        self._waiting = [(one, until) for one, until in self._waiting if until > now and not one.done()]
        self._due = min((until for _, until in self._waiting), default=float("inf"))
        _end(due)
        self._wake(self._joining)

    def grow(self, made: Mapping[TopicPartition, int]) -> None:
        """Follow these partitions too, from these offsets on."""
        if made and self._task is not None and self.failure is None:
            # It waits at the old position; what it may have read already is read again.
            self._task.cancel()
            self._move({**self.position.offsets, **made})
            self.start()

    async def pass_gap(self, position: Position) -> None:
        """Move up to `position` if no record is left before it: transactions leave marks that are not records.

        Concurrent callers share one request.
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
            # The tail's own reading gets the same error, and handles it.
            return
        # An empty result covers every partition, a record only its own.
        passed = {(one.topic, one.partition): ahead[one.topic, one.partition] for one in found} if found else ahead
        if any(one.offset < ahead[one.topic, one.partition] for one in found):
            return
        now = self.position.offsets
        # Records that arrived in the meantime have moved the tail itself.
        moved = {key: at for key, at in passed.items() if now.get(key) == before[key]}
        if moved:
            self._move({**now, **moved})
            self._wake(self._joining)

    def wake(self) -> None:
        """Let all readers check again. The future of a client that has disconnected is already done."""
        self._wake(self._waiting)
        self._wake(self._joining)

    def _wake(self, waiting: Waiting) -> None:
        woken = [future for future, _ in waiting]
        waiting.clear()
        _end(woken)

    async def _run(self, number: int) -> None:
        while self.failure is None and self._readings == number:
            try:
                await self._step(number)
            except LogUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except HeadwaterError as error:
                self.fail(error)
                return
            except Exception:
                # A defect of ours: clients get the error and reconnect to a new tail, instead of waiting here for ever.
                _log.exception("a live tail has failed")
                self.fail(HeadwaterError("The live stream broke off.", hint="Resume with the last id."))
                return

    def fail(self, error: HeadwaterError) -> None:
        """End all readers of this tail with this error."""
        self.failure = error
        self.wake()

    async def _step(self, number: int) -> None:
        try:
            records = await self._log.read(
                self.position, records_max=READ_RECORDS_MAX, bytes_max=READ_BYTES_MAX, wait_seconds=READ_SECONDS_MAX
            )
        except LogCorrupt as error:
            if self._readings == number:
                self._move(passed(self.position, error).offsets)
                last_token = self._framer.damaged(error)
                self._publish(Chunk(last_token, 0, self.position, self.token, self.token))
            return
        except PositionLost:
            start = within(await self._look(), Start(self.position))
            if not start.lost:
                raise LogUnavailable("The log does not have the position just now.", hint="Try again.") from None
            if self._readings == number:
                self._skip(start)
            return
        if not records or self._readings != number:
            return
        async with self.turn(records):
            done = 0
            while done < len(records) and self._readings == number:
                chunk, done = self._framer.some_frames(records, done)
                self._publish(chunk)
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
        lost = b"".join(self._framer.notice("position-lost", self.token, one.details()) for one in start.lost)
        self._publish(Chunk(lost, 0, self.position, self.token, self.token))

    def _move(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._framer.move(Position(dict(offsets)))
        self.position, self.token = self._framer.position, self._framer.token


def _end(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
