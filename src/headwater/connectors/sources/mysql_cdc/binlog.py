"""Reads the binary log of rows in a thread, and hands its changes to the event loop, each with the place after it.

How this works: the client blocks, so it has a thread of its own, which stops reading while much is waiting. The client
connects again by itself, from where it began; that is refused here, so that nothing is read twice.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pymysql
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.event import HeartbeatLogEvent, MariadbGtidEvent, QueryEvent, RotateEvent, XidEvent
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from headwater.connectors.row_changes.capture import Periodic, Step
from headwater.connectors.row_changes.change import Operation, RowChange
from headwater.connectors.sources.mysql_cdc import server
from headwater.connectors.sources.mysql_cdc.server import Address, Table
from headwater.connectors.sources.mysql_cdc.token import Gtids, Place, gtids_text, read_gtids, version_of
from headwater.errors import HeadwaterError, PositionLost, SourceUnavailable

WAITING_MAX = 10_000
JOIN_SECONDS = 10.0
# The client cannot read the statements in the log of newer servers.
STATEMENTS_BELOW = (11, 0)
EMPTY_SET = "empty set"
# The flag of a transaction that is one statement, such as CREATE TABLE, and has no end of its own in the log.
STANDALONE = 1
_TRUNCATE = re.compile(r"\s*TRUNCATE\s+(?:TABLE\s+)?(?:`?([^`.\s]+)`?\.)?`?([^`.\s;]+)`?", re.IGNORECASE)


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

    def _end(self) -> Iterator[Step[Place]]:
        if self._current:
            self._done |= read_gtids(self._current)
            self._current, self._number = "", 0
            yield Step(None, Place(gtids_text(self._done)))

    def _statement(self, event: Any) -> Iterator[Step[Place]]:
        query = event.query if isinstance(event.query, str) else event.query.decode("utf-8", "replace")
        if query.strip().upper() == "COMMIT":
            yield from self._end()
        elif (found := _TRUNCATE.match(query)) is not None:
            schema = found[1] or (event.schema.decode() if isinstance(event.schema, bytes) else event.schema)
            name = f"{schema}.{found[2]}"
            if name in self._tables:
                yield from self._numbered([self._change(name, "truncate", {}, event)])
        if self._is_statement:
            yield from self._end()

    def _rows(self, event: Any) -> Iterator[Step[Place]]:
        name = f"{event.schema}.{event.table}"
        if name not in self._tables:
            return
        for row in event.rows:
            if isinstance(event, UpdateRowsEvent):
                before = self._row(name, row["before_values"], row.get("before_none_sources", {}))
                after = self._row(name, row["after_values"], row.get("after_none_sources", {}))
                key = self._key(name)
                if any(before.get(column) != after.get(column) for column in key):
                    gone = self._change(name, "delete", {column: before.get(column) for column in key}, event)
                    yield from self._numbered([gone, self._change(name, "insert", after, event)])
                else:
                    yield from self._numbered([None, self._change(name, "update", after, event)])
                continue
            values = self._row(name, row["values"], row.get("none_sources", {}))
            if isinstance(event, WriteRowsEvent):
                yield from self._numbered([self._change(name, "insert", values, event)])
            else:
                key_values = {column: values.get(column) for column in self._key(name)}
                yield from self._numbered([self._change(name, "delete", key_values, event)])

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

    def _row(self, table: str, values: Mapping[str, Any], none_sources: Mapping[str, Any]) -> dict[str, Any]:
        known = self._tables[table].columns
        if values.keys() != known.keys() and (now := self._describe(table)) is not None:
            # Columns were added, dropped or renamed since; what is gone by now is converted as it was.
            known = {**known, **now.columns}
            self._tables[table] = Table(table, known, now.key or self._tables[table].key)
        row = {}
        for name, value in values.items():
            column = known.get(name)
            if value is None and column is not None and str(none_sources.get(name, "")) == EMPTY_SET:
                row[name] = column.absent()
            else:
                row[name] = value if column is None else column.convert(value)
        return row


class Log:
    """One connection to the binary log, which begins after `gtids`. Blocks."""

    def __init__(self, address: Address, gtids: str, server_id: int, *, follow: bool, heartbeat_seconds: float) -> None:
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
            statements = server.version_of_server(probe) < STATEMENTS_BELOW
        finally:
            probe.close()
        events = [MariadbGtidEvent, XidEvent, RotateEvent, HeartbeatLogEvent]
        events += [WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, *([QueryEvent] if statements else [])]
        self._reader = BinLogStreamReader(
            connection_settings=settings,
            server_id=server_id,
            blocking=follow,
            resume_stream=True,
            only_events=events,
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

    def __init__(self, log: Log, made: Callable[[Any], Iterator[Step[Place]]]) -> None:
        self._log = log
        self._made = made
        self._waiting: deque[Step[Place]] = deque()
        self._room = threading.Condition()
        self._failure: HeadwaterError | None = None
        self._is_ended = False
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="mariadb-binlog", daemon=True)
        self._thread.start()

    async def take(self, count_max: int, wait_seconds: float) -> list[Step[Place]]:
        """Up to `count_max` steps; none if there are none in time. Raises what the log raised, after what preceded."""
        self._arrived.clear()
        if not self._waiting and self._failure is None and wait_seconds > 0:
            try:
                await asyncio.wait_for(self._arrived.wait(), wait_seconds)
            except TimeoutError:
                return []
        with self._room:
            taken = [self._waiting.popleft() for _ in range(min(count_max, len(self._waiting)))]
            self._room.notify()
        if not taken and self._failure is not None:
            raise self._failure
        return taken

    def confirm(self, place: Place) -> None:
        """Does nothing: the server keeps its log as long as it is configured to."""

    @property
    def periodic(self) -> Sequence[Periodic]:
        """Nothing: the server sends heartbeats, and a connection without them fails."""
        return ()

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
                    self._put(step)
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

    def _put(self, step: Step[Place]) -> None:
        with self._room:
            while len(self._waiting) >= WAITING_MAX and not self._is_ended:
                self._room.wait()
            if step.change is None and self._waiting and self._waiting[-1].change is None:
                self._waiting[-1] = step
            else:
                self._waiting.append(step)
        self._notify()

    def _notify(self) -> None:
        if not self._is_ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)


def changed_keys(log: Log, changes: Changes, tables: Mapping[str, Table], count_max: int) -> set[tuple[str, Any]]:
    """Table and primary key of each row that was changed up to the end of the log; empty if there are too many."""
    found: set[tuple[str, Any]] = set()
    while (event := log.next()) is not None:
        for step in changes.of(event):
            change = step.change
            if change is None:
                continue
            key = tuple(change.row.get(name) for name in tables[change.table].key)
            found.add((change.table, key))
            if len(found) > count_max:
                return set()
    return found
