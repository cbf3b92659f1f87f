"""Recorded changes of pages, and the recorded edits of one day, in tables of every SQL database."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.sinks.duckdb import DuckdbSink
from headwater.connectors.sinks.mysql import MysqlOptions, MysqlSink
from headwater.connectors.sinks.postgres import PostgresOptions, PostgresSink
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.testing.suites.sink_filling import NewSink
from requirements import at_least_one, fixtures_folder, requires_fixtures
from servers.databases import mysql_database, mysql_dsn, postgres_dsn, postgres_schema
from servers.mariadb import MariadbServer
from servers.postgres import PostgresServer

EVENTS = fixtures_folder() / "wikimedia" / "derived"
CHANGES = (EVENTS / "page_change_lifecycle_testwikidata_330275.jsonl", EVENTS / "page_change_adam_himebauch.jsonl.gz")
DAY = EVENTS / "recentchange_2016-06-27.jsonl.gz"
BATCH_EVENTS_MAX = 40
DAY_BATCH_EVENTS = 4_000

pytestmark = requires_fixtures(*CHANGES, DAY)


def pages(name: str) -> TableShape:
    """A row for each page, as its newest change left it."""
    columns = (
        Column("wiki_id", "text", "wiki_id"),
        Column("page_id", "integer", "page.page_id"),
        Column("title", "text", "page.page_title"),
        Column("rev_id", "integer", "revision.rev_id"),
        Column("changed_at", "timestamp", "dt"),
        Column("performer", "json", "performer"),
    )
    deletes = (("changelog_kind", ("delete",)),)
    return TableShape(name, columns, ("wiki_id", "page_id"), "wiki_id", "changed_at", delete_when=deletes)


EDITS = TableShape(
    "edits",
    (
        Column("wiki", "text", "wiki"),
        Column("title", "text", "title"),
        Column("at", "timestamp", "meta.dt"),
        Column("bot", "boolean", "bot"),
        Column("delta", "integer", "x_delta"),
        Column("revision", "json", "revision"),
    ),
)


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a file of JSON lines."""
    data = path.read_bytes()
    lines = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in lines.splitlines()]


class TablesOfWikimedia:
    """Subclass it with a fixture `new_sink`."""

    async def test_the_same_rows_are_there_in_whatever_order_the_changes_come(self, new_sink: NewSink) -> None:
        events = at_least_one([event for path in CHANGES for event in read(path)])
        newest = {event["page"]["page_id"]: event for event in sorted(events, key=lambda event: event["dt"])}
        expected = sorted(
            (event["wiki_id"], page, event["page"]["page_title"], event["revision"]["rev_id"])
            for page, event in newest.items()
            if event["changelog_kind"] != "delete"
        )
        for number in range(10):
            chance, shuffled = random.Random(number), list(events)
            chance.shuffle(shuffled)
            shuffled += chance.choices(events, k=10)
            sink = new_sink(pages(f"pages_{number}"))
            await sink.open()
            while shuffled:
                size = chance.randrange(1, BATCH_EVENTS_MAX)
                await sink.write([Delivery(event) for event in shuffled[:size]], f"token {len(shuffled)}")
                shuffled = shuffled[size:]
            assert [tuple(row[:4]) for row in sink.view(10).rows] == expected
            await sink.close()

    async def test_every_edit_of_a_day_is_a_row(self, new_sink: NewSink) -> None:
        events = at_least_one(read(DAY))
        sink = new_sink(EDITS)
        await sink.open()
        for start in range(0, len(events), DAY_BATCH_EVENTS):
            some = [Delivery(event) for event in events[start : start + DAY_BATCH_EVENTS]]
            for _ in range(2):
                await sink.write(some, f"token {start}")
        view = sink.view(len(events) + 1, "at, wiki, title")
        assert view.rows_total == len(events)
        expected = [(event["wiki"], event["title"], event["bot"], event["x_delta"]) for event in events]
        assert sorted((row[0], row[1], bool(row[3]), row[4]) for row in view.rows) == sorted(expected)
        await sink.close()


class TestSqlite(TablesOfWikimedia):
    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        return lambda shape: SqliteSink(tmp_path / "tables.db", shape)


class TestDuckdb(TablesOfWikimedia):
    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        return lambda shape: DuckdbSink(tmp_path / "tables.duckdb", shape)


class TestPostgres(TablesOfWikimedia):
    @pytest.fixture
    def new_sink(self, postgres: PostgresServer) -> Iterator[NewSink]:
        with postgres_schema(postgres.port) as schema:
            options = PostgresOptions(postgres_dsn(postgres.port), schema)
            yield lambda shape: PostgresSink(options, shape)


class TestMariadb(TablesOfWikimedia):
    @pytest.fixture
    def new_sink(self, mariadb: MariadbServer) -> Iterator[NewSink]:
        with mysql_database(mariadb.port) as database:
            options = MysqlOptions(mysql_dsn(mariadb.port, database))
            yield lambda shape: MysqlSink(options, shape)
