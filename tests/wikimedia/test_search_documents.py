"""The job search_documents against the stand-in: the text of real revisions, deletions, hidden texts and failures."""

from __future__ import annotations

from pathlib import Path

from headwater.testing.mediawiki import MediaWikiStandIn, serving_in_thread
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, Ran, read, run_files
from wikimedia.test_page_content_enrichment import STORE, WIKI, row

JOB = "search_documents"


def fetched(stand_in: MediaWikiStandIn, events: list[Event], folder: Path, *options: str) -> Ran:
    with serving_in_thread(stand_in) as url:
        return run_files(JOB, events, folder, "--set", f"lookups.mediawiki.url={url}/w/api.php", *options)


def update(rev_id: int, change_type: str = "REV_BASED_UPDATE") -> Event:
    return {
        "$schema": "/mediawiki/search_update/1.0.0",
        "meta": {
            "stream": "mediawiki.search_update.v1",
            "domain": WIKI,
            "id": f"{change_type} {rev_id}",
            "dt": "2026-01-31T12:00:00Z",
        },
        "dt": "2026-01-31T12:00:00Z",
        "wiki_id": "enwiki",
        "page_id": 7,
        "rev_id": rev_id,
        "change_type": change_type,
        "weighted_tags": ["A/B|500"],
    }


def test_a_document_has_the_text_of_its_revision_and_what_removes_one_asks_nothing(tmp_path: Path) -> None:
    stand_in = MediaWikiStandIn([row(1, "żółw"), row(2, None)])
    events = [update(1), update(2), update(3, "PAGE_DELETE"), update(3, "REDIRECT_UPDATE"), update(1, "TAGS_UPDATE")]
    ran = fetched(stand_in, events, tmp_path)
    assert ran.errors == []
    found = {(event["rev_id"], event["change_type"]): event.get("text") for event in ran.outputs}
    assert found == {
        (1, "REV_BASED_UPDATE"): "żółw",
        (2, "REV_BASED_UPDATE"): None,
        (3, "PAGE_DELETE"): None,
        (3, "REDIRECT_UPDATE"): None,
        (1, "TAGS_UPDATE"): "żółw",
    }
    assert {event.get("text_bytes") for event in ran.outputs} == {7, None}
    assert all(event["weighted_tags"] == ["A/B|500"] for event in ran.outputs)


def test_what_the_wiki_does_not_have_is_an_error_event_and_the_rest_goes_on(tmp_path: Path) -> None:
    ran = fetched(MediaWikiStandIn([row(1, "a")]), [update(9), update(1)], tmp_path)
    assert [event["text"] for event in ran.outputs] == ["a"]
    assert len(ran.errors) == 1


@requires_fixtures(FIXTURES)
def test_the_documents_of_real_edits_have_the_text_of_the_golden(tmp_path: Path) -> None:
    for name in ("updates", "documents"):
        (tmp_path / name).mkdir()
    changes = at_least_one(read("derived/page_change_adam_himebauch.jsonl.gz"))
    updates = run_files("search_update_each", changes, tmp_path / "updates").outputs
    asked = [{**one, "meta": {**one["meta"], "stream": "mediawiki.search_update.v1"}} for one in updates]
    asked = [{**one, "$schema": "/mediawiki/search_update/1.0.0"} for one in asked]
    ran = fetched(MediaWikiStandIn.read(STORE), asked, tmp_path / "documents")
    assert ran.errors == []
    golden = {
        event["revision"]["rev_id"]: event["revision"]["content_slots"]["main"].get("content_body")
        for event in read("derived/page_content_change_adam_himebauch.expected.jsonl.gz")
    }
    assert {event["rev_id"]: event.get("text") for event in ran.outputs} == golden
