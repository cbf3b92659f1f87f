"""The job section_topics: the golden of a real page with invented topics, redirects, and what no topic is known of."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import WIKI, change
from wikimedia.project import FIXTURES, Event, Ran, interleaved, job_named, read, run, run_files

JOB = "section_topics"
PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
GOLDEN = "golden/adam_himebauch.last_revision.json"
PAGES = "mediawiki.page_section_topics_change.v1"
FIELD = "level2_sections_distinct_link_targets"
# Invented: what some of the linked pages are about.
TOPICS = {
    "Banksy": ["Art", "People"],
    "street art": ["Art"],
    "contemporary art": ["Art"],
    "Tom Hanks": ["People", "Film"],
    "Donald Trump": ["People", "Politics"],
    "New York City": ["Places"],
    "Seoul": ["Places"],
    "Category:Living people": ["People"],
}


def tables(wiki: str, topics: dict[str, list[str]] | None = None) -> dict[str, Any]:
    rows = {(wiki, title): {"topics": known} for title, known in (TOPICS if topics is None else topics).items()}
    return {"title_topics": rows}


def scores(targets: list[str], topics: dict[str, list[str]]) -> dict[str, float]:
    """The share of the links with known topics, by definition."""
    known = [topics[target] for target in targets if target in topics]
    counted = Counter(topic for one in known for topic in one)
    return {topic: round(links / len(known), 6) for topic, links in counted.items()}


def standing(rows: list[Event]) -> dict[tuple[Any, ...], float]:
    """What the rows say in the end."""
    found: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key = (row["wiki_id"], row["section"], row["topic"])
        if row["changelog_kind"] == "delete":
            del found[key]
        else:
            found[key] = row["score"]
    return found


@requires_fixtures(FIXTURES)
async def test_the_sections_of_a_real_page_link_to_what_the_golden_says() -> None:
    golden: Any = at_least_one(read(GOLDEN))
    events = read(PAGE)[-12:]
    canary = {**events[-1], "meta": {**events[-1]["meta"], "domain": "canary", "id": "canary"}}
    other = [{**event, "wiki_id": "otherwiki"} for event in events[:5]]
    placed = interleaved([[*events[:4], canary, *events[4:]], other], seed=8)

    job = job_named(JOB, library="mwedittypes")
    ran = await run(job, placed, tables=tables("enwiki"))
    again = await run(job, placed, tables=tables("enwiki"), restarts=2)

    assert ran.errors == again.errors == []
    *_, last = [event for event in ran.others[PAGES] if event["wiki_id"] == "enwiki"]
    assert last["rev_id"] == golden["rev_id"]
    assert last[FIELD] == golden[FIELD]
    assert {name: len(targets) for name, targets in last[FIELD].items()} == {
        "LEAD": 4,
        "Work as Hanksy": 24,
        "Work as Adam Himebauch and Adam Lucas": 11,
        "References": 4,
    }
    # Each of these sections links to each of its pages once, but for what no topic is known of.
    expected = {
        ("enwiki", name, topic): score
        for name, targets in golden[FIELD].items()
        for topic, score in scores(targets, TOPICS).items()
    }
    assert standing(ran.outputs) == standing(again.outputs) == expected
    assert sum(last["level2_sections_unresolved_links"].values()) == golden["wikilinks"] - 8
    assert last["predicted_classification"]["predictions"] == ["People"]


@requires_fixtures(FIXTURES)
def test_a_shuffled_file_gives_the_same(tmp_path: Path) -> None:
    job_named(JOB, library="mwedittypes")
    golden: Any = read(GOLDEN)
    events = read(PAGE)[-12:]
    random.Random(1).shuffle(events)
    file = tmp_path / "topics.jsonl"
    rows = [{"wiki_id": "enwiki", "title": title, "topics": topics} for title, topics in TOPICS.items()]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    ran = run_files(JOB, [*events, events[0]], tmp_path, "--table", f"title_topics={file}")
    assert ran.errors == []
    pages = [row for row in ran.outputs if row["meta"]["stream"] == PAGES]
    assert pages[-1][FIELD] == golden[FIELD]
    assert standing([row for row in ran.outputs if row["meta"]["stream"] != PAGES])


async def made(*events: Event, topics: dict[str, list[str]]) -> tuple[list[tuple[Any, ...]], Ran]:
    job = job_named(JOB, library="mwedittypes")
    ran = await run(job, [(0, event) for event in events], tables=tables(WIKI, topics))
    assert ran.errors == []
    names = ("rev_id", "changelog_kind", "section", "topic", "score")
    return [tuple(row.get(name) for name in names) for row in ran.outputs], ran


async def test_each_link_counts_and_sections_of_one_name_are_one() -> None:
    text = "[[a]] [[a|x]] [[b#c]] [[b]]\n== S ==\n[[b]]\n=== T ===\n[[c]]\n== S ==\n[[d]] [[e]]"
    rows, ran = await made(change(1, text, kind="create"), topics={"a": ["A"], "b": ["B"], "c": ["B"], "d": ["D"]})
    assert rows == [
        *((1, "insert", "LEAD", "A", 0.666667), (1, "insert", "LEAD", "B", 0.333333)),
        *((1, "insert", "S", "B", 0.666667), (1, "insert", "S", "D", 0.333333)),
    ]
    (event,) = ran.others[PAGES]
    assert event[FIELD] == {"LEAD": ["a", "b", "b#c"], "S": ["b", "c", "d", "e"]}
    assert event["level2_sections_unresolved_links"] == {"LEAD": 1, "S": 1}
    assert event["predicted_classification"]["probabilities"] == {"A": 0.333333, "B": 0.5, "D": 0.166667}
    assert event["predicted_classification"]["predictions"] == ["B"]


async def test_a_page_that_becomes_a_redirect_or_is_deleted_or_hidden_has_no_rows() -> None:
    by_event, by_text = change(2, "#REDIRECT [[a]]", page_id=1), change(2, "#weiterleitung [[a]]", page_id=2)
    by_event["page"]["is_redirect"] = True
    ends = [by_event, by_text, change(2, "[[a]]", kind="delete", page_id=3), change(2, None, page_id=4)]
    events = [change(1, "[[a]]", kind="create", page_id=number) for number in range(1, 5)]
    rows, ran = await made(*events, *ends, topics={"a": ["A"]})
    assert rows[:4] == [(1, "insert", "LEAD", "A", 1.0)] * 4
    assert rows[4:] == [(2, "delete", "LEAD", "A", None)] * 4
    assert [event["page_id"] for event in ran.others[PAGES] if event["changelog_kind"] == "delete"] == [1, 3, 4]


async def test_a_list_with_a_link_is_no_redirect_if_the_event_says_so() -> None:
    event = change(1, "#see [[a]]", kind="create")
    event["page"]["is_redirect"] = False
    rows, _ = await made(event, topics={"a": ["A"]})
    assert rows == [(1, "insert", "LEAD", "A", 1.0)]


async def test_other_content_has_no_topics() -> None:
    rows, ran = await made(change(1, "[[a]]", kind="create", model="css"), topics={"a": ["A"]})
    assert (rows, ran.others[PAGES]) == ([], [])
