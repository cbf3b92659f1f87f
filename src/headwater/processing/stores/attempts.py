"""How often a sink has asked for an event to be given again: one that it never takes must not stop the others.

How this works: an attempt is counted only where something shows that the target works and the event is the cause: the
target took others of the same write, or took most of the commit before, or was given this one event and answered about
it without asking for time. A target that is away, or asks for time because it is full, spends no attempts of anything:
that is an error of the whole write, or one about all of its events.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import assert_never

from headwater.connectors.contract import Delivery, EventShape, Shape, TableShape
from headwater.errors import WriteGivenUp, WriteIncomplete
from headwater.event import encode_json, get_path
from headwater.schemas.json_value import identity

ATTEMPTS_MAX = 10
# So many of a commit may be left by a target that works.
FEW_SHARE = 0.1


class Attempts:
    """Those of the events that one sink has not taken yet; they outlast restarts of its runner."""

    def __init__(self, attempts_max: int) -> None:
        self._attempts_max = attempts_max
        self._counts: dict[Hashable, int] = {}

    def are_of_events(self, total: int, left: int, asked: int, incomplete: WriteIncomplete) -> bool:
        """Whether an attempt says something about the events `asked` for again, and not about the target.

        `total`: of the events of the commit, `left`: of those that were written now.
        """
        if asked < left:
            return True
        if total == 1:
            return not incomplete.back_off_seconds
        return left < total and asked <= max(1, total * FEW_SHARE)

    def given_up(self, asked: Mapping[int, Delivery], reason: str) -> dict[int, WriteGivenUp]:
        """Count an attempt of each; those that have had all of theirs, with the error to store about them."""
        over: dict[int, WriteGivenUp] = {}
        for index, delivery in asked.items():
            event = _identity(delivery)
            count = self._counts[event] = self._counts.get(event, 0) + 1
            if count >= self._attempts_max:
                # If the job stops in front of it, it is tried again when the job is resumed.
                del self._counts[event]
                over[index] = WriteGivenUp(reason, attempts=count)
        return over

    def clear(self) -> None:
        """All events of a commit are dealt with."""
        self._counts.clear()


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """In which order events of one key must reach a target: `paths` of the key, () if the target takes any order."""

    paths: tuple[str, ...]

    @classmethod
    def of(cls, shape: Shape | None) -> KeyOrder:
        """That of a table, or of whole events: with a version, rows are newer or older in whatever order they
        arrive."""
        match shape:
            case TableShape(key=key, version="") if key:
                paths = {column.name: column.path for column in shape.columns}
                return cls(tuple(paths[name] for name in key))
            case EventShape(key=key):
                # That the target compares versions is not known.
                return cls(key)
            case TableShape() | None:
                return cls(())
            case _:
                assert_never(shape)

    def with_followers(self, again: set[int], written: Mapping[int, Delivery]) -> set[int]:
        """`again`, and the events of a write that were later than one of these, of its key.

        An event that is written after a later one would replace it, so that this one has to be written once more.
        """
        if not self.paths or not again:
            return again
        held: set[bytes] = set()
        found = set(again)
        for index, delivery in written.items():
            key = identity([get_path(delivery.value, path) for path in self.paths])
            if index in again:
                held.add(key)
            elif key in held:
                found.add(index)
        return found


def _identity(delivery: Delivery) -> Hashable:
    return (delivery.stream, delivery.event_id) if delivery.event_id else encode_json(delivery.value)
