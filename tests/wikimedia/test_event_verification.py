"""The job event_verification: a real day, each kind of check, a check that fails, and canaries that stop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import JobTest
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, in_project, interleaved, job_named, need_library, read, run, run_files

JOB = "event_verification"
CANARIES = "event_verification_canaries"
DAY = "derived/recentchange_2016-06-27.jsonl.gz"
STREAM = "mediawiki.recentchange"


def newest(rows: list[Event]) -> dict[tuple[str, str], Event]:
    """The result of each check and window that the last version of it has."""
    found: dict[tuple[str, str], Event] = {}
    for row in sorted(rows, key=lambda row: row["version"]):
        found[row["check"], row["window_start"]] = row
    return found


def total(rows: list[Event], check: str, name: str) -> Any:
    return sum(row[name] for (of, _), row in newest(rows).items() if of == check)


@requires_fixtures(FIXTURES / DAY)
def test_a_real_day_is_valid_without_repeats_and_late_by_the_seconds_of_the_golden(tmp_path: Path) -> None:
    facts: Any = read("golden/recentchange_2016.facts.json")
    ran = run_files(JOB, at_least_one(read(DAY)), tmp_path)
    assert ran.errors == []
    for check in ("schema", "duplicates", "user", "type"):
        assert (total(ran.outputs, check, "events"), total(ran.outputs, check, "wrong")) == (facts["events"], 0)
    late = [row for (check, _), row in newest(ran.outputs).items() if check == "lateness"]
    assert max(row["value"] for row in late) == facts["max_lateness_seconds"]
    assert {row["status"] for row in late if row["value"] > 3600} == {"violated"}
    assert {row["status"] for row in newest(ran.outputs).values() if row["check"] != "lateness"} == {"passed"}


@requires_fixtures(FIXTURES / DAY)
async def test_live_over_two_partitions_with_restarts_all_are_counted_once() -> None:
    events = at_least_one(read(DAY))[::12]
    canary = {**events[0], "meta": {**events[0]["meta"], "domain": "canary", "id": "canary"}}
    events.insert(100, canary)
    ran = await run(job_named(JOB), interleaved([events[::2], [*events[1::2], *events[1:41:2]]], seed=1), restarts=2)
    assert ran.errors == []
    assert total(ran.outputs, "schema", "events") == len(events) - 1
    assert total(ran.outputs, "duplicates", "wrong") == 20


def change(number: int, minute: int, **more: Any) -> Event:
    at = f"2026-01-31T12:{minute:02}:00Z"
    meta = {"stream": STREAM, "id": f"id{number}", "dt": at, "domain": "en.wiki.example"} | more.pop("meta", {})
    return {"$schema": "/mediawiki/recentchange/1.0.1", "meta": meta, "wiki": "w", "user": "Ada", "type": "edit"} | more


def results(events: list[Event], folder: Path) -> dict[str, Event]:
    ran = run_files(JOB, events, folder, "--no-validate", "--no-dedupe")
    assert ran.errors == []
    return {check: row for (check, _), row in newest(ran.outputs).items()}


def test_what_is_wrong_is_counted_by_the_checks_that_can_read_it(tmp_path: Path) -> None:
    events = [
        *(change(number, number) for number in range(5)),
        change(4, 4),  # a repeat
        change(5, 5, wiki=7, type="enit"),  # invalid, and of an unknown type
        change(6, 6, user=None),  # invalid, too: a name is text
        {name: value for name, value in change(7, 2).items() if name != "type"},
    ]
    found = results(events, tmp_path)
    counts = {check: (row["events"], row.get("wrong"), row["status"]) for check, row in found.items()}
    assert counts == {
        "schema": (8, 2, "violated"),
        "user": (8, 1, "violated"),
        "type": (7, 1, "violated"),
        "duplicates": (8, 1, "violated"),
        "lateness": (8, None, "passed"),
    }
    assert found["lateness"]["value"] == 240.0
    assert found["duplicates"]["value"] == 0.125


def test_an_unknown_schema_is_invalid(tmp_path: Path) -> None:
    events = [change(0, 0), {**change(1, 1), "$schema": "/nowhere/1.0.0"}, {**change(2, 2), "$schema": 5}]
    assert results(events, tmp_path)["schema"]["wrong"] == 2


def page_change(rev_id: int, minute: int, *, seconds: int = 1, page_id: int = 7) -> Event:
    at = f"2026-01-31T12:{minute:02}:00Z"
    return {
        "$schema": "/mediawiki/page/change/1.2.0",
        "meta": {
            "stream": "mediawiki.page_change.v1",
            "id": f"{page_id}-{rev_id}",
            "dt": f"2026-01-31T12:{minute:02}:{seconds:02}Z",
        },
        "dt": at,
        "wiki_id": "w",
        "page": {"page_id": page_id},
        "revision": {"rev_id": rev_id},
    }


def test_revisions_that_go_back_and_slow_producers_are_seen() -> None:
    events = [page_change(1, 0), page_change(3, 1, seconds=40), page_change(2, 2), page_change(1, 3, page_id=8)]
    with JobTest(job_named(JOB)) as test:
        test.put(*events, stream="mediawiki.page_change.v1")
        found = {row["check"]: row for row in test.finish().values}
    assert (found["revisions"]["events"], found["revisions"]["wrong"], found["revisions"]["status"]) == (
        4,
        1,
        "violated",
    )
    assert (found["latency"]["value"], found["latency"]["status"]) == (40.0, "passed")


@pytest.mark.parametrize(
    ("declared", "event", "value"),
    [
        ({"kind": "null", "field": "a.b"}, {"a": {"b": None}}, 1.0),
        ({"kind": "null", "field": "a.b"}, {"a": {"b": 0}}, 0.0),
        ({"kind": "null", "field": "a.b"}, {"a": {}}, None),
        ({"kind": "enum", "field": "a", "values": ["x"]}, {"a": "y"}, 1.0),
        ({"kind": "enum", "field": "a", "values": ["x"]}, {}, None),
        ({"kind": "latency"}, {"dt": "2026-01-31T12:00:00Z", "meta": {"dt": "2026-01-31T12:00:01.500Z"}}, 1.5),
        ({"kind": "latency"}, {"dt": "soon", "meta": {"dt": "2026-01-31T12:00:01.500Z"}}, None),
    ],
)
def test_what_a_check_says_about_an_event(declared: Any, event: Event, value: float | None) -> None:
    assert _check(declared).read(event) == value


def _check(declared: Any) -> Any:
    text = json.dumps({"s": {"checks": {"c": declared}}})
    return in_project("content.quality").checks_of(text, lambda event: True)["s"].checks["c"]


@pytest.mark.parametrize(
    ("where", "event", "value"),
    [
        ("bot and length > 3", {"bot": True, "length": 4}, True),
        ("meta.domain is null", {"meta": {}}, True),
        ("length > 3", {}, None),
    ],
)
def test_a_check_is_an_expression_of_sql(where: str, event: Event, value: bool | None) -> None:
    need_library("sqlglot")
    assert _check({"kind": "sql", "where": where}).read(event) is value


def test_a_check_that_fails_says_so_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_named(JOB)
    checks = job.steps[0].apply.__globals__["STREAMS"][STREAM].checks  # type: ignore[union-attr]
    monkeypatch.setitem(checks, "type", dataclasses.replace(checks["type"], read=lambda event: 1 / 0))
    with JobTest(job) as test:
        test.put(change(0, 0), change(1, 1, user=None))
        found = {row["check"]: row for row in test.finish().values}
        assert test.outcome().errors == []
    assert (found["type"]["status"], found["type"]["events"]) == ("failed", 0)
    assert found["type"]["message"] == "ZeroDivisionError: division by zero"
    assert (found["user"]["status"], found["user"]["wrong"]) == ("violated", 1)


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"kind": "requierd"}, "one of schema, required"),
        ({"kind": "required"}, "has field, share_max"),
        ({"kind": "latency", "share_max": 0}, "has seconds_max"),
        ({"kind": "schema", "share_max": -1}, "a number from 0"),
        ({"kind": "sql", "where": "select ("}, "no expression of SQL"),
    ],
)
def test_what_is_no_check_is_refused(declared: Any, why: str) -> None:
    if declared["kind"] == "sql":
        need_library("sqlglot")
    with pytest.raises(in_project("content.quality").InvalidChecks, match=why):
        _check(declared)


def canary(hour: int) -> Event:
    return change(hour, 0, meta={"id": f"c{hour}", "dt": f"2026-01-31T{hour:02}:00:00Z", "domain": "canary"})


def edits(first: int, last: int) -> list[Event]:
    return [change(h * 10, 0, meta={"dt": f"2026-01-31T{h:02}:30:00Z", "id": f"e{h}"}) for h in range(first, last)]


def test_a_canary_that_stops_is_missed_after_two_periods_and_its_return_is_said(tmp_path: Path) -> None:
    events = [canary(10), canary(11), canary(12), *edits(10, 17), canary(17)]
    ran = run_files(CANARIES, events, tmp_path)
    assert [(row["dt"], row["status"], row["value"]) for row in ran.outputs] == [
        ("2026-01-31T14:00:00Z", "violated", 7200.0),
        ("2026-01-31T17:00:00Z", "passed", 0.0),
    ]


def test_the_end_of_a_file_is_no_missing_canary_but_silence_is_one(tmp_path: Path) -> None:
    assert run_files(CANARIES, [canary(10), *edits(10, 12)], tmp_path).outputs == []
    with JobTest(job_named(CANARIES)) as test:
        test.put(canary(10))
        assert test.process().values == []
        assert [row["status"] for row in test.advance("3h").values] == ["violated"]


def test_a_stream_that_never_had_a_canary_lacks_one(tmp_path: Path) -> None:
    ran = run_files(CANARIES, edits(10, 14), tmp_path)
    assert [row["dt"] for row in ran.outputs] == ["2026-01-31T12:30:00Z"]
