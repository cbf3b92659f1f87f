"""The jobs of dependency_tracking.py: whom a change reaches, in pages, along chains and cycles, without its table."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import LookupUnavailable
from headwater.testing.run_job import JobOutcome, JobTest
from headwater.testing.run_job import run as run_in_memory
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import WIKI, change
from wikimedia.project import FIXTURES, Event, in_project, job_named, need_library, read, run_files

LINKS, TABLE, CHANGES, TRACKING = "dependency_links", "page_dependants", "dependency_changes", "dependency_tracking"
TRANSCLUDES, BACKLINKS = "change-prop.transcludes.resource-change", "change-prop.backlinks.resource-change"
CONTINUE = "dependency_tracking.continue.v1"
PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
GOLDEN = "golden/adam_himebauch.last_revision.json"
Graph = dict[str, list[str]]


def links_change(number: int, title: str, rev_id: int, added: Iterable[str], removed: Iterable[str] = ()) -> Event:
    at = f"2026-01-31T12:{rev_id:02}:00Z"
    meta = {"stream": "mediawiki.page-links-change", "id": f"{title}-{rev_id}", "domain": "en.wiki.example", "dt": at}
    return {
        "$schema": "/mediawiki/page/links-change/1.0.0",
        "meta": meta,
        "dt": at,
        "database": WIKI,
        "page_id": number,
        "page_title": title,
        "rev_id": rev_id,
        "added_links": [{"link": link, "external": False} for link in added],
        "removed_links": [{"link": link, "external": False} for link in removed],
    }


def index(events: list[Event]) -> dict[Any, Any]:
    """The table, as these changes of links make it."""
    rows = run_in_memory(job_named(LINKS), events).values
    return {
        (row["wiki_id"], row["target"], row["page_id"]): {k: row[k] for k in ("page_id", "page_title", "rev_id")}
        for row in run_in_memory(job_named(TABLE), rows).rows
    }


def graph(links: Graph) -> dict[Any, Any]:
    """The table of pages, numbered in their order, that have these links."""
    return index(
        [
            links_change(number, title, 1, [f"/wiki/{target}" for target in targets])
            for number, (title, targets) in enumerate(links.items(), 1)
        ]
    )


def page(title: str, number: int = 99, **more: Any) -> Event:
    event = change(12, "text", page_id=number, **more)
    namespace = 10 if title.startswith("Template:") else 0
    meta = {**event["meta"], "stream": "mediawiki.page_change.v1", "uri": f"https://en.wiki.example/wiki/{title}"}
    return {**event, "meta": meta, "page": {"page_id": number, "page_title": title, "namespace_id": namespace}}


def tell(event: Event, table: Any, titles: Any = None, **settings: Any) -> JobOutcome:
    requests = run_in_memory(job_named(CHANGES), [event]).events
    tables = {TABLE: table, "current_pages": titles or {}}
    with JobTest(job_named(TRACKING), tables=tables, settings=settings) as test:
        test.put(*requests)
        return test.finish()


def told(outcome: JobOutcome, stream: str = TRANSCLUDES) -> list[str]:
    return [event["meta"]["uri"].rpartition("/")[2] for event in outcome[stream]]


@requires_fixtures(FIXTURES / PAGE)
def test_a_change_of_a_template_reaches_the_one_real_page_that_has_it(tmp_path: Path) -> None:
    need_library("mwparserfromhell")
    ran = run_files("derived_page_data", at_least_one(read(PAGE)), tmp_path)
    changes = [event for event in ran.outputs if event["meta"]["stream"] == "mediawiki.page-links-change"]
    random.Random(1).shuffle(changes)
    table = index(changes)
    golden: Any = read(GOLDEN)
    of_templates = {target for _, target, _ in table if target.startswith("/wiki/Template:")}
    for name in ("Cite web", "Cite news", "Infobox artist", "Reflist", "Short description"):
        assert name in golden["templates"]
        assert dependants_address(f"Template:{name}") in of_templates
    rows = run_in_memory(job_named("current_pages"), read("derived/page_change_adam_himebauch.jsonl.gz")).rows
    # It was moved after it got the template.
    titles = {(row["wiki_id"], row["page_id"]): row for row in rows}
    assert told(tell({**page("Template:Cite_web"), "wiki_id": "enwiki"}, table, titles)) == ["Adam_Himebauch"]
    assert told(tell({**page("Template:Cite_book"), "wiki_id": "enwiki"}, table)) == []


def dependants_address(title: str) -> str:
    address: str = in_project("content.dependants").address(title)
    return address


def test_1200_dependants_are_three_pages_each_once() -> None:
    table = graph({f"Page_{n}": ["Template:X"] for n in range(1200)})
    outcome = tell(page("Template:X", 5000), table)
    assert len(told(outcome)) == len(set(told(outcome))) == 1200
    assert [(one["sequence_num"], one["continue"]["pages"]) for one in outcome[CONTINUE]] == [(1, "500"), (2, "1000")]
    assert outcome.errors == []
    first = outcome[TRANSCLUDES][0]
    assert first["triggered_by"].endswith("mediawiki.page_change.v1:https://en.wiki.example/wiki/Template:X")
    assert len({event["root_event"]["signature"] for event in outcome[TRANSCLUDES]}) == 1


def test_a_process_that_ends_between_two_pages_goes_on_from_there() -> None:
    table = graph({f"Page_{n}": ["Template:X"] for n in range(1200)})
    requests = run_in_memory(job_named(CHANGES), [page("Template:X", 5000)]).events
    with JobTest(job_named(TRACKING), tables={TABLE: table, "current_pages": {}}) as test:
        test.put(*requests)
        test.process()
        test.restart(test.job)
        outcome = test.finish()
        assert len(told(outcome)) == len(set(told(outcome))) == 1200


@pytest.mark.parametrize("transitive", [False, True])
def test_a_cycle_ends_and_never_reaches_its_beginning(transitive: bool) -> None:
    table = graph({"Template:A": ["Template:B"], "Template:B": ["Template:A"]})
    assert told(tell(page("Template:A", 1), table, transitive=transitive)) == ["Template:B"]


def test_a_chain_is_followed_only_if_asked_for_and_each_page_told_once() -> None:
    links = {"B": ["A"], "C": ["A", "B"], "D": ["B", "C"], "E": ["D"]}
    assert told(tell(page("A"), graph(links)), BACKLINKS) == ["B", "C"]
    assert told(tell(page("A"), graph(links), transitive=True), BACKLINKS) == ["B", "C", "D", "E"]
    assert told(tell(page("A"), graph(links), transitive=True, depth_max=2), BACKLINKS) == ["B", "C", "D"]


def test_a_long_chain_with_many_pages_tells_each_once() -> None:
    links: Graph = {f"P{n}": ["Template:X"] for n in range(520)} | {f"Q{n}": ["P0", "P519"] for n in range(30)}
    outcome = tell(page("Template:X", 5000), graph(links), transitive=True)
    assert len(told(outcome)) == len(set(told(outcome))) == 550


def test_there_is_a_bound_for_all() -> None:
    table = graph({f"Page_{n}": ["Template:X"] for n in range(1200)})
    for most in (10, 500, 700):
        outcome = tell(page("Template:X", 5000), table, pages_max=most)
        assert len(told(outcome)) == most


def test_a_move_reaches_the_pages_that_lead_to_either_title() -> None:
    table = graph({"B": ["Old"], "C": ["New", "Old"], "D": ["New"]})
    moved = page("New", kind="move", prior_state={"page": {"page_title": "Old"}})
    assert sorted(told(tell(moved, table), BACKLINKS)) == ["B", "C", "D"]


def test_a_link_that_was_removed_is_none_in_whatever_order() -> None:
    events = [
        links_change(1, "B", 1, ["/wiki/A", "/wiki/C#History"]),
        links_change(1, "B", 2, [], ["/wiki/A"]),
        links_change(2, "D", 1, ["/wiki/A"], ["/wiki/A"]),
    ]
    for order in (events, events[::-1]):
        assert sorted((target, number) for _, target, number in index(order)) == [("/wiki/A", 2), ("/wiki/C", 1)]


def test_external_links_and_changes_of_visibility_lead_to_nothing() -> None:
    event = links_change(1, "B", 1, [])
    event["added_links"] = [{"link": "https://a.example/wiki/A", "external": True}]
    assert index([event]) == {}
    assert run_in_memory(job_named(CHANGES), [page("A", kind="visibility_change")]).values == []


def test_a_repeat_and_a_canary_lead_to_nothing_more() -> None:
    event = page("A")
    canary = {**event, "meta": {**event["meta"], "id": "canary", "domain": "canary"}}
    assert len(run_in_memory(job_named(CHANGES), [event, event, canary]).values) == 1


def test_while_the_table_cannot_be_read_the_job_waits_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.jobs.tables.reader import TableReader

    scan, failures = TableReader.scan, []

    def failing(self: Any, **given: Any) -> Any:
        if len(failures) < 2:
            failures.append(given)
            raise LookupUnavailable("The table cannot be read.")
        return scan(self, **given)

    monkeypatch.setattr(TableReader, "scan", failing)
    outcome = tell(page("Template:A"), graph({"B": ["Template:A"], "C": ["Template:A"]}))
    assert (told(outcome), outcome.errors, len(failures)) == (["B", "C"], [], 2)


def test_an_event_without_what_it_needs_is_an_error_event(tmp_path: Path) -> None:
    event = links_change(1, "B", 1, ["/wiki/A"])
    del event["page_title"]
    assert [one["error_type"] for one in run_files(LINKS, [event], tmp_path).errors] == ["INVALID_INPUT"]
