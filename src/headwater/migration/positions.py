"""Migrates the positions of readers, after records were copied from one log to another.

How this works: a group's token names offsets of the source; each is translated into the target's with the ledger of its
partition. A group that is already further in the target is not changed. Where a job reads another system, its position
there is the same, whichever log has its events. The state of jobs is migrated by `headwater.migration.jobs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headwater.errors import TokenInvalid
from headwater.log.contract import Log, Position, TopicPartition
from headwater.log.token_marks import FORMER_GROUP, former_of, former_text
from headwater.migration.topics import Ledger, translated
from headwater.processing.source_tokens import delivered, is_foreign

FURTHER = "the target's position is already ahead; it was not overwritten"
MOVING = "it was still running during the copy; stop it and run the command again"
NO_OFFSETS = "its token has no offsets"
BEHIND = "it had read further than what was copied"
ONLY_SOME = (
    "it reads another system, and only some topics were copied: name it with --group if its streams are among them"
)


@dataclass(frozen=True, slots=True)
class CarriedState:
    """The state that went with a position: how many entries, their checksum as hexadecimal text, and the file of the
    target it is in, None where that is the log itself."""

    entries: int
    checksum: str
    file: str | None


@dataclass(frozen=True, slots=True)
class CarriedGroup:
    """The result for one group: its `token` in the target, None if it was not migrated, and a note why not or how."""

    group: str
    token: str | None
    note: str = ""
    state: CarriedState | None = None


async def groups_of(source: Log) -> list[str]:
    """The groups of readers, without those of Headwater itself. Raises LogUnavailable."""
    return [group for group in await source.groups() if not group.startswith("headwater.")]


async def namespaces_of(source: Log, prefix: str) -> list[str]:
    """The namespaces of state with this prefix; [] in a log that stores no state. Raises LogUnavailable."""
    if not source.features.keyed_state:
        return []
    return [name for name in await source.namespaces() if name.startswith(prefix)]


async def note_former(source: Log, target: Log, ledgers: Iterable[Ledger]) -> None:
    """Let the target accept tokens of the source: of partitions whose offsets are the same, up to what was copied.

    Raises LogUnavailable.
    """
    same: dict[str, dict[int, int]] = {}
    for one in ledgers:
        ends = same.setdefault(one.topic, {})
        if not one.has_holes and one.source_first == one.target_first:
            ends[one.partition] = one.source_next
    ids, theirs, ours = await source.topic_ids(same), await former_of(source), await former_of(target)
    noted = {topic: dict(known) for topic, known in ours.items()}
    for topic, ends in same.items():
        known = noted.setdefault(topic, {})
        # What was copied into the source before, as far as it is in the target too.
        for other, until in theirs.get(topic, {}).items():
            known[other] = {number: min(end, ends[number]) for number, end in until.items() if number in ends}
        if topic in ids:
            known.pop(ids[topic], None)
            known[ids[topic]] = ends
    if noted != ours:
        await target.commit(FORMER_GROUP, former_text(noted))


class PositionMigration:
    """Migrates groups between two open logs."""

    def __init__(
        self, source: Log, target: Log, ledgers: Mapping[TopicPartition, Ledger], *, moves_foreign: bool = True
    ) -> None:
        """`moves_foreign`: whether what jobs have written that read other systems was copied."""
        self._moves_foreign = moves_foreign
        self._source = source
        self._target = target
        self._ledgers = ledgers

    async def carry(self, group: str) -> CarriedGroup | None:
        """Migrate one group; None if it has no position in what was copied."""
        token = await self._source.committed(group)
        if token is None:
            return None
        try:
            position = Position.parse(token)
        except TokenInvalid:
            return CarriedGroup(group, None, NO_OFFSETS)
        if not self.concerns(position):
            return None
        if conflict := self.conflict(position):
            return CarriedGroup(group, None, conflict)
        carried = await self.translate(position)
        if is_further(await self._target.committed(group), carried):
            return CarriedGroup(group, None, FURTHER)
        if await self._source.committed(group) != token:
            return CarriedGroup(group, None, MOVING)
        await self._target.commit(group, carried.token())
        return CarriedGroup(group, carried.token(), self.note(position))

    def concerns(self, position: Position) -> bool:
        """Whether the position names anything that was copied, or another system."""
        return any(place in self._ledgers or is_foreign(place[0]) for place in position.offsets)

    def conflict(self, position: Position) -> str | None:
        """Why a position of the source has no equivalent in the target; None if it has one."""
        if not self._moves_foreign and any(is_foreign(topic) for topic, _ in position.offsets):
            return ONLY_SOME
        places = [place for place in position.offsets if not is_foreign(place[0])]
        left_out = sorted({topic for topic, partition in places if (topic, partition) not in self._ledgers})
        return f"it also reads {', '.join(left_out)}, which was not copied" if left_out else None

    async def translate(self, position: Position) -> Position:
        """The target's position for one of the source."""
        return Position(
            {
                place: offset if is_foreign(place[0]) else await translated(self._source, self._ledgers[place], offset)
                for place, offset in position.offsets.items()
            }
        )

    def note(self, position: Position) -> str:
        """A note about a position of the source that was migrated; usually empty."""
        behind = any(
            offset > self._ledgers[place].source_next
            for place, offset in position.offsets.items()
            if not is_foreign(place[0])
        )
        return BEHIND if behind else ""


def is_further(token: str | None, position: Position) -> bool:
    """Whether a reader with this token has read anything after `position`."""
    if token is None:
        return False
    try:
        present = Position.parse(token)
    except TokenInvalid:
        return True
    # Where it is in another system is a text; how many events it has read there can be compared.
    there = delivered(present)
    if there is not None and there > (delivered(position) or 0):
        return True
    return any(offset > position.offsets.get(place, offset) for place, offset in present.offsets.items())
