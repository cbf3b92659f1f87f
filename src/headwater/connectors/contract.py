"""What a source and a sink promise: batches with a resume token, safe when the call returns.

How exactly-once is reached here: a sink stores the token of the last batch in its target, in the same transaction as
the rows. Whoever runs it asks `open()` for that token and goes on from there; nothing else remembers the position.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from headwater.connectors.tables import TableView
from headwater.errors import JobInvalid

ColumnType = Literal["text", "integer", "real", "boolean", "json"]
COLUMN_TYPES: tuple[ColumnType, ...] = ("text", "integer", "real", "boolean", "json")

# Names go into SQL as they are; what this admits needs no quoting tricks, and an underscore in front is ours.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


class Delivery(NamedTuple):
    """One event on its way to a sink."""

    value: Mapping[str, Any]
    event_id: str | None = None
    stream: str | None = None
    timestamp_ms: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its type and the dotted path in the event that fills it."""

    name: str
    type: ColumnType
    path: str


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table to fill. Rows with the same `key` replace each other; without a key every event is a row.

    `order` is how people want to see it, such as `edits desc, wiki`.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    order: str = ""

    def __post_init__(self) -> None:
        """Raises JobInvalid where a name cannot be used, a type is unknown or the key is not among the columns."""
        for name in (self.name, *self.column_names):
            if not _NAME.fullmatch(name):
                raise JobInvalid(
                    f"{name!r} cannot name a table or a column.", hint="Use letters, digits and '_', a letter first."
                )
        for column in self.columns:
            if column.type not in COLUMN_TYPES:
                raise JobInvalid(
                    f"Column {column.name} of table {self.name} has the unknown type {column.type!r}.",
                    hint=f"Known: {', '.join(COLUMN_TYPES)}.",
                )
        missing = [name for name in self.key if name not in self.column_names]
        if missing or not self.columns:
            raise JobInvalid(f"Table {self.name} needs columns, its key among them: {', '.join(missing) or 'none'}.")
        self.order_terms(self.order)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def order_terms(self, order: str) -> tuple[tuple[str, bool], ...]:
        """(column, whether descending) for `edits desc, wiki`. Raises JobInvalid for anything but columns."""
        terms = []
        for part in filter(None, (part.strip() for part in order.split(","))):
            name, _, direction = part.partition(" ")
            if name not in self.column_names or direction.strip().lower() not in ("", "asc", "desc"):
                raise JobInvalid(
                    f"{part!r} is not an order of table {self.name}.",
                    hint=f"Use columns ({', '.join(self.column_names)}), each with asc or desc.",
                )
            terms.append((name, direction.strip().lower() == "desc"))
        return tuple(terms)


@dataclass(frozen=True, slots=True)
class SinkFeatures:
    """What a kind of sink can do.

    `token_in_target`: the token is stored with what is written, all or none, so that nothing is doubled. `upsert`: what
    has a key replaces what has the same one.
    """

    token_in_target: bool
    upsert: bool


class Sink(Protocol):
    """A place events go to. One task uses it at a time; every implementation passes `headwater.testing.suites.sink`."""

    async def open(self) -> str | None:
        """Connect, creating what is needed. Answers the token of the last batch written, or None.

        Raises SinkUnavailable (try again), ExtraMissing.
        """
        ...

    def check(self, delivery: Delivery) -> None:
        """Raise EventMalformed where the event can never be written, so that it is set aside before a batch is."""
        ...

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        """Write all or none, in order, together with `token`; safe on return. A repeat of a batch changes nothing.

        Raises SinkUnavailable, and EventMalformed where one of them can never be written: nothing was written.
        """
        ...

    async def close(self) -> None:
        """Finish and release everything; idempotent."""
        ...


@runtime_checkable
class SetsAside(Protocol):
    """A sink that can begin anew without losing what it has."""

    async def set_aside(self) -> str | None:
        """Keep the rows there are under another name, which is answered, and go on empty and without a token.

        None where there were no rows. All or nothing. Raises SinkUnavailable.
        """
        ...


class Readable(Protocol):
    """A table that can be looked at while it is being filled. Blocks on disk: call it in a thread, from any one."""

    shape: TableShape

    def view(self, rows_max: int, order: str = "") -> TableView:
        """Up to `rows_max` rows. `order` is like `edits desc, wiki`; by default the shape's own.

        Raises JobInvalid where something else than columns is in it, SinkUnavailable.
        """
        ...


class Source(Protocol):
    """A place events come from; every implementation passes `headwater.testing.suites.source`. One task uses it."""

    async def open(self, token: str | None) -> None:
        """Connect and go on after `token`, from the beginning without one. Raises TokenInvalid, PositionLost."""
        ...

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> tuple[Sequence[Delivery], str]:
        """The next deliveries, none after `wait_seconds` without any, and the token to go on from."""
        ...

    async def close(self) -> None:
        """Finish and release everything; idempotent."""
        ...
