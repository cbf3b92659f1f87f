"""Reads a job's source ahead of what is committed, in the background, as far as there is room for it in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from headwater.jobs.job import Job
from headwater.jobs.scope import Scope
from headwater.jobs.steps import Element, Results
from headwater.log.contract import Position, StoredRecord, TopicPartition
from headwater.processing.embedded.batches import Batches
from headwater.processing.embedded.elements import elements_of
from headwater.processing.embedded.fold import LoopTurn
from headwater.processing.embedded.in_flight import InFlightWindow
from headwater.processing.embedded.reading.batch_reader import restarted
from headwater.processing.embedded.reading.suspects import Suspects
from headwater.processing.embedded.retries import Retries
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.embedded.source import JobSource
from headwater.processing.embedded.watermark import Seen
from headwater.processing.flight_recorder import JobFlight
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.contract import JobStore
from headwater.streams.stream import Stream


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a job works with. `current` is called with the records that are being processed."""

    job: Job
    source: JobSource
    store: JobStore
    batches: Batches
    suspects: Suspects
    streams: Mapping[str, Stream]
    settings: RunnerSettings
    status: RunnerStatus
    retries: Retries
    stopping: asyncio.Event
    turn: LoopTurn
    scope: Scope
    clock: Callable[[], float]
    # Sets a record aside that fails each time, and says whether it did.
    set_aside: Callable[[Sequence[StoredRecord]], Awaitable[bool]]
    leave_old_rows: Callable[[], Awaitable[None]]
    current: Callable[[Sequence[StoredRecord]], None]
    flight: JobFlight


def elements_in(run: Run, record: StoredRecord, saw: Callable[[Seen], None], results: Results) -> list[Element]:
    """The elements of one record; see `elements_of`."""
    now_ms = int(run.clock() * 1000)
    return elements_of([record], run.streams, saw, results, now_ms=now_ms, job=run.job)


class ReadAhead:
    """The reads of one run, one at a time. `on_read` is called when one has ended."""

    def __init__(self, run: Run, on_read: Callable[[], None]) -> None:
        self._run = run
        self._on_read = on_read
        self._reading: asyncio.Task[Sequence[StoredRecord]] | None = None
        self._from = run.source.position
        # Partitions that were added since the run began, and where they begin.
        self._added: dict[TopicPartition, int] = {}
        # What the position was, and is, if the source has moved back.
        self._moved = (Position(), Position())

    @property
    def processed(self) -> Position:
        """What is committed, with the partitions that were added since."""
        processed = self._run.source.processed
        return Position({**self._added, **processed.offsets}) if self._added else processed

    @property
    def has_read(self) -> bool:
        """Whether a read has ended, and is to be taken."""
        return self._reading is not None and self._reading.done()

    def may_read(self, window: InFlightWindow) -> bool:
        """Whether another read may start. Records that made a batch fail are read one by one."""
        if self._reading is not None:
            return False
        return not len(window) if self.is_one_by_one else window.room > 0

    async def refresh(self) -> bool:
        """Look for changes of the source; whether it has moved back, so that everything in flight is to be forgotten.

        Raises PositionLost if the job must not continue elsewhere.
        """
        before = self._run.source.position
        await self._run.source.refresh()
        return self._follow(before)

    def start(self, window: InFlightWindow, wait_seconds: float) -> None:
        """Start to read what there is room for."""
        source, settings = self._run.source, self._run.settings
        self._from = source.position
        reading = source.read(
            records_max=1 if self.is_one_by_one else min(settings.batch_records_max, window.room),
            bytes_max=min(settings.batch_bytes_max, max(1, window.room_bytes)),
            wait_seconds=wait_seconds,
            stopping=self._run.stopping,
        )
        self._reading = asyncio.ensure_future(reading)
        self._reading.add_done_callback(lambda _: self._on_read())

    def take(self) -> tuple[Sequence[StoredRecord], bool]:
        """What was read, and whether the source has moved back. Raises what the read raised."""
        assert self._reading is not None
        reading, self._reading = self._reading, None
        return reading.result(), self._follow(self._from)

    def restart(self) -> None:
        """After the source has moved back: read again what is not committed, and what it has now."""
        source = self._run.source
        source.position = source.processed = restarted(self._moved[0], self.processed, self._moved[1])

    def has_reached(self, end: Position) -> bool:
        """Whether everything before `end` was read."""
        offsets = self._run.source.position.offsets
        return all(offsets.get(part, 0) >= offset for part, offset in end.offsets.items())

    def close(self) -> list[asyncio.Task[Sequence[StoredRecord]]]:
        """Cancel the read that runs, if one does."""
        if self._reading is None:
            return []
        self._reading.cancel()
        return [self._reading]

    @property
    def is_one_by_one(self) -> bool:
        """Whether the next records may be what made a batch fail."""
        return self._run.suspects.among(self._run.source.processed)

    def _follow(self, before: Position) -> bool:
        """The source may have corrected its position, which was `before`. Whether any partition has moved back."""
        after = self._run.source.position
        if after == before:
            return False
        for part, at in after.offsets.items():
            if part not in before.offsets:
                self._added[part] = at
        # If none has, records are missing that were not read yet, or there was nothing but new partitions.
        self._moved = (before, after)
        return any(after.offsets.get(part, -1) < at for part, at in before.offsets.items())
