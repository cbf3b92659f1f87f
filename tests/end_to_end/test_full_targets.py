"""A database that is full is waited for: its sink reports it, loses nothing, and continues when it has room.

A tablespace of PostgreSQL is on a small disk, which a file fills; the tablespace of MariaDB and the memory of Redis
have a limit. MariaDB 10.11 itself ends while it rolls back a row for which a disk has no space.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
import redis
import yaml

from end_to_end.edits import write_files
from end_to_end.test_streams_api import running
from headwater.testing.eventually import eventually
from requirements import mount_small_disk
from servers.databases import mysql_dsn, postgres_dsn
from servers.failure import ServerError
from servers.fixtures import ServerSession
from servers.mariadb import MariadbServer
from servers.postgres import PostgresServer, user_of_server
from servers.redis import RedisServer
from servers.run import Run

STREAM = "shop.orders"
TABLE = "orders"
DISK_MEGABYTES = 24
DATA_MEGABYTES = 60
# What is left of the disk: less than the events need, and more than a first batch.
ROOM_BYTES = 3_000_000
EVENTS = 2_000
BATCH = 100
TEXT_CHARACTERS = 4_000
SCHEMA = {
    "title": "order",
    "$id": "/order/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"id": {"type": "string"}, "note": {"type": "string"}},
}


class Target(Protocol):
    """A target that can be filled. `says`: what its sink reports then."""

    says: str
    options: dict[str, Any]

    def fill(self) -> None: ...

    def make_room(self) -> None: ...

    def ids(self) -> list[str]:
        """The rows that it has."""
        ...


class Disk(NamedTuple):
    """A small disk, and a file on it that takes its room."""

    folder: Path

    def fill(self) -> None:
        free = shutil.disk_usage(self.folder).free
        (self.folder / "filler").write_bytes(bytes(max(0, free - ROOM_BYTES)))

    def make_room(self) -> None:
        (self.folder / "filler").unlink()


@contextmanager
def small_disk(user: str | None) -> Iterator[Disk]:
    # Another user cannot enter the folder of a test.
    place = Path(tempfile.mkdtemp(prefix="headwater-full-"))
    mount_small_disk(place, DISK_MEGABYTES)
    try:
        data = place / "data"
        data.mkdir()
        place.chmod(0o755)
        if user is not None:
            shutil.chown(data, user)
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


class PostgresTarget:
    """A tablespace on a small disk: what a server logs has room elsewhere, or the whole server would end."""

    says = "No space left on device"

    def __init__(self, server: PostgresServer, disk: Disk, name: str) -> None:
        self._server, self._name = server, name
        self.fill, self.make_room = disk.fill, disk.make_room
        server.run_sql(f"CREATE TABLESPACE {name} LOCATION '{disk.folder / 'data'}'")
        server.run_sql(f"CREATE SCHEMA {name}")
        dsn = f"{postgres_dsn(server.port)}?options=-c%20default_tablespace%3D{name}"
        self.options = {"connector": "postgres", "dsn": "${file:dsn}", "schema": name}
        self.dsn = dsn

    def ids(self) -> list[str]:
        return self._server.run_sql(f"SELECT id FROM {self._name}.{TABLE}").split()

    def remove(self) -> None:
        self._server.run_sql(f"DROP SCHEMA {self._name} CASCADE")
        self._server.run_sql(f"DROP TABLESPACE {self._name}")


class MysqlTarget:
    """A server all of whose tables share one tablespace, which another table fills."""

    says = "is full"

    def __init__(self, server: MariadbServer) -> None:
        self._server = server
        self.options = {"connector": "mysql", "dsn": "${file:dsn}"}
        self.dsn = mysql_dsn(server.port, "test")

    def fill(self) -> None:
        for name in ("room", "filler"):
            self._server.run_sql(f"CREATE TABLE {name} (id int AUTO_INCREMENT PRIMARY KEY, note longtext)")
        insert = "INSERT INTO {} (note) SELECT REPEAT('x', 4000) FROM seq_1_to_{}"
        # Two rows are a page.
        self._server.run_sql(insert.format("room", ROOM_BYTES // 8_192))
        while self._takes(insert.format("filler", 100)):
            continue
        self._server.run_sql("DROP TABLE room")

    def _takes(self, statement: str) -> bool:
        try:
            self._server.run_sql(statement)
        except ServerError as error:
            if self.says not in str(error):
                raise
            return False
        return True

    def make_room(self) -> None:
        self._server.run_sql("DROP TABLE filler")

    def ids(self) -> list[str]:
        return self._server.run_sql(f"SELECT id FROM {TABLE}").split()


class RedisTarget:
    """A Redis whose memory is limited, and that evicts nothing."""

    says = "maxmemory"

    def __init__(self, server: RedisServer) -> None:
        self._client = redis.Redis.from_url(server.url, decode_responses=True)
        self.options = {"connector": "redis", "url": server.url}
        self.dsn = ""

    def fill(self) -> None:
        self._client.config_set("maxmemory", int(self._client.info("memory")["used_memory"]) + ROOM_BYTES)

    def make_room(self) -> None:
        self._client.config_set("maxmemory", 0)

    def ids(self) -> list[str]:
        return [key.partition(":")[2] for key in self._client.scan_iter(match=f"{TABLE}:*", count=1000)]

    def remove(self) -> None:
        self.make_room()
        self._client.flushall()
        self._client.close()


def in_postgres(request: pytest.FixtureRequest, ends: ExitStack) -> Target:
    server: PostgresServer = request.getfixturevalue("postgres")
    disk = ends.enter_context(small_disk(user_of_server()))
    target = PostgresTarget(server, disk, f"full_{uuid.uuid4().hex[:8]}")
    ends.callback(target.remove)
    return target


def in_mariadb(request: pytest.FixtureRequest, ends: ExitStack) -> Target:
    session: ServerSession = request.getfixturevalue("server_session")
    server = session.available("mariadb", requirement="mariadb")
    assert isinstance(server, MariadbServer)
    server.options = (
        f"--innodb-data-file-path=ibdata1:12M:autoextend:max:{DATA_MEGABYTES}M",
        "--innodb-file-per-table=0",
    )
    run = Run.create("mariadb-full")
    ends.callback(run.remove)
    ends.callback(run.end_processes, grace_seconds=0)
    ends.callback(server.stop)
    run.set_ready(server.start(run))
    return MysqlTarget(server)


def in_redis(request: pytest.FixtureRequest, ends: ExitStack) -> Target:
    target = RedisTarget(request.getfixturevalue("redis_server"))
    ends.callback(target.remove)
    return target


@pytest.fixture(params=[in_postgres, in_mariadb, in_redis], ids=lambda make: make.__name__)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with ExitStack() as ends:
        yield request.param(request, ends)


def write_project(folder: Path, target: Any) -> None:
    (folder / "dsn").write_text(target.dsn)
    sink = {**target.options, "table": TABLE, "key": "id", "columns": {"id": "text", "note": "text"}}
    stream = {"stream": STREAM, "schema_title": "order", "sinks": [{**sink, "batch": {"rows_max": BATCH}}]}
    write_files(
        folder,
        {
            "headwater.yaml": "log: sqlite:///var/events.db\njobs: {processes: 0}\n",
            f"streams/{STREAM}.yaml": yaml.safe_dump(stream),
            "schemas/order/1.0.0.yaml": json.dumps(SCHEMA),
        },
    )


def event(number: int) -> dict[str, Any]:
    # Nothing that a database could compress.
    note = "".join(uuid.uuid4().hex for _ in range(TEXT_CHARACTERS // 32))
    return {"$schema": "/order/1.0.0", "meta": {"stream": STREAM}, "id": f"o{number}", "note": note}


@pytest.mark.real_server
async def test_a_full_database_is_waited_for_and_nothing_is_lost(target: Target, tmp_path: Path) -> None:
    await asyncio.to_thread(write_project, tmp_path, target)
    await asyncio.to_thread(target.fill)
    async with running(tmp_path) as (platform, client):
        for first in range(0, EVENTS, BATCH):
            answer = await client.post("/v1/events", json=[event(first + more) for more in range(BATCH)])
            assert answer.status_code == 201, answer.text
        runner = platform.runners[f"sink.{TABLE}"]

        def sink() -> Any:
            return runner.report().sink

        await eventually(lambda: target.says in (sink().last_error or "") and sink().waiting_since_ms, seconds=90)
        assert target.says in (runner.report().trouble or "")
        assert target.says in (await client.get("/v1/jobs")).text
        stored = await asyncio.to_thread(target.ids)
        # Whole batches, and not all of them: it was filled while it was written to.
        assert 0 < len(stored) < EVENTS
        assert len(stored) % BATCH == 0
        assert (sink().rejected, sink().discarded) == (0, 0)
        await asyncio.to_thread(target.make_room)
        await eventually(lambda: sink().written == EVENTS, seconds=90)
        await eventually(lambda: sink().waiting_since_ms is None, seconds=30)
        assert (sink().rejected, sink().discarded, runner.report().errors) == (0, 0, 0)
    stored = await asyncio.to_thread(target.ids)
    assert sorted(stored) == sorted(f"o{number}" for number in range(EVENTS))
