"""What sources of row changes have in common: from the snapshot to the stream, restarts, periodic work, confirmations.

How this works: a source has a place, the one after what it delivered, and only a read that succeeds moves it. It reads
the snapshot to its end, lets go of it and follows the stream from the place where the snapshot was taken. Whatever
fails, it disconnects; the next read connects again and resumes at its place, so that nothing is left out or taken
twice. A place is reported to the upstream only by `confirm`, which is called when what precedes it is stored. What
is to be done from time to time while the stream is open (reports, heartbeats, checks) runs alongside the reads, and the
next read raises what it raised. A database adds what is its own: connections, the snapshot, the stream and its places.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.connectors.row_changes.change import RowChange
from headwater.connectors.row_changes.events import RowEvents, TableEvents, with_key
from headwater.declaration import suggestion
from headwater.errors import HeadwaterError, SourceRefused, SourceUnavailable

_log = logging.getLogger(__name__)


class _Place(Protocol):
    """A place in the snapshot or in the log of a database."""

    @property
    def is_snapshot(self) -> bool:
        """Whether rows of the snapshot are to come."""
        ...

    def token(self) -> str:
        """The token to resume there."""
        ...

    def after_snapshot(self) -> Self:
        """Where the stream begins that follows the snapshot."""
        ...


P = TypeVar("P", bound=_Place)


class Step(NamedTuple, Generic[P]):
    """A change, or None where only the place moves, and the place after it."""

    change: RowChange | None
    place: P


class TableFacts(NamedTuple):
    """What a database says of a table: its key, and the columns that can be read."""

    key: tuple[str, ...]
    columns: Collection[str]


class Periodic(NamedTuple):
    """Something to do every so often while the stream is open; what it raises ends the stream."""

    seconds: float
    act: Callable[[], Awaitable[None]]


class _Snapshot(Protocol[P]):
    """The rows that were there before; one task reads it."""

    @property
    def place(self) -> P:
        """The place after what was read."""
        ...

    async def read(self, rows_max: int) -> Sequence[Step[P]]:
        """The next rows; none at the end."""
        ...

    async def end(self) -> None:
        """Let go of it, so that the server can clean up."""
        ...


class _Stream(Protocol[P]):
    """The changes that follow a place; one task reads it.

    `is_whole` is False while something is being taken: if a read is cancelled then, another connection must take it.
    """

    is_whole: bool

    async def take(self, count_max: int, wait_seconds: float) -> Sequence[Step[P]]:
        """Up to `count_max` steps; none if none come in time. A take that is cancelled takes nothing."""
        ...

    def confirm(self, place: P) -> None:
        """The server may forget what precedes this place."""
        ...

    @property
    def periodic(self) -> Sequence[Periodic]:
        """What is to be done while it is open."""
        ...

    async def end(self) -> None:
        """End it; connections may be left to their owner."""
        ...


class _PeriodicTasks:
    """What is done alongside the reads of a stream; `check` raises what one of them raised."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: HeadwaterError | None = None

    def start(self, periodic: Sequence[Periodic]) -> None:
        self._tasks = [asyncio.create_task(self._keep_doing(one)) for one in periodic]

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def end(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._failure = None

    async def _keep_doing(self, periodic: Periodic) -> None:
        while True:
            await asyncio.sleep(periodic.seconds)
            try:
                await periodic.act()
            except HeadwaterError as error:
                self._failure = error
                return


class RowChangeSource(ABC, Generic[P]):
    """A source of the changes of `declared` tables. `name` is that of the source."""

    features: SourceFeatures

    def __init__(self, name: str, declared: Sequence[TableEvents]) -> None:
        self._name = name
        self._declared = declared
        self._keys = {one.table: one.key for one in declared if one.key}
        self._snapshot: _Snapshot[P] | None = None
        self._stream: _Stream[P] | None = None
        self._periodic = _PeriodicTasks()
        self._withheld: Counter[tuple[str, str]] = Counter()
        self._report = partial(_report_withheld, name)
        self._events = RowEvents(name, declared, self._report, self._withheld)
        # After what was delivered, or where the server has nothing to send; None if it is closed.
        self._place: P | None = None

    @abstractmethod
    def _parse(self, token: str) -> P:
        """Raises TokenInvalid."""

    @abstractmethod
    async def _connect(self) -> Mapping[str, TableFacts]:
        """Connect, and check everything; each table as it is now. Raises SourceRefused, SourceUnavailable."""

    @abstractmethod
    async def _begin_snapshot(self) -> _Snapshot[P]:
        """A new snapshot. Raises SourceRefused, SourceUnavailable."""

    @abstractmethod
    async def _check_position(self, place: P) -> None:
        """Raises PositionLost or SourceRefused if what follows `place` cannot be read any more."""

    @abstractmethod
    async def _resume_snapshot(self, place: P) -> _Snapshot[P]:
        """The rest of the snapshot. Raises PositionLost, SourceUnavailable."""

    @abstractmethod
    async def _follow(self, place: P) -> _Stream[P]:
        """The changes after `place`. Raises PositionLost, SourceRefused, SourceUnavailable."""

    @abstractmethod
    async def _close_connections(self) -> None:
        """Close what `_connect` opened; idempotent, and never raises."""

    @property
    def withheld(self) -> Mapping[tuple[str, str], int]:
        """How often something was withheld although no rule says so, by table and column (`*`: the row)."""
        return self._withheld

    async def partitions(self) -> Sequence[str]:
        return ("",)

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Begin with a snapshot, or resume after `token`.

        Raises TokenInvalid, PositionLost, SourceRefused, SourceUnavailable.
        """
        place = None if token is None else self._parse(token)
        await self.close()
        try:
            await self._connect_again(is_new=place is None)
            if place is None:
                self._snapshot = await self._begin_snapshot()
                self._place = self._snapshot.place
            else:
                await self._resume(place)
                self._place = place
        except BaseException:
            await self.close()
            raise

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """The next rows or changes. Raises PositionLost, SourceRefused and SourceUnavailable: then the next read
        connects again, and continues where the last one ended."""
        before = self._place
        if before is None:
            raise SourceUnavailable("The source is not open.")
        try:
            if self._snapshot is None and self._stream is None:
                await self._connect_again()
                await self._resume(before)
            if self._snapshot is not None:
                batch = await self._read_snapshot(self._snapshot, before, deliveries_max)
                if batch.deliveries:
                    return batch
            return await self._read_stream(self._place or before, deliveries_max, wait_seconds)
        except BaseException as error:
            is_whole = self._snapshot is None and self._stream is not None and self._stream.is_whole
            if not (is_whole and isinstance(error, asyncio.CancelledError)):
                # What was taken and not delivered is read again.
                await self._disconnect()
                self._place = before
            raise

    async def confirm(self, token: str) -> None:
        """The server may delete what precedes `token`. Raises TokenInvalid; a connection that is lost is no failure:
        whatever is confirmed later includes this."""
        place = self._parse(token)
        if not place.is_snapshot and self._stream is not None:
            self._stream.confirm(place)

    async def close(self) -> None:
        await self._disconnect()
        self._place = None

    async def _connect_again(self, *, is_new: bool = False) -> None:
        await self._disconnect()
        facts = await self._connect()
        declared = [with_key(one, facts[one.table].key) for one in self._declared]
        if unknown := unknown_columns(declared, facts):
            # Columns may be dropped while a source is read, and changes with them are still to come.
            if is_new:
                raise SourceRefused(" ".join(what for what, _ in unknown), hint=" ".join(fix for _, fix in unknown))
            for what, _ in unknown:
                _log.warning("Source %s: %s", self._name, what)
        self._events = RowEvents(self._name, declared, self._report, self._withheld)

    async def _resume(self, place: P) -> None:
        await self._check_position(place)
        if place.is_snapshot:
            self._snapshot = await self._resume_snapshot(place)
        else:
            await self._start_stream(place)

    async def _start_stream(self, place: P) -> None:
        self._stream = stream = await self._follow(place)
        self._periodic.start(stream.periodic)

    async def _disconnect(self) -> None:
        stream = self._stream
        self._stream, self._snapshot = None, None
        await self._periodic.end()
        if stream is not None:
            await stream.end()
        await self._close_connections()

    async def _read_snapshot(self, snapshot: _Snapshot[P], before: P, deliveries_max: int) -> SourceBatch:
        """The next rows; none at the end of the snapshot, where the stream begins."""
        while rows := await snapshot.read(deliveries_max):
            deliveries, places = _made(self._events, rows)
            self._place = snapshot.place
            if deliveries:
                return SourceBatch(deliveries, _tokens(before, places, snapshot.place), "snapshot")
        await snapshot.end()
        self._place = place = before.after_snapshot()
        self._snapshot = None
        await self._start_stream(place)
        return SourceBatch((), _tokens(place, (), place))

    async def _read_stream(self, before: P, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        stream = self._stream
        assert stream is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        place = before
        while True:
            self._periodic.check()
            steps = await stream.take(deliveries_max, max(0.0, deadline - loop.time()))
            deliveries, places = _made(self._events, steps)
            if steps:
                self._place = place = steps[-1].place
            if deliveries or not steps:
                return SourceBatch(deliveries, _tokens(before, places, place))


def unknown_columns(declared: Sequence[TableEvents], facts: Mapping[str, TableFacts]) -> list[tuple[str, str]]:
    """Each column that a project names and a table does not have, as a sentence, and what to do."""
    found = []
    for one in declared:
        known = facts[one.table].columns
        for name in sorted((one.rules.columns | one.rules.tested).difference(known)):
            what = f"The table {one.table} has no column {name} that can be read, although the source names it."
            found.append((what, suggestion(name, known) or f"Its columns: {', '.join(known)}."))
    return found


def _made(events: RowEvents, steps: Sequence[Step[P]]) -> tuple[list[Delivery], list[P]]:
    """What is made of changes, and the place after each delivery."""
    deliveries, places = [], []
    for change, place in steps:
        if change is not None and (delivery := events.delivery(change)) is not None:
            deliveries.append(delivery)
            places.append(place)
    return deliveries, places


def _report_withheld(source: str, table: str, column: str, reason: str) -> None:
    what = f"a row of {table}" if column == "*" else f"the column {column} of {table}"
    _log.warning("Source %s withholds %s: %s.", source, what, reason)


def _tokens(before: _Place, places: Sequence[_Place], after: _Place) -> Callable[[int], str]:
    """The token after a number of deliveries; after the last one it includes following changes that gave none.

    The function raises ValueError for more deliveries than there are.
    """

    def token_after(count: int) -> str:
        if not 0 <= count <= len(places):
            raise ValueError(f"The batch has {len(places)} deliveries, not {count}.")
        if count == len(places):
            return after.token()
        return places[count - 1].token() if count else before.token()

    return token_after
