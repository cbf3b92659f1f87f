"""What a source and a sink promise: batches with a resume token, durable when the call returns.

Where the position of a sink is stored is one of its features. With `token_in_target` the sink stores the token of the
last batch in its target, in the same transaction as the rows, and the runner gets that token from `open()`: every event
is written exactly once. Without it the position is committed to the log after the write: after a crash the last batch
is written again, and a sink that upserts by key ends up with the same rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from headwater.connectors.tables import TableView
from headwater.declaration import nearest, suggestion
from headwater.errors import JobInvalid

ColumnType = Literal["text", "integer", "real", "boolean", "json", "timestamp"]
COLUMN_TYPES: tuple[ColumnType, ...] = ("text", "integer", "real", "boolean", "json", "timestamp")
VERSION_TYPES: frozenset[ColumnType] = frozenset(("text", "integer", "real", "timestamp"))

# Which events delete the row of their key: all of these dotted paths hold one of their values.
DeleteWhen = tuple[tuple[str, tuple[Any, ...]], ...]


class PresentColumn(NamedTuple):
    """A column that a table has: its type in the target's words, and the types of column that it is suited for.

    `holds` is None where that is not known, such as of a column that somebody else has made.
    """

    type: str
    holds: frozenset[ColumnType] | None


# The columns that a table has, by their names.
PresentTable = Mapping[str, PresentColumn]

# Names go into SQL as they are; what this admits needs no quoting tricks, and an underscore in front is ours.
NAME_CHARACTERS_MAX = 63
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{NAME_CHARACTERS_MAX - 1}}}")


class Delivery(NamedTuple):
    """One event on its way from a source or to a sink. Events of one `partition` are in order.

    `event_id`: its `meta.id`; of an event without one, what a source identifies it by, such as its place. `raw`: the
    bytes that a source was given, where there are any; with bytes that are no JSON object, `value` is empty. `problem`:
    why a source cannot deliver it as an event, such as its size; it becomes an error event.
    """

    value: Mapping[str, Any]
    event_id: str | None = None
    stream: str | None = None
    timestamp_ms: int = 0
    partition: str = ""
    raw: bytes = b""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its type and the dotted path in the event that fills it."""

    name: str
    type: ColumnType
    path: str


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table to fill. Rows with the same `key` replace each other; without a key every event is a row.

    `version` is the column by which a row is newer than another one with the same key: an older row never replaces a
    newer one, in whatever order they arrive. Without it the row that arrives last is kept. Versions are integers,
    numbers, timestamps, or texts that sort by age. Of rows with the same version the one that arrives last is
    kept. `order` is the order for display, such as `edits desc, wiki`. `deleted` is the boolean column that is true in
    the row of something that is gone: it stays, so that no older event brings the thing back, and is left out of the
    result of a run over history. `delete_when`: events that delete the row of their key; they need no other column than
    key and version, and no older event brings the row back.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    order: str = ""
    version: str = ""
    deleted: str = ""
    delete_when: DeleteWhen = ()

    def __post_init__(self) -> None:
        """Raises JobInvalid if a name cannot be used, a type is unknown, or key or version is not a suitable column."""
        for name in (self.name, *self.column_names):
            _check_name(name, "a table or a column")
        for column in self.columns:
            if column.type not in COLUMN_TYPES:
                raise JobInvalid(
                    f"Column {column.name} of table {self.name} has the unknown type {column.type!r}.",
                    hint=f"Known: {', '.join(COLUMN_TYPES)}.",
                )
        if not self.columns:
            raise JobInvalid(f"Table {self.name} needs columns.", hint="List at least one: `columns: {id: text}`.")
        for name in self.key:
            if name not in self.column_names:
                raise JobInvalid(
                    f"The key of table {self.name} has {name!r}, which is not one of its columns.",
                    hint=suggestion(name, self._names_and_paths),
                )
        _check_key(self.name, self.key)
        if self.version:
            self._check_version()
        if self.deleted and {column.name: column.type for column in self.columns}.get(self.deleted) != "boolean":
            raise JobInvalid(
                f"{self.deleted!r} cannot mark deleted rows of table {self.name}: it is no boolean column."
            )
        self.order_terms(self.order)
        _check_deletes(self.name, self.key, self.delete_when)

    def _check_version(self) -> None:
        cannot = f"{self.version!r} cannot be the version of table {self.name}"
        kind = {column.name: column.type for column in self.columns}.get(self.version)
        if kind is None:
            raise JobInvalid(
                f"{cannot}: it is not one of its columns.", hint=suggestion(self.version, self._names_and_paths)
            )
        if not self.key:
            raise JobInvalid(f"{cannot}: the table has no key.", hint="Add `key`, or leave `version` out.")
        if self.version in self.key:
            raise JobInvalid(f"{cannot}: it is part of its key.", hint="Choose a column that grows, such as a time.")
        if kind not in VERSION_TYPES:
            raise JobInvalid(
                f"{cannot}: its type is {kind}.", hint="Choose a column of type text, integer, real or timestamp."
            )

    @property
    def _names_and_paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.column_names, *(column.path for column in self.columns)]))

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def order_terms(self, order: str) -> tuple[tuple[str, bool], ...]:
        """(column, whether descending) for `edits desc, wiki`. Raises JobInvalid for anything but columns."""
        terms = []
        for part in filter(None, (part.strip() for part in order.split(","))):
            name, _, direction = part.partition(" ")
            if name not in self.column_names or direction.strip().lower() not in ("", "asc", "desc"):
                near = None if name in self.column_names else nearest(name, self.column_names)
                known = f"Use columns ({', '.join(self.column_names)}), each with asc or desc."
                raise JobInvalid(
                    f"{part!r} is not an order of table {self.name}.",
                    hint=f'Did you mean "{near}"?' if near else known,
                )
            terms.append((name, direction.strip().lower() == "desc"))
        return tuple(terms)


@dataclass(frozen=True, slots=True)
class EventShape:
    """What a sink is given that takes whole events, such as requests, messages or lines. `name` is that of the sink.

    `key` are the dotted paths whose values say what an event is about; events of one key are kept in order. `version`
    is the path by which one event of a key is newer than another. `delete_when`: events that delete what their key
    stands for, where the target can.
    """

    name: str
    key: tuple[str, ...] = ()
    version: str = ""
    delete_when: DeleteWhen = ()

    def __post_init__(self) -> None:
        """Raises JobInvalid if the name cannot be used, a path is empty, or there is a version without a key."""
        _check_name(self.name, "a sink")
        for path in (*self.key, *((self.version,) if self.version else ())):
            if not all(path.split(".")):
                raise JobInvalid(f"{path!r} is no dotted path.", hint="Such as `meta.id`.")
        if self.version and not self.key:
            raise JobInvalid(f"The sink {self.name} has a version and no key.", hint="Add `key`.")
        _check_key(self.name, self.key)
        _check_deletes(self.name, self.key, self.delete_when)


Shape = TableShape | EventShape


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise JobInvalid(
            f"{name!r} cannot name {what}.",
            hint=f"Use at most {NAME_CHARACTERS_MAX} letters, digits and '_', a letter first.",
        )


def _check_key(name: str, key: tuple[str, ...]) -> None:
    if twice := sorted(one for one, times in Counter(key).items() if times > 1):
        raise JobInvalid(f"The key of {name} has {', '.join(twice)} twice.", hint="Name each once.")


def _check_deletes(name: str, key: tuple[str, ...], delete_when: DeleteWhen) -> None:
    if delete_when and not key:
        raise JobInvalid(f"{name} has `delete_when` and no key, by which a row would be deleted.", hint="Add `key`.")


@dataclass(frozen=True, slots=True)
class SinkFeatures:
    """What a kind of sink can do.

    `token_in_target`: the token is stored atomically with the rows, so that nothing is written twice; otherwise the
    position is committed to the log after the write. `upsert`: a row replaces the one with the same key. `reads_back`:
    the sink is `Readable`, so that its table can be shown. `deletes`: it deletes by key, as `delete_when` says, and an
    older event does not bring back what was deleted. `recognises_repeats`: an event that it has stored is not stored
    again, by its id, so that events can be given to it once more.
    """

    token_in_target: bool
    upsert: bool
    reads_back: bool = True
    deletes: bool = False
    recognises_repeats: bool = False


class Sink(Protocol):
    """A place events go to. One task uses it at a time; every implementation passes `headwater.testing.suites.sink`."""

    features: SinkFeatures

    async def open(self) -> str | None:
        """Connect, and create what is needed. Returns the token of the last batch written, None if there is none.

        Without `token_in_target` it returns None. Raises SinkUnavailable (retriable), ExtraMissing.
        """
        ...

    def check(self, delivery: Delivery) -> None:
        """Raise EventMalformed if the event can never be written, so that it does not get into a batch."""
        ...

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        """Write all of them, in order; durable on return.

        With `token_in_target`: all or none, together with `token`, and repeating a batch changes nothing. Raises
        WriterFenced, and writes nothing, if the token in the target is neither `token` nor the one that this sink read
        or wrote last: another process has taken the job over, and this one may have been stopped meanwhile. Raises
        SinkUnavailable if nothing was written, and WriteIncomplete, which says by index which events were rejected
        permanently and which must be written again, and after how long. After any other error that is not retriable
        the events of the batch are written again one by one, to find the one that causes it.
        """
        ...

    async def close(self) -> None:
        """Finish and release everything; idempotent."""
        ...


@runtime_checkable
class SetsAside(Protocol):
    """A sink that can start again from the beginning without losing its rows."""

    async def set_aside(self) -> str | None:
        """Keep the existing rows under another name, which is returned, and continue empty and without a token.

        None if there were no rows. All or nothing. Raises SinkUnavailable, and WriterFenced as `Sink.write`.
        """
        ...


@runtime_checkable
class Widens(Protocol):
    """A sink that can give columns of its table a wider type."""

    async def widen(self, columns: Sequence[Column]) -> None:
        """Give each column the type that it has here, if no value there is changed by it. Called while it is open.

        Raises SinkFrozen, and changes nothing, if one would be; SinkUnavailable.
        """
        ...


@runtime_checkable
class Readable(Protocol):
    """A sink, with the feature `reads_back`, whose table can be looked at while it is being filled.

    Blocks on disk: call it in a thread, from any one.
    """

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

    `partitions`: it has several, which can be read independently of each other. `snapshot`: it starts with what exists
    and continues with the changes. `forgets`: the upstream retains events until they are confirmed, and may then delete
    them. `seeks_time`: it can begin at a time (`SeeksTime`). `seeks_position`: what it can begin after in the words of
    its upstream, such as "global transaction ids" (`SeeksPosition`); empty if it cannot.
    """

    partitions: bool = False
    snapshot: bool = False
    forgets: bool = False
    seeks_time: bool = False
    seeks_position: str = ""


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """The result of one read of a source, all of it from one phase.

    `token_after(count)` is the token to resume after the first `count` of the deliveries.
    """

    deliveries: Sequence[Delivery]
    token_after: Callable[[int], str]
    phase: Phase = "stream"

    @property
    def token(self) -> str:
        """The token to resume after all of them."""
        return self.token_after(len(self.deliveries))


class Source(Protocol):
    """A place events come from; every implementation passes `headwater.testing.suites.source`. One task uses it."""

    features: SourceFeatures

    async def partitions(self) -> Sequence[str]:
        """The names of its partitions, always in the same order; partitions may be added. Needs no `open`.

        A source without partitions has one, named "". Raises a retriable error if the upstream does not answer.
        """
        ...

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Connect and resume after `token`; from the beginning without one.

        `partitions`: read only these; by default all, including those added later. A token does not cover partitions
        that were not read: these start at their beginning. Raises TokenInvalid, PositionLost, and a retriable error if
        the upstream does not answer.
        """
        ...

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """The next deliveries; none if there are none within `wait_seconds`.

        The phase "snapshot" precedes "stream" and never follows it; a token contains its phase.
        """
        ...

    async def confirm(self, token: str) -> None:
        """Everything before `token` is durably stored: the upstream may delete it. Never called earlier than that."""
        ...

    async def close(self) -> None:
        """Finish and release everything; idempotent."""
        ...


@runtime_checkable
class SeeksTime(Protocol):
    """A source that can begin at a time; it declares `SourceFeatures.seeks_time`."""

    async def token_at(self, timestamp_ms: int) -> str:
        """The token to resume at the first event that is not older (epoch, UTC). Needs no `open`."""
        ...


@runtime_checkable
class SeeksPosition(Protocol):
    """A source that can begin after a position of its upstream; it declares `SourceFeatures.seeks_position`."""

    async def token_of(self, position: str) -> str:
        """The token to resume after this position, as people know it from the upstream. Needs no `open`.

        Raises TokenInvalid for a text that is no position, and a retriable error if the upstream does not answer.
        """
        ...


@runtime_checkable
class KnowsLag(Protocol):
    """An open source that knows how many events it has not delivered."""

    async def upstream_lag(self) -> int | None:
        """How many; None if it does not know now. Raises SourceUnavailable."""
        ...


@runtime_checkable
class Withholds(Protocol):
    """A source that leaves values out of events by rules, and counts what no rule speaks of."""

    @property
    def withheld(self) -> Mapping[tuple[str, str], int]:
        """By table and column, `*` for whole rows: how often it was left out since the source was made."""
        ...


@runtime_checkable
class Probes(Protocol):
    """A source that can try its upstream without changing anything there, as opening it would."""

    async def probe(self) -> Sequence[str]:
        """What was found, a sentence each. Needs no `open`. Raises whatever prevents reading."""
        ...
