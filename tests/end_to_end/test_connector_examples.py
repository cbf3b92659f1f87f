"""The example of each connector on the page of the reference works: with its server's address, events pass it whole.

Only what is of the place is put in: the address, and a name that is shared, such as that of a topic.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import psycopg
import pyarrow
import pyarrow.parquet
import pymysql
import pytest
import redis
import yaml
from aiohttp import web
from cassandra.cluster import Cluster
from confluent_kafka import Consumer

from end_to_end.edits import write_files
from end_to_end.test_streams_api import running
from headwater.config import load_config
from headwater.connectors.contract import Readable
from headwater.connectors.registry import SINKS, SOURCES
from headwater.platform import Platform, declarations
from headwater.processing.hosting.files import isolated_table
from headwater.testing.eventually import eventually
from servers.cassandra import CassandraServer
from servers.databases import mysql_database, mysql_dsn, postgres_dsn
from servers.foreign_topic import ForeignTopic
from servers.mariadb import MariadbServer
from servers.opensearch import OpensearchServer
from servers.places import LOOPBACK
from servers.postgres import PostgresServer

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "connectors.md"
PAGE_SINKS, _, PAGE_SOURCES = PAGE.read_text(encoding="utf-8").partition("\n## Sources\n")
NUMBERS = range(1, 4)
SECRET = "s3cret"
READ_SECONDS_MAX = 60.0
SERVER_SECONDS_MAX = 30


def section(text: str, title: str) -> str:
    """What the page has below this title, up to the next one."""
    return text.partition(f"\n### {title}\n")[2].partition("\n### ")[0]


def example_of_sink(name: str) -> dict[str, Any]:
    found = section(PAGE_SINKS, name).partition("\nSuch as `")[2].partition("`.\n")[0]
    example = yaml.safe_load(found)
    assert example["connector"] == name, f"the page has no example of the sink {name}"
    return dict(example)


def example_of_source(name: str) -> str:
    found = section(PAGE_SOURCES, f"The source {name}").partition("```yaml fragment\n")[2].partition("```")[0]
    assert yaml.safe_load(found)["connector"] == name, f"the page has no example of the source {name}"
    return found


def schema(title: str, **properties: str) -> dict[str, Any]:
    return {
        "title": title,
        "$id": f"/{title}/1.0.0",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
    }


def write_project(folder: Path, stream: Mapping[str, Any], of: Mapping[str, Any], **more: str) -> None:
    title = str(of["title"])
    files = {
        "headwater.yaml": "log: sqlite:///var/events.db\njobs: {processes: 0}\n",
        f"streams/{stream['stream']}.yaml": yaml.safe_dump({"schema_title": title, **stream}),
        f"schemas/{title}/1.0.0.yaml": json.dumps(of),
        **more,
    }
    write_files(folder, files)


class Service:
    """A service that takes requests, and answers with what a test gives it: path → content type and body."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.received: list[tuple[str, bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.received.append((f"{request.method} {request.path}", await request.read()))
        kind, body = self.answers.get(request.path, ("application/json", b"{}"))
        return web.Response(body=body, content_type=kind)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", service.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    service.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    yield service
    await runner.cleanup()


class Given(NamedTuple):
    """What the place of a test is made of. `name`: one that no other test uses."""

    request: pytest.FixtureRequest
    service: Service
    ends: AsyncExitStack
    setenv: Callable[[str, str], None]
    name: str
    folder: Path

    def server(self, fixture: str) -> Any:
        return self.request.getfixturevalue(fixture)


@pytest.fixture
def given(request: pytest.FixtureRequest, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Given:
    return Given(request, service, AsyncExitStack(), monkeypatch.setenv, f"example_{uuid.uuid4().hex[:10]}", tmp_path)


# What a sink's example is given of its place, and how what it wrote is read, where the sink cannot read it itself.
Changes = dict[str, Any]
ReadBack = Callable[[], Sequence[Mapping[str, Any]]]


def nothing(given: Given) -> Changes:
    return {}


def sink_in_postgres(given: Given) -> Changes:
    server: PostgresServer = given.server("postgres")
    given.setenv("ORDERS_DSN", postgres_dsn(server.port))
    given.ends.callback(server.run_sql, f"DROP TABLE IF EXISTS {given.name}")
    return {}


def sink_in_mysql(given: Given) -> Changes:
    server: MariadbServer = given.server("mariadb")
    given.setenv("ORDERS_DSN", mysql_dsn(server.port, given.ends.enter_context(mysql_database(server.port))))
    return {}


def sink_in_cassandra(given: Given) -> Changes:
    server: CassandraServer = given.server("cassandra")
    cluster = Cluster([LOOPBACK], port=server.port)
    given.ends.callback(cluster.shutdown)
    session = cluster.connect()
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    session.execute(f"CREATE KEYSPACE IF NOT EXISTS shop WITH replication = {replication}", timeout=SERVER_SECONDS_MAX)
    given.ends.callback(session.execute, "DROP KEYSPACE shop", timeout=SERVER_SECONDS_MAX)
    return {"hosts": [f"{LOOPBACK}:{server.port}"]}


def sink_in_clickhouse(given: Given) -> Changes:
    url = given.server("clickhouse_url")
    given.ends.callback(httpx.post, url, content=f'DROP TABLE IF EXISTS "{given.name}"', timeout=SERVER_SECONDS_MAX)
    return {"url": url}


def sink_by_http(given: Given) -> Changes:
    return {"url": given.service.url}


def sink_in_kafka(given: Given) -> Changes:
    topic = ForeignTopic(given.server("kafka_server"))
    given.ends.callback(topic.admin.delete_topics, [topic.name])
    return {"servers": topic.server, "topic": topic.name}


def sink_in_opensearch(given: Given) -> Changes:
    server: OpensearchServer = given.server("opensearch")
    given.ends.callback(server.ask, "DELETE", f"/{given.name}?ignore_unavailable=true")
    return {"url": server.url}


def sink_in_redis(given: Given) -> Changes:
    client = redis.Redis.from_url(given.server("redis_server").url)
    given.ends.callback(client.close)
    given.ends.callback(lambda: client.delete(*client.keys(f"*{given.name}*")))
    return {"url": given.server("redis_server").url}


SINK_PLACES: Mapping[str, Callable[[Given], Changes]] = {
    "sqlite": nothing,
    "duckdb": nothing,
    "postgres": sink_in_postgres,
    "mysql": sink_in_mysql,
    "cassandra": sink_in_cassandra,
    "clickhouse": sink_in_clickhouse,
    "http": sink_by_http,
    "iceberg": nothing,
    "kafka": sink_in_kafka,
    "opensearch": sink_in_opensearch,
    "parquet": nothing,
    "jsonl": nothing,
    "redis": sink_in_redis,
}


def in_place(example: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """The example at its place. Of an address with a path, the path stays."""
    if example["connector"] == "http":
        changes = {"url": f"{changes['url']}/{example['url'].split('/', 3)[3]}"}
    assert changes.keys() <= example.keys(), "the example has what is put in"
    return {**example, **changes}


def rows_of(given: Given) -> list[dict[str, Any]]:
    """The rows of the table that the sink of the project has filled."""
    config = load_config(given.folder, environment={})
    (job,) = [one for one in declarations(config)[1] if one.name == f"sink.{given.name}"]

    async def read() -> list[dict[str, Any]]:
        table = isolated_table(config, job, READ_SECONDS_MAX)
        assert isinstance(table, Readable)
        await table.open()
        try:
            view = await asyncio.to_thread(table.view, 100)
            return [dict(zip(view.columns, row, strict=True)) for row in view.rows]
        finally:
            await table.close()

    return asyncio.run(read())


def messages_of(written: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the topic of the example has."""
    consumer = Consumer(
        {"bootstrap.servers": written["servers"], "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([written["topic"]])
    try:
        found = consumer.consume(len(NUMBERS), SERVER_SECONDS_MAX)
    finally:
        consumer.close()
    return [orjson.loads(one.value() or b"null") for one in found]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("*.jsonl.gz"))
    return [orjson.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def written_by(given: Given, sink: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the sink of the example has written."""
    match sink["connector"]:
        case "http":
            assert [what for what, _ in given.service.received] == [f"POST /orders/o{number}" for number in NUMBERS]
            return [orjson.loads(body) for _, body in given.service.received]
        case "kafka":
            return messages_of(sink)
        case "jsonl":
            return lines_of(given.folder / sink["location"])
        case "parquet":
            files = sorted((given.folder / sink["location"]).rglob("*.parquet"))
            return [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]
        case _:
            return rows_of(given)


@pytest.mark.real_server
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SINKS)
async def test_the_example_of_a_sink_writes_events_that_are_read_back(name: str, given: Given) -> None:
    example = example_of_sink(name)
    async with given.ends:
        sink = in_place(example, await asyncio.to_thread(SINK_PLACES[name], given))
        # The table, or the sink, is named as the stream. Sinks of files would wait a minute for further events.
        configured = {**sink, "batch": {"seconds_max": 1}}
        write_project(
            given.folder, {"stream": given.name, "sinks": [configured]}, schema("order", id="string", n="integer")
        )
        async with running(given.folder) as (platform, client):
            events = [
                {"$schema": "/order/1.0.0", "meta": {"stream": given.name}, "id": f"o{number}", "n": number}
                for number in NUMBERS
            ]
            answer = await client.post("/v1/events", json=events)
            assert answer.status_code == 201, answer.text
            runner = platform.runners[f"sink.{given.name}"]

            def is_written() -> bool:
                report = runner.report()
                assert report.errors == 0
                return report.sink is not None and report.sink.written == len(NUMBERS)

            await eventually(is_written, seconds=120)
        found = await asyncio.to_thread(written_by, given, sink)
        assert sorted((one["id"], one["n"]) for one in found) == [(f"o{number}", number) for number in NUMBERS]


class Upstream(NamedTuple):
    """The upstream of a source's example. `of`: the schema of its events; `put`: makes three of them, once it runs."""

    replaced: Mapping[str, str]
    of: dict[str, Any]
    put: Callable[[httpx.AsyncClient], Any]
    number: Callable[[dict[str, Any]], Any] = lambda event: event["n"]


async def put_before(client: httpx.AsyncClient) -> None:
    """The upstream has its events from the beginning."""


def orders() -> list[dict[str, Any]]:
    return [{"id": f"o{number}", "n": number, "updated_at": f"2026-01-31T12:00:0{number}Z"} for number in NUMBERS]


def upstream_of_http_poll(given: Given) -> Upstream:
    given.service.answers["/orders"] = ("application/json", orjson.dumps({"data": {"orders": orders()}}))
    return Upstream({"https://api.example.org": given.service.url}, schema("order", id="string"), put_before)


def upstream_of_jsonl(given: Given) -> Upstream:
    lines = "".join(f"{json.dumps(one)}\n" for one in orders())
    write_files(given.folder, {"in/edits.jsonl": lines})
    return Upstream({}, schema("edit", id="string"), put_before)


def upstream_of_parquet(given: Given) -> Upstream:
    (given.folder / "in").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(orders()), given.folder / "in" / "edits.parquet")
    return Upstream({}, schema("edit", id="string"), put_before)


def upstream_of_kafka(given: Given) -> Upstream:
    topic = ForeignTopic(given.server("kafka_server"))
    given.ends.callback(topic.admin.delete_topics, [topic.name])
    topic.put(*orders())
    replaced = {"kafka.example.org:9092": topic.server, "[orders]": f"[{topic.name}]"}
    return Upstream(replaced, schema("order", id="string"), put_before)


def upstream_of_sse(given: Given) -> Upstream:
    events = "".join(f"event: message\nid: {one['n']}\ndata: {json.dumps(one)}\n\n" for one in orders())
    given.service.answers["/v2/stream/mediawiki.recentchange"] = ("text/event-stream", events.encode())
    return Upstream({"https://stream.wikimedia.org": given.service.url}, schema("change", id="string"), put_before)


def upstream_of_webhook(given: Given) -> Upstream:
    given.setenv("FORGE_SECRET", SECRET)

    async def put(client: httpx.AsyncClient) -> None:
        for one in orders():
            body = orjson.dumps(one)
            signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            headers = {
                "content-type": "application/json",
                "x-hub-signature-256": f"sha256={signature}",
                "x-github-delivery": one["id"],
            }
            answer = await client.post("/v1/webhooks/from_example", content=body, headers=headers)
            assert answer.is_success, answer.text

    return Upstream({}, schema("push", id="string"), put)


ROWS = ", ".join(f"({number}, 'Ann', {number})" for number in NUMBERS)


def upstream_of_mysql_cdc(given: Given) -> Upstream:
    server: MariadbServer = given.server("mariadb")
    database = given.ends.enter_context(mysql_database(server.port))
    given.setenv("SHOP_DATABASE", f"mysql://root@{LOOPBACK}:{server.port}")
    with pymysql.connect(host=LOOPBACK, port=server.port, user="root", database=database) as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE orders (id int PRIMARY KEY, customer text CHARACTER SET utf8mb4, total int)")
            cursor.execute(f"INSERT INTO orders VALUES {ROWS}")
        connection.commit()
    replaced = {"shop.orders:": f"{database}.orders:"}
    return Upstream(replaced, schema("change", id="integer"), put_before, lambda event: event["total"])


def upstream_of_postgres_cdc(given: Given) -> Upstream:
    server: PostgresServer = given.server("postgres")
    server.run_sql(f"CREATE DATABASE {given.name}")
    url = f"postgresql://test@{LOOPBACK}:{server.port}/{given.name}"
    given.setenv("SHOP_DATABASE", url)
    given.ends.callback(server.run_sql, f"DROP DATABASE {given.name} WITH (FORCE)")
    slots = f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{given.name}'"
    given.ends.callback(server.run_sql, slots)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY, customer text, total int)")
        connection.execute(f"INSERT INTO orders VALUES {ROWS}".encode())
    return Upstream({}, schema("change", order_id="integer"), put_before, lambda event: event["order_id"])


UPSTREAMS: Mapping[str, Callable[[Given], Upstream]] = {
    "http_poll": upstream_of_http_poll,
    "jsonl": upstream_of_jsonl,
    "kafka": upstream_of_kafka,
    "parquet": upstream_of_parquet,
    "sse": upstream_of_sse,
    "webhook": upstream_of_webhook,
    "mysql_cdc": upstream_of_mysql_cdc,
    "postgres_cdc": upstream_of_postgres_cdc,
}


async def stored(platform: Platform, stream: str) -> list[dict[str, Any]]:
    """The events of the stream in the log."""
    topics = platform.streams.get(stream).topics
    records = await platform.log.read(await platform.log.first(topics), records_max=100)
    return [orjson.loads(record.value) for record in records]


@pytest.mark.real_server
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SOURCES)
async def test_the_example_of_a_source_brings_the_events_of_its_upstream(name: str, given: Given) -> None:
    example = example_of_source(name)
    async with given.ends:
        upstream = await asyncio.to_thread(UPSTREAMS[name], given)
        for there, here in upstream.replaced.items():
            assert example.count(there) == 1, f"{there} is what is replaced"
            example = example.replace(there, here)
        options = yaml.safe_load(example)
        (stream,) = (
            [options["stream"]] if "stream" in options else [one["stream"] for one in options["tables"].values()]
        )
        write_project(given.folder, {"stream": stream}, upstream.of, **{"sources/from_example.yaml": example})
        async with running(given.folder) as (platform, client):
            await upstream.put(client)

            async def is_there() -> bool:
                return len(await stored(platform, stream)) >= len(NUMBERS)

            await eventually(is_there, seconds=120)
            found = await stored(platform, stream)
        assert [upstream.number(event) for event in found] == list(NUMBERS)
        assert {event["$schema"] for event in found} == {f"/{upstream.of['title']}/1.0.0"}
        assert {event["meta"]["stream"] for event in found} == {stream}


def test_every_connector_has_a_place_here() -> None:
    assert (SINK_PLACES.keys(), UPSTREAMS.keys()) == (SINKS.keys(), SOURCES.keys())
