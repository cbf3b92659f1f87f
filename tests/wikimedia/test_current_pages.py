"""The job current_pages: real pages, the life of one page change by change and in any order, and moved numbers."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, in_project, only, read, run_files

JOB = "current_pages"
STREAM = "mediawiki.page_change.v1"
LIFE = "derived/page_change_lifecycle_testwikidata_330275.jsonl"


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("name", ["adam_himebauch", "content_history"])
def test_of_each_real_page_there_is_the_last_revision_of_its_chain(name: str, tmp_path: Path) -> None:
    chains = at_least_one(dict(read("golden/page_change_chains.json")))[name]  # type: ignore[arg-type]
    ran = run_files(JOB, reversed(read(f"derived/page_change_{name}.jsonl.gz")), tmp_path)
    assert ran.errors == []
    found = {f"{row['wiki_id']}:{row['page_id']}": row["rev_id"] for row in ran.outputs}
    assert found == {page: chain["last_rev"] for page, chain in chains.items()}


@requires_fixtures(FIXTURES)
def test_a_page_is_there_after_each_change_but_deletions(tmp_path: Path) -> None:
    life = at_least_one(read(LIFE))
    for count in range(1, len(life) + 1):
        rows = run_files(JOB, life[:count], tmp_path).outputs
        assert len(rows) == (life[count - 1]["page_change_kind"] != "delete")
    last = life[-1]
    assert only(rows, ["rev_id", "page_title", "is_content_visible", "is_deleted"]) == [
        {
            "rev_id": last["revision"]["rev_id"],
            "page_title": last["page"]["page_title"],
            "is_content_visible": last["revision"]["is_content_visible"],
            "is_deleted": False,
        }
    ]


@requires_fixtures(FIXTURES)
@given(st.data())
def test_whatever_the_order_of_the_changes_the_last_version_is_the_greatest(data: st.DataObject) -> None:
    version = in_project("jobs.current_pages").version
    life = at_least_one(read(LIFE))
    assert all(version(one) < version(next_one) for one, next_one in pairwise(life))
    shuffled = data.draw(st.permutations(life))
    assert max(shuffled, key=version) == life[-1]


def page(rev_id: int, kind: str = "edit", *, page_id: int = 7, at: str | None = None, was: int | None = None) -> Event:
    event = change(rev_id, "", kind=kind, page_id=page_id)
    event["meta"] |= {"stream": "mediawiki.page_change.v1", "id": f"{rev_id}{kind}{page_id}{at}"}
    if at is not None:
        event["dt"] = event["meta"]["dt"] = at
    return event if was is None else {**event, "prior_state": {"page": {"page_id": was, "page_title": "River"}}}


def in_floats(event: Event) -> Event:
    """The same event with its whole numbers as 7.0, which JSON Schema takes for the same."""
    page, revision = event["page"], event["revision"]
    return {
        **event,
        "page": {**page, "page_id": float(page["page_id"])},
        "revision": {**revision, "rev_id": float(revision["rev_id"])},
    }


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([page(2), page(1)], [(7, 2)]),
        ([page(2), page(2, "delete", at="2026-01-31T13:00:00Z"), page(1, at="2026-01-31T14:00:00Z")], []),
        ([page(2, "delete", at="2026-01-31T12:02:00.500Z"), page(2)], []),
        ([page(2), page(2, "undelete", page_id=8, was=7, at="2026-01-31T13:00:00Z")], [(8, 2)]),
        ([page(1), page(3, "delete", page_id=9)], [(7, 1)]),
        ([in_floats(page(2)), page(1)], [(7, 2)]),
    ],
)
def test_which_rows_there_are(events: list[Event], expected: list[tuple[int, int]], tmp_path: Path) -> None:
    for order in (events, events[::-1]):
        ran = run_files(JOB, order, tmp_path, "--order", "arrival")
        assert ran.errors == []
        assert [(row["page_id"], row["rev_id"]) for row in ran.outputs] == expected


def test_of_two_changes_with_the_same_times_and_revision_the_first_one_is_kept(tmp_path: Path) -> None:
    one, other = page(1), page(1, "delete")
    assert [len(run_files(JOB, order, tmp_path).outputs) for order in ([one, other], [other, one])] == [1, 0]


def test_an_invalid_change_is_an_error_event(tmp_path: Path) -> None:
    ran = run_files(JOB, [{**page(1), "page": {"page_id": "ten"}}, {**page(2), "dt": "noon"}, page(3)], tmp_path)
    assert len(ran.errors) == 2
    assert [row["rev_id"] for row in ran.outputs] == [3]


@requires_fixtures(FIXTURES)
def test_real_changes_of_every_released_version_are_read(tmp_path: Path) -> None:
    files = at_least_one(sorted((FIXTURES / "real/page_change").rglob("*.json")))
    events = [json.loads(file.read_text("utf-8")) for file in files]
    events = [event.get("event", event) for event in events]
    ran = run_files(JOB, [{**event, "meta": {**event["meta"], "stream": STREAM}} for event in events], tmp_path)
    assert ran.errors == []
    assert {row["wiki_id"] for row in ran.outputs} <= {event["wiki_id"] for event in events}
