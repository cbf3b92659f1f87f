"""The MySQL sink keeps what the contract of a Sink promises, on a real MariaDB, also while connections are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.sinks.mysql import SPEC, MysqlDialect, MysqlOptions, MysqlSink
from headwater.errors import ConfigInvalid, EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.testing.eventually import eventually
from headwater.testing.suites.sink import EDITS, SinkSuite, delivery, edits_of
from headwater.testing.suites.sink_evolution import Configured, EvolutionSuite
from headwater.testing.suites.sink_filling import NewSink, Refuse
from servers.cutting_proxy import CuttingProxy
from servers.databases import mysql_database, mysql_dsn
from servers.mariadb import MariadbServer

LINES = TableShape("lines", (Column("number", "integer", "number"), Column("text", "text", "text")))
NAMES = TableShape("names", (Column("name", "text", "name"), Column("rev", "integer", "rev")), ("name",), version="rev")

Ask = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def ask(mariadb: MariadbServer) -> Iterator[Ask]:
    with pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root", autocommit=True) as connection:

        def ask(statement: str, *values: Any) -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return list(cursor.fetchall())

        yield ask


@pytest.fixture
def database(mariadb: MariadbServer, ask: Ask) -> Iterator[str]:
    with mysql_database(mariadb.port) as name:
        ask(f"USE {name}")
        yield name


@pytest.fixture
def options(mariadb: MariadbServer, database: str) -> MysqlOptions:
    return MysqlOptions(mysql_dsn(mariadb.port, database))


@pytest.fixture
def new_sink(options: MysqlOptions) -> NewSink:
    return lambda shape: MysqlSink(options, shape)


class TestMysqlEvolution(EvolutionSuite):
    implementations = (MysqlSink,)

    @pytest.fixture
    def configured(self, options: MysqlOptions) -> Configured:
        return Configured(SPEC, options, Path())


class TestMysqlSink(SinkSuite):
    implementations = (MysqlSink,)

    @pytest.fixture
    async def refuse(self, ask: Ask, options: MysqlOptions) -> Refuse:
        async def refuse(shape: TableShape, title: str) -> None:
            ask("SET SESSION sql_mode = 'ANSI_QUOTES'")
            ask(MysqlDialect(options).create_table(shape))
            ask(f"ALTER TABLE {shape.name} ADD CHECK (title <> '{title}')")

        return refuse


async def test_a_text_that_is_too_long_for_a_column_of_the_table_is_an_error_that_names_the_column(
    ask: Ask, new_sink: NewSink
) -> None:
    ask("CREATE TABLE names (id bigint PRIMARY KEY, name varchar(5), more varchar(5) DEFAULT 'x' NOT NULL)")
    for key in ((), ("id",)):
        sink = new_sink(TableShape("names", (Column("id", "integer", "id"), Column("name", "text", "name")), key))
        await sink.open()
        rows = [Delivery({"id": 1, "name": "short"}), Delivery({"id": 2, "name": "too long"})]
        with pytest.raises(WriteIncomplete) as incomplete:
            await sink.write(rows, "token")
        assert list(incomplete.value.rejected) == [1]
        assert "'name'" in str(incomplete.value.rejected[1])
        await sink.close()


async def test_json_that_is_nested_too_deeply_is_an_error_that_says_so_and_the_rest_is_written(
    new_sink: NewSink,
) -> None:
    def nested(depth: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(depth - 1):
            value = [value]
        return value

    sink = new_sink(TableShape("deep", (Column("id", "integer", "id"), Column("all", "json", "all")), ("id",)))
    await sink.open()
    rows = [Delivery({"id": depth, "all": nested(depth)}) for depth in (1, 30, 60)]
    with pytest.raises(WriteIncomplete) as incomplete:
        await sink.write(rows, "token")
    assert list(incomplete.value.rejected) == [2]
    assert "nested less than 32 deep" in str(incomplete.value.rejected[2])


async def test_keys_that_differ_in_case_accents_or_spaces_are_different_keys(new_sink: NewSink) -> None:
    sink = new_sink(NAMES)
    await sink.open()
    names = ["a", "A", "a ", "a  ", " a", "á", "a\u0301", "ａ", "\x00", "a\x00", "", " ", "\U0001f600", "\U0001f601"]
    for batch in range(2):
        await sink.write([Delivery({"name": name, "rev": batch}) for name in names], f"token {batch}")
    assert sorted(tuple(row) for row in sink.view(100).rows) == sorted((name, 1) for name in names)
    await sink.close()


@pytest.mark.parametrize("texts", [1, 4])
async def test_a_text_in_the_key_that_is_too_long_is_refused_with_its_column(options: MysqlOptions, texts: int) -> None:
    columns = tuple(Column(f"part_{number}", "text", f"part_{number}") for number in range(texts))
    sink = MysqlSink(options, TableShape("parts", columns, tuple(column.name for column in columns)))
    await sink.open()
    characters_max = 255 if texts == 1 else 192
    fitting = {column.name: "\U0001f600" * characters_max for column in columns}
    await sink.write([Delivery(fitting)], "token")
    with pytest.raises(EventMalformed, match=f"column part_0 .* holds {characters_max}"):
        sink.check(Delivery({**fitting, "part_0": "x" * (characters_max + 1)}))
    assert sink.view(10).rows_total == 1
    await sink.close()


async def test_a_batch_is_written_in_statements_that_the_server_accepts(ask: Ask, new_sink: NewSink) -> None:
    (before,) = ask("SELECT @@global.max_allowed_packet")
    ask("SET GLOBAL max_allowed_packet = 2097152")
    try:
        sink = new_sink(LINES)
        await sink.open()
        texts = ["x" * 900_000, "y", "z" * 1_900_000, "'" * 900_000, "'" * 1_100_000]
        rows = [Delivery({"number": number, "text": text}) for number, text in enumerate(texts)]
        await sink.write(rows[:4], "token 1")
        with pytest.raises(WriteIncomplete, match="max_allowed_packet") as incomplete:
            await sink.write(rows, "token 2")
        assert list(incomplete.value.rejected) == [4]
        assert [len(row[1]) for row in sink.view(10, "number").rows] == [900_000, 1, 1_900_000, 900_000]
        await sink.close()
    finally:
        ask("SET GLOBAL max_allowed_packet = %s", before[0])


async def test_a_connection_that_is_ended_within_a_transaction_is_made_anew_and_nothing_is_lost(
    ask: Ask, database: str, new_sink: NewSink
) -> None:
    sink = new_sink(EDITS)
    await sink.open()
    await sink.write([delivery("enwiki", 1)], "token 1")
    ask("LOCK TABLES edits READ")
    writing = asyncio.create_task(sink.write([delivery("enwiki", 2), delivery("dewiki", 2)], "token 2"))
    waiting = f"SELECT id FROM information_schema.processlist WHERE db = '{database}' AND state LIKE 'Waiting%'"
    await eventually(lambda: ask(waiting))
    for (number,) in ask(waiting):
        ask(f"KILL {number}")
    with pytest.raises(SinkUnavailable):
        await writing
    ask("UNLOCK TABLES")
    assert edits_of(sink) == {"enwiki": 1}
    await sink.write([delivery("enwiki", 2), delivery("dewiki", 2)], "token 2")
    assert edits_of(sink) == {"enwiki": 2, "dewiki": 2}
    assert await sink.open() == "token 2"
    await sink.close()


async def test_a_connection_that_was_ended_while_it_was_idle_is_noticed_by_nobody(
    ask: Ask, database: str, new_sink: NewSink
) -> None:
    sink = new_sink(LINES)
    await sink.open()
    others = "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()"
    for number in range(3):
        for (one,) in ask(others, database):
            ask(f"KILL {one}")
        await sink.write([Delivery({"number": number})], f"token {number}")
    assert sink.view(10).rows_total == 3
    await sink.close()


@pytest.mark.parametrize("arrives", [True, False])
async def test_after_a_commit_without_an_answer_the_token_says_whether_it_was_made(
    mariadb: MariadbServer, database: str, arrives: bool
) -> None:
    with CuttingProxy(mariadb.port) as proxy:
        sink = MysqlSink(MysqlOptions(mysql_dsn(proxy.port, database)), LINES)
        await sink.open()
        for number in range(3):
            batch, token = [Delivery({"number": number})], f"token {number}"
            proxy.cut_at(b"\x03COMMIT", forward=arrives)
            with pytest.raises(SinkUnavailable):
                await sink.write(batch, token)
            # Both what a sink does that goes on, and what one does that is opened again.
            if number == 2:
                assert await sink.open() == (token if arrives else "token 1")
            await sink.write(batch, token)
        assert sorted(row[0] for row in sink.view(10).rows) == [0, 1, 2]
        await sink.close()


async def test_a_server_that_is_silent_or_away_is_noticed_in_time(mariadb: MariadbServer, database: str) -> None:
    with CuttingProxy(mariadb.port) as proxy:
        dsn = mysql_dsn(proxy.port, database)
        sink = MysqlSink(MysqlOptions(dsn, statement_seconds_max=1, silence_seconds_max=1), LINES)
        await sink.open()
        proxy.is_silent = True
        with pytest.raises(SinkUnavailable):
            async with asyncio.timeout(30):
                await sink.write([Delivery({"number": 1})], "token")
        proxy.is_silent, proxy.is_away = False, True
        proxy.cut()
        for _ in range(2):
            with pytest.raises(SinkUnavailable, match=rf"127.0.0.1:{proxy.port}/{database}"):
                await sink.write([Delivery({"number": 1})], "token")
        proxy.is_away = False
        await sink.write([Delivery({"number": 1})], "token")
        assert sink.view(10).rows_total == 1
        await sink.close()


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://user:secret@host",
        "mysql://user:secret@host:port/db",
        "postgresql://user:secret@host/db",
        "mysql://user:secret@host/db?sslmode=no",
        "secret",
    ],
)
def test_a_connection_string_that_cannot_be_read_is_refused_without_being_shown(dsn: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        MysqlSink(MysqlOptions(dsn), LINES)
    assert "secret" not in str(refused.value)


async def test_a_table_that_was_made_already_is_described(new_sink: NewSink) -> None:
    sink = new_sink(LINES)
    assert sink.describe() is None
    await sink.open()
    await sink.close()
    assert {name: one.type for name, one in (sink.describe() or {}).items()} == {
        "number": "bigint(20)",
        "text": "longtext",
    }
