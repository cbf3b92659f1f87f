"""Reads the binary log of rows in a thread, and hands its changes to the event loop, each with the place after it.

How this works: the client blocks, so it has a thread of its own, which stops reading while much is waiting. The client
connects again by itself, from where it began; that is refused here, so that nothing is read twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pymysql
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.event import HeartbeatLogEvent, MariadbGtidEvent, QueryEvent, RotateEvent, XidEvent
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from headwater.connectors.row_changes.capture import Periodic, Step
from headwater.connectors.row_changes.change import Operation, RowChange
from headwater.connectors.sources.mysql_cdc import server, statements
from headwater.connectors.sources.mysql_cdc.server import Address, Table, row_key
from headwater.connectors.sources.mysql_cdc.token import Gtids, Place, gtids_text, read_gtids, version_of
from headwater.connectors.sources.mysql_cdc.values import Column
from headwater.errors import HeadwaterError, PositionLost, SourceRefused, SourceUnavailable

WAITING_MAX = 10_000
WAITING_BYTES_MAX = 32_000_000
JOIN_SECONDS = 10.0
# The client cannot read the statements in the log of newer servers.
STATEMENTS_BELOW = (11, 0)
# The flag of a transaction that is one statement, such as CREATE TABLE, and has no end of its own in the log.
STANDALONE = 1
SECOND = timedelta(seconds=1)
# Character sets that the client would decode with the bytes of each number in the other order.
ENCODINGS = {"utf16": "utf_16_be", "ucs2": "utf_16_be", "utf32": "utf_32_be"}


class Changes:
    """The changes in the events of the log, which follow `place`. `describe` gives a table as it is now."""

    def __init__(
        self,
        place: Place,
        tables: Mapping[str, Table],
        keys: Mapping[str, tuple[str, ...]],
        describe: Callable[[str], Table | None],
    ) -> None:
        self._tables = dict(tables)
        self._keys = keys
        self._describe = describe
        self._done: Gtids = read_gtids(place.gtids)
        self._skip = place.number
        self._within = place.within
        self._current = ""
        self._number = 0
        self._is_statement = False
        # The number by which the log knows a table now, and its columns as the log describes them.
        self._table_ids: dict[str, int] = {}
        self._forms: dict[str, tuple[tuple[str, int, bool], ...]] = {}

    def of(self, event: Any) -> Iterator[Step[Place]]:
        """What one event gives."""
        match event:
            case MariadbGtidEvent():
                # Some transactions have no end in the log.
                yield from self._end()
                self._current, self._number = event.gtid, 0
                self._is_statement = bool(event.flags & STANDALONE)
            case XidEvent():
                yield from self._end()
            case QueryEvent():
                yield from self._statement(event)
            case WriteRowsEvent() | UpdateRowsEvent() | DeleteRowsEvent():
                yield from self._rows(event)
            case _:
                pass

    def includes(self, end: Gtids) -> bool:
        """Whether everything up to `end` was read."""
        return self.has_begun(end) if self._is_statement and self._current else _reach(self._done, end)

    def has_begun(self, end: Gtids) -> bool:
        """Whether the last transaction of `end` has begun at least."""
        return _reach(self._done | read_gtids(self._current), end)

    def _end(self) -> Iterator[Step[Place]]:
        if self._current:
            self._done |= read_gtids(self._current)
            self._current, self._number = "", 0
            yield Step(None, Place(gtids_text(self._done)))

    def _statement(self, event: Any) -> Iterator[Step[Place]]:
        query = event.query if isinstance(event.query, str) else event.query.decode("utf-8", "replace")
        statement = statements.without_comments(query)
        schema = event.schema.decode() if isinstance(event.schema, bytes) else event.schema
        if statement.strip().upper() == "COMMIT":
            yield from self._end()
        elif (name := statements.truncated_table(statement, schema)) is not None:
            if name in self._tables:
                yield from self._numbered([self._change(name, "truncate", {}, event)])
        else:
            self._check_tables(statement)
        if self._is_statement:
            yield from self._end()

    def _check_tables(self, statement: str) -> None:
        """Raises SourceRefused after a statement that means that changes cannot be read any more."""
        for name in statements.altered_tables(statement, self._tables):
            if self._describe(name) is None:
                raise table_is_gone(name)
        for name in statements.written_tables(statement, self._tables):
            raise SourceRefused(
                f"Changes of {name} were logged as a statement, without its rows: a session has another binlog_format.",
                hint="Let every session use binlog_format=ROW. What this statement changed cannot be read: begin again "
                "with a new snapshot.",
            )

    def _rows(self, event: Any) -> Iterator[Step[Place]]:
        name = f"{event.schema}.{event.table}"
        if name not in self._tables:
            return
        self._look_at_columns(name, event)
        key = self._key(name)
        for row in event.rows:
            if isinstance(event, UpdateRowsEvent):
                yield from self._numbered(self._update(name, row, key, event))
                continue
            values, missing = self._row(name, row["values"], row.get("none_sources", {}))
            if isinstance(event, WriteRowsEvent):
                _check_whole(name, missing)
                yield from self._numbered([self._change(name, "insert", values, event)])
            else:
                _check_whole(name, [one for one in missing if one in key])
                key_values = {column: values.get(column) for column in key}
                yield from self._numbered([self._change(name, "delete", key_values, event)])

    def _update(self, name: str, row: Mapping[str, Any], key: Sequence[str], event: Any) -> list[RowChange | None]:
        """The deletion of the row under its old key, if that changed, and the row as it is now."""
        before, missing = self._row(name, row["before_values"], row.get("before_none_sources", {}))
        _check_whole(name, [one for one in missing if one in key])
        after, missing = self._row(name, row["after_values"], row.get("after_none_sources", {}))
        _check_whole(name, [one for one in missing if one not in before])
        # A value may be logged only once if it is the same before and after.
        after |= {column: before[column] for column in missing}
        if any(before.get(column) != after.get(column) for column in key):
            gone = self._change(name, "delete", {column: before.get(column) for column in key}, event)
            return [gone, self._change(name, "insert", after, event)]
        return [None, self._change(name, "update", after, event)]

    def _numbered(self, changes: list[RowChange | None]) -> Iterator[Step[Place]]:
        gtids = gtids_text(self._done)
        for change in changes:
            self._number += 1
            if change is None or (self._current == self._within and self._number <= self._skip):
                continue
            version = version_of(self._done | read_gtids(self._current), self._number)
            place = Place(gtids, self._number, self._current)
            yield Step(change._replace(version=version, number=self._number), place)

    def _change(self, table: str, operation: Operation, row: Mapping[str, Any], event: Any) -> RowChange:
        at_ms = int(event.timestamp) * 1000
        return RowChange(table, operation, row, self._key(table), 0, self._current, 0, at_ms, self._current)

    def _key(self, table: str) -> tuple[str, ...]:
        return self._keys.get(table) or self._tables[table].key

    def _look_at_columns(self, name: str, event: Any) -> None:
        """Ask for the columns again where the log describes them otherwise than before."""
        if self._table_ids.get(name) == event.table_id:
            return
        self._table_ids[name] = event.table_id
        before, form = self._forms.get(name), tuple((one.name, one.type, one.unsigned) for one in event.columns)
        self._forms[name] = form
        table = self._tables[name]
        is_known = {column for column, *_ in form} == table.columns.keys() if before is None else before == form
        if not is_known and (now := self._describe(name)) is not None:
            # What is gone by now is converted by its value.
            self._tables[name] = table = Table(name, now.columns, now.key or table.key)
        for column in event.columns:
            column.character_set_name = ENCODINGS.get(column.character_set_name, column.character_set_name)
            known = table.columns.get(column.name)
            if known is not None:
                known.name_members(column)

    def _row(
        self, table: str, values: Mapping[str, Any], none_sources: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        """The row in JSON, and the columns that were not logged."""
        known = self._tables[table].columns
        row, missing = {}, []
        for name, value in values.items():
            column = known.get(name) or Column(name, "", "")
            if value is not None:
                row[name] = column.convert(_repaired(value) if isinstance(value, timedelta) else value)
                continue
            match str(none_sources.get(name, "")):
                case "cols bitmap":
                    missing.append(name)
                case "empty set":
                    row[name] = column.absent()
                case _:
                    row[name] = None
        return row, missing


def _reach(gtids: Gtids, end: Gtids) -> bool:
    return all(gtids.get(domain, (0, 0))[1] >= number for domain, (_, number) in end.items())


def _repaired(value: timedelta) -> timedelta:
    """A negative time with a fraction, which the client reads as one that is up to a second longer."""
    if value >= timedelta() or not (fraction := -value % SECOND):
        return value
    return -(-value - fraction + (SECOND - fraction))


def table_is_gone(name: str) -> SourceRefused:
    """The error of a table that was there when the source was opened."""
    return SourceRefused(
        f"The table {name} was renamed or dropped.",
        hint="Give it its name back, or change `tables` of the source; it then continues where it is.",
    )


def _check_whole(table: str, missing: Sequence[str]) -> None:
    """Raises SourceRefused if columns of a row were not logged."""
    if missing:
        raise SourceRefused(
            f"A change of {table} was logged without the column {missing[0]}: a session has a binlog_row_image that is "
            "not FULL.",
            hint="Let every session use binlog_row_image=FULL. The change cannot be read: begin again with a new "
            "snapshot.",
        )


class Log:
    """One connection to the binary log, which begins after `gtids`, for the changes of `tables`. Blocks."""

    def __init__(
        self,
        address: Address,
        gtids: str,
        server_id: int,
        tables: Collection[str],
        *,
        follow: bool,
        heartbeat_seconds: float,
    ) -> None:
        self._connections: list[Any] = []
        self._follow = follow
        settings = {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": address.password,
            "charset": "utf8mb4",
            "connect_timeout": 10,
            "read_timeout": max(2.0, 3 * heartbeat_seconds),
        }
        probe = server.connect(address, 10.0)
        try:
            has_statements = server.version_of_server(probe) < STATEMENTS_BELOW
        finally:
            probe.close()
        events = [MariadbGtidEvent, XidEvent, RotateEvent, HeartbeatLogEvent]
        events += [WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, *([QueryEvent] if has_statements else [])]
        self._reader = BinLogStreamReader(
            connection_settings=settings,
            server_id=server_id,
            blocking=follow,
            resume_stream=True,
            only_events=events,
            # What the columns of other tables are does not matter, nor whether the client knows their types.
            only_schemas=sorted({name.split(".", 1)[0] for name in tables}),
            only_tables=sorted({name.split(".", 1)[1] for name in tables}),
            auto_position=gtids,
            is_mariadb=True,
            slave_heartbeat=heartbeat_seconds,
            enable_logging=False,
            pymysql_wrapper=self._connected,
        )

    def next(self) -> Any | None:
        """The next event; None at the end, if it is not followed. Raises PositionLost, SourceRefused,
        SourceUnavailable."""
        with server.translating("stream its binary log"):
            return self._reader.fetchone()

    def abort(self) -> None:
        """End a `next` that waits in another thread."""
        for connection in self._connections:
            found = getattr(connection, "_sock", None)
            if found is not None:
                try:
                    found.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def close(self) -> None:
        for connection in self._connections:
            try:
                connection.close()
            except (pymysql.MySQLError, OSError):
                continue
        self._connections.clear()

    def _connected(self, **settings: Any) -> Any:
        if "cursorclass" not in settings and any(not one.headwater_is_control for one in self._connections):
            raise SourceUnavailable("MariaDB ended the stream of its binary log.")
        # The client has the name that its driver does not want any more.
        renamed = {"database" if name == "db" else name: value for name, value in settings.items()}
        connection = pymysql.connect(**renamed)
        connection.headwater_is_control = "cursorclass" in settings
        self._connections.append(connection)
        return connection


class Following:
    """A thread that reads the log; what it reads waits to be taken. `made` are the steps of each event."""

    is_whole = True

    def __init__(
        self, log: Log, made: Callable[[Any], Iterator[Step[Place]]], periodic: Sequence[Periodic] = ()
    ) -> None:
        self._log = log
        self._made = made
        self.periodic = periodic
        # Each with the bytes that it has in the log.
        self._waiting: deque[tuple[Step[Place], int]] = deque()
        self._waiting_bytes = 0
        self._room = threading.Condition()
        self._failure: HeadwaterError | None = None
        self._is_ended = False
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="mariadb-binlog", daemon=True)
        self._thread.start()

    async def take(self, count_max: int, wait_seconds: float) -> list[Step[Place]]:
        """Up to `count_max` steps; none if there are none in time. Raises what the log raised, after what preceded."""
        deadline = self._loop.time() + wait_seconds
        while not self._waiting and self._failure is None and (left := deadline - self._loop.time()) > 0:
            self._arrived.clear()
            # What came before this was cleared is in the queue by now.
            if not self._waiting and self._failure is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), left)
        with self._room:
            found = [self._waiting.popleft() for _ in range(min(count_max, len(self._waiting)))]
            self._waiting_bytes -= sum(size for _, size in found)
            self._room.notify()
        taken = [step for step, _ in found]
        if not taken and self._failure is not None:
            raise self._failure
        return taken

    def confirm(self, place: Place) -> None:
        """Does nothing: the server keeps its log as long as it is configured to."""

    async def end(self) -> None:
        """End the thread and its connections."""
        with self._room:
            self._is_ended = True
            self._room.notify()
        self._log.abort()
        await asyncio.to_thread(self._thread.join, JOIN_SECONDS)
        self._log.close()

    def _run(self) -> None:
        try:
            while not self._is_ended and (event := self._log.next()) is not None:
                for step in self._made(event):
                    # Its rows are read by now, which begins with a look at its columns.
                    self._put(step, event.event_size // max(1, len(getattr(event, "rows", ()))))
            self._failure = SourceUnavailable("MariaDB ended the stream of its binary log.")
        except HeadwaterError as error:
            self._failure = error
        except Exception as error:
            # The client of the log raises many kinds of errors for what it cannot read.
            self._failure = PositionLost(
                f"The binary log cannot be read: {type(error).__name__}: {error}.",
                hint="Report it, with the version of the server; nothing was confirmed, so that nothing is lost.",
            )
        self._notify()

    def _put(self, step: Step[Place], size: int) -> None:
        with self._room:
            while self._is_full() and not self._is_ended:
                self._room.wait()
            if step.change is None and self._waiting and self._waiting[-1][0].change is None:
                self._waiting_bytes -= self._waiting.pop()[1]
            self._waiting.append((step, size))
            self._waiting_bytes += size
        self._notify()

    def _is_full(self) -> bool:
        return len(self._waiting) >= WAITING_MAX or self._waiting_bytes >= WAITING_BYTES_MAX

    def _notify(self) -> None:
        if not self._is_ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)


def changed_keys(
    log: Log, changes: Changes, tables: Mapping[str, Table], end: Gtids, count_max: int
) -> set[tuple[str, Any]]:
    """Table and primary key of each row that was changed by the transactions up to `end`; empty if there are too many.

    The log is followed: a server that is asked for no more than it has may close the connection before all has arrived.
    """
    found: set[tuple[str, Any]] = set()
    while not changes.includes(end):
        event = log.next()
        if event is None or (isinstance(event, HeartbeatLogEvent) and changes.has_begun(end)):
            break
        for step in changes.of(event):
            change = step.change
            if change is None:
                continue
            found.add((change.table, row_key(change.row, tables[change.table].key)))
            if len(found) > count_max:
                return set()
    return found
