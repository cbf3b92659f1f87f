"""The streams of a log as the source of one job: their records after a position, and where they end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence

from headwater.errors import HeadwaterError, LogCorrupt, PositionLost
from headwater.jobs.job import Job
from headwater.log.contract import Log, Position, StoredRecord, TopicPartition
from headwater.log.reading_on import passed
from headwater.processing.embedded.source_positions import SourcePositions
from headwater.processing.failures.redriven import redrive_topic
from headwater.processing.status import RunnerStatus

# What is in a log was validated on the way into it.
NONE_REFUSED: Mapping[int, HeadwaterError] = {}


class LogSource:
    """Reads the topics of one job's streams from an open log."""

    def __init__(
        self,
        log: Log,
        job: Job,
        status: RunnerStatus,
        *,
        only: TopicPartition | None = None,
        ids_in_token: bool = False,
        stops_where_replaced: bool = False,
    ) -> None:
        """`only`: the one partition to read. `ids_in_token`: the ids of topics are kept in the token, since what is
        committed with it may outlive the log. `stops_where_replaced`: a replaced log raises PositionLost."""
        self._log = log
        self._redriven = redrive_topic(job.name)
        self._status = status
        self._only = only
        self._ids_in_token = ids_in_token
        # If position and events are in one file, they cannot be of different logs.
        self._positions = SourcePositions(
            log,
            job.group,
            status,
            job.label,
            only=only,
            ids_in_token=ids_in_token,
            ids_in_log=not ids_in_token and not log.features.keyed_state,
            stops=stops_where_replaced,
        )
        # Up to where partitions are known to have no records, only marks of transactions.
        self._empty: dict[TopicPartition, int] = {}
        self.position = Position()
        self.processed = Position()

    async def begin(self, token: str | None, topics: Collection[str]) -> None:
        self._empty = {}
        self.position = self.processed = await self._positions.begin(token, topics, self._redriven)

    async def refresh(self) -> None:
        self._correct(await self._positions.look(self.position))

    async def read(
        self, *, records_max: int, bytes_max: int, wait_seconds: float, stopping: asyncio.Event
    ) -> Sequence[StoredRecord]:
        try:
            found = await self._log.read(self.position, records_max=records_max, bytes_max=bytes_max)
            if found or wait_seconds <= 0:
                return found
            later = self._log.read(
                self.position, records_max=records_max, bytes_max=bytes_max, wait_seconds=wait_seconds
            )
            reading, stopped = asyncio.ensure_future(later), asyncio.ensure_future(stopping.wait())
            try:
                await asyncio.wait((reading, stopped), return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()
                if not reading.done():
                    reading.cancel()
                    await asyncio.wait((reading,))
                error = None if reading.cancelled() else reading.exception()
            if error is not None:
                raise error
            return [] if reading.cancelled() else reading.result()
        except PositionLost as error:
            self._correct(await self._positions.lost(self.position, error))
            return []
        except LogCorrupt as error:
            self._correct(passed(self.position, error))
            self._status.position_lost(error)
            return []

    def refused(self, records: Sequence[StoredRecord]) -> Mapping[int, HeadwaterError]:
        return NONE_REFUSED

    def after(self, records: Sequence[StoredRecord]) -> Position:
        return self.position.after_all(records)

    async def move(self, position: Position) -> None:
        self.position = position
        await self.committed(position)

    async def committed(self, position: Position) -> None:
        self.processed = position
        await self._positions.committed()

    def token(self, position: Position) -> str:
        return self._positions.with_ids(position.token()) if self._ids_in_token else position.token()

    def was_replaced(self) -> bool:
        return self._positions.met_other_log()

    async def end(self) -> Position:
        last = await self._log.last(self._positions.topics)
        if self._only is None:
            return last
        return Position({part: at for part, at in last.offsets.items() if part == self._only})

    async def lag(self) -> int:
        ends = await self._ends(self.processed)
        return sum(max(0, end - self.processed.offsets.get(part, 0)) for part, end in ends.items())

    async def oldest_ms(self) -> int | None:
        found: list[int] = []
        for part, at in self.processed.offsets.items():
            with contextlib.suppress(PositionLost, LogCorrupt):
                records = await self._log.read(Position({part: at}), records_max=1)
                found += [record.timestamp_ms for record in records]
        return min(found, default=None)

    async def with_backlog(self, position: Position, read: Collection[TopicPartition] = ()) -> set[TopicPartition]:
        ends = await self._ends(position, read)
        return {part for part, at in position.offsets.items() if part in read or ends.get(part, 0) > at}

    def _correct(self, position: Position) -> None:
        if self.processed == self.position:
            self.processed = position
        self.position = position

    async def _ends(self, position: Position, read: Collection[TopicPartition] = ()) -> dict[TopicPartition, int]:
        """Where partitions end: at `position` if only marks of transactions are left there, unless just `read`."""
        ends = dict((await self.end()).offsets)
        if self._log.features.offsets_without_gaps:
            return ends
        for part, end in ends.items():
            at = position.offsets.get(part, 0)
            if part in read or at >= end:
                continue
            if self._empty.get(part, 0) < end and not await self._log.read(Position({part: at}), records_max=1):
                self._empty[part] = end
            if self._empty.get(part, 0) >= end:
                ends[part] = at
        return ends
