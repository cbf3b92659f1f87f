"""Where a job resumes in its sources when they change: partitions are added, topics recreated, logs replaced.

How this works: every few seconds the log is asked which topics and partitions there are. New partitions are read from
their beginning. A topic with another id, or one that ends before the position, is a different topic: it does not have
the records that the position counts, so it too is read from its beginning. The ids are kept with the position: in a
group of their own in the log (`committed`), or in the token of a table (`with_ids`), whose rows may outlive the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping

import orjson

from headwater.errors import LogUnavailable, PositionLost
from headwater.log.contract import Log, Position, TopicPartition
from headwater.log.token_marks import former_of, holds
from headwater.processing.status import RunnerStatus

LOOK_SECONDS = 2.0
IDS_GROUP = "headwater.topics/"
# No topic has such a name; in the token of a table it precedes a topic and its id.
ID_ENTRY = "id/"

_log = logging.getLogger(__name__)


class SourcePositions:
    """Finds where one job starts, and where it resumes after something was added, recreated or lost."""

    def __init__(
        self,
        log: Log,
        group: str,
        status: RunnerStatus,
        label: str,
        *,
        only: TopicPartition | None = None,
        ids_in_token: bool = False,
        ids_in_log: bool = False,
        stops: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`label` names the job in messages. `only`: the one partition to read. `ids_in_token`: the caller commits
        `with_ids` of its token.

        Without that and `ids_in_log`, position and events are in one file, and cannot be of different logs. `stops`: a
        recreated or replaced topic raises PositionLost, and nothing is changed.
        """
        self._log = log
        self._group = IDS_GROUP + group
        self._status = status
        self._label = label
        self._only = only
        self._ids_in_token = ids_in_token
        self._ids_in_log = ids_in_log
        self._stops = stops
        self._clock = clock
        self._later: str | None = None
        self.topics: list[str] = []
        self._ids: dict[str, str] = {}
        self._unsaved = False
        self._look_at = 0.0
        self._is_other_log = False

    async def begin(self, token: str | None, topics: Collection[str], later: str | None = None) -> Position:
        """The position of a committed `token`, completed and corrected. `later`: a topic that need not exist, and is
        read as soon as it does.

        Raises TopicUnknown, LogUnavailable, and PositionLost if the job must stop.
        """
        self.topics, self._later = list(topics), later
        if self._later is not None and self._later in await self._log.partition_counts([self._later]):
            self.topics.append(self._later)
        known, kept = _split(Position.parse(token) if token else Position(), self.topics)
        # `_ids` is of the last run in this process, which may know more than what was committed.
        before = {**(await self._saved() if self._ids_in_log else kept), **self._ids}
        position = await self._completed(Position(known))
        position = await self._compared(position, before)
        self._look_at = self._clock() + LOOK_SECONDS
        return position

    async def look(self, position: Position) -> Position:
        """`position`, at intervals compared with the log: with added partitions, and recreated topics reset."""
        if self._clock() < self._look_at:
            return position
        self._look_at = self._clock() + LOOK_SECONDS
        try:
            # The consumer group assigns partitions, so that one alone never gets more.
            asked = self.topics if self._later in (None, *self.topics) else [*self.topics, str(self._later)]
            counts = {} if self._only else await self._log.partition_counts(asked)
            self.topics += [topic for topic in counts if topic not in self.topics]
            have = {topic: sum(place[0] == topic for place in position.offsets) for topic in counts}
            if any(count > have[topic] for topic, count in counts.items()):
                position = await self._completed(position)
            return await self._compared(position, dict(self._ids))
        except LogUnavailable:
            # The next read raises it.
            return position

    async def lost(self, position: Position, error: PositionLost) -> Position:
        """Where to resume after `error`: at the oldest record that is kept, or at the beginning of a partition that
        ends before the position. Raises LogUnavailable if nothing of `position` is lost (any more), PositionLost if the
        job must stop."""
        if (compared := await self._compared(position, dict(self._ids))) != position:
            return compared
        first = self._own(await self._log.first(self.topics))
        last = self._own(await self._log.last(self.topics))
        moved: dict[TopicPartition, int] = {}
        for place, at in position.offsets.items():
            if place not in first or at < first[place]:
                moved[place] = first.get(place, at)
            elif at > last.get(place, at) and await self._is_lost(place, at):
                if self._stops:
                    raise self._stopped((place[0],))
                # A log in one file was replaced as a whole, perhaps by an older copy.
                self._is_other_log = self._log.features.keyed_state
                moved.update(first if self._is_other_log else {place: first[place]})
        self._status.position_lost(error)
        offsets = {place: moved.get(place, at) for place, at in position.offsets.items() if place in first}
        if not moved:
            raise LogUnavailable(f"{error.message} It may be available in a moment.", hint="Try again.")
        _log.warning("job %s: %s The job resumes from %s.", self._label, error.message, _shown(moved))
        return Position(offsets)

    def met_other_log(self) -> bool:
        """Whether the log was found to be another one than the position belonged to; True once."""
        found, self._is_other_log = self._is_other_log, False
        return found

    def with_ids(self, token: str) -> str:
        """The token with the ids of the topics added, if both are kept in one place."""
        ids = {(f"{ID_ENTRY}{topic}/{one}", 0): 0 for topic, one in self._ids.items()}
        return Position({**Position.parse(token).offsets, **ids}).token() if ids else token

    async def committed(self) -> None:
        """The last result of `begin`, `look` or `lost` was committed: from now on the ids belong to it."""
        if self._unsaved and self._ids_in_log:
            await self._log.commit(self._group, orjson.dumps(self._ids, option=orjson.OPT_SORT_KEYS).decode())
        self._unsaved = False

    def _own(self, position: Position) -> Mapping[TopicPartition, int]:
        offsets = position.offsets
        return offsets if self._only is None else {place: at for place, at in offsets.items() if place == self._only}

    async def _completed(self, position: Position) -> Position:
        """With partitions that were added, at their beginning, and without topics the job no longer reads."""
        first = self._own(await self._log.first(self.topics))
        return Position({place: position.offsets.get(place, offset) for place, offset in first.items()})

    async def _compared(self, position: Position, before: Mapping[str, str]) -> Position:
        """`position`, at the beginning of those topics whose ids differ from `before`."""
        ids = dict(await self._log.topic_ids(self.topics)) if self._ids_in_token or self._ids_in_log else {}
        again = {topic for topic, one in ids.items() if before.get(topic, one) != one}
        if again:
            former = await former_of(self._log)
            again = {topic for topic in again if not holds(former, topic, before[topic], position)}
        if again:
            first = self._own(await self._log.first(self.topics))
            kept = {place: at for place, at in position.offsets.items() if place[0] not in again}
            moved = {place: at for place, at in first.items() if place[0] in again}
            read = any(position.offsets.get(place, at) != at for place, at in moved.items())
            position = Position({**kept, **moved})
            if read:
                if self._stops:
                    raise self._stopped(again)
                # In a log in one file no topic is recreated: the file was replaced.
                self._is_other_log = self._log.features.keyed_state
                self._status.position_lost(PositionLost(f"{', '.join(sorted(again))} was recreated."))
                _log.warning(
                    "job %s: %s was recreated: it no longer has the records that the job has read. The job resumes"
                    " from %s.",
                    self._label,
                    ", ".join(sorted(again)),
                    _shown(moved),
                )
        self._ids = {**before, **ids}
        self._unsaved = self._unsaved or self._ids != before
        return position

    def _stopped(self, topics: Collection[str]) -> PositionLost:
        return PositionLost(
            f"The log was replaced: the job's position in {', '.join(sorted(topics))} does not belong to this log.",
            hint="Restore the log, or set jobs.on_replaced_log: start_anew to read it from its beginning.",
        )

    async def _is_lost(self, place: TopicPartition, at: int) -> bool:
        """Whether the log confirms it: records of an open transaction are after the end, too."""
        try:
            await self._log.read(Position({place: at}), records_max=1)
        except PositionLost:
            return True
        return False

    async def _saved(self) -> dict[str, str]:
        text = await self._log.committed(self._group)
        found = orjson.loads(text) if text else {}
        return {topic: found[topic] for topic in self.topics if topic in found}


def _split(position: Position, topics: Collection[str]) -> tuple[dict[TopicPartition, int], dict[str, str]]:
    """Offsets, and the ids of `topics` that `with_ids` has added."""
    offsets: dict[TopicPartition, int] = {}
    ids: dict[str, str] = {}
    for place, at in position.offsets.items():
        if place[0].startswith(ID_ENTRY):
            # A slash may be in an id of Kafka's, and in a name of a topic in a file.
            entry = place[0].removeprefix(ID_ENTRY)
            topic = max((one for one in topics if entry.startswith(f"{one}/")), key=len, default=None)
            if topic is not None:
                ids[topic] = entry[len(topic) + 1 :]
        else:
            offsets[place] = at
    return offsets, ids


def _shown(places: Mapping[TopicPartition, int]) -> str:
    """The first few of these places, for a message."""
    shown = [f"{topic}/{number} at {at}" for (topic, number), at in sorted(places.items())]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
