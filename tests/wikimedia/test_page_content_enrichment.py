"""The job page_content_enrichment against the stand-in: goldens, hidden content, failures that end as error events."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.mediawiki import MediaWikiStandIn, serving_in_thread
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, Ran, read, run_files

JOB = "page_content_enrichment"
STORE = FIXTURES / "derived/fake_mediawiki_store.jsonl.gz"
WIKI = "en.wiki.example"


def enriched(stand_in: MediaWikiStandIn, events: list[Event], folder: Path, *options: str) -> Ran:
    with serving_in_thread(stand_in) as url:
        return run_files(JOB, events, folder, "--set", f"lookups.mediawiki.url={url}/w/api.php", *options)


def without_id(event: Event) -> Event:
    return {**event, "meta": {name: value for name, value in event["meta"].items() if name != "id"}}


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("name", ["adam_himebauch", "content_history"])
def test_real_changes_get_the_content_of_the_golden(name: str, tmp_path: Path) -> None:
    events = at_least_one(read(f"derived/page_change_{name}.jsonl.gz"))
    random.Random(1).shuffle(events)
    ran = enriched(MediaWikiStandIn.read(STORE), [*events, *events[:5]], tmp_path)
    expected = read(f"derived/page_content_change_{name}.expected.jsonl.gz")
    assert ran.errors == []
    by_id = {event["revision"]["rev_id"]: without_id(event) for event in ran.outputs}
    assert len(by_id) == len(ran.outputs)
    assert by_id == {event["revision"]["rev_id"]: without_id(event) for event in expected}
    assert {event["meta"]["id"] for event in ran.outputs}.isdisjoint(event["meta"]["id"] for event in events)


def page_change(rev_id: int, kind: str = "edit", *, visible: bool = True) -> Event:
    event = change(rev_id, "" if visible else None, kind=kind)
    slot = {"slot_role": "main", "content_model": "wikitext"}
    del event["revision"]["rev_sha1"]
    return {
        **event,
        "meta": {**event["meta"], "stream": "mediawiki.page_change.v1"},
        "revision": {**event["revision"], "content_slots": {"main": slot}},
    }


def row(rev_id: int, content: str | None = "text", **also: Any) -> dict[str, Any]:
    known = {"domain": WIKI, "page_id": 7, "title": "River", "rev_id": rev_id}
    return known | ({"texthidden": True} if content is None else {"content": content}) | also


def bodies(ran: Ran) -> dict[tuple[int, str], str | None]:
    found = {}
    for event in ran.outputs:
        slot = event["revision"]["content_slots"]["main"]
        found[event["revision"]["rev_id"], event["page_change_kind"]] = slot.get("content_body")
    return found


def test_every_kind_but_deletion_is_looked_up_and_hidden_content_is_left_out(tmp_path: Path) -> None:
    events = [page_change(1, "create"), page_change(2), page_change(3, "move"), page_change(4, "undelete")]
    events += [
        page_change(5, "visibility_change"),
        page_change(6, "delete"),
        page_change(7, visible=False),
        page_change(8),
    ]
    stand_in = MediaWikiStandIn([*(row(number, f"text {number}") for number in range(1, 8)), row(8, None)])
    ran = enriched(stand_in, events, tmp_path)
    assert ran.errors == []
    assert bodies(ran) == {
        (1, "create"): "text 1",
        (2, "edit"): "text 2",
        (3, "move"): "text 3",
        (4, "undelete"): "text 4",
        (5, "visibility_change"): "text 5",
        (6, "delete"): None,
        (7, "edit"): None,
        (8, "edit"): None,
    }


def test_what_cannot_be_looked_up_is_an_error_event_and_the_others_come_out(tmp_path: Path) -> None:
    broken = page_change(2)
    broken["revision"]["rev_id"] = "two"
    nameless = page_change(3)
    del nameless["meta"]["domain"]
    events = [page_change(1), broken, nameless, page_change(4), page_change(999), page_change(5)]
    events[3]["revision"]["rev_sha1"] = "0" * 31
    ran = enriched(MediaWikiStandIn([row(1), row(3), row(4), row(5)]), events, tmp_path)
    assert sorted(bodies(ran)) == [(1, "edit"), (5, "edit")]
    assert len(ran.errors) == 4


def test_content_that_is_too_large_for_the_stream_is_an_error_event(tmp_path: Path) -> None:
    stand_in = MediaWikiStandIn([row(1, "x" * 2_000_000), row(2)])
    ran = enriched(stand_in, [page_change(1), page_change(2)], tmp_path, "--set", "intake.event_bytes_max=1000000")
    assert sorted(bodies(ran)) == [(2, "edit")]
    assert len(ran.errors) == 1
