"""The PostgreSQL sink keeps what the contract of a Sink promises, on a real server, also while connections are lost."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.sinks.postgres import SPEC, PostgresDialect, PostgresOptions, PostgresSink
from headwater.errors import ConfigInvalid, EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.testing.eventually import eventually
from headwater.testing.suites.sink import EDITS, SinkSuite, delivery, edits_of
from headwater.testing.suites.sink_evolution import Configured, EvolutionSuite
from headwater.testing.suites.sink_filling import NewSink, Refuse
from servers.cutting_proxy import CuttingProxy
from servers.databases import postgres_dsn, postgres_schema
from servers.postgres import PostgresServer

LINES = TableShape("lines", (Column("number", "integer", "number"), Column("text", "text", "text")))


@pytest.fixture
def dsn(postgres: PostgresServer) -> str:
    return postgres_dsn(postgres.port)


@pytest.fixture
def admin(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def schema(postgres: PostgresServer) -> Iterator[str]:
    with postgres_schema(postgres.port) as name:
        yield name


@pytest.fixture
def options(dsn: str, schema: str) -> PostgresOptions:
    return PostgresOptions(dsn, schema=schema)


@pytest.fixture
def new_sink(options: PostgresOptions) -> NewSink:
    return lambda shape: PostgresSink(options, shape)


class TestPostgresEvolution(EvolutionSuite):
    implementations = (PostgresSink,)

    @pytest.fixture
    def configured(self, options: PostgresOptions) -> Configured:
        return Configured(SPEC, options, Path())


class TestPostgresSink(SinkSuite):
    implementations = (PostgresSink,)
    impossible_texts = ("\x00\x01",)

    @pytest.fixture
    async def refuse(self, admin: psycopg.Connection, options: PostgresOptions) -> Refuse:
        async def refuse(shape: TableShape, title: str) -> None:
            statement = PostgresDialect(options).create_table(shape)
            admin.execute(f"{statement.removesuffix(')')}, CHECK (title <> '{title}'))")

        return refuse


async def test_a_text_that_is_too_long_for_a_column_of_the_table_is_an_error_that_names_the_column(
    admin: psycopg.Connection, schema: str, new_sink: NewSink
) -> None:
    admin.execute(
        f'CREATE TABLE "{schema}".names (id bigint PRIMARY KEY, name varchar(5), more text DEFAULT 1 NOT NULL)'
    )
    for key in ((), ("id",)):
        shape = TableShape("names", (Column("id", "integer", "id"), Column("name", "text", "name")), key)
        sink = new_sink(shape)
        await sink.open()
        rows = [Delivery({"id": 1, "name": "short"}), Delivery({"id": 2, "name": "too long"})]
        with pytest.raises(WriteIncomplete) as incomplete:
            await sink.write(rows, "token")
        assert list(incomplete.value.rejected) == [1]
        assert "column name" in str(incomplete.value.rejected[1])
        assert "value too long" in str(incomplete.value.rejected[1])
        await sink.close()


@pytest.mark.parametrize("value", ["a\0b", {"a": "\0"}, ["\\\\\0"]])
async def test_the_character_that_postgres_cannot_store_is_refused_with_its_column(
    new_sink: NewSink, value: object
) -> None:
    kind = "text" if isinstance(value, str) else "json"
    sink = new_sink(TableShape("odd", (Column("id", "integer", "id"), Column("body", kind, "body")), ("id",)))
    await sink.open()
    with pytest.raises(EventMalformed, match=r"U\+0000.*column body"):
        sink.check(Delivery({"id": 1, "body": value}))
    with pytest.raises(WriteIncomplete) as incomplete:
        await sink.write([Delivery({"id": 0}), Delivery({"id": 1, "body": value})], "token")
    assert list(incomplete.value.rejected) == [1]
    harmless = "\\u0000" if kind == "text" else ["\\u0000"]
    await sink.write([Delivery({"id": 2, "body": harmless})], "token")
    assert sink.view(10).rows_total == 1
    await sink.close()


async def test_a_key_that_is_too_long_for_an_index_is_an_error_of_its_row(new_sink: NewSink) -> None:
    sink = new_sink(EDITS)
    await sink.open()
    with pytest.raises(WriteIncomplete) as incomplete:
        await sink.write([delivery("enwiki", 1), delivery(secrets.token_hex(10_000), 1)], "token")
    assert list(incomplete.value.rejected) == [1]
    assert "index" in str(incomplete.value.rejected[1])
    await sink.close()


async def test_a_connection_that_is_ended_within_a_transaction_is_made_anew_and_nothing_is_lost(
    admin: psycopg.Connection, schema: str, new_sink: NewSink
) -> None:
    sink = new_sink(EDITS)
    await sink.open()
    await sink.write([delivery("enwiki", 1)], "token 1")
    with psycopg.connect(admin.info.dsn) as other:
        other.execute(f'LOCK TABLE "{schema}".edits IN SHARE MODE')
        writing = asyncio.create_task(sink.write([delivery("enwiki", 2), delivery("dewiki", 2)], "token 2"))
        waiting = "SELECT pid FROM pg_stat_activity WHERE application_name = 'headwater' AND wait_event_type = 'Lock'"
        await eventually(lambda: admin.execute(waiting).fetchall())
        for (pid,) in admin.execute(waiting).fetchall():
            admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(SinkUnavailable):
            await writing
    assert edits_of(sink) == {"enwiki": 1}
    await sink.write([delivery("enwiki", 2), delivery("dewiki", 2)], "token 2")
    assert edits_of(sink) == {"enwiki": 2, "dewiki": 2}
    assert await sink.open() == "token 2"
    await sink.close()


async def test_a_connection_that_was_ended_while_it_was_idle_is_noticed_by_nobody(
    admin: psycopg.Connection, new_sink: NewSink
) -> None:
    sink = new_sink(LINES)
    await sink.open()
    for number in range(3):
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headwater'")
        await sink.write([Delivery({"number": number})], f"token {number}")
    assert sink.view(10).rows_total == 3
    await sink.close()


@pytest.mark.parametrize("arrives", [True, False])
async def test_after_a_commit_without_an_answer_the_token_says_whether_it_was_made(
    postgres: PostgresServer, schema: str, arrives: bool
) -> None:
    with CuttingProxy(postgres.port) as proxy:
        options = PostgresOptions(postgres_dsn(proxy.port), schema=schema)
        sink = PostgresSink(options, LINES)
        await sink.open()
        for number in range(3):
            batch, token = [Delivery({"number": number})], f"token {number}"
            proxy.cut_at(b"COMMIT\0", forward=arrives)
            with pytest.raises(SinkUnavailable):
                await sink.write(batch, token)
            # Both what a sink does that goes on, and what one does that is opened again.
            if number == 2:
                assert await sink.open() == (token if arrives else "token 1")
            await sink.write(batch, token)
        assert sorted(row[0] for row in sink.view(10).rows) == [0, 1, 2]
        await sink.close()


async def test_a_server_that_is_silent_is_noticed_in_time(postgres: PostgresServer, schema: str) -> None:
    with CuttingProxy(postgres.port) as proxy:
        dsn = postgres_dsn(proxy.port)
        sink = PostgresSink(PostgresOptions(dsn, schema, statement_seconds_max=1, silence_seconds_max=1), LINES)
        await sink.open()
        proxy.is_silent = True
        with pytest.raises(SinkUnavailable):
            async with asyncio.timeout(30):
                await sink.write([Delivery({"number": 1})], "token")
        proxy.is_silent = False
        proxy.cut()
        await sink.write([Delivery({"number": 1})], "token")
        assert sink.view(10).rows_total == 1
        await sink.close()


async def test_a_server_that_is_away_is_unavailable_and_the_sink_goes_on_when_it_is_back(
    postgres: PostgresServer, schema: str
) -> None:
    with CuttingProxy(postgres.port) as proxy:
        sink = PostgresSink(PostgresOptions(postgres_dsn(proxy.port), schema), LINES)
        proxy.is_away = True
        with pytest.raises(SinkUnavailable, match=rf"127.0.0.1:{proxy.port}/postgres"):
            await sink.open()
        proxy.is_away = False
        await sink.open()
        proxy.is_away = True
        proxy.cut()
        for _ in range(2):
            with pytest.raises(SinkUnavailable):
                await sink.write([Delivery({"number": 1})], "token")
        proxy.is_away = False
        await sink.write([Delivery({"number": 1})], "token")
        assert sink.view(10).rows_total == 1
        await sink.close()


@pytest.mark.parametrize("dsn", ["host=h password='secret", "secret=1"])
def test_a_connection_string_that_cannot_be_read_is_refused_without_being_shown(dsn: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        PostgresSink(PostgresOptions(dsn), LINES)
    assert "secret" not in str(refused.value)


async def test_a_wrong_password_is_not_shown(dsn: str) -> None:
    sink = PostgresSink(PostgresOptions(dsn.replace("test@", "nobody:hunter2@")), LINES)
    with pytest.raises(SinkUnavailable) as unavailable:
        await sink.open()
    assert "hunter2" not in str(unavailable.value)


async def test_tables_that_others_made_are_described_and_filled_without_the_right_to_create(
    admin: psycopg.Connection, schema: str, options: PostgresOptions, new_sink: NewSink
) -> None:
    sink = PostgresSink(options, LINES)
    assert sink.describe() is None
    await sink.open()
    await sink.close()
    assert {name: one.type for name, one in (sink.describe() or {}).items()} == {"number": "bigint", "text": "text"}
    admin.execute("DROP ROLE IF EXISTS filler")
    admin.execute("CREATE ROLE filler LOGIN")
    admin.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO filler')
    admin.execute(f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO filler')
    filler = PostgresSink(PostgresOptions(options.dsn.replace("test@", "filler@"), schema), LINES)
    await filler.open()
    await filler.write([Delivery({"number": 1})], "token")
    await filler.close()
    admin.execute("DROP OWNED BY filler")
    admin.execute("DROP ROLE filler")
    assert [tuple(row) for row in admin.execute(f'SELECT * FROM "{schema}".lines')] == [(1, None)]
