"""`headwater plan` compares every kind of target with what its sink needs, and `apply` makes what plan shows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from click.testing import CliRunner, Result

from end_to_end.edits import write_files
from headwater.cli.main import main

STREAM = "shop.orders"
SERVER_KINDS = ("opensearch", "clickhouse", "cassandra")


class Target(NamedTuple):
    """A target that a test has for itself: the options of its sink, and what the statements about it contain."""

    options: dict[str, Any]
    creates: str
    adds: str


def schema(version: str, **fields: str) -> dict[str, str]:
    properties = {"id": {"type": "string"}, "amount": {"type": "integer"}}
    properties |= {name: {"type": kind} for name, kind in fields.items()}
    document = {"title": "order", "$id": f"/order/{version}", "$schema": "http://json-schema.org/draft-07/schema#"}
    return {f"schemas/order/{version}.yaml": json.dumps({**document, "type": "object", "properties": properties})}


def write_project(folder: Path, *sinks: dict[str, Any]) -> None:
    stream = {"stream": STREAM, "schema_title": "order", "sinks": list(sinks)}
    write_files(folder, {"headwater.yaml": "", f"streams/{STREAM}.yaml": yaml.safe_dump(stream), **schema("1.0.0")})


def run(folder: Path, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*words, "--project", str(folder)])
    assert result.exit_code == code, result.output
    return result


def planned(folder: Path, code: int) -> dict[str, Any]:
    """The one sink of the plan."""
    # Its topics are a change, too, unless they have been made.
    document = json.loads(run(folder, "plan", "--json", code=code).stdout)
    (sink,) = [*document["tables"], *document["events"]]
    found: dict[str, Any] = sink
    return found


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def target(request: pytest.FixtureRequest, name: str) -> Iterator[Target]:
    make: Callable[[pytest.FixtureRequest, str], Iterator[Target]] = request.param
    yield from make(request, name)


def an_opensearch(request: pytest.FixtureRequest, name: str) -> Iterator[Target]:
    server = request.getfixturevalue("opensearch")
    options = {"connector": "opensearch", "url": server.url, "table": name}
    added = f'PUT /{name}/_mapping {{"properties":{{"note":{{"type":"text"'
    yield Target(options, f'PUT /{name} {{"settings":{{"index.gc_deletes":"3600s"}}', added)
    server.ask("DELETE", f"/{name}?ignore_unavailable=true")


def a_clickhouse(request: pytest.FixtureRequest, name: str) -> Iterator[Target]:
    options = {"connector": "clickhouse", "url": request.getfixturevalue("clickhouse_url"), "table": name}
    added = f'ALTER TABLE "default"."{name}" ADD COLUMN IF NOT EXISTS "note" Nullable(String)'
    yield Target(options, f'CREATE TABLE IF NOT EXISTS "default"."{name}" ("id" String', added)


def a_cassandra(request: pytest.FixtureRequest, name: str) -> Iterator[Target]:
    server = request.getfixturevalue("cassandra")
    options = {
        "connector": "cassandra",
        "hosts": [f"127.0.0.1:{server.port}"],
        "keyspace": "headwater_plan",
        "replication": {"class": "SimpleStrategy", "replication_factor": 1},
        "table": name,
    }
    yield Target(options, 'CREATE KEYSPACE IF NOT EXISTS "headwater_plan"', f'"{name}" ADD "note" text')


@pytest.mark.real_server
@pytest.mark.parametrize("target", [an_opensearch, a_clickhouse, a_cassandra], indirect=True, ids=SERVER_KINDS)
def test_a_table_of_a_server_is_created_and_altered_as_planned(target: Target, name: str, tmp_path: Path) -> None:
    write_project(tmp_path, {**target.options, "key": ["id"]})
    for _ in range(2):
        table = planned(tmp_path, 2)
        assert (table["name"], table["action"]) == (name, "create")
        assert target.creates in table["statements"][0]
    assert f"+ create Table {name}: {target.options['connector']}" in run(tmp_path, "plan", code=2).output
    run(tmp_path, "apply", "--yes")
    assert planned(tmp_path, 0)["action"] == "none"
    write_files(tmp_path, schema("1.1.0", note="string"))
    table = planned(tmp_path, 2)
    assert table["action"] == "alter"
    (statement,) = table["statements"]
    assert target.adds in statement
    run(tmp_path, "apply", "--yes")
    assert planned(tmp_path, 0)["action"] == "none"
    write_files(tmp_path, schema("2.0.0", note="string", amount="array"))
    table = planned(tmp_path, 2)
    assert table["action"] == "impossible"
    assert "the column amount is" in table["reason"]
    assert "Nothing was changed" in run(tmp_path, "apply", "--yes", code=2).output


@pytest.mark.real_server
def test_the_type_of_a_column_of_clickhouse_becomes_wider_as_planned(
    clickhouse_url: str, name: str, tmp_path: Path
) -> None:
    write_project(tmp_path, {"connector": "clickhouse", "url": clickhouse_url, "table": name, "key": ["id"]})
    run(tmp_path, "apply", "--yes")
    write_files(tmp_path, {f: text.replace("integer", "number") for f, text in schema("1.1.0").items()})
    (statement,) = planned(tmp_path, 2)["statements"]
    assert 'MODIFY COLUMN "amount" Nullable(Float64)' in statement
    run(tmp_path, "apply", "--yes")
    assert planned(tmp_path, 0)["action"] == "none"


@pytest.mark.real_server
def test_rows_of_redis_need_nothing_in_advance(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> None:
    server = request.getfixturevalue("redis_server")
    write_project(tmp_path, {"connector": "redis", "url": server.url, "table": name, "key": ["id"]})
    run(tmp_path, "apply", "--yes")
    table = planned(tmp_path, 0)
    assert table["action"] == "none"
    assert table["notes"] == [f"each row is a hash {name}:{{id}}, which needs nothing in advance; nothing is there yet"]


@pytest.mark.real_server
def test_a_topic_is_created_only_if_the_sink_says_how(kafka_server: str, name: str, tmp_path: Path) -> None:
    sink: dict[str, Any] = {"connector": "kafka", "servers": [kafka_server], "topic": name, "timeout_seconds": 10}
    write_project(tmp_path, sink)
    found = planned(tmp_path, 2)
    assert found["action"] == "impossible"
    assert f"the topic {name} does not exist; create it" in found["reason"]
    assert "Nothing was changed" in run(tmp_path, "apply", "--yes", code=2).output
    how = {"partitions": 3, "replicas": 1, "topic_settings": {"cleanup.policy": "compact"}}
    write_project(tmp_path, {**sink, **how})
    found = planned(tmp_path, 2)
    assert found["action"] == "create"
    assert found["makes"] == [f"topic {name}: 3 partitions, 1 replicas, cleanup.policy compact"]
    assert "+ create Sink shop_orders: kafka" in run(tmp_path, "plan", code=2).output
    run(tmp_path, "apply", "--yes")
    found = planned(tmp_path, 0)
    assert (found["action"], found["found"]) == ("none", f"the topic {name} has 3 partitions, 1 replicas")
    write_project(tmp_path, {**sink, "partitions": 6})
    assert planned(tmp_path, 0)["found"].endswith("3 partitions, 1 replicas, and not 6: it is left as it is")


def test_files_and_requests_need_nothing_in_advance(tmp_path: Path) -> None:
    for sink, expected in (
        ({"connector": "jsonl", "location": "var/files"}, "files in var/files/shop_orders: the first batch makes them"),
        (
            {"connector": "http", "url": "https://shop.example/{id}", "method": "PUT"},
            "each event is a request PUT https://shop.example/{id}; nothing is made in advance",
        ),
    ):
        write_project(tmp_path, sink)
        run(tmp_path, "apply", "--yes")
        found = planned(tmp_path, 0)
        assert (found["action"], found["found"]) == ("none", expected)
        assert expected in run(tmp_path, "plan").output
    assert not (tmp_path / "var" / "files").exists()


@pytest.mark.parametrize("connector", ["opensearch", "clickhouse", "cassandra", "redis", "kafka"])
def test_a_server_that_is_away_is_shown_as_such_without_its_password(connector: str, tmp_path: Path) -> None:
    addresses = {
        "opensearch": {"url": "http://127.0.0.1:9"},
        "clickhouse": {"url": "http://127.0.0.1:9"},
        "cassandra": {"hosts": ["127.0.0.1:9"], "keyspace": "shop"},
        "redis": {"url": "redis://127.0.0.1:9/0"},
        "kafka": {"servers": ["127.0.0.1:9"], "topic": "orders"},
    }
    (tmp_path / "password").write_text("hunter2-hunter2")
    sink = {"connector": connector, "timeout_seconds": 1.0, "user": "somebody", "password": "${file:password}"}
    write_project(tmp_path, {**sink, **addresses[connector]})
    CliRunner().invoke(main, ["apply", "--yes", "--project", str(tmp_path)])
    found = planned(tmp_path, 3)
    assert found["action"] == "unreachable"
    result = run(tmp_path, "plan", code=3)
    assert "? away   " in result.stdout
    assert "cannot be reached" in result.stdout
    assert f"({found['place']}, {connector}) could not be looked at: " in result.stderr
    assert f"`headwater sinks test {found['name']}` tries it. Then run `headwater plan` again." in result.stderr
    assert "hunter2" not in result.output + str(found)


AWAY = {"connector": "clickhouse", "url": "http://127.0.0.1:9", "table": "far", "timeout_seconds": 1.0, "key": ["id"]}
HERE = {"connector": "sqlite", "path": "var/near.db", "table": "near", "key": ["id"]}


def actions(result: Result) -> dict[str, str]:
    return {table["name"]: table["action"] for table in json.loads(result.stdout)["tables"]}


def test_targets_that_are_away_keep_no_other_from_being_planned_and_applied(tmp_path: Path) -> None:
    write_project(tmp_path, AWAY, HERE)
    result = run(tmp_path, "plan", "--json", code=3)
    assert actions(result) == {"far": "unreachable", "near": "create"}
    assert "The target of the sink far (" in result.stderr
    assert "sink near" not in result.stderr
    result = run(tmp_path, "apply", "--yes", "--json", code=3)
    done = json.loads(result.stdout)
    assert (done["applied"], [one["sink"] for one in done["left"]]) == (True, ["far"])
    assert "could not be looked at, and was left as it is: " in result.stderr
    assert "Then run `headwater apply` again." in result.stderr
    assert "1 targets of sinks are now as declared." in result.stderr
    assert actions(run(tmp_path, "plan", "--json", code=3)) == {"far": "unreachable", "near": "none"}
    write_project(tmp_path, HERE)
    run(tmp_path, "plan")
    assert json.loads(run(tmp_path, "apply", "--yes", "--json").stdout)["left"] == []


def test_a_target_that_cannot_be_made_keeps_no_other_from_being_made(tmp_path: Path) -> None:
    write_project(tmp_path, {**HERE, "path": "taken/far.db", "table": "far"}, HERE)
    assert actions(run(tmp_path, "plan", "--json", code=2)) == {"far": "create", "near": "create"}
    (tmp_path / "taken").write_text("a file where a directory is needed")
    result = run(tmp_path, "apply", "--yes", code=3)
    assert "The target of the sink far (" in result.stderr
    assert "could not be made as declared: " in result.stderr
    assert "1 targets of sinks are now as declared." in result.stderr
    (tmp_path / "taken").unlink()
    run(tmp_path, "apply", "--yes")
    assert actions(run(tmp_path, "plan", "--json")) == {"far": "none", "near": "none"}
