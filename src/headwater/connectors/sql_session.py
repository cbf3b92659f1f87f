"""The connection by which a sink writes: made again when it is lost, and ended when the server does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from headwater.connectors.sql_dialect import C, Dialect

_T = TypeVar("_T")


class Session(Generic[C]):
    """One connection after another to one database. All of it is called on one thread, but `watch`."""

    def __init__(self, dialect: Dialect[C]) -> None:
        self._dialect = dialect
        # None before the first one, and while it is lost.
        self.connection: C | None = None

    def current(self) -> C:
        """The connection; a lost one is made again. Raises one of the dialect's errors."""
        if self.connection is None:
            self.connection = self._dialect.connect()
        return self.connection

    @contextmanager
    def transaction(self) -> Iterator[C]:
        """All of it or nothing."""
        writer = self.begin()
        try:
            yield writer
            writer.execute("COMMIT")
        except BaseException:
            self.roll_back(writer)
            raise

    def begin(self) -> C:
        """The connection in a new transaction; one that was lost between transactions is made again."""
        writer = self.current()
        try:
            writer.execute(self._dialect.begin)
        except self._dialect.errors:
            if not self._dialect.is_remote:
                raise
            self.close()
            writer = self.current()
            writer.execute(self._dialect.begin)
        return writer

    def roll_back(self, writer: C) -> None:
        """End the transaction, if need be with the connection."""
        try:
            writer.execute("ROLLBACK")
        except self._dialect.errors:
            if not self._dialect.is_remote:
                raise
            self.close()

    def close(self) -> None:
        """Release the connection; idempotent."""
        release(self._dialect, self.connection)
        self.connection = None

    async def watch(self, done: asyncio.Future[_T]) -> _T:
        """The result of work with the connection, which is aborted when a statement makes no progress."""
        seconds_max = self._dialect.stall_seconds_max
        seen: tuple[C, int] | None = None
        while seconds_max is not None and not (await asyncio.wait({done}, timeout=seconds_max))[0]:
            writer = self.connection
            now = None if writer is None else (writer, self._dialect.progress(writer))
            if writer is not None and now == seen:
                self._dialect.abort(writer)
            seen = now
        return await done


def release(dialect: Dialect[Any], connection: Any) -> None:
    """Close a connection that may be lost; None is no connection."""
    if connection is not None:
        with suppress(*dialect.errors):
            connection.close()
