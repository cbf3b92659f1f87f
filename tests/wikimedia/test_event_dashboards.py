"""The jobs of event_dashboards.py: the sums of banners, charts of every example, what is never shown, and bounds."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import JobTest
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, Ran, in_project, interleaved, job_named, read, run, run_files

JOB, CHARTS = "event_dashboards", "event_dashboard_charts"
IMPRESSIONS = "synthetic/SYNTHETIC_centralnotice_impression.jsonl.gz"
GOLDEN = "synthetic/SYNTHETIC_banner_impressions_minutely.expected.jsonl"
EXAMPLES = "real/schemas/official_schema_examples.jsonl"
STREAM = "eventlogging_CentralNoticeImpression"


def by_minute(rows: list[Event], dimension: str = "", name: str = "extrapolated") -> dict[Any, int]:
    """The last row of each minute and value, added up by minute (all) or by minute and value."""
    last = {(row["minute"], row["dimension"], row["value"]): row for row in sorted(rows, key=lambda one: one["events"])}
    sums: Counter[Any] = Counter()
    for (minute, path, value), row in last.items():
        if path == dimension and row["stream"] == STREAM:
            sums[(minute, value) if dimension else minute] += row[name]
    return dict(sums)


def golden_sums(*names: str) -> dict[Any, int]:
    sums: Counter[Any] = Counter()
    for row in read(GOLDEN):
        sums[(row["minute"], *(row[name] for name in names)) if names else row["minute"]] += row["impressions"]
    return dict(sums)


@pytest.fixture(scope="module")
def impressions(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The events that the job of the golden counts: it leaves out what is late and what it refuses."""
    tmp_path = tmp_path_factory.mktemp("golden")
    late = tmp_path / "late.jsonl"
    events = at_least_one(read(IMPRESSIONS))
    ran = run_files("banner_impressions", events, tmp_path, "--late", str(late))
    refused = [json.loads(error["raw_event"])["meta"]["id"] for error in ran.errors]
    left_out = {*refused, *(json.loads(line)["meta"]["id"] for line in late.read_text("utf-8").splitlines())}
    return [event for event in events if event["meta"]["id"] not in left_out]


@requires_fixtures(FIXTURES / GOLDEN)
def test_a_chart_of_banners_has_the_sums_of_the_golden(impressions: list[Event], tmp_path: Path) -> None:
    events = list(impressions)
    random.Random(6).shuffle(events)
    ran = run_files(JOB, [*events, *events[:50]], tmp_path)
    assert ran.errors == []
    assert by_minute(ran.outputs) == golden_sums()
    for name in ("banner", "device", "country"):
        assert by_minute(ran.outputs, f"event.{name}") == golden_sums(name)


@requires_fixtures(FIXTURES / GOLDEN)
@pytest.mark.parametrize("restarts", [0, 2])
async def test_live_over_partitions_with_canaries_and_restarts_too(impressions: list[Event], restarts: int) -> None:
    one = impressions[0]
    canary = {**one, "meta": {**one["meta"], "domain": "canary", "id": "canary"}}
    mixed = sorted([*impressions, canary], key=lambda event: event["dt"])
    placed = interleaved([mixed[::2], [*mixed[1::2], *mixed[1:40:2]]], seed=1)
    ran = await run(job_named(JOB), placed, restarts=restarts)
    assert ran.errors == []
    assert by_minute(ran.outputs) == golden_sums()


@requires_fixtures(FIXTURES / EXAMPLES)
def test_every_example_has_charts_over_the_columns_of_its_rows() -> None:
    dashboards = in_project("content.dashboards")
    examples = [row["event"] for row in at_least_one(read(EXAMPLES)) if row["schema"].startswith("/analytics/")]
    assert len(examples) >= 138
    for event in examples:
        columns = dashboards.columns_of(dashboards.inferred(event), dashboards.Options())
        rows = list(dashboards.observed(event, columns, 1.0))
        assert rows[0]["dimension"] == ""
        assert {row["dimension"] for row in rows} <= {"", *columns.dimensions}
        assert {path for row in rows for path in row["sums"]} <= set(columns.measures)
        check_charts(dashboards.vega_lite("stream", columns), columns)
        shown = {path.rpartition(".")[2] for path in (*columns.dimensions, *columns.measures)}
        assert not shown & {"ip", "user_agent", "app_install_id", "user_id", "userId", "session_id", "token", "dt"}
        assert not any(path.startswith(("meta.", "http.", "performer.")) for path in columns.dimensions)


def check_charts(spec: Any, columns: Any) -> None:
    """Each chart filters rows of the roll-up, and shows fields that these have."""
    assert spec["$schema"].endswith("/vega-lite/v5.json")
    assert [chart["title"] for chart in spec["vconcat"]] == ["All events", *columns.dimensions, *columns.measures]
    fields = {"minute", "extrapolated", "value", *(f"sums['{path}']" for path in columns.measures)}
    for chart in spec["vconcat"]:
        assert chart["mark"] in ("line", "area")
        assert {one["field"] for one in chart["encoding"].values()} <= fields
        assert {one["type"] for one in chart["encoding"].values()} <= {"temporal", "quantitative", "nominal"}
        assert chart["transform"][0]["filter"]["equal"] in ("", *columns.dimensions)
    json.dumps(spec)


def impression(number: int, second: int = 0, **more: Any) -> Event:
    at = f"2026-01-31T12:{second // 60:02}:{second % 60:02}Z"
    said = {"country": "FR", "impressionEventSampleRate": 0.5, "device": "desktop", "bucket": 1} | more
    return {
        "$schema": "/analytics/legacy/centralnoticeimpression/1.1.0",
        "meta": {"stream": STREAM, "id": f"i{number}", "dt": at, "domain": "en.wiki.example"},
        "dt": at,
        "event": said,
    }


def values(ran: Ran, dimension: str) -> dict[str, int]:
    return {row["value"]: row["events"] for row in ran.outputs if row["dimension"] == dimension}


def test_a_new_value_is_another_row_at_once(tmp_path: Path) -> None:
    ran = run_files(JOB, [impression(1), impression(2, device="spaceship")], tmp_path)
    assert values(ran, "event.device") == {"desktop": 1, "spaceship": 1}


def test_beyond_fifty_values_they_are_one(tmp_path: Path) -> None:
    ran = run_files(JOB, [impression(n, device=f"d{n:02}") for n in range(60)], tmp_path)
    found = values(ran, "event.device")
    assert (len(found), found["__other__"], sum(found.values())) == (51, 10, 60)


def test_numbers_are_extrapolated_and_added_up(tmp_path: Path) -> None:
    ran = run_files(JOB, [impression(1, bucket=1), impression(2, bucket=2, impressionEventSampleRate=0.25)], tmp_path)
    (row,) = [row for row in ran.outputs if row["dimension"] == ""]
    assert (row["events"], row["extrapolated"], row["sums"]["event.bucket"]) == (2, 6, 10.0)


@pytest.mark.parametrize("rate", [0, -1, 1e-12])
def test_a_rate_that_is_none_is_an_error_event(rate: float, tmp_path: Path) -> None:
    ran = run_files(JOB, [impression(1, impressionEventSampleRate=rate)], tmp_path)
    assert (ran.outputs, [error["error_type"] for error in ran.errors]) == ([], ["INVALID_INPUT"])


def test_a_late_event_makes_the_rows_of_its_minute_again() -> None:
    with JobTest(job_named(JOB)) as test:
        test.put(impression(1, 0), impression(2, 300))
        first = test.process().values
        assert {row["events"] for row in first} == {1}
        test.put(impression(3, 1))
        again = test.process().values[len(first) :]
        assert {row["events"] for row in again} == {2}


def test_charts_are_written_once_for_each_version_of_a_schema(tmp_path: Path) -> None:
    ran = run_files(CHARTS, [impression(1), impression(2)], tmp_path)
    (made,) = ran.outputs
    assert {"event.country", "event.device", "event.anonymous"} <= set(made["dimensions"])
    assert "event.impressionEventSampleRate" not in made["measures"]
    spec = json.loads(made["vega_lite"])
    assert [chart["title"] for chart in spec["vconcat"]] == ["All events", *made["dimensions"], *made["measures"]]


def test_only_fields_that_are_allowed_are_shown() -> None:
    dashboards = in_project("content.dashboards")
    schema = dashboards.inferred({"a": {"b": "x", "c": True}, "d": 5, "ip": "192.0.2.1"})
    columns = dashboards.columns_of(schema, dashboards.Options(fields=("a.b", "ip")))
    assert (list(columns.dimensions), columns.measures) == (["a.b", "ip"], ())
    assert list(dashboards.columns_of(schema, dashboards.Options()).dimensions) == ["a.b", "a.c"]


@pytest.mark.parametrize("text", ["[]", "a: {rates: b}", "a: {fields: b}"])
def test_a_file_that_declares_no_dashboards_is_refused(text: str) -> None:
    dashboards = in_project("content.dashboards")
    with pytest.raises(dashboards.InvalidDashboards):
        dashboards.options_of(text)
