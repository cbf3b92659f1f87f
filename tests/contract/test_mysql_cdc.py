"""The MariaDB source keeps the contract of sources, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pymysql
import pytest

from headwater.connectors.contract import SourceBatch
from headwater.connectors.sources.mysql_cdc.options import MysqlCdcOptions
from headwater.connectors.sources.mysql_cdc.source import MysqlCdc
from headwater.connectors.sources.mysql_cdc.token import Place, read_gtids
from headwater.testing.eventually import eventually_blocking
from headwater.testing.suites.source import NewSource, Put, SourceSuite
from servers.mariadb import MariadbServer
from servers.places import LOOPBACK

NUMBERS = itertools.count(1)


class MariaDatabase:
    """A database of its own on the shared server."""

    def __init__(self, server: MariadbServer) -> None:
        self.port = server.port
        self.name = f"cdc_{next(NUMBERS)}"
        self.url = f"mysql://root@{LOOPBACK}:{server.port}"
        self.run(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4", database=None)

    def drop(self) -> None:
        self.run(f"DROP DATABASE {self.name}")

    def run(self, *statements: str, values: tuple[Any, ...] | None = None, database: str | None = "") -> Any:
        """The rows of the last statement; all in one transaction."""
        name = self.name if database == "" else database
        settings = {"host": LOOPBACK, "port": self.port, "user": "root", "charset": "utf8mb4", "database": name}
        with pymysql.connect(**settings) as connection, connection.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout = 10")
            for statement in statements:
                cursor.execute(statement, values)
            found = cursor.fetchall()
            connection.commit()
            return found

    def purge(self) -> None:
        """Delete all logs but a new one; the server keeps a log that a connection still reads."""
        self.run("FLUSH BINARY LOGS")
        ((name, *_),) = self.run("SHOW MASTER STATUS")

        def is_purged() -> bool:
            for number, *_ in self.run("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump'"):
                with contextlib.suppress(pymysql.MySQLError):
                    self.run(f"KILL {number}")
            self.run(f"PURGE BINARY LOGS TO '{name}'")
            return bool(self.run("SHOW BINARY LOGS")[0][0] == name)

        eventually_blocking(is_purged, seconds=30.0)

    def source(self, **options: Any) -> CaughtUp:
        return CaughtUp(MysqlCdcOptions(url=self.url, heartbeat_seconds=1.0, **options), self.name, self)


class CaughtUp(MysqlCdc):
    """The source; a read that does not wait for more waits until everything has arrived that was committed before."""

    def __init__(self, options: MysqlCdcOptions, name: str, database: MariaDatabase) -> None:
        super().__init__(options, name)
        self.database = database

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        ((text,),) = self.database.run("SELECT @@gtid_binlog_pos")
        end = read_gtids(text)
        async with asyncio.timeout(30):
            while True:
                batch = await super().read(deliveries_max=deliveries_max, wait_seconds=wait_seconds or 0.02)
                place = Place.parse(batch.token)
                if batch.deliveries or wait_seconds or (place.snapshot is None and reaches(place, end)):
                    return batch


def reaches(place: Place, end: dict[int, tuple[int, int]]) -> bool:
    # A statement such as CREATE TABLE has no end of its own in the log.
    done = read_gtids(place.gtids)
    return all(done.get(domain, (0, 0))[1] >= number for domain, (_, number) in end.items())


@pytest.fixture
async def database(mariadb: MariadbServer) -> AsyncIterator[MariaDatabase]:
    database = MariaDatabase(mariadb)
    yield database
    await asyncio.to_thread(database.drop)


class TestMysqlCdc(SourceSuite):
    implementations = (MysqlCdc, CaughtUp)
    resumed_max = 5

    @pytest.fixture
    def new_source(self, database: MariaDatabase) -> NewSource:
        database.run("CREATE TABLE outbox (id bigint AUTO_INCREMENT PRIMARY KEY, event json NOT NULL)")
        tables = {f"{database.name}.outbox": {"stream": "numbers", "outbox": {"payload": "event"}}}
        return lambda: database.source(tables=tables)

    @pytest.fixture
    def put(self, database: MariaDatabase) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            for one in events:
                text = json.dumps(one, ensure_ascii=False)
                database.run("INSERT INTO outbox (event) VALUES (%s)", values=(text,))

        return put

    @pytest.fixture
    def position(self, database: MariaDatabase) -> Callable[[], Awaitable[str]]:
        async def position() -> str:
            ((text,),) = database.run("SELECT @@gtid_binlog_pos")
            return str(text)

        return position

    @pytest.fixture
    def lose(self, database: MariaDatabase) -> Callable[[], Awaitable[None]]:
        async def lose() -> None:
            database.run("CREATE TABLE later (n int)")
            database.purge()

        return lose
