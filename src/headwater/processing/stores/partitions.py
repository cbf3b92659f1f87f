"""Where the processes that share a stateless job commit: every partition is a group of its own, with its own token.

How this works: the group of a partition is `<job's group>/<topic>/<partition>`. A process that starts with a partition
claims that group, which fences its previous owner. A job may also be run whole, by one process, under the job's own
group; the two ways may follow each other and even overlap, so each claims the groups of the other, and resumes from the
token that is further. For that, a partition's group has a token before anything is processed, which a process that runs
the job whole then finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from headwater.backoff import Backoff
from headwater.errors import WriterFenced
from headwater.log.contract import Commit, Log, Position, TopicPartition
from headwater.processing.stores.contract import LogStore

CLAIMS_MAX = 8
CLAIM_PAUSE_SECONDS = 0.2


def group_of(group: str, place: TopicPartition) -> str:
    """The group of one partition of the job with this group."""
    return f"{group}/{place[0]}/{place[1]}"


class PartitionStore(LogStore):
    """What is committed for one partition."""

    def __init__(self, log: Log, group: str, place: TopicPartition) -> None:
        super().__init__(log, group_of(group, place))
        self._shared = log
        self._own = group_of(group, place)
        self._whole = group
        self._place = place

    async def open(self) -> str | None:
        token = await super().open()
        if token is None:
            first = await self._shared.first([self._place[0]])
            token = _only(first, self._place).token()
            await self._shared.append([], commit=Commit(self._own, token))
            self._known = token
        # A process that claimed the whole before this commit is fenced now; one that does so later finds the token.
        whole = await _claim(self._shared, self._whole)
        return _only(_furthest((token, whole)), self._place).token()


class UnpartitionedStore(LogStore):
    """What is committed for all partitions by one process alone."""

    def __init__(self, log: Log, group: str) -> None:
        super().__init__(log, group)
        self._shared = log
        self._whole = group

    async def open(self) -> str | None:
        token = await super().open()
        groups = [name for name in await self._shared.groups() if name.startswith(f"{self._whole}/")]
        if not groups:
            return token
        tokens = await asyncio.gather(*(_claim(self._shared, name) for name in groups))
        furthest = _furthest((token, *tokens)).token()
        if furthest != token:
            # Logs without sharing have this group only: a job moved to one now resumes from here.
            await self._shared.append([], commit=Commit(self._whole, furthest))
            self._known = furthest
        return furthest


async def reposition_groups(log: Log, group: str, position: Position) -> None:
    """Set the job's position in these partitions back or forth, in the group of the whole and in those of partitions.

    A process that starts resumes from the furthest of them, so all are set, and each that writes is fenced.
    """
    names = [name for name in await log.groups() if name.startswith(f"{group}/")]
    places = {group_of(group, place): place for place in position.offsets}
    for name in (group, *(name for name in names if name in places)):
        try:
            token = await _claim(log, name)
            place = places.get(name)
            own = dict(Position.parse(token).offsets) if token else {}
            moved = position if place is None else _only(position, place)
            await log.append([], commit=Commit(name, Position({**own, **moved.offsets}).token()))
        finally:
            await log.release(name)


async def committed_position(log: Log, group: str, topics: Iterable[str]) -> Position | None:
    """Where the job of this group is, by the tokens in the log; None if it has none there. Raises LogUnavailable."""
    tokens = [await log.committed(group)]
    if log.features.shares_partitions:
        for topic, count in (await log.partition_counts(list(topics))).items():
            tokens += [await log.committed(group_of(group, (topic, number))) for number in range(count)]
    return _furthest(tokens) if any(tokens) else None


async def _claim(log: Log, group: str) -> str | None:
    """Fence the current writer of `group`, without keeping it; others may be about to do the same."""
    backoff = Backoff(CLAIM_PAUSE_SECONDS, CLAIM_PAUSE_SECONDS, spread=(0, 1))
    for _ in range(CLAIMS_MAX - 1):
        try:
            return await log.claim(group)
        except WriterFenced:
            await asyncio.sleep(backoff.next_pause())
        finally:
            await log.release(group)
    return await log.claim(group)


def _furthest(tokens: Iterable[str | None]) -> Position:
    """The furthest offset of each partition: positions only move forward, each from the furthest before it."""
    offsets: dict[TopicPartition, int] = {}
    for token in tokens:
        for place, offset in Position.parse(token).offsets.items() if token else ():
            offsets[place] = max(offset, offsets.get(place, 0))
    return Position(offsets)


def _only(position: Position, place: TopicPartition) -> Position:
    return Position({place: position.offsets[place]} if place in position.offsets else {})
