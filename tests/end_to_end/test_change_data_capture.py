"""Changes of a PostgreSQL table arrive in a table of another database, each once, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from contract.test_postgres_cdc import Database
from end_to_end.running import RunningServer
from headwater.cli.init import write_project
from pages.blocks import Step, steps_of
from pages.following import blocks
from pages.outputs import differences
from servers.opensearch import OpensearchServer
from servers.places import LOOPBACK
from servers.postgres import PostgresServer

KILLS = int(os.environ.get("HEADWATER_CDC_KILLS", "10"))
SECONDS_MAX = 120.0
FILES = {
    "headwater.yaml": "web: {hosts: ['*']}\n",
    "schemas/shop/order_change/1.0.0.yaml": """\
title: shop/order_change
$id: /shop/order_change/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
required: [$schema, meta, order_id, changelog_kind, version]
properties:
  $schema: {type: string}
  meta:
    type: object
    properties: {stream: {type: string}, id: {type: string}, dt: {type: string}}
  order_id: {type: integer}
  total: {type: integer}
  note: {type: string}
  changelog_kind: {type: string}
  is_snapshot: {type: boolean}
  version: {type: integer}
  dt: {type: string, format: date-time, maxLength: 40}
""",
    "streams/shop.order_change.yaml": """\
apiVersion: streams/v1
kind: Stream
stream: shop.order_change
schema_title: shop/order_change
event_time: dt
transport: {message_key_fields: {order_id: order_id}}
sinks:
  - connector: sqlite
    path: var/orders.db
    table: orders
    columns: {order_id: integer, total: integer, note: text, version: integer}
    key: order_id
    version: version
    delete_when: {changelog_kind: delete}
  - connector: sqlite
    path: var/changes.db
    table: changes
    columns: {id: [text, meta.id], total: integer, kind: [text, changelog_kind], is_snapshot: boolean}
""",
}
SOURCE = """\
connector: postgres_cdc
url: ${env:SHOP_DATABASE}
slot: SLOT
tables:
  public.orders:
    stream: shop.order_change
    fields:
      order_id: id
      total: total
      note: note
      changelog_kind: $kind
      version: $version
      is_snapshot: $is_snapshot
      dt: $committed_at
"""


def make_project(folder: Path, slot: str) -> None:
    for name, text in {**FILES, "sources/shop.yaml": SOURCE.replace("SLOT", slot)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    database = Database(postgres)
    database.create()
    yield database
    database.drop()


class Application(threading.Thread):
    """Changes orders, in transactions of several statements, until it is ended.

    Each row that it writes has another total: they are numbered, up to `totals`.
    """

    def __init__(self, url: str, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._chance = chance
        self._ended = threading.Event()
        self.totals = 0

    def run(self) -> None:
        with psycopg.connect(self._url) as connection:
            while not self._ended.wait(0.01):
                for _ in range(self._chance.randrange(1, 4)):
                    self._change(connection)
                connection.commit()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _change(self, connection: psycopg.Connection[Any]) -> None:
        number = self._chance.randrange(200)
        if self._chance.random() < 0.2:
            connection.execute("DELETE FROM orders WHERE id = %s", (number,))
            return
        self.totals += 1
        connection.execute(
            "INSERT INTO orders VALUES (%s, %s, %s) ON CONFLICT (id)"
            " DO UPDATE SET total = excluded.total, note = excluded.note",
            (number, self.totals, "é" * self._chance.randrange(20)),
        )


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    if not file.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # the table is not there yet


def count_of(changes: Path) -> int:
    found = rows(changes, "SELECT count(*) FROM changes")
    return int(found[0][0]) if found else 0


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.timeout(900)
def test_after_kills_at_random_points_nothing_is_lost_and_nothing_is_there_twice(
    database: Database, tmp_path: Path
) -> None:
    chance = random.Random(14)
    database.run("CREATE TABLE orders (id int PRIMARY KEY, total int, note text)")
    database.run("INSERT INTO orders SELECT n, -n, 'before' FROM generate_series(0, 99) n")
    make_project(tmp_path, database.slot)
    application = Application(database.url, chance)
    application.start()
    environment = {"SHOP_DATABASE": database.url}
    changes = tmp_path / "var/changes.db"
    server = None
    try:
        server = RunningServer(tmp_path, environment=environment)
        for number in range(KILLS):
            if number % 2:
                # Others are while it starts.
                before = count_of(changes)
                wait_for(lambda before=before: count_of(changes) > before, "changes arrive")  # type: ignore[misc]
            time.sleep(chance.random())
            if number % 3 == 2:
                database.end_streams()
            else:
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
                server.process.stderr.close()  # type: ignore[union-attr]
                server = RunningServer(tmp_path, environment=environment)
        application.end()
        expected = sorted(database.run("SELECT id, total, note FROM orders"))
        query = "SELECT order_id, total, note FROM orders ORDER BY order_id"
        wait_for(lambda: rows(tmp_path / "var/orders.db", query) == expected, "the table is the same")
    finally:
        application.end()
        code, said = (1, "") if server is None else server.stop()
    assert code == 0, said
    found = rows(changes, "SELECT id, total, kind, is_snapshot FROM changes")
    assert len({identity for identity, *_ in found}) == len(found), "nothing is there twice"
    written = sorted(total for _, total, kind, is_snapshot in found if kind != "delete" and not is_snapshot)
    assert written == list(range(written[0], application.totals + 1)), "nothing is lost since the snapshot"
    assert max((total for _, total, _, is_snapshot in found if is_snapshot), default=0) < written[0]


def test_an_idle_platform_lets_the_database_delete_its_log(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE orders (id int PRIMARY KEY, total int, note text)")
    database.run("CREATE TABLE other (n int)")
    make_project(tmp_path, database.slot)
    server = RunningServer(tmp_path, environment={"SHOP_DATABASE": database.url})

    def kept() -> int:
        found = database.run(
            "SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::int8 FROM pg_replication_slots WHERE slot_name = %s",
            (database.slot,),
        )
        return int(found[0][0]) if found else 2**62

    try:
        wait_for(lambda: kept() < 2**62, "there is a slot")
        database.run("INSERT INTO other SELECT generate_series(1, 20000)")
        wait_for(lambda: kept() < 100_000, "the log is confirmed while nothing comes")
    finally:
        code, said = server.stop()
    assert code == 0, said


GUIDE = "docs/how-to/publish-database-changes.md"
STOPPED = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'headwater_shop'"


@pytest.mark.timeout(300)
def test_the_guide_leads_from_a_table_to_a_search_index(
    database: Database, opensearch: OpensearchServer, tmp_path: Path
) -> None:
    write_project(tmp_path / "project")
    address = f"http://{LOOPBACK}:{opensearch.port}"
    environment = {"SHOP_DATABASE": database.url, "SHOP_SEARCH": address}
    server: RunningServer | None = None
    try:
        for block in blocks(GUIDE):
            if "skip" in block.marks:
                continue
            if "file" in block.marks:
                file = tmp_path / "project" / block.marks["file"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text.replace("http://localhost:9200", address), encoding="utf-8")
                continue
            for step in steps_of(block):
                if step.command == "headwater up":
                    server = RunningServer(tmp_path / "project", environment=environment)
                else:
                    wait_for(partial(shows, step, tmp_path / "project", environment), f"{block.where}: {step.command}")
    finally:
        code, said = (1, "") if server is None else server.stop()
        database.run(STOPPED)
    assert code == 0, said


def shows(step: Step, folder: Path, environment: dict[str, str]) -> bool:
    """Whether a command of the guide succeeds and prints what is shown."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", step.command],
        cwd=folder,
        env={**os.environ, **environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode == 0 and (not step.shown or not differences(step.shown, ran.stdout + ran.stderr))
