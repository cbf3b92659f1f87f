"""The job mobile_app_lake over the official examples of all schemas of mobile apps, as a project declares them.

The schemas themselves are not at hand: those of these tests are made of the examples, field by field. The names of
streams are made of those of the schemas, as some examples name the stream of another one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from headwater.connectors.contract import Delivery, EventShape
from headwater.connectors.lake.commits import TableDirectory
from headwater.connectors.lake.event_rows import arrow_columns, lake_columns
from headwater.connectors.lake.formats import parquet
from headwater.connectors.lake.ingestion import LakeSink
from headwater.connectors.lake.options import LakeOptions
from headwater.connectors.lake.storage import file_system
from headwater.schemas.types.read import read_types
from headwater.testing.project_test import ProjectTest
from headwater.testing.run_job import run as run_in_memory
from headwater.testing.service_kit import served_project, write_project
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, PROJECT, Event, in_project, job_named

JOB, SANITIZED = "mobile_app_lake", "mobile_apps.sanitized.v1"
EXAMPLES = FIXTURES / "real/schemas/official_schema_examples.jsonl"
TITLES = "analytics/mobile_apps/"
IDENTIFYING = ("app_install_id", "app_session_id", "session_token", "selection_token", "user_text")
JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def examples() -> list[Event]:
    """All official ones, each with the name of a stream that is of its schema alone."""
    rows = [json.loads(line) for line in EXAMPLES.read_text("utf-8").splitlines()]
    events = [row["event"] for row in rows if row["schema"].startswith(f"/{TITLES}")]
    for event in events:
        event["meta"]["stream"] = stream_of(title_of(event))
        event["meta"].pop("dt")
    return at_least_one(events)


def title_of(event: Event) -> str:
    title: str = event["$schema"].strip("/").rpartition("/")[0]
    return title


def stream_of(title: str) -> str:
    return title.removeprefix(TITLES).replace("/", ".").replace("_", ".", 1)


def inferred(value: Any) -> dict[str, Any]:
    """The schema of a value, as far as it shows."""
    if isinstance(value, Mapping):
        return {"type": "object", "properties": {name: inferred(one) for name, one in value.items()}}
    if isinstance(value, list):
        return {"type": "array", "items": inferred(value[0]) if value else {}}
    return {"type": JSON_TYPES[type(value)]}


def schema_of(event: Event) -> dict[str, Any]:
    known = inferred(event)["properties"]
    known["dt"] = {"type": "string", "format": "date-time", "maxLength": 64}
    known["meta"]["properties"] |= {name: {"type": "string"} for name in ("id", "dt", "domain", "stream")}
    return {
        "title": title_of(event),
        "description": "Made of an example.",
        "$id": event["$schema"],
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "required": ["$schema", "meta", "dt"],
        "properties": known,
        "examples": [event],
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the job, and all streams of mobile apps."""
    directory = tmp_path / "project"
    schemas = {event["$schema"]: schema_of(event) for event in examples()}
    streams = [
        {
            "apiVersion": "streams/v1",
            "kind": "Stream",
            "stream": stream_of(schema["title"]),
            "schema_title": schema["title"],
            "event_time": "dt",
            "privacy": {"class": "restricted", "pii_fields": ["find_text"]},
        }
        for schema in schemas.values()
    ]
    write_project(directory, list(schemas.values()), streams)
    for folder, names in (("jobs", ["mobile_app_lake.py"]), ("content", ["app_events.py", "pages.py"])):
        (directory / folder).mkdir()
        for name in names:
            shutil.copy(PROJECT / folder / name, directory / folder / name)
    shutil.copytree(PROJECT / "schemas/mobile_apps", directory / "schemas/mobile_apps")
    shutil.copytree(PROJECT / "schemas/fragment", directory / "schemas/fragment")
    shutil.copy(PROJECT / f"streams/{SANITIZED}.yaml", directory / f"streams/{SANITIZED}.yaml")
    settings = {"log": "sqlite:///var/events.db", "schemas": "schemas", "streams": "streams", "jobs": "jobs"}
    (directory / "headwater.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return directory


@requires_fixtures(EXAMPLES)
def test_all_official_examples_are_taken_and_become_rows_without_who_sent_them(project: Path, tmp_path: Path) -> None:
    events = examples()
    assert len(events) == 35
    with ProjectTest(project, tmp_path) as test:
        # Years ago by their own time, and received now.
        test.post(*events)
        test.run_jobs()
        rows = test.events(SANITIZED)
        assert test.errors(JOB) == []
    assert len(rows) == 35
    assert sorted((row["source_schema"], row["dt"]) for row in rows) == sorted((e["$schema"], e["dt"]) for e in events)
    assert all(row["received_dt"] > "2026" > row["dt"][:4] for row in rows)
    text = json.dumps(rows)
    values = {event[name] for event in events for name in IDENTIFYING if name in event}
    values |= {event["agent"]["app_install_id"] for event in events if "agent" in event}
    assert len(values) >= 4
    assert [value for value in values if f'"{value}"' in text] == []
    assert not any(name in text for name in (*IDENTIFYING, "find_text"))


@requires_fixtures(EXAMPLES)
def test_a_batch_is_taken_and_of_a_half_invalid_one_the_valid_half(project: Path) -> None:
    events = examples()
    broken = [{**event, "dt": "yesterday"} if number % 2 else event for number, event in enumerate(events[:10])]
    with served_project(project) as (address, _):
        whole = httpx.post(f"{address}/v1/events", json=events, timeout=30)
        half = httpx.post(f"{address}/v1/events", json=broken, timeout=30)
    assert (whole.status_code, half.status_code) == (201, 207)
    assert len(half.json()["invalid"]) == 5


@requires_fixtures(EXAMPLES)
def test_nothing_of_an_example_is_lost_but_what_identifies() -> None:
    app_events = in_project("content.app_events")
    for event in examples():
        stream = app_events.AppStream(event["meta"]["stream"], title_of(event))
        kept = app_events.kept_of(event, stream)
        paths = {path for part in kept.values() for path in part}
        expected = {path for path in leaves(event, "") if path.rpartition(".")[2] not in IDENTIFYING}
        assert paths == expected


@requires_fixtures(EXAMPLES)
async def test_the_lake_has_them_as_one_table_by_the_hour_of_receipt(tmp_path: Path) -> None:
    app_events = in_project("content.app_events")
    schema = yaml.safe_load((PROJECT / "schemas/mobile_apps/sanitized/1.0.0.yaml").read_text("utf-8"))
    columns = lake_columns(read_types(schema, lambda path: {}))
    options = LakeOptions(location=str(tmp_path / "lake"), table="apps", state="state", columns=columns)
    sink = LakeSink(EventShape("lake"), options, tmp_path)
    await sink.open()
    deliveries = []
    for number, event in enumerate(examples()):
        stream = app_events.AppStream(event["meta"]["stream"], title_of(event))
        row = {"dt": event["dt"], "source_stream": stream.name, **app_events.kept_of(event, stream)}
        meta = {"id": f"e{number}", "dt": f"2026-02-0{1 + number % 2}T12:00:00Z", "stream": SANITIZED}
        deliveries.append(Delivery({"meta": meta, **row}, f"e{number}", SANITIZED, 0, f"{SANITIZED}/0"))
    await sink.write(deliveries, f"hw1;{SANITIZED}:0=35")
    await sink.close()
    table = TableDirectory(file_system(options.location, options, tmp_path), "apps")
    files = parquet(arrow_columns(columns))
    places = list(table.places())
    rows = [row for place in places for content in table.contents(place)[1].values() for row in files.rows(content)]
    table.files.close()
    assert len(rows) == 35
    assert sorted({place.rpartition("month=")[2] for place in places}) == ["02/day=01/hour=12", "02/day=02/hour=12"]
    assert not any(name in json.dumps(rows, default=str) for name in IDENTIFYING)


def leaves(holder: Mapping[str, Any], prefix: str) -> list[str]:
    found = []
    for name, value in holder.items():
        if not prefix and name in ("$schema", "meta", "dt"):
            continue
        inner = leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [f"{prefix}{name}"]
        found += inner
    return found


def searched(number: int, **more: Any) -> Event:
    meta = {"stream": "ios.search", "id": f"e{number}", "dt": "2026-02-03T12:00:00Z"}
    schema = "/analytics/mobile_apps/ios_search/2.1.0"
    return {"$schema": schema, "meta": meta, "dt": "2026-01-31T12:00:00Z", "app_install_id": "secret", **more}


def test_the_time_of_the_device_is_kept_however_late_it_comes_and_repeats_and_canaries_are_left_out() -> None:
    canary = searched(9)
    canary["meta"]["domain"] = "canary"
    outcome = run_in_memory(
        job_named(JOB), [searched(1, action="results", nested={"user_text": "x", "n": 1.5}), canary, searched(1)]
    )
    assert outcome.errors == []
    assert outcome.values == [
        {
            "dt": "2026-01-31T12:00:00Z",
            "received_dt": "2026-02-03T12:00:00Z",
            "source_stream": "ios.search",
            "source_schema": "/analytics/mobile_apps/ios_search/2.1.0",
            "texts": {"action": "results"},
            "numbers": {"nested.n": 1.5},
            "flags": {},
        }
    ]


def test_an_event_without_a_time_is_an_error_event_and_the_next_goes_on() -> None:
    broken = searched(1)
    del broken["dt"]
    outcome = run_in_memory(job_named(JOB), [broken, searched(2)])
    assert [one["error_type"] for one in outcome.errors] == ["INVALID_INPUT"]
    assert len(outcome.events) == 1


def test_the_project_declares_streams_of_apps_and_each_is_read() -> None:
    assert set(job_named(JOB).reads()) == {
        "android.daily_stats",
        "android.product_metrics.find_in_page_interaction",
        "ios.search",
    }
