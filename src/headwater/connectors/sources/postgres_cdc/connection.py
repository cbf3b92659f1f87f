"""Connections to PostgreSQL, one for SQL and one that streams changes; its errors become those of this project."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import pq, sql

from headwater.connectors.sources.postgres_cdc.pgoutput import EPOCH_US
from headwater.connectors.sources.postgres_cdc.token import lsn_text
from headwater.connectors.sources.postgres_cdc.values import SESSION_OPTIONS
from headwater.errors import HeadwaterError, PositionLost, SourceRefused, SourceUnavailable

APPLICATION = "headwater"
CLOSE_SECONDS = 5.0
# What the caller must change before it works: the beginning of the error's class.
_REFUSED = ("22", "28", "3D", "3F", "42", "0A")
_OBJECT_IN_USE, _UNDEFINED_OBJECT = "55006", "42704"
_LOST = ("can no longer get changes from replication slot", "cannot read from logical replication slot")


class SlotInUse(SourceUnavailable):
    """Another client reads from the slot now."""


class StreamedData(NamedTuple):
    """One message of pgoutput, and where in the log it is."""

    lsn: int
    payload: bytes


class KeepAlive(NamedTuple):
    """Everything before `lsn` was sent."""

    lsn: int


def translated(error: psycopg.Error, doing: str) -> HeadwaterError:
    """The error of this project for one of the driver."""
    state = error.sqlstate or ""
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return _translated(state, message, doing)


def _translated(state: str, message: str, doing: str) -> HeadwaterError:
    text = f"PostgreSQL could not {doing}: {message}."
    if state == _OBJECT_IN_USE:
        return SlotInUse(text)
    if any(mark in message for mark in _LOST):
        return PositionLost(text, hint="Begin again with a new snapshot.")
    if state == _UNDEFINED_OBJECT and "publication" in message:
        return PositionLost(
            text,
            hint="The publication was dropped or created after changes that were not read yet, so that its slot cannot "
            "continue. Begin again with a new snapshot.",
        )
    if state == "42501" and "row-level security" in message:
        return SourceRefused(text, hint="Policies hide rows from the user of the source: `ALTER ROLE … BYPASSRLS`.")
    if state == "42501":
        return SourceRefused(text, hint="Grant this to the user of the source.")
    if state.startswith(_REFUSED):
        return SourceRefused(text)
    return SourceUnavailable(text)


@contextlib.contextmanager
def translating(doing: str) -> Iterator[None]:
    """Raise this project's errors for those of the driver."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, doing) from error


class Session:
    """A connection for SQL. Values come as text."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, url: str, *, connect_seconds_max: float) -> Session:
        """Raises SourceUnavailable, SourceRefused."""
        with translating("be connected to"):
            connection = await psycopg.AsyncConnection.connect(
                url,
                autocommit=True,
                connect_timeout=max(2, round(connect_seconds_max)),
                application_name=APPLICATION,
                options=SESSION_OPTIONS,
                prepare_threshold=None,
            )
        return cls(connection)

    async def rows(self, statement: str | sql.Composed, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Raises SourceUnavailable, SourceRefused."""
        with translating("be asked"):
            cursor = await self._connection.execute(statement, values or None)
            return await cursor.fetchall() if cursor.description else []

    async def texts(self, statement: sql.Composed, values: Sequence[Any] = ()) -> list[tuple[str | None, ...]]:
        """The same, each value as the text that PostgreSQL sent."""
        with translating("be read"):
            cursor = await self._connection.execute(statement, values or None)
            result = cursor.pgresult
        if result is None:
            return []
        return [
            tuple(_text(result.get_value(row, column)) for column in range(result.nfields))
            for row in range(result.ntuples)
        ]

    async def close(self) -> None:
        await self._connection.close()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


class ReplicationConnection:
    """A connection in replication mode: it creates the slot, and streams the changes. One task uses it at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pg = connection.pgconn
        self._is_streaming = False

    @classmethod
    async def connect(cls, url: str, *, connect_seconds_max: float) -> ReplicationConnection:
        """Raises SourceUnavailable, SourceRefused."""
        with translating("be connected to for replication"):
            connection = await psycopg.AsyncConnection.connect(
                url,
                autocommit=True,
                connect_timeout=max(2, round(connect_seconds_max)),
                application_name=APPLICATION,
                options=SESSION_OPTIONS,
                replication="database",
                cursor_factory=psycopg.AsyncClientCursor,
            )
        return cls(connection)

    async def system(self) -> str:
        """The identity of the database cluster."""
        with translating("identify its system"):
            row = await (await self._connection.execute("IDENTIFY_SYSTEM")).fetchone()
        assert row is not None
        return str(row[0])

    async def create_slot(self, slot: str) -> tuple[str, str]:
        """The place in the log from which the slot has all changes, and the name of the snapshot of all before it.

        The snapshot exists until this connection is used again. Waits for transactions that are open now.
        """
        with translating(f"create the replication slot {slot}"):
            statement = f"CREATE_REPLICATION_SLOT {_identifier(slot)} LOGICAL pgoutput EXPORT_SNAPSHOT"
            row = await (await self._connection.execute(statement.encode())).fetchone()
        assert row is not None
        return str(row[1]), str(row[2])

    async def start(self, slot: str, lsn: int, publication: str) -> None:
        """Stream from `lsn`. Raises SlotInUse, PositionLost, SourceUnavailable, SourceRefused."""
        names = publication.replace("'", "''").replace('"', '""')
        statement = (
            f"START_REPLICATION SLOT {_identifier(slot)} LOGICAL {lsn_text(lsn)} "
            f"(proto_version '1', publication_names '\"{names}\"')"
        )
        result = await asyncio.to_thread(self._pg.exec_, statement.encode())
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise self._error(result, "stream changes")
        self._pg.nonblocking = 1
        self._is_streaming = True

    def next(self) -> StreamedData | KeepAlive | None:
        """The next message that has arrived; None if there is none. Raises as `start`, when the stream ends."""
        try:
            size, data = self._pg.get_copy_data(1)
            if size == 0:
                self._pg.consume_input()
                size, data = self._pg.get_copy_data(1)
        except psycopg.Error as error:
            raise translated(error, "stream changes") from error
        if size == 0:
            return None
        if size < 0:
            self._is_streaming = False
            raise self._error(self._pg.get_result(), "stream changes")
        message = bytes(data)
        (lsn,) = struct.unpack_from(">Q", message, 1)
        return KeepAlive(lsn) if message[:1] == b"k" else StreamedData(lsn, message[25:])

    async def wait(self, seconds_max: float) -> None:
        """Until something arrives, at most so long."""
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        socket = self._pg.socket
        loop.add_reader(socket, _resolve, arrived)
        try:
            await asyncio.wait((arrived,), timeout=seconds_max)
        finally:
            loop.remove_reader(socket)

    def report(self, received_lsn: int, stored_lsn: int) -> None:
        """Say what was received and what is stored: what is before it may be deleted. Raises SourceUnavailable."""
        now_us = time.time_ns() // 1000 - EPOCH_US
        message = b"r" + struct.pack(">QQQQB", received_lsn, stored_lsn, stored_lsn, now_us, 0)
        try:
            self._pg.put_copy_data(message)
            self._pg.flush()
        except psycopg.Error as error:
            raise translated(error, "accept the status of replication") from error

    async def close(self) -> None:
        """End the stream, so that the slot is free at once, and the connection."""
        if self._is_streaming:
            self._is_streaming = False
            with contextlib.suppress(psycopg.Error, TimeoutError, OSError):
                self._pg.put_copy_end()
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._drained()
        await self._connection.close()

    async def _drained(self) -> None:
        """Wait for the server's end of the stream; what was under way is read again later."""
        self._pg.flush()
        while True:
            size, _ = self._pg.get_copy_data(1)
            if size < 0:
                return
            if size == 0:
                await self.wait(CLOSE_SECONDS)
                self._pg.consume_input()

    def _error(self, result: Any, doing: str) -> HeadwaterError:
        if result is None or result.status != pq.ExecStatus.FATAL_ERROR:
            return SourceUnavailable("PostgreSQL ended the stream of changes.")
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        message = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message or b"").decode()
        return _translated(state, message.strip().splitlines()[0] if message.strip() else "no reason given", doing)


def _resolve(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)


def _identifier(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
