"""Decodes the messages of pgoutput, PostgreSQL's plugin for logical replication, in version 1 of its protocol."""

from __future__ import annotations

import struct
from typing import NamedTuple

from headwater.errors import SourceRefused

# Microseconds from the Unix epoch to the first of January 2000, from which PostgreSQL counts.
EPOCH_US = 946_684_800_000_000


class Unchanged:
    """Stands for a large value that an update did not change, and that is therefore not sent."""


UNCHANGED = Unchanged()
# The values of a row as text.
Values = tuple[str | Unchanged | None, ...]


class Begin(NamedTuple):
    """A transaction begins; `final_lsn` is the place of its commit."""

    final_lsn: int
    timestamp_ms: int
    xid: int


class Commit(NamedTuple):
    """The transaction ends at `end_lsn`."""

    commit_lsn: int
    end_lsn: int


class Relation(NamedTuple):
    """The columns of a table as the following messages send them: name, type, and whether it identifies the row."""

    id: int
    table: str
    identity: str
    names: tuple[str, ...]
    types: tuple[int, ...]
    is_key: tuple[bool, ...]


class Insert(NamedTuple):
    """A new row."""

    relation: int
    new: Values


class Update(NamedTuple):
    """A changed row; `old` has its identity before, if that changed, or with `is_whole` all of its values before."""

    relation: int
    old: Values | None
    is_whole: bool
    new: Values


class Delete(NamedTuple):
    """A row that went: its identity, or with `is_whole` all of its values."""

    relation: int
    old: Values
    is_whole: bool


class Truncate(NamedTuple):
    """All rows of these tables went."""

    relations: tuple[int, ...]


class Ignored(NamedTuple):
    """An origin, the name of a type, or a message of another program."""

    kind: str


Message = Begin | Commit | Relation | Insert | Update | Delete | Truncate | Ignored


class _Reader:
    """Reads one message from its beginning to its end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 1

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def letter(self) -> str:
        self._at += 1
        return chr(self._data[self._at - 1])

    def text(self) -> str:
        end = self._data.index(0, self._at)
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text

    def values(self) -> Values:
        return tuple(self._value() for _ in range(self.number(">H")))

    def _value(self) -> str | Unchanged | None:
        kind = self.letter()
        if kind == "n":
            return None
        if kind == "u":
            return UNCHANGED
        if kind != "t":
            raise ValueError(f"a value of kind {kind!r}")
        size = self.number(">i")
        value = self._data[self._at : self._at + size]
        if len(value) != size:
            raise ValueError("a value that is cut off")
        self._at += size
        return value.decode()


def decode(data: bytes) -> Message:
    """One message. Raises SourceRefused if it is not one of version 1."""
    try:
        return _decode(data)
    except (struct.error, ValueError, IndexError) as error:
        raise SourceRefused(
            f"PostgreSQL sent a message of replication that cannot be read ({bytes(data[:1])!r}: {error}).",
            hint="Report it, with the version of the server; nothing was confirmed, so that nothing is lost.",
        ) from error


def _decode(data: bytes) -> Message:
    reader, kind = _Reader(data), chr(data[0])
    match kind:
        case "I":
            relation = reader.number(">I")
            reader.letter()
            return Insert(relation, reader.values())
        case "U":
            relation, mark = reader.number(">I"), reader.letter()
            old = reader.values() if mark in "KO" else None
            if old is not None:
                reader.letter()
            return Update(relation, old, mark == "O", reader.values())
        case "D":
            relation, mark = reader.number(">I"), reader.letter()
            return Delete(relation, reader.values(), mark == "O")
        case "B":
            final, at_us, xid = reader.number(">Q"), reader.number(">q"), reader.number(">I")
            return Begin(final, (at_us + EPOCH_US) // 1000, xid)
        case "C":
            reader.letter()
            return Commit(reader.number(">Q"), reader.number(">Q"))
        case "R":
            return _relation(reader)
        case "T":
            count = reader.number(">I")
            reader.letter()
            return Truncate(tuple(reader.number(">I") for _ in range(count)))
        case "O" | "Y" | "M":
            return Ignored(kind)
        case _:
            raise ValueError("an unknown kind of message")


def _relation(reader: _Reader) -> Relation:
    number, schema, name, identity = reader.number(">I"), reader.text(), reader.text(), reader.letter()
    columns = []
    for _ in range(reader.number(">H")):
        is_key = bool(reader.number(">B") & 1)
        columns.append((reader.text(), reader.number(">I"), is_key))
        reader.number(">i")
    # An empty schema is that of the system's own tables.
    table = f"{schema or 'pg_catalog'}.{name}"
    names, types, keys = zip(*columns, strict=True) if columns else ((), (), ())
    return Relation(number, table, identity, names, types, keys)
