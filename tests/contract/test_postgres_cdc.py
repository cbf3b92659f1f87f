"""The PostgreSQL source keeps the contract of sources, on a real server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from headwater.connectors.contract import SourceBatch
from headwater.connectors.sources.postgres_cdc.options import PostgresCdcOptions
from headwater.connectors.sources.postgres_cdc.source import PostgresCdc
from headwater.connectors.sources.postgres_cdc.token import Place, read_lsn
from headwater.testing.suites.source import NewSource, Put, SourceSuite
from servers.places import LOOPBACK
from servers.postgres import PostgresServer

NUMBERS = itertools.count(1)


class Database:
    """A database of its own on the shared server, and the slot of the source that reads it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.name = f"cdc_{next(NUMBERS)}"
        self.slot = f"slot_{self.name}"
        self.url = f"postgresql://test@{LOOPBACK}:{server.port}/{self.name}"

    def create(self) -> None:
        self._server.run_sql(f"CREATE DATABASE {self.name}")

    def drop(self) -> None:
        self.end_streams()
        self.drop_slot()
        self._server.run_sql(f"DROP DATABASE {self.name} WITH (FORCE)")

    def run(self, statement: str, values: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def end_streams(self) -> None:
        """As if the connections that read the slot were lost."""
        self.run(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE slot_name = %s"
            " AND active_pid IS NOT NULL",
            (self.slot,),
        )

    def drop_slot(self) -> None:
        self.run(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (self.slot,)
        )

    def source(self, **options: Any) -> CaughtUp:
        return CaughtUp(PostgresCdcOptions(url=self.url, slot=self.slot, **options), self.name, self)


class CaughtUp(PostgresCdc):
    """The source; a read that does not wait for more waits until everything has arrived that was committed before."""

    def __init__(self, options: PostgresCdcOptions, name: str, database: Database) -> None:
        super().__init__(options, name)
        self.database = database

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        ((text,),) = self.database.run("SELECT pg_current_wal_flush_lsn()::text")
        end = read_lsn(text)
        async with asyncio.timeout(30):
            while True:
                batch = await super().read(deliveries_max=deliveries_max, wait_seconds=wait_seconds or 0.02)
                place = Place.parse(batch.token)
                if batch.deliveries or wait_seconds or (place.snapshot is None and place.lsn >= end):
                    return batch


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    database = Database(postgres)
    await asyncio.to_thread(database.create)
    yield database
    await asyncio.to_thread(database.drop)


class TestPostgresCdc(SourceSuite):
    implementations = (PostgresCdc, CaughtUp)
    resumed_max = 5

    @pytest.fixture
    def new_source(self, database: Database) -> NewSource:
        database.run("CREATE TABLE outbox (id bigserial PRIMARY KEY, event jsonb NOT NULL)")
        tables = {"public.outbox": {"stream": "numbers", "outbox": {"payload": "event"}}}
        return lambda: database.source(tables=tables)

    @pytest.fixture
    def put(self, database: Database) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            for one in events:
                database.run("INSERT INTO outbox (event) VALUES (%s)", (Jsonb(one),))

        return put

    @pytest.fixture
    def lose(self, database: Database) -> Callable[[], Awaitable[None]]:
        async def lose() -> None:
            database.drop_slot()

        return lose
