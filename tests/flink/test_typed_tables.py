"""Streams as typed tables on a real cluster: a query, a program with PyFlink, and the tables printed for Java."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from flink.corpus import Written, config_of, read_written
from headwater.config import load_config
from headwater.event import json_bytes
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.outcome import Admitted
from headwater.log.contract import Record, StoredRecord
from headwater.log.open import log_of
from headwater.log.urls import parse_url
from headwater.platform import schemas_of
from headwater.processing.declarations import declarations, topic_settings
from headwater.processing.flink.runtime import find_runtime
from headwater.processing.flink.sql.columns import typed_stream
from headwater.processing.flink.sql.printed import sink_ddl, source_ddl
from headwater.times import utc_milliseconds
from servers.fixtures import ServerSession
from servers.flink import FlinkCluster, flink_python

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(1200)]

PROJECT = Path(__file__).resolve().parent / "typed"
SECONDS_MAX = 900.0
MINUTE_MS = 60_000
# As many readings in one minute as the schema of sums does not allow.
BUSY = 120
Event = dict[str, Any]

ODD: Event = {
    "value": 2.5,
    "a-b": -(2**63),
    "select": True,
    "measured_at": "1969-12-31T23:59:59.250Z",
    "huge": 12345678901234567890123456789,
    "grid": [[1, 2], [], [3]],
    "parts": [{"order": "first"}, {"order": "second", "at": "2100-01-31T12:00:00Z"}],
    "by_name": {"$x": {"group": 1}, "y.z": {"group": 2}},
    "labels": {"é": "ü", "": "empty"},
    "anything": {"a": [1.5, None, {"b": "c"}]},
}


def events() -> list[Event]:
    """Readings of three minutes, the first of them whole, in order."""
    first_ms = (int(time.time() * 1000) // MINUTE_MS - 6) * MINUTE_MS
    made: list[Event] = []

    def add(sensor: str, at_ms: int, **more: Any) -> None:
        number = len(made) + 1
        meta = {"id": f"00000000-0000-4000-8000-{number:012d}", "stream": "readings", "dt": utc_milliseconds(at_ms)}
        head = {"$schema": "/typed/reading/1.0.0", "meta": meta, "dt": utc_milliseconds(at_ms)}
        made.append({**head, "sensor": sensor, **more})

    for number in range(30):
        add("ab"[number % 2], first_ms + number * 6_000, **{**ODD, "value": float(number)})
    for number in range(BUSY):
        add("busy", first_ms + 3 * MINUTE_MS + number * 100, value=1)
    add("plain", first_ms + 4 * MINUTE_MS)
    add("zoned", first_ms + 4 * MINUTE_MS + 1, measured_at="2026-01-31T12:00:00+02:00")
    return made


def bad_records() -> list[bytes]:
    """Bytes that are no such event, as other programs may write them."""
    event = {"$schema": "/typed/reading/1.0.0", "meta": {"id": "x", "stream": "readings"}, "sensor": "bad"}
    return [b"{no json", orjson.dumps({**event, "a-b": "12"}), b'{"sensor":"bad","huge":-1e30,"grid":[[1],2]}']


@dataclass(frozen=True)
class Ran:
    """The events that were read, and all that was written."""

    events: list[Event]
    written: Written


@pytest.fixture(scope="module")
def ran(kafka_server: str, server_session: ServerSession, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    cluster = server_session.server("flink", requirement="flink")
    assert isinstance(cluster, FlinkCluster)
    url = f"kafka://{kafka_server}/{uuid.uuid4().hex[:8]}."
    return asyncio.run(_run(url, cluster, tmp_path_factory.mktemp("typed")))


async def _run(url: str, cluster: FlinkCluster, folder: Path) -> Ran:
    config = config_of(url, folder, PROJECT)
    streams, _ = declarations(config)
    gate = Gate(streams, schemas_of(config), GateSettings.from_config(config))
    gate.compile("/typed/reading/1.0.0")
    made = events()
    records = []
    for event in made:
        verdict = gate.try_admit(copy.deepcopy(event))
        assert isinstance(verdict, Admitted), verdict
        records.append(verdict.record)
    canary = {**made[0], "meta": {**made[0]["meta"], "id": "canary", "domain": "canary"}}
    others = [Record("readings", value, b'{"sensor":"bad"}') for value in (*bad_records(), json_bytes(canary))]
    middle = len(records) // 2
    received = int(time.time() * 1000)
    # Without an event time, theirs is that of their receipt: they must not make the others late.
    then = (received // MINUTE_MS - 6) * MINUTE_MS
    others = [msgspec.structs.replace(one, timestamp_ms=then) for one in others]
    read = [msgspec.structs.replace(one, timestamp_ms=received) for one in records]
    records = [*read[:middle], *others, *read[middle:]]
    log = log_of(config)
    await log.open()
    try:
        for name in ("readings", "javas"):
            await log.ensure_topic(name, topic_settings(config, streams.get(name)))
        await log.append(records)
        reasons = await asyncio.to_thread(_run_on_flink, url, cluster, folder)
        assert reasons == {"query": None, "program": None, "java": None}
        written = await read_written(log, ("sums", "sums.error", "copies", "copying.error", "javas"))
    finally:
        await log.close()
    return Ran(made, written)


def _run_on_flink(url: str, cluster: FlinkCluster, folder: Path) -> dict[str, str | None]:
    config = load_config(PROJECT)
    streams, _ = declarations(config)
    servers, namespace = parse_url(url)
    schemas = schemas_of(config).repository
    source = typed_stream(streams, schemas, "readings", None)
    sink = typed_stream(streams, schemas, "javas", "1.0.0")
    asked = {
        "cluster": cluster.url.removeprefix("http://"),
        "url": url,
        "source": source_ddl(source, [f"{namespace}readings"], servers, group=f"{namespace}java"),
        "sink": sink_ddl(sink, f"{namespace}javas", servers).partition("\n")[2],
    }
    runtime = find_runtime(load_config(PROJECT, {}, {"flink.python": str(flink_python())}))
    said = folder / "client.log"
    with said.open("wb") as log:
        done = subprocess.run(
            [str(runtime.python), str(Path(__file__).with_name("run_typed.py"))],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=log,
            env=runtime.environment(folder / "client"),
            timeout=SECONDS_MAX,
            check=False,
        )
    assert done.returncode == 0, said.read_text()[-5_000:]
    reasons: dict[str, str | None] = json.loads(done.stdout)
    return reasons


def records_of(ran: Ran, stream: str) -> list[StoredRecord]:
    return [record for several in ran.written.streams[stream].values() for record in several]


def by_place(ran: Ran, stream: str) -> dict[tuple[Any, str], Event]:
    """The events of a stream by time and sensor, which each reading has of its own."""
    found = [read_json(record) for record in records_of(ran, stream)]
    return {place_of(event): event for event in found if "dt" in event}


def place_of(event: Event) -> tuple[Any, str]:
    return datetime.fromisoformat(event["dt"]), event["sensor"]


def read_json(record: StoredRecord) -> Event:
    event: Event = json.loads(record.value)
    return event


def without_meta(event: Mapping[str, Any]) -> Event:
    return {name: value for name, value in event.items() if name != "meta"}


def test_a_query_gives_each_window_once_as_an_event(ran: Ran) -> None:
    expected: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in ran.events:
        minute_ms = int(datetime.fromisoformat(event["dt"]).timestamp() * 1000) // MINUTE_MS * MINUTE_MS
        expected[event["sensor"], short(minute_ms)].append(event.get("value", 0))
    found = {(event["sensor"], event["start"]): event for event in map(read_json, records_of(ran, "sums"))}
    assert len(records_of(ran, "sums")) == len(found)
    refused = {key for key, values in expected.items() if len(values) > 99}
    assert {key[0] for key in refused} == {"busy"}
    assert set(found) == set(expected) - refused
    for (sensor, start), event in found.items():
        values = expected[sensor, start]
        assert event["readings"] == len(values)
        assert event["tags"] == [sensor.upper(), f"{len(values)} readings"]
        assert event.get("total", 0) == sum(values)
        assert event["dt"] == short(int(datetime.fromisoformat(start).timestamp() * 1000) + MINUTE_MS)
        assert event["$schema"] == "/typed/summary/1.0.0"
        assert event["meta"]["stream"] == "sums"
    assert len({event["meta"]["id"] for event in found.values()}) == len(found)


def short(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def test_records_of_rows_are_those_that_the_platform_writes(ran: Ran) -> None:
    for stream in ("sums", "copies"):
        for record in records_of(ran, stream):
            event = read_json(record)
            assert record.key == orjson.dumps({"sensor": event["sensor"]})
            # The event time, no later than the receipt.
            dt = dict(record.headers)["dt"].decode()
            assert datetime.fromisoformat(dt) <= datetime.fromisoformat(event["dt"])


def test_a_program_reads_and_writes_every_type(ran: Ran) -> None:
    found = by_place(ran, "copies")
    assert len(records_of(ran, "copies")) == len(found) == len(ran.events)
    for event in ran.events:
        copied = found[place_of(event)]
        expected = without_meta(event)
        if event["sensor"] == "zoned":
            assert copied["measured_at"] == "2026-01-31T10:00:00Z"
            expected["measured_at"] = copied["measured_at"]
        assert _moments(without_meta(copied)) == _moments(expected)
        assert copied["meta"]["stream"] == "copies"
        assert copied["meta"]["id"] != event["meta"]["id"]


@pytest.mark.parametrize("stream", ["sums.error", "copying.error"])
def test_records_that_are_no_such_events_become_error_events(ran: Ran, stream: str) -> None:
    errors = [read_json(record) for record in records_of(ran, stream)]
    read = [error for error in errors if error["error_type"] == "INVALID_INPUT"]
    assert sorted(error["raw_event"].encode() for error in read) == sorted(bad_records())
    assert {error["errored_stream_name"] for error in read} == {"readings"}


def test_a_row_that_its_schema_refuses_becomes_an_error_event(ran: Ran) -> None:
    errors = [read_json(record) for record in records_of(ran, "sums.error")]
    refused = [error for error in errors if error["error_type"] == "INVALID_OUTPUT"]
    assert refused
    assert all("readings" in error["message"] for error in refused)
    assert sum(json.loads(error["raw_event"])["readings"] for error in refused) == BUSY


def test_the_table_printed_for_java_reads_and_writes_the_same(ran: Ran) -> None:
    found = by_place(ran, "javas")
    for event in ran.events:
        copied, expected = found[place_of(event)], dict(event)
        if event["sensor"] == "zoned":
            # Flink's own format reads times in UTC alone.
            del expected["measured_at"]
        anything = copied.pop("anything", None)
        assert (None if anything is None else json.loads(anything)) == expected.pop("anything", None)
        assert _moments(copied) == _moments(expected)
    for record in records_of(ran, "javas"):
        if "sensor" in (event := read_json(record)) and event["sensor"] != "bad":
            assert record.key == orjson.dumps({"sensor": event["sensor"]})
            assert "dt" in dict(record.headers)


def _moments(event: Any) -> Any:
    """The event with its moments in one form."""
    if isinstance(event, dict):
        return {name: _moments(value) for name, value in event.items()}
    if isinstance(event, list):
        return [_moments(value) for value in event]
    if isinstance(event, str) and event[4:5] == "-" and event.endswith("Z"):
        return datetime.fromisoformat(event)
    return event
