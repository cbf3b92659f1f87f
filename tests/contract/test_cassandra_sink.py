"""The Cassandra sink keeps what the contract of a Sink promises, on a real Cassandra."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import ConstantReconnectionPolicy, RoundRobinPolicy

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.registry import sink_spec
from headwater.connectors.sinks.cassandra import SPEC, CassandraOptions, CassandraSink, create_statement
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, EventMalformed, JobInvalid, SinkFrozen, SinkUnavailable, WriteIncomplete
from headwater.testing.suites.sink import EDITS, SinkSuite, delivery, edits_of
from headwater.testing.suites.sink_deletes import NOTES, note, notes_after, notes_of
from headwater.testing.suites.sink_delivery import PAGES, NewSink, page
from headwater.testing.suites.sink_evolution import Configured, EvolutionSuite
from servers.cassandra import CassandraServer

KEYSPACE = "Headwater_test"
REPLICATION = {"class": "SimpleStrategy", "replication_factor": 1}
# Their columns have other types in other tests.
VERSIONS = "versions"
DIFFERENT = frozenset({VERSIONS, "notes", "evolving"})
POLL_SECONDS = 0.1
SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def session(cassandra: CassandraServer) -> Iterator[Session]:
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30.0)
    again = ConstantReconnectionPolicy(POLL_SECONDS, max_attempts=None)
    profiles = {EXEC_PROFILE_DEFAULT: profile}
    cluster = Cluster(["127.0.0.1"], port=cassandra.port, execution_profiles=profiles, reconnection_policy=again)
    session = cluster.connect()
    how = ", ".join(f"'{name}': '{value}'" for name, value in REPLICATION.items())
    session.execute(f'CREATE KEYSPACE IF NOT EXISTS "{KEYSPACE}" WITH replication = {{{how}}}')
    yield session
    session.execute(f'DROP KEYSPACE "{KEYSPACE}"')
    cluster.shutdown()


@pytest.fixture
def options(cassandra: CassandraServer, session: Session) -> Iterator[CassandraOptions]:
    """Those of a keyspace without rows."""
    yield CassandraOptions((f"127.0.0.1:{cassandra.port}",), KEYSPACE, REPLICATION)
    query = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
    for (table,) in session.execute(query, (KEYSPACE,)):
        session.execute(f'{"DROP TABLE" if table in DIFFERENT else "TRUNCATE"} "{KEYSPACE}"."{table}"')


@pytest.fixture
def new_sink(options: CassandraOptions) -> NewSink:
    return lambda shape: CassandraSink(options, shape)


class TestCassandraEvolution(EvolutionSuite):
    implementations = (CassandraSink,)

    @pytest.fixture
    def configured(self, options: CassandraOptions) -> Configured:
        return Configured(SPEC, options, Path())


def test_a_table_with_another_key_is_not_taken_for_ones_own(options: CassandraOptions, session: Session) -> None:
    shape = TableShape("other", (Column("a", "text", "a"), Column("b", "text", "b")), ("a",))
    session.execute(f'CREATE TABLE "{KEYSPACE}".other (a text, b text, PRIMARY KEY (a, b))')
    with pytest.raises(SinkFrozen, match="primary key a, b"):
        CassandraSink(options, shape).describe()
    session.execute(f'DROP TABLE "{KEYSPACE}".other')


class TestCassandraSink(SinkSuite):
    implementations = (CassandraSink,)

    @pytest.fixture
    def new_sink(self, options: CassandraOptions) -> NewSink:
        return lambda shape: CassandraSink(options, shape)

    @pytest.mark.parametrize("has_version", [True, False])
    async def test_a_batch_changes_what_its_events_would_change_one_by_one(
        self, new_sink: NewSink, has_version: bool
    ) -> None:
        """Without two events of one version: of these Cassandra keeps the deletion, or the greater values."""
        sink = new_sink(NOTES if has_version else dataclasses.replace(NOTES, version=""))
        chance, written, versions = random.Random(3), list[Delivery](), list(range(200))
        chance.shuffle(versions)
        await sink.open()
        for batch in range(12):
            size, kinds = chance.randrange(1, 12), ("edit", "delete")
            some = [note(chance.randrange(4), versions.pop(), chance.choice(kinds)) for _ in range(size)]
            await sink.write(some, f"token {batch}")
            written += some
            assert notes_of(sink) == notes_after(written, has_version=has_version)
        await sink.close()


@pytest.mark.parametrize(
    ("kind", "version", "timestamp"),
    [
        ("integer", 42, 42),
        ("text", "2026-01-01T00:00:00.000001Z", 1_767_225_600_000_001),
        ("text", "1969-12-31T23:59:59.999999Z", -1),
    ],
)
async def test_the_version_is_the_write_timestamp(
    new_sink: NewSink, session: Session, kind: Any, version: Any, timestamp: int
) -> None:
    columns = (Column("title", "text", "title"), Column("version", kind, "version"), Column("text", "text", "text"))
    sink = new_sink(TableShape(VERSIONS, columns, ("title",), version="version"))
    await sink.open()
    await sink.write([Delivery({"title": "a", "version": version, "text": "x"})], "token")
    (row,) = session.execute(f'SELECT writetime(text) FROM "{KEYSPACE}".{VERSIONS}')
    assert tuple(row) == (timestamp,)
    await sink.close()


async def test_a_text_that_is_no_time_is_no_version(new_sink: NewSink) -> None:
    columns = (Column("title", "text", "title"), Column("version", "text", "at.version"))
    with pytest.raises(EventMalformed, match=r"at\.version is no time.*yesterday"):
        new_sink(TableShape("times", columns, ("title",), version="version")).check(
            Delivery({"title": "a", "at": {"version": "yesterday"}})
        )


async def test_a_value_that_is_absent_from_the_newer_row_is_gone_and_stays_gone(new_sink: NewSink) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    await sink.write([Delivery(page("a", 1, text="old"))], "token 1")
    await sink.write([Delivery(page("a", 3))], "token 2")
    await sink.write([Delivery(page("a", 2, text="late"))], "token 3")
    assert sink.view(1).rows == [("a", 3, None)]
    await sink.close()


async def test_rows_are_divided_into_partitions_as_wanted(options: CassandraOptions, session: Session) -> None:
    columns = (Column("wiki", "text", "wiki"), Column("page", "integer", "page"), Column("at", "text", "at"))
    shape = TableShape("parts", columns, ("at", "page", "wiki"))
    sink = CassandraSink(CassandraOptions(options.hosts, KEYSPACE, partition=("wiki",)), shape)
    await sink.open()
    events = [{"wiki": "a", "page": number % 3, "at": str(9 - number)} for number in range(6)]
    await sink.write([Delivery(event) for event in events], "token")
    rows = session.execute(f"SELECT at, page FROM \"{KEYSPACE}\".parts WHERE wiki = 'a'")
    assert [tuple(row) for row in rows] == sorted((event["at"], event["page"]) for event in events)
    await sink.close()
    with pytest.raises(JobInvalid, match="number cannot divide"):
        CassandraSink(CassandraOptions(options.hosts, KEYSPACE, partition=("number",)), shape)


def test_names_are_as_written() -> None:
    shape = TableShape("Pages", (Column("Title", "text", "title"), Column("order", "integer", "order")), ("Title",))
    assert create_statement(shape, "My", ()) == (
        'CREATE TABLE IF NOT EXISTS "My"."Pages" ("Title" text, "order" bigint, PRIMARY KEY (("Title")))'
    )


async def test_what_cassandra_refuses_is_rejected_and_the_rest_is_written(new_sink: NewSink) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    titles = ["a", "", "x" * 70_000, "b"]
    with pytest.raises(WriteIncomplete) as refused:
        await sink.write([Delivery(page(title, 1)) for title in titles], "token")
    assert (sorted(refused.value.rejected), refused.value.retry) == ([1, 2], ())
    assert "empty" in str(refused.value.rejected[1])
    assert sorted(row[0] for row in sink.view(10).rows) == ["a", "b"]
    await sink.close()


async def test_cassandra_that_is_away_is_waited_for(
    cassandra: CassandraServer, session: Session, new_sink: NewSink
) -> None:
    sink = new_sink(EDITS)
    await sink.open()
    await sink.write([delivery("a", 1)], "token 1")
    cassandra.stop()
    try:
        with pytest.raises(SinkUnavailable, match="edits"):
            await sink.write([delivery("b", 1)], "token 2")
        with pytest.raises(SinkUnavailable):
            await new_sink(EDITS).open()
    finally:
        cassandra.restart()
    # The driver connects again by itself.
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                await sink.write([delivery("b", 1)], "token 2")
                session.execute("SELECT key FROM system.local")
                break
            except (SinkUnavailable, NoHostAvailable):
                await asyncio.sleep(POLL_SECONDS)
    assert edits_of(sink) == {"a": 1, "b": 1}
    await sink.close()


def test_options_that_cannot_be_are_refused() -> None:
    spec = sink_spec("cassandra")
    for more, match in (
        ({"consistency": "MOST"}, "level of consistency"),
        ({"hosts": ["a:b"]}, "no host"),
        ({"user": "me", "password": "secret"}, "reference"),
    ):
        written = {"hosts": ["localhost"], "keyspace": "k", **more}
        with pytest.raises(ConfigInvalid, match=match) as refused:
            spec.read(written, Declaration("x.yaml", written, {}), ())
        assert "secret" not in str(refused.value).replace("is a secret", "")
