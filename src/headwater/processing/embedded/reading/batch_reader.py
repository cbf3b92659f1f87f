"""Reads the batches of one run: what there is now, or, for sinks that write large batches, what comes in some time.

How this works: if a batch may wait, further records are read until there are enough of them, or the first one is old
enough. Until then nothing is processed: the records are kept as they were read, so that memory is bounded by their
bytes, and whatever ends the run leaves them in the log. Reading ahead moves the position of the source, which is put
back before the batch is processed. If the source corrects it meanwhile, the batch ends there, or begins again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from headwater.log.contract import Position, StoredRecord
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.embedded.source import JobSource

# How much is read at once of a batch that waits: the event loop is shared.
READ_RECORDS_MAX = 5_000
# How often it is looked for further records: this share of the time that a batch may wait.
LOOK_SHARE = 0.1
LOOK_SECONDS_MIN = 0.01
LOOK_SECONDS_MAX = 1.0


class BatchReader:
    """The batches of one runner. `clock`: epoch seconds, to which the age of records is measured."""

    def __init__(
        self, source: JobSource, settings: RunnerSettings, stopping: asyncio.Event, clock: Callable[[], float]
    ) -> None:
        self._source = source
        self._settings = settings
        self._stopping = stopping
        self._clock = clock

    async def read(self, *, records_max: int, wait_seconds: float, waits: bool) -> Sequence[StoredRecord]:
        """The next batch, of at most `records_max`; [] if there are no records within `wait_seconds`.

        `waits`: whether it may wait for further records; also [] if the run is stopped while it does. The position of
        the source is that before the batch. Raises what the source raises.
        """
        seconds_max = self._settings.batch_seconds_max
        if seconds_max <= 0:
            return await self._read_some(records_max, self._settings.batch_bytes_max, wait_seconds)
        some = await self._read_some(records_max, self._settings.batch_bytes_max, wait_seconds)
        if not some:
            return some
        age = self._clock() - some[0].timestamp_ms / 1000
        left_seconds = min(seconds_max, seconds_max - age) if waits else 0.0
        return await self._collect(some, records_max, left_seconds)

    async def _collect(
        self, some: Sequence[StoredRecord], records_max: int, left_seconds: float
    ) -> Sequence[StoredRecord]:
        """`some`, which were read, and those after them that come in time."""
        source, bytes_max, loop = self._source, self._settings.batch_bytes_max, asyncio.get_running_loop()
        start, until = source.position, loop.time() + left_seconds
        batch, size = list[StoredRecord](), 0
        while True:
            batch += some
            size += sum(len(record.value) for record in some)
            if some:
                source.position = source.after(some)
            if len(batch) >= records_max or size >= bytes_max:
                break
            before = source.position
            some = await self._read_some(records_max - len(batch), bytes_max - size, 0.0)
            if not some and source.position == before:
                if (left := until - loop.time()) <= 0:
                    break
                await self._pause(left)
                if self._stopping.is_set():
                    batch = []
                    break
                await source.refresh()
            if source.position != before:
                if _is_behind(source.position, before):
                    source.position = source.processed = restarted(before, start, source.position)
                    return []
                # It is corrected again when it is read from there.
                break
        source.position = start
        return batch

    async def _read_some(self, records_max: int, bytes_max: int, wait_seconds: float) -> Sequence[StoredRecord]:
        return await self._source.read(
            records_max=min(records_max, READ_RECORDS_MAX),
            bytes_max=bytes_max,
            wait_seconds=wait_seconds,
            stopping=self._stopping,
        )

    async def _pause(self, left_seconds: float) -> None:
        share = self._settings.batch_seconds_max * LOOK_SHARE
        seconds = min(left_seconds, max(LOOK_SECONDS_MIN, min(LOOK_SECONDS_MAX, share)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def restarted(before: Position, processed: Position, after: Position) -> Position:
    """Where to begin again if the source has corrected its position from `before` to `after`.

    A partition that now begins earlier, or is new, begins there; the others after what is committed.
    """
    return Position(
        {
            part: at if part not in processed.offsets or at < before.offsets.get(part, at) else processed.offsets[part]
            for part, at in after.offsets.items()
        }
    )


def _is_behind(position: Position, before: Position) -> bool:
    """Whether any partition has moved back."""
    return any(position.offsets.get(part, -1) < at for part, at in before.offsets.items())
