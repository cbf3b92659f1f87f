"""What a source and a sink promise: batches with a resume token, safe when the call returns.

Where the position of a sink is kept is one of its features. With `token_in_target` the sink stores the token of the
last batch in its target, in the same transaction as the rows, and whoever runs it asks `open()` for that token: every
event is written exactly once. Without it the position is committed in the log after the write: after a crash the last
batch is written again, and a sink that upserts by key ends up with the same rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from headwater.connectors.tables import TableView
from headwater.errors import JobInvalid

ColumnType = Literal["text", "integer", "real", "boolean", "json"]
COLUMN_TYPES: tuple[ColumnType, ...] = ("text", "integer", "real", "boolean", "json")
VERSION_TYPES: frozenset[ColumnType] = frozenset(("text", "integer", "real"))

# Names go into SQL as they are; what this admits needs no quoting tricks, and an underscore in front is ours.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


class Delivery(NamedTuple):
    """One event on its way from a source or to a sink. Those of one `partition` are in order."""

    value: Mapping[str, Any]
    event_id: str | None = None
    stream: str | None = None
    timestamp_ms: int = 0
    partition: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its type and the dotted path in the event that fills it."""

    name: str
    type: ColumnType
    path: str


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table to fill. Rows with the same `key` replace each other; without a key every event is a row.

    `version` is the column by which a row is newer than another one with its key: an older one never replaces a newer
    one, whatever order they come in. Without it the row that comes last is kept. Versions are integers, numbers, or
    texts that sort by age, such as times in UTC. `order` is how people want to see it, such as `edits desc, wiki`.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    order: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        """Raises JobInvalid where a name cannot be used, a type is unknown, or key or version is no column for it."""
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
        if self.version:
            self._check_version()
        self.order_terms(self.order)

    def _check_version(self) -> None:
        kinds = {column.name: column.type for column in self.columns if column.name not in self.key}
        if not self.key or kinds.get(self.version) not in VERSION_TYPES:
            raise JobInvalid(
                f"{self.version!r} cannot be the version of table {self.name}.",
                hint="It is a column of type text, integer or real, in a table with a key that it is no part of.",
            )

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

    `token_in_target`: the token is stored with what is written, all or none, so that nothing is doubled; otherwise the
    position is committed in the log after the write. `upsert`: what has a key replaces what has the same one.
    """

    token_in_target: bool
    upsert: bool


class Sink(Protocol):
    """A place events go to. One task uses it at a time; every implementation passes `headwater.testing.suites.sink`."""

    features: SinkFeatures

    async def open(self) -> str | None:
        """Connect, creating what is needed. Answers the token of the last batch written; None where there is none.

        Without `token_in_target` it answers None. Raises SinkUnavailable (try again), ExtraMissing.
        """
        ...

    def check(self, delivery: Delivery) -> None:
        """Raise EventMalformed where the event can never be written, so that it is set aside before a batch is."""
        ...

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        """Write all of them, in order; safe on return.

        With `token_in_target`: all or none, together with `token`, and a repeat of a batch changes nothing.
        Raises SinkUnavailable where nothing was written, and WriteIncomplete, which says by index which events were
        rejected for good and which are to be written again, and after how long. Any other error that is not retriable
        has the events of the batch written again one by one, until it is known which one it is about.
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


Phase = Literal["snapshot", "stream"]


@dataclass(frozen=True, slots=True)
class SourceFeatures:
    """What a kind of source can do.

    `partitions`: it has several that can be read independently of one another. `snapshot`: it begins with what is in
    the place already, and goes on with what changes. `forgets`: the place keeps what it has until it is confirmed, and
    may forget it then.
    """

    partitions: bool = False
    snapshot: bool = False
    forgets: bool = False


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """What one read of a source has given, all of it of one phase.

    `token_after(count)` is the token to go on from behind the first `count` of the deliveries.
    """

    deliveries: Sequence[Delivery]
    token_after: Callable[[int], str]
    phase: Phase = "stream"

    @property
    def token(self) -> str:
        """The token to go on from behind all of it."""
        return self.token_after(len(self.deliveries))


class Source(Protocol):
    """A place events come from; every implementation passes `headwater.testing.suites.source`. One task uses it."""

    features: SourceFeatures

    async def partitions(self) -> Sequence[str]:
        """The names of its partitions, in the same order each time; more may come. Needs no `open`.

        A source without partitions has one, called "". Raises a retriable error where the place does not answer.
        """
        ...

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Connect and go on behind `token`, from the beginning without one.

        `partitions`: only these are read; all of them without it, those that come later included. A token says nothing
        of partitions that were not read: they begin at their beginning. Raises TokenInvalid, PositionLost, and a
        retriable error where the place does not answer.
        """
        ...

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """The next deliveries; none after `wait_seconds` without any.

        The phase "snapshot" comes before "stream" and never after it; a token remembers in which phase it is.
        """
        ...

    async def confirm(self, token: str) -> None:
        """Everything before `token` is stored for good: the place may forget it. Never called before that is so."""
        ...

    async def close(self) -> None:
        """Finish and release everything; idempotent."""
        ...
