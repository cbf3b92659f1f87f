"""Row changes out of the stream of pgoutput, each with the place after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from headwater.connectors.row_changes.change import Operation, RowChange
from headwater.connectors.sources.postgres_cdc import pgoutput
from headwater.connectors.sources.postgres_cdc.pgoutput import UNCHANGED, Unchanged, Values
from headwater.connectors.sources.postgres_cdc.token import lsn_text
from headwater.connectors.sources.postgres_cdc.values import TypeCatalogue
from headwater.errors import SourceRefused

FULL = "f"
KeyOf = Callable[[str], tuple[str, ...]]


class Decoded(NamedTuple):
    """A change; the columns whose values were not sent because they are large and did not change; the place after it:
    the commit of its transaction and the number of changes read of it.
    """

    change: RowChange
    unchanged: tuple[str, ...]
    lsn: int
    number: int


class ChangeReader:
    """Reads messages in their order. `types` converts values, `key_of` gives the key of a table; without one it is its
    replica identity. Changes with a version up to `first_lsn`, where the snapshot was taken, get the one after it: they
    are of transactions that committed after it.
    """

    def __init__(self, first_lsn: int, types: TypeCatalogue, key_of: KeyOf) -> None:
        self.types = types
        self._first_lsn = first_lsn
        self._key_of = key_of
        self._relations: dict[int, pgoutput.Relation] = {}
        self._begun: pgoutput.Begin | None = None
        # How many changes of the transaction were read, and up to which they are known already.
        self._number = 0
        self._skip = (0, 0)

    def skip(self, lsn: int, number: int) -> None:
        """Leave out the first changes of the transaction that commits at `lsn`."""
        self._skip = (lsn, number)

    @property
    def is_inside(self) -> bool:
        """Whether the end of a transaction is to come."""
        return self._begun is not None

    def unknown_types(self, message: pgoutput.Message) -> bool:
        """Whether a table has a type that the catalogue does not know."""
        return isinstance(message, pgoutput.Relation) and not all(map(self.types.knows, message.types))

    def changes(self, message: pgoutput.Message, lsn: int) -> Iterator[Decoded]:
        """The changes in one message; `lsn` is its place. A commit is `ended` by the caller. Raises SourceRefused."""
        match message:
            case pgoutput.Begin():
                self._begun, self._number = message, 0
            case pgoutput.Relation():
                self._relations[message.id] = message
            case pgoutput.Insert():
                yield from self._numbered(self._insert(message, lsn))
            case pgoutput.Update():
                yield from self._numbered(*self._update(message, lsn))
            case pgoutput.Delete():
                yield from self._numbered(self._delete(message, lsn))
            case pgoutput.Truncate():
                yield from self._numbered(*(self._truncate(one, lsn) for one in message.relations))
            case pgoutput.Commit():
                self._begun = None
            case _:
                pass

    def _numbered(self, *found: tuple[RowChange, tuple[str, ...]] | None) -> Iterator[Decoded]:
        begun = self._transaction()
        for one in found:
            self._number += 1
            if one is None or (begun.final_lsn == self._skip[0] and self._number <= self._skip[1]):
                continue
            change, unchanged = one
            yield Decoded(change._replace(number=self._number), unchanged, begun.final_lsn, self._number)

    def _insert(self, message: pgoutput.Insert, lsn: int) -> tuple[RowChange, tuple[str, ...]]:
        relation = self._relation(message.relation)
        row, unchanged = self._row(relation, message.new)
        return self._change(relation, "insert", row, lsn), unchanged

    def _update(self, message: pgoutput.Update, lsn: int) -> tuple[tuple[RowChange, tuple[str, ...]] | None, ...]:
        """The deletion of the row under its old key, if that changed, and the row as it is now: always two numbers, so
        that a place does not depend on the configuration.
        """
        relation = self._relation(message.relation)
        old = self._row(relation, message.old)[0] if message.old is not None else {}
        new = message.new
        if message.is_whole and message.old is not None:
            new = tuple(
                before if after is UNCHANGED else after for before, after in zip(message.old, message.new, strict=True)
            )
        row, unchanged = self._row(relation, new)
        key = self._key(relation)
        if old and key and all(name in old for name in key) and any(old[name] != row.get(name) for name in key):
            gone = self._change(relation, "delete", {name: old[name] for name in key}, lsn)
            return (gone, ()), (self._change(relation, "insert", row, lsn), unchanged)
        return None, (self._change(relation, "update", row, lsn), unchanged)

    def _delete(self, message: pgoutput.Delete, lsn: int) -> tuple[RowChange, tuple[str, ...]]:
        relation = self._relation(message.relation)
        row, _ = self._row(relation, message.old)
        if not message.is_whole:
            row = {name: value for name, value in row.items() if name in self._key(relation)}
        return self._change(relation, "delete", row, lsn), ()

    def _truncate(self, number: int, lsn: int) -> tuple[RowChange, tuple[str, ...]]:
        return self._change(self._relation(number), "truncate", {}, lsn), ()

    def _change(self, relation: pgoutput.Relation, operation: Operation, row: Mapping[str, Any], lsn: int) -> RowChange:
        begun = self._transaction()
        return RowChange(
            relation.table,
            operation,
            row,
            self._key(relation),
            max(lsn, self._first_lsn + 1),
            lsn_text(lsn),
            timestamp_ms=begun.timestamp_ms,
            transaction=str(begun.xid),
        )

    def _row(self, relation: pgoutput.Relation, values: Values) -> tuple[dict[str, Any], tuple[str, ...]]:
        row: dict[str, Any] = {}
        unchanged = []
        for name, oid, value in zip(relation.names, relation.types, values, strict=True):
            if isinstance(value, Unchanged):
                unchanged.append(name)
            else:
                row[name] = None if value is None else self.types.convert(oid)(value)
        return row, tuple(unchanged)

    def _key(self, relation: pgoutput.Relation) -> tuple[str, ...]:
        declared = self._key_of(relation.table)
        if declared or relation.identity == FULL:
            return declared
        return tuple(name for name, is_key in zip(relation.names, relation.is_key, strict=True) if is_key)

    def _relation(self, number: int) -> pgoutput.Relation:
        found = self._relations.get(number)
        if found is None:
            raise SourceRefused(
                f"PostgreSQL sent a change of the table with the number {number}, which it had not described.",
                hint="Report it, with the version of the server; nothing was confirmed, so that nothing is lost.",
            )
        return found

    def _transaction(self) -> pgoutput.Begin:
        if self._begun is None:
            raise SourceRefused("PostgreSQL sent a change outside of a transaction.", hint="Report it.")
        return self._begun
