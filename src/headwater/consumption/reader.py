"""One client's reading of the events: from the log until it reaches the live tail, then together with the others.

How this works: `next` returns bytes that are ready to be sent. A reader first reads the log up to a snapshot of the
tail's position, so that it can continue with the tail's chunks exactly from there: nothing is skipped, nothing is sent
twice. A reader that is catching up delays no other and has its own pace; one that has joined and then falls out of the
tail's ring ends with `consumer_too_slow` and the token of the last event it was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from headwater.consumption.framing import Chunk, Framer, below, heartbeat, opening
from headwater.consumption.resume import Start, within
from headwater.consumption.tail import LiveTail, Look
from headwater.errors import ConsumerTooSlow, HeadwaterError, LogCorrupt, LogUnavailable, PositionLost
from headwater.log.contract import LogReader, Position, StoredRecord
from headwater.log.reading_on import passed

CATCH_UP_RECORDS_MAX = 250
CATCH_UP_BYTES_MAX = 262_144
SEND_BYTES_MAX = 262_144
RETRY_MS = 2000
# Of the heartbeat's time, after which silence is broken.
SILENT_SHARE = 0.75
# For this long the reader waits for the tail.
GAP_SECONDS = 0.1


class StreamReader:
    """Gives one client its bytes. `next` until it answers None, then `close`."""

    def __init__(
        self,
        log: LogReader,
        tail: LiveTail,
        framer: Framer,
        start: Start,
        *,
        look: Look,
        heartbeat_seconds: float,
        positions: bool,
        ends_at: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._tail = tail
        self._framer = framer
        self._look = look
        self._clock = clock
        self.heartbeat_seconds = heartbeat_seconds
        self._positions = positions
        self._ends_at = ends_at
        self._number: int | None = None
        self._target: tuple[Position, int] | None = None
        self._token = framer.token
        self._given_at = clock()
        self._error: HeadwaterError | None = None
        self._ending = False
        self._finished = False
        self._waiting: asyncio.Future[None] | None = None
        self._pending = opening(framer.form, self._token, RETRY_MS, positions=positions) + self._lost(start)

    @property
    def is_live(self) -> bool:
        """Whether it has met the live tail."""
        return self._number is not None

    @property
    def is_behind(self) -> bool:
        """Whether the next chunk was already dropped, though the reader may not have noticed."""
        return self._number is not None and self._tail.since(self._number) is None

    @property
    def tail(self) -> LiveTail:
        """The live tail it meets or has met."""
        return self._tail

    @property
    def given_at(self) -> float:
        """When it last received something, by the reader's clock."""
        return self._given_at

    @property
    def error(self) -> HeadwaterError | None:
        """Why it was cut off, if it was."""
        return self._error

    def end(self) -> None:
        """Finish after a last token, at the next request for more."""
        self._ending = True
        self._stop_waiting()

    def finish(self) -> None:
        """Return nothing more: the client has disconnected."""
        self._finished = True
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def next(self) -> bytes | None:
        """Bytes to send now; waits for them up to the heartbeat's time. None: close the connection."""
        while not self._finished:
            if self._pending:
                data, self._pending = self._pending, b""
            elif (
                self._ending
                or self._error is not None
                or (self._ends_at is not None and self._clock() >= self._ends_at)
            ):
                self._finished = True
                data = self._closing_frame()
            else:
                data = await self._more()
            if data:
                self._given_at = self._clock()
                return data
        return None

    async def _more(self) -> bytes:
        if self._tail.is_stopped:
            self._ending = True
            return b""
        try:
            return await (self._live(self._number) if self._number is not None else self._catch_up())
        except LogUnavailable:
            self._waiting = self._tail.wait()
            await self._waiting
        except HeadwaterError as error:
            self._error = error
        return b""

    async def _live(self, number: int) -> bytes:
        tail = self._tail
        chunks = tail.since(number)
        if chunks == [] and tail.failure is None and not self._is_silent():
            self._waiting = tail.wait(self._silent_at())
            await self._waiting
            chunks = tail.since(number)
        if chunks is None:
            raise ConsumerTooSlow(
                "This connection received events more slowly than they arrived.", hint="Resume with the last id."
            )
        if chunks:
            return self._take(number, chunks)
        if tail.failure is not None:
            raise tail.failure
        return self._heartbeat(tail.token) if self._is_silent() else b""

    def _take(self, number: int, chunks: list[Chunk]) -> bytes:
        size = taken = 0
        for chunk in chunks:
            size += len(chunk.data)
            if taken and size > SEND_BYTES_MAX:
                break
            taken += 1
        self._number = number + taken
        self._token = chunks[taken - 1].last_token
        return chunks[0].data if taken == 1 else b"".join(chunk.data for chunk in chunks[:taken])

    def _heartbeat(self, token: bytes) -> bytes:
        news = token if token != self._token and self._positions else None
        self._token = token
        return heartbeat(self._framer.form, news)

    async def _catch_up(self) -> bytes:
        """Read the log exactly up to the target, a snapshot of the tail's position."""
        if self._tail.failure is not None:
            raise self._tail.failure
        target, number = self._target or (self._tail.position, self._tail.next_number)
        self._target = (target, number)
        self._follow(target)
        mine = self._framer.position.offsets
        behind = {key: mine[key] for key, offset in target.offsets.items() if mine[key] < offset}
        if behind:
            return await self._read(Position(behind), target)
        self._target = None
        if mine != target.offsets:
            # The tail has yet to come to where this reader is, or there is nothing to read between the two.
            self._waiting = self._tail.wait_to_move()
            _, still = await asyncio.wait((self._waiting,), timeout=GAP_SECONDS)
            if still:
                await self._tail.pass_gap(self._framer.position)
                await self._waiting
        elif self._tail.since(number) is not None:
            self._number = number
        return self._idle()

    def _follow(self, target: Position) -> None:
        """Partitions made while this reader was on its way are followed from their beginning."""
        mine = self._framer.position.offsets
        if not target.offsets.keys() <= mine.keys():
            self._framer.move(Position({**dict.fromkeys(target.offsets, 0), **mine}))

    def _idle(self) -> bytes:
        """A long way through filtered events must not look like a dead connection."""
        return self._heartbeat(self._framer.token) if self._is_silent() and self._number is None else b""

    def _is_silent(self) -> bool:
        # The tail ticks often enough in the heartbeat's time that this is in time.
        return self._clock() - self._given_at >= SILENT_SHARE * self.heartbeat_seconds

    def _silent_at(self) -> float:
        """When there is something to do even where nothing comes."""
        silent = self._given_at + SILENT_SHARE * self.heartbeat_seconds
        return silent if self._ends_at is None else min(silent, self._ends_at)

    async def _read(self, behind: Position, target: Position) -> bytes:
        try:
            records = await self._log.read(
                behind, records_max=CATCH_UP_RECORDS_MAX, bytes_max=CATCH_UP_BYTES_MAX, wait_seconds=0.0
            )
        except LogCorrupt as error:
            self._framer.move(passed(self._framer.position, error))
            self._token = self._framer.token
            return self._framer.damaged(error)
        except PositionLost:
            start = within(await self._look(), Start(self._framer.position))
            if not start.lost:
                # By now the log has it, or does not know it: the next read shows.
                raise LogUnavailable("The log does not have the position just now.", hint="Try again.") from None
            self._framer.move(start.position)
            self._token = self._framer.token
            return self._lost(start)
        wanted = list(below(records, target))
        async with self.tail.turn(wanted):
            done, parts = 0, [b""]
            while done < len(wanted):
                chunk, done = self._framer.some_frames(wanted, done)
                if chunk.data:
                    parts.append(chunk.data)
                    self._token = chunk.last_token
                # A waiting reader continues after other tasks have run.
                await asyncio.sleep(0)
        if len(wanted) < len(records) or not records:
            self._arrive(records, behind, target)
        return b"".join(parts) or self._idle()

    def _arrive(self, records: Sequence[StoredRecord], behind: Position, target: Position) -> None:
        """Compaction leaves gaps: a partition that has nothing more below the target has arrived there."""
        beyond = {(r.topic, r.partition) for r in records if r.offset >= target.offsets[r.topic, r.partition]}
        arrived = {key: target.offsets[key] for key in (beyond if records else behind.offsets)}
        self._framer.move(Position({**self._framer.position.offsets, **arrived}))

    def _lost(self, start: Start) -> bytes:
        framer = self._framer
        return b"".join(framer.notice("position-lost", framer.token, lost.details()) for lost in start.lost)

    def _closing_frame(self) -> bytes:
        form = self._framer.form
        if self._error is not None:
            details = {"code": self._error.code, "message": str(self._error), "retriable": self._error.retriable}
            return self._framer.notice("error", self._token, details)
        if self._number is not None and self._tail.since(self._number) == []:
            self._token = self._tail.token
        return heartbeat(form, self._token if self._positions else None)
