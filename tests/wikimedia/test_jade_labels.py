"""The job jade_labels and its table: the golden, pages that cannot be used, labels that stay, and deletions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import run as run_in_memory
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, in_project, interleaved, job_named, only, read, run, run_files

JOB, TABLE = "jade_labels", "jade_preferred"
PAGES = "synthetic/SYNTHETIC_jade.jsonl"
GOLDEN = "synthetic/SYNTHETIC_jade.expected.jsonl"


def page(rev_id: int, content: Any, title: str = "Jade:Diff/100", **more: Any) -> Event:
    text = content if content is None or isinstance(content, str) else json.dumps(content)
    event = change(rev_id, text, page_id=sum(title.encode()), **more)
    return {**event, "page": {**event["page"], "page_title": title, "namespace_id": 810}}


def of_fixture() -> list[Event]:
    return [page(row["rev_id"], row["content"], row["page"]) for row in at_least_one(read(PAGES))]


def check_golden(outputs: list[Event], errors: list[Event]) -> None:
    golden = read(GOLDEN)
    labels = [row for row in golden if "label" in row]
    assert only(outputs, ("endorsements", "label", "preferred_changed", "rev_id")) == labels
    assert [error["error_type"] for error in errors] == [row["error"].partition(":")[0] for row in golden[2:]]
    said = {json.loads(error["raw_event"])["revision"]["rev_id"]: error["message"] for error in errors}
    assert "2 preferred proposals" in said[3]
    assert "user 1 endorses 2 times" in said[3]
    assert "not JSON" in said[4]


@requires_fixtures(FIXTURES / GOLDEN)
def test_the_golden_over_a_shuffled_file(tmp_path: Path) -> None:
    events = of_fixture()
    ran = run_files(JOB, [events[3], events[1], events[2], events[0], events[1]], tmp_path)
    check_golden(ran.outputs, sorted(ran.errors, key=lambda error: str(error["raw_event"])))


@requires_fixtures(FIXTURES / GOLDEN)
@pytest.mark.parametrize("restarts", [0, 2])
async def test_the_golden_live_over_partitions_with_canaries_and_restarts(restarts: int) -> None:
    events = of_fixture()
    canary = {**events[0], "meta": {**events[0]["meta"], "domain": "canary", "id": "canary"}}
    placed = interleaved([[events[0], canary, *events[:3]], [events[3]]], seed=restarts)
    ran = await run(job_named(JOB), placed, restarts=restarts)
    check_golden(ran.outputs, sorted(ran.errors, key=lambda error: str(error["raw_event"])))


def proposal(label: Any, users: list[Any], *, preferred: bool = False) -> Any:
    endorsements = [{"author": user if isinstance(user, dict) else {"id": user}} for user in users]
    return {"labeldata": label, "endorsements": endorsements, **({"preferred": True} if preferred else {})}


def content(*proposals: Any, facet: str = "editquality") -> Any:
    return {"facets": {facet: {"proposals": list(proposals)}}}


GOOD = {"damaging": False, "goodfaith": True}
BAD = {"damaging": True, "goodfaith": False}


def labels(events: list[Event], folder: Path) -> list[Any]:
    ran = run_files(JOB, events, folder)
    assert ran.errors == []
    return [(row["rev_id"], row.get("label")) for row in ran.outputs]


def test_a_label_that_stays_preferred_is_no_change(tmp_path: Path) -> None:
    first, more = content(proposal(GOOD, [1], preferred=True)), content(proposal(GOOD, [1, 2], preferred=True))
    back = content(proposal(BAD, [1], preferred=True), proposal(GOOD, [2]))
    events = [page(1, first), page(2, more), page(3, back), page(4, first)]
    assert labels(events, tmp_path) == [(1, GOOD), (3, BAD), (4, GOOD)]


def test_an_older_revision_that_comes_later_changes_nothing() -> None:
    new, old = (
        page(2, content(proposal(GOOD, [1], preferred=True))),
        page(1, content(proposal(BAD, [1], preferred=True))),
    )
    assert [row["rev_id"] for row in run_in_memory(job_named(JOB), [new, old]).values] == [2]


@pytest.mark.parametrize(
    "bad",
    [
        "[]",
        "{}",
        {"facets": {"editquality": 5}},
        {"facets": {"editquality": {"proposals": [5]}}},
        content(proposal(GOOD, [1])),
        content(proposal("good", [1], preferred=True)),
        content({"labeldata": GOOD, "preferred": True, "endorsements": [{}]}),
        content({"labeldata": GOOD, "preferred": True, "endorsements": 5}),
        content(proposal(GOOD, [{"ip": "192.0.2.1"}], preferred=True), proposal(BAD, [{"ip": "192.0.2.1"}])),
    ],
)
def test_a_page_that_cannot_be_used_leaves_the_label(bad: Any, tmp_path: Path) -> None:
    good = content(proposal(GOOD, [1], preferred=True))
    ran = run_files(JOB, [page(1, good), page(2, bad), page(3, good)], tmp_path)
    assert [row["rev_id"] for row in ran.outputs] == [1]
    assert [error["error_type"] for error in ran.errors] == ["JADE_INVALID"]


def test_each_facet_has_a_label_and_one_endorsement_of_a_user(tmp_path: Path) -> None:
    both = {"facets": {name: {"proposals": [proposal(GOOD, [1], preferred=True)]} for name in ("a", "b")}}
    ran = run_files(JOB, [page(1, both)], tmp_path)
    assert [row["facet"] for row in ran.outputs] == ["a", "b"]


def test_other_pages_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    good = content(proposal(GOOD, [1], preferred=True))
    events = [
        page(1, good, "River"),
        page(2, good, "Jade:Diff/x"),
        page(3, None),
        page(4, good, kind="visibility_change"),
    ]
    assert labels(events, tmp_path) == []


def test_the_table_has_the_preferred_labels_and_loses_those_of_deleted_pages(tmp_path: Path) -> None:
    good = content(proposal(GOOD, [1], preferred=True))
    events = [page(1, good), page(2, good, "Jade:Revision/7")]
    made = run_files(JOB, events, tmp_path).outputs
    rows = {(row["entity"], row["entity_id"]): row["label"] for row in run_in_memory(job_named(TABLE), made).rows}
    assert rows == {("diff", 100): GOOD, ("revision", 7): GOOD}
    made = run_files(JOB, [*events, page(3, good, kind="delete")], tmp_path).outputs
    assert made[-1]["preferred_changed"] is True
    assert [row["entity"] for row in run_in_memory(job_named(TABLE), made).rows] == ["revision"]


def test_what_a_page_is_about() -> None:
    entity_of = in_project("content.jade").entity_of
    assert entity_of("Jade:Diff/100") == ("diff", 100)
    assert entity_of("Jade:Diff/0100") is None
    assert entity_of("Talk:Jade:Diff/100") is None
