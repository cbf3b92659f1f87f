"""What the loop reads from: records in partitions, and a position that moves when they are processed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from headwater.errors import HeadwaterError
from headwater.log.contract import Position, StoredRecord, TopicPartition


class JobSource(Protocol):
    """The input of one job. Used by one runner; `begin` again after an error.

    `position` is the next record of each partition to read, `processed` the next one to process: they are the same
    unless the runner reads ahead. Reading moves neither: a runner that reads ahead sets `position`, and calls
    `committed` after a commit; others call `move`. A position that is not valid any more is corrected, and reported, by
    the source itself. Every implementation passes `headwater.testing.suites.job_source`.
    """

    position: Position
    processed: Position

    async def begin(self, token: str | None, topics: Collection[str]) -> None:
        """Resume after a committed `token`, or start at the oldest record; partitions it does not name start there too.

        Raises TopicUnknown, TokenInvalid, LogUnavailable, and PositionLost if the job must not continue elsewhere.
        """
        ...

    async def refresh(self) -> None:
        """Find partitions and topics that were added or recreated; to be called before each read, looks at intervals.

        Raises PositionLost if the job must not continue elsewhere.
        """
        ...

    async def read(
        self, *, records_max: int, bytes_max: int, wait_seconds: float, stopping: asyncio.Event
    ) -> Sequence[StoredRecord]:
        """The records after `position`, at once if there are any; [] after the wait, or as soon as `stopping` is set.

        Also [] if records were lost or damaged: `position` is then after them. Raises LogUnavailable, and PositionLost
        if the job must not continue elsewhere.
        """
        ...

    def refused(self, records: Sequence[StoredRecord]) -> Mapping[int, HeadwaterError]:
        """By place among `records`, which were read: those that must not be processed, and why. A log has none."""
        ...

    def after(self, records: Sequence[StoredRecord]) -> Position:
        """The position after `records`, which were read last; `position` is not changed."""
        ...

    async def move(self, position: Position) -> None:
        """Everything before `position` is processed and committed, and is where to read. Raises LogUnavailable."""
        ...

    async def committed(self, position: Position) -> None:
        """Everything before `position` is processed and committed; reading is further. Raises LogUnavailable."""
        ...

    def token(self, position: Position) -> str:
        """The token to commit together with what was made of the records before `position`."""
        ...

    async def end(self) -> Position:
        """The current end of each partition. Raises LogUnavailable."""
        ...

    async def lag(self) -> int | None:
        """How many records are not processed yet; None if that is not known. Raises LogUnavailable."""
        ...

    async def with_backlog(self, position: Position, read: Collection[TopicPartition] = ()) -> set[TopicPartition]:
        """The partitions with records after `position`, and those just `read`. Raises LogUnavailable."""
        ...

    def was_replaced(self) -> bool:
        """Whether what is read was found to be another log than the position belonged to; True once for each time."""
        ...


@runtime_checkable
class KnowsOldest(Protocol):
    """A source whose records have a time of receipt."""

    async def oldest_ms(self) -> int | None:
        """When the oldest record was received that is not processed yet; None if all are. Raises LogUnavailable."""
        ...
