"""Carries the positions of readers, and the state that goes with them, behind records that were copied.

How this works: a group's token names offsets of the source; each is translated into the target's with the ledger of its
partition. State is only right together with the position it was committed with, so both are carried or none, and only
while the group stands still. A group that has gone further in the target by itself is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from headwater.errors import TokenInvalid
from headwater.log.contract import Commit, Log, Position, StateChange
from headwater.log.copying import LEDGER_PREFIX, Ledger, Place, translated

ROWS_AT_ONCE = 1_000


@runtime_checkable
class ListsGroups(Protocol):
    """A log that can say which groups it keeps tokens of."""

    async def groups(self) -> Sequence[str]:
        """The groups that have committed a token, sorted."""
        ...


@runtime_checkable
class ListsState(Protocol):
    """A log that can say which state it keeps."""

    async def namespaces(self) -> Sequence[str]:
        """The namespaces that have state, sorted."""
        ...


@dataclass(frozen=True, slots=True)
class CarriedGroup:
    """What became of one group: its `token` in the target, None where it was not carried, and why not or how."""

    group: str
    token: str | None
    note: str = ""


async def groups_of(source: Log) -> list[str]:
    """The groups of readers in a log that can list them, else none."""
    if not isinstance(source, ListsGroups):
        return []
    return [group for group in await source.groups() if not group.startswith("headwater.")]


async def namespaces_of(source: Log, prefix: str) -> list[str]:
    """The namespaces of state that begin so, in a log that can list them, else none."""
    if not isinstance(source, ListsState):
        return []
    return [name for name in await source.namespaces() if name.startswith(prefix)]


class Carrying:
    """Carries groups between two open logs."""

    def __init__(self, source: Log, target: Log, ledgers: Mapping[Place, Ledger]) -> None:
        self._source = source
        self._target = target
        self._ledgers = ledgers

    async def carry(self, group: str, namespaces: Sequence[str] = ()) -> CarriedGroup | None:
        """Carry one group with the state in `namespaces`; None where it has no position among what was copied."""
        token = await self._source.committed(group)
        if token is None:
            return None
        try:
            position = Position.parse(token)
        except TokenInvalid:
            return CarriedGroup(group, None, "its token names no offsets")
        if not any(place in self._ledgers for place in position.offsets):
            return None
        left_out = sorted({topic for topic, partition in position.offsets if (topic, partition) not in self._ledgers})
        if left_out:
            return CarriedGroup(group, None, f"it also reads {', '.join(left_out)}, which was not copied")
        if namespaces and not self._target.features.keyed_state:
            return CarriedGroup(group, None, "the target keeps no state: it begins anew")
        carried = await self._translate(position)
        present = await self._target.committed(group)
        if present is not None and _is_further(present, carried):
            return CarriedGroup(group, None, "it has gone further in the target by itself")
        if namespaces:
            await self._carry_state(group, namespaces)
        if await self._source.committed(group) != token:
            return CarriedGroup(group, None, "it was moving: stop it and copy again")
        await self._target.commit(group, carried.token())
        behind = any(offset > self._ledgers[place].source_next for place, offset in position.offsets.items())
        return CarriedGroup(group, carried.token(), "it had read more than was copied" if behind else "")

    async def _translate(self, position: Position) -> Position:
        return Position(
            {
                place: await translated(self._source, self._ledgers[place], offset)
                for place, offset in position.offsets.items()
            }
        )

    async def _carry_state(self, group: str, namespaces: Sequence[str]) -> None:
        """Replace the target's state by the source's. The group's own token follows when all of it is there."""
        mark = f"{LEDGER_PREFIX}/state/{group}"
        for namespace in namespaces:
            while present := await self._target.state_scan(namespace, rows_max=ROWS_AT_ONCE):
                await self._change(mark, namespace, [(key, None) for key, _ in present])
            after = b""
            while rows := await self._source.state_scan(namespace, after=after, rows_max=ROWS_AT_ONCE):
                await self._change(mark, namespace, rows)
                after = rows[-1][0]

    async def _change(self, mark: str, namespace: str, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        changes = tuple(StateChange(namespace, key, value) for key, value in rows)
        await self._target.append((), commit=Commit(mark, namespace, changes))


def _is_further(token: str, position: Position) -> bool:
    try:
        present = Position.parse(token).offsets
    except TokenInvalid:
        return True
    return any(offset > position.offsets.get(place, offset) for place, offset in present.items())
