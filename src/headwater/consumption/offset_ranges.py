"""The partitions and offset ranges of the requested topics, queried for all callers at once instead of for each.

How this works: a query takes a log some milliseconds, for one topic as for all. Callers that arrive during a query wait
for the next, which serves all that have arrived by then; so a thousand clients that connect at once cost a few queries.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headwater.errors import ConfigInvalid, HeadwaterError, LogCorrupt, LogFull, LogUnavailable, TopicUnknown
from headwater.futures import retrieve
from headwater.log.contract import Log, Position, TopicPartition
from headwater.log.token_marks import Former, former_of, marks_of

# By topic, the oldest kept and the next offset of each partition.
Bounds = Mapping[str, Mapping[TopicPartition, tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The partitions that the requested topics have now, with their oldest and next offsets."""

    first: Mapping[TopicPartition, int]
    next: Mapping[TopicPartition, int]
    # The marks of the topics, if known; another topic of the same name has another (`headwater.log.token_marks`).
    marks: Mapping[str, str] = field(default_factory=dict)
    former: Former = field(default_factory=dict)

    @property
    def end(self) -> Position:
        return Position(dict(self.next))

    def topics(self) -> frozenset[str]:
        return frozenset(topic for topic, _ in self.next)


@dataclass(slots=True)
class _Query:
    topics: set[str]
    answer: asyncio.Future[Bounds]


class OffsetRanges:
    """Finds out, for all callers, which partitions exist and their offset ranges. Belongs to one event loop."""

    def __init__(self, log: Log) -> None:
        # The mark of every requested topic, as last seen.
        self.marks: dict[str, str] = {}
        self._former: Former | None = None
        self._log = log
        self._existing: frozenset[str] = frozenset()
        # Topics that have existed.
        self._seen: set[str] = set()
        self._listing: asyncio.Task[frozenset[str]] | None = None
        self._coming: _Query | None = None
        self._asking: asyncio.Task[None] | None = None

    async def of(self, topics: Sequence[str]) -> OffsetRange:
        """As it is now. Topics that do not exist yet are left out.

        Raises ConfigInvalid if none of `topics` ever existed, LogUnavailable.
        """
        found = await self._present(topics)
        try:
            bounds = await self._bounds(found)
        except TopicUnknown:
            # Only callers whose topic was deleted get the error.
            try:
                bounds = await self._ask(found)
            except TopicUnknown as error:
                self._existing = frozenset()
                raise gone(error) from None
        places = {place: both for topic in found for place, both in bounds.get(topic, {}).items()}
        return OffsetRange(
            {place: first for place, (first, _) in places.items()},
            {place: end for place, (_, end) in places.items()},
            {topic: self.marks[topic] for topic in found if topic in self.marks},
            self._former or {},
        )

    async def close(self) -> None:
        """Stop querying."""
        tasks = [task for task in (self._asking, self._listing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asking = self._listing = None

    async def _bounds(self, topics: Iterable[str]) -> Bounds:
        loop = asyncio.get_running_loop()
        if self._coming is None:
            self._coming = _Query(set(), loop.create_future())
        query = self._coming
        query.topics.update(topics)
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask_for_all(), name="extents of streams")
        return await asyncio.shield(query.answer)

    async def _ask_for_all(self) -> None:
        while (query := self._coming) is not None:
            self._coming = None
            try:
                query.answer.set_result(await self._ask(sorted(query.topics)))
            except HeadwaterError as error:
                query.answer.set_exception(error)
                # The callers may have been cancelled.
                query.answer.exception()
            except BaseException:
                query.answer.cancel()
                raise

    async def _ask(self, topics: Sequence[str]) -> Bounds:
        first = (await self._log.first(topics)).offsets
        last = (await self._log.last(topics)).offsets
        bounds: dict[str, dict[TopicPartition, tuple[int, int]]] = {}
        for place, offset in first.items():
            if place in last:
                if offset < 0 or last[place] < 0:
                    raise LogUnavailable(f"The offset range of {place[0]!r} is unknown.", hint="Try again.")
                bounds.setdefault(place[0], {})[place] = (offset, last[place])
        # A log without space to store its id, or whose id is damaged, can still be read.
        with contextlib.suppress(LogCorrupt, LogFull):
            self.marks.update(await marks_of(self._log, topics))
            if self._former is None:
                # No log is copied into one that is being served.
                self._former = await former_of(self._log)
        return bounds

    async def _present(self, topics: Sequence[str]) -> list[str]:
        if not self._existing.issuperset(topics):
            if self._listing is None or self._listing.done():
                self._listing = asyncio.get_running_loop().create_task(self._list(), name="topics of streams")
                self._listing.add_done_callback(retrieve)
            self._existing = await asyncio.shield(self._listing)
        found = [topic for topic in topics if topic in self._existing]
        self._seen.update(found)
        if not found and not self._seen.isdisjoint(topics):
            raise gone(TopicUnknown(f"The log has no topic {topics[0]!r} any longer."))
        if not found:
            raise ConfigInvalid(
                "No topics available for consumption. This likely means that the configured allowedTopics do not "
                "currently exist."
            )
        return found

    async def _list(self) -> frozenset[str]:
        return frozenset(info.name for info in await self._log.topics())


def gone(error: TopicUnknown) -> LogUnavailable:
    """The error for a client of a declared stream whose topic was deleted: the client cannot repair it."""
    return LogUnavailable(error.message, hint="Connect again later: `headwater apply` makes the topic.")
