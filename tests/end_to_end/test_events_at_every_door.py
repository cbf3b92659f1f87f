"""The same event by every way into the log: stored and streamed with what it says, or refused for the same reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from headwater.client import Producer, ProducerSettings
from headwater.errors import EventMalformed
from headwater.testing.service_kit import served_project, write_project

TEXT = {"type": "string"}
SCHEMA = {
    "title": "reading",
    "$id": "/reading/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["meta"],
    "properties": {
        "$schema": TEXT,
        "meta": {"type": "object", "properties": dict.fromkeys(("stream", "id", "dt"), TEXT)},
        "n": {"type": "number"},
        "unit": {"type": "string", "default": "m"},
    },
}
STREAMS: list[dict[str, Any]] = [
    {"stream": "readings", "schema_title": "reading"},
    {"stream": "copies", "schema_title": "reading"},
    {"stream": "by.key", "schema_title": "reading", "transport": {"message_key_fields": {"name": "name"}}},
    {
        "stream": "newest",
        "schema_title": "reading",
        "transport": {"message_key_fields": {"name": "name"}, "compact": True},
    },
    {"stream": "copy.error", "schema_title": "error"},
]
JOB = """
from headwater.jobs import job


@job(source="readings", sink="copies")
def copy(event, context):
    if event.get("make") == "nan":
        return [{"n": float("nan")}]
    if event.get("make") == "large":
        return [{"n": 3**70, "name": "cut \\ud83d"}]
    return [event]
"""
KEPT = [
    *("1", "-0.5", "1E5", "18446744073709551615", "-9223372036854775808", "9007199254740993", "0.30000000000000004"),
    *("18446744073709551616", "-9223372036854775809", "123456789012345678901234567890", "0.10000000000000001"),
    *(
        "0.1000000000000000055511151231257827",
        "12345678901234567.5",
        "4.9e-324",
        "1e300",
        "31415926535897932384626e-22",
    ),
]
REFUSED = ["1e400", "-1e400", "1e-400", "NaN", "-Infinity", "9" * 1_200]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("doors")
    write_project(directory, [SCHEMA], STREAMS)
    (directory / "headwater.yaml").write_text("{}", encoding="utf-8")
    draft = directory / "schemas" / "reading" / "current.yaml"
    draft.write_text(json.dumps(SCHEMA), encoding="utf-8")
    (directory / "schemas" / "reading" / "stable.yaml").write_text(json.dumps(SCHEMA), encoding="utf-8")
    (directory / "jobs").mkdir()
    (directory / "jobs" / "copy.py").write_text(JOB, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    with served_project(project) as (address, _):
        yield address


def event(members: str, stream: str = "readings") -> bytes:
    return f'{{"$schema": "/reading/1.0.0", "meta": {{"stream": "{stream}"}}, {members}}}'.encode()


def post(address: str, body: bytes, query: str = "", content_type: str = "application/json") -> httpx.Response:
    return httpx.post(f"{address}/v1/events{query}", content=body, headers={"content-type": content_type})


def read(address: str, stream: str, wanted: str, count: int) -> list[dict[str, Any]]:
    """So many events of a stream whose `door` is `wanted`, numbers as decimals, read by a parser that is not ours."""
    url = f"{address}/v2/stream/{stream}?since=2020-01-01T00:00:00Z"
    found: list[dict[str, Any]] = []
    with httpx.stream("GET", url, timeout=20) as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                value = json.loads(line.removeprefix("data: "), parse_float=Decimal, parse_int=Decimal)
                if value.get("door") == wanted:
                    found.append(value)
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [str(Path(sys.executable).parent / "headwater"), *arguments]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)


def by_http(address: str, members: list[str], directory: Path) -> None:
    assert post(address, b"[" + b",".join(map(event, members)) + b"]").status_code == 201


def by_beacon(address: str, members: list[str], directory: Path) -> None:
    body = b"\xef\xbb\xbf[" + b",".join(map(event, members)) + b"]"
    assert post(address, body, content_type="text/plain;charset=UTF-8").status_code == 201


def by_single_requests(address: str, members: list[str], directory: Path) -> None:
    assert {post(address, event(one)).status_code for one in members} == {201}


def by_hasty_requests(address: str, members: list[str], directory: Path) -> None:
    assert post(address, b"[" + b",".join(map(event, members)) + b"]", "?hasty=true").status_code == 202


def by_cloud_events(address: str, members: list[str], directory: Path) -> None:
    head = '"specversion": "1.0", "source": "/s", "type": "readings", "dataschema": "/reading/1.0.0"'
    batch = [f'{{{head}, "id": "{number}", "data": {{{one}}}}}' for number, one in enumerate(members)]
    body = f"[{','.join(batch)}]".encode()
    assert post(address, body, content_type="application/cloudevents-batch+json").status_code == 201


def by_replay(address: str, members: list[str], directory: Path) -> None:
    file = directory / "replayed.jsonl"
    file.write_bytes(b"\r\n".join(map(event, members)))
    done = run("replay", str(file), "--to", address)
    assert done.returncode == 0, done.stdout


def by_produce(address: str, members: list[str], directory: Path) -> None:
    for one in members:
        done = run("produce", "-", "--to", address, given=event(one))
        assert done.returncode == 0, done.stderr


def by_the_producer(address: str, members: list[str], directory: Path) -> None:
    with Producer(address, ProducerSettings(sampling=False)) as producer:
        for one in members:
            value = json.loads(f"{{{one}}}", parse_float=Decimal)
            assert producer.send("readings", {"$schema": "/reading/1.0.0", **value})
        assert producer.flush()
    assert producer.statistics.refused == 0


DOORS = [
    *(by_http, by_beacon, by_single_requests, by_hasty_requests, by_cloud_events),
    *(by_replay, by_produce, by_the_producer),
]


@pytest.mark.parametrize("door", DOORS)
def test_numbers_arrive_as_they_were_sent_also_what_a_job_makes_of_them(
    address: str, door: Any, tmp_path: Path
) -> None:
    name = door.__name__
    literals = KEPT[-8:] if door is by_produce else KEPT
    door(address, [f'"door": "{name}", "n": {one}' for one in literals], tmp_path)
    for stream in ("readings", "copies"):
        found = read(address, stream, name, len(literals))
        assert [one["n"] for one in found] == [Decimal(one) for one in literals]
        assert {one["unit"] for one in found} == {"m"}


@pytest.mark.parametrize("literal", REFUSED)
def test_an_unreadable_number_is_refused_everywhere_with_a_message_about_it(
    address: str, literal: str, tmp_path: Path
) -> None:
    good, bad = event('"door": "neighbour"'), event(f'"n": {literal}')
    alone = post(address, bad)
    assert alone.status_code == 400
    assert literal[:20] in alone.text
    together = post(address, b"[" + good + b"," + bad + b"," + good + b"]")
    assert together.status_code == 207
    assert literal[:20] in together.json()["error"][0]["context"]["message"]
    file = tmp_path / "bad.jsonl"
    file.write_bytes(good + b"\n" + bad + b"\n")
    done = json.loads(run("replay", str(file), "--to", address, "--json").stdout)
    assert (done["accepted"], done["refused_by_code"]) == (1, {"event_malformed": 1})
    assert literal[:20] in done["refusals"][0]["reason"]
    made = run("produce", "-", "--to", address, given=bad)
    assert made.returncode == 1
    assert literal[:20] in made.stderr.decode()


def test_numbers_json_has_not_are_refused_from_the_producer_and_from_jobs(address: str) -> None:
    with Producer(address, ProducerSettings(sampling=False)) as producer, pytest.raises(EventMalformed, match="nan"):
        producer.send("readings", {"$schema": "/reading/1.0.0", "n": float("nan")})
    post(address, b"[" + event('"make": "nan"') + b"," + event('"make": "large"') + b"]")
    url = f"{address}/v2/stream/copies?since=2020-01-01T00:00:00Z"
    with httpx.stream("GET", url, timeout=20) as response:
        for line in response.iter_lines():
            if line.startswith("data: ") and str(3**70) in line:
                assert json.loads(line.removeprefix("data: "))["name"] == "cut \ufffd"
                break


def test_a_load_keeps_numbers_and_refuses_unreadable_ones(tmp_path: Path) -> None:
    directory = tmp_path / "loaded"
    write_project(directory, [SCHEMA], STREAMS[:1])
    (directory / "headwater.yaml").write_text("{}", encoding="utf-8")
    file = tmp_path / "events.jsonl"
    lines = [event(f'"n": {one}') for one in [*KEPT, *REFUSED]] + [event('"s": "cut \\ud83d"')]
    file.write_bytes(b"\n".join(lines))
    loaded = json.loads(run("log", "load", str(file), "--project", str(directory), "--json").stdout)
    assert (loaded["accepted"], loaded["refused_by_code"]) == (len(KEPT) + 1, {"event_malformed": len(REFUSED)})
    shown = run("log", "read", "readings", "--json", "--project", str(directory)).stdout
    values = [json.loads(one, parse_float=Decimal, parse_int=Decimal)["value"] for one in shown.splitlines()]
    assert [one.get("n", one.get("s")) for one in values] == [*map(Decimal, KEPT), "cut \ufffd"]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
@pytest.mark.parametrize("query", ["", "?hasty=true"])
def test_neighbours_of_what_cannot_be_read_are_stored(address: str, content_type: str, query: str) -> None:
    name = f"{content_type}{query}"
    bad = [
        b'{"n": NaN}',
        b'{"n": tru}',
        b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"n" 1}',
        b"",
        b"\x00",
        b"[{]",
    ]
    bad = bad[:-1]
    members = [event(f'"door": "{name}", "name": "cut \\ud83d"'), *bad, event(f'"door": "{name}", "name": "last"')]
    answer = post(address, b"[" + b" , ".join(members) + b"]", query, content_type)
    assert answer.status_code == (202 if query else 207)
    assert [one["name"] for one in read(address, "readings", name, 2)] == ["cut \ufffd", "last"]


@pytest.mark.parametrize("body", [b'[{"a":1},{"b":[}]', b'[{"a":1}', b'[{"a":"x]', b'[{"a":1}]]', b"[1] 2", b"[[1]"])
def test_a_body_whose_members_cannot_be_separated_is_refused_as_a_whole(address: str, body: bytes) -> None:
    answer = post(address, body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "event_malformed"


@pytest.mark.parametrize("empty", ["", " ", "\t \n", "\u2003"])
def test_an_empty_id_is_none(address: str, empty: str) -> None:
    name = f"id {empty!r}"
    value = {"$schema": "/reading/1.0.0", "meta": {"stream": "readings", "id": empty}, "door": name}
    for _ in range(2):
        assert post(address, orjson.dumps(value)).status_code == 201
    found = read(address, "readings", name, 2)
    assert len({one["meta"]["id"] for one in found} - {empty}) == 2


@pytest.mark.parametrize("empty", ['""', '"  "', "null"])
def test_an_empty_key_is_none(address: str, empty: str) -> None:
    members = f'"door": "key {empty[:3].strip(chr(34))}", "name": {empty}'
    assert post(address, event(members, "by.key")).status_code == 201
    assert "key" not in read(address, "by.key", f"key {empty[:3].strip(chr(34))}", 1)[0]["meta"]
    # Where the log keeps one event for each key, it would keep one of all of these.
    answer = post(address, event(members, "newest"))
    assert answer.status_code == 400
    assert "empty" in answer.text


@pytest.mark.parametrize(
    "name", ["current", "latest", "CURRENT", "current.yaml", "latest.yaml", "stable", "stable.yaml"]
)
def test_events_name_released_versions(address: str, name: str) -> None:
    value = orjson.loads(event('"n": 1')) | {"$schema": f"/reading/{name}"}
    for _ in range(2):
        answer = post(address, orjson.dumps(value))
        assert answer.status_code == 400
        assert "names no fixed version" in answer.text


def test_repeated_names_are_kept_once_as_they_were_validated(address: str, project: Path) -> None:
    body = (
        b'{"$schema":"/reading/1.0.0","meta":{"stream":"readings","id":"twice","dt":"2026-01-01T00:00:00Z","id":"two"},'
        b'"unit":"m","door":"twice","n":"no number","n":5}'
    )
    assert post(address, body).status_code == 201
    assert read(address, "readings", "twice", 1)[0]["n"] == 5
    shown = run("log", "read", "readings", "--json", "--project", str(project)).stdout
    assert b"no number" not in shown
