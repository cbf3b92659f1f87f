"""A shop whose orders are read by change data capture: its database, the application that writes it, and a project."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from servers.places import LOOPBACK

SECONDS_MAX = 120.0
STREAM = """\
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
"""
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
    "streams/shop.order_change.yaml": STREAM,
}
TABLE = """\
tables:
  {table}:
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


class Shop(ABC):
    """A database with the table `orders`: id, total and note. Errors of its driver are `errors`."""

    errors: type[Exception]
    upsert: str
    # How the source is configured, and the environment of the platform.
    source: str
    environment: Mapping[str, str]

    @abstractmethod
    def connect(self) -> Any:
        """A connection whose statements are a transaction until `commit`."""

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            found = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
            return found

    @abstractmethod
    def end_streams(self) -> None:
        """As if the connections that read changes were lost."""

    def create(self, rows_before: int) -> None:
        """The table, with rows whose totals are below zero."""
        self.run("CREATE TABLE orders (id int PRIMARY KEY, total int, note text)")
        # What the application has written: its newest total.
        self.run("CREATE TABLE written (total int)")
        self.run("INSERT INTO written VALUES (0)")
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO orders VALUES (%s, %s, %s)", [(n, -1 - n, "before") for n in range(rows_before)]
            )
            connection.commit()

    def write(self, number: int, total: int, note: str = "") -> None:
        """One order, in a transaction of its own."""
        self.run(self.upsert, (number, total, note))

    def is_answering(self, query: str) -> bool:
        """Whether the server is there, and what is queried."""
        try:
            self.run(query)
        except self.errors:
            return False
        return True

    def rows(self) -> list[tuple[Any, ...]]:
        return sorted(self.run("SELECT id, total, note FROM orders"))


class PostgresShop(Shop):
    """In a PostgreSQL; `slot` is that of the source."""

    errors = psycopg.Error
    upsert = (
        "INSERT INTO orders VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET total = excluded.total, note ="
        " excluded.note"
    )

    def __init__(self, url: str, slot: str) -> None:
        self._url = url
        self._slot = slot
        self.environment = {"SHOP_DATABASE": url}
        self.source = "connector: postgres_cdc\nurl: ${env:SHOP_DATABASE}\n"
        self.source += f"slot: {slot}\n" + TABLE.format(table="public.orders")

    def connect(self) -> Any:
        return psycopg.connect(self._url)

    def end_streams(self) -> None:
        self.run(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE slot_name = %s"
            " AND active_pid IS NOT NULL",
            (self._slot,),
        )


class MariaShop(Shop):
    """In a database `name` of a MariaDB."""

    errors = pymysql.MySQLError
    upsert = "INSERT INTO orders VALUES (%s, %s, %s) ON DUPLICATE KEY UPDATE total = VALUES(total), note = VALUES(note)"

    def __init__(self, port: int, name: str) -> None:
        self._settings = {"host": LOOPBACK, "port": port, "user": "root", "charset": "utf8mb4", "database": name}
        self.environment = {"SHOP_DATABASE": f"mysql://root@{LOOPBACK}:{port}"}
        self.source = "connector: mysql_cdc\nurl: ${env:SHOP_DATABASE}\nheartbeat_seconds: 1\n"
        self.source += TABLE.format(table=f"{name}.orders")

    def connect(self) -> Any:
        return pymysql.connect(**self._settings)

    def end_streams(self) -> None:
        for number, *_ in self.run("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump'"):
            with contextlib.suppress(pymysql.MySQLError):
                self.run(f"KILL {number}")


class Application(threading.Thread):
    """Changes orders, in transactions of several statements, until it is ended.

    Each row that it writes has another total: they are numbered, up to `totals`. A transaction whose end is not known,
    because the server went away, is looked for and repeated if it is not there.
    """

    def __init__(self, shop: Shop, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._shop = shop
        self._chance = chance
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self.totals = 0

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                with contextlib.suppress(self._shop.errors):
                    self._work()
                time.sleep(0.05)
        except Exception as error:
            self._failure = error

    def end(self) -> None:
        self._ended.set()
        self.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        """Transactions on one connection, until it is lost."""
        with contextlib.closing(self._shop.connect()) as connection, connection.cursor() as cursor:
            # What the last connection has committed, of which it may not have heard.
            cursor.execute("SELECT coalesce(max(total), 0) FROM written")
            self.totals = cursor.fetchone()[0]
            connection.commit()
            while not self._ended.wait(0.01):
                total = self.totals
                for _ in range(self._chance.randrange(1, 4)):
                    total = self._change(cursor, total)
                cursor.execute("UPDATE written SET total = %s", (total,))
                connection.commit()
                self.totals = total

    def _change(self, cursor: Any, total: int) -> int:
        number = self._chance.randrange(200)
        if self._chance.random() < 0.2:
            cursor.execute("DELETE FROM orders WHERE id = %s", (number,))
            return total
        cursor.execute(self._shop.upsert, (number, total + 1, "é" * self._chance.randrange(20)))
        return total + 1


def make_project(folder: Path, shop: Shop, files: Mapping[str, str] | None = None) -> None:
    """A project that reads the orders; `files` replaces files of it."""
    for name, text in {**FILES, "sources/shop.yaml": shop.source, **(files or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a table in SQLite; none if it is not there yet."""
    if not file.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []


def count_of(changes: Path) -> int:
    found = rows(changes, "SELECT count(*) FROM changes")
    return int(found[0][0]) if found else 0


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
