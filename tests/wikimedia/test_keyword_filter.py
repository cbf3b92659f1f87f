"""The job keyword_filter: the goldens of comments and added text, folding, whole words, expressions, hidden texts."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requirements import requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, in_project, interleaved, job_named, only, partitioned, read, run

JOB = "keyword_filter"
COMMENTS = "derived/recentchange_2016-06-27.jsonl.gz"
PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"

keywords = in_project("content.keywords")
lines = in_project("content.lines")


def recent(comment: str | None, **also: Any) -> Event:
    meta = {"stream": "mediawiki.recentchange", "id": str(comment), "dt": "2026-01-31T12:00:00Z", "domain": "a.example"}
    return {
        "$schema": "/mediawiki/recentchange/1.0.0",
        "meta": meta,
        "wiki": "a",
        "title": "T",
        "comment": comment,
        **also,
    }


@requires_fixtures(FIXTURES)
async def test_the_comments_of_a_real_day_have_the_keywords_of_the_golden() -> None:
    facts: Any = read("golden/recentchange_2016.facts.json")
    events = read(COMMENTS)
    named = {event["meta"]["id"] for event in events if any(w in event["comment"].lower() for w in facts["keywords"])}

    placed = interleaved(partitioned(events, ["wiki", "title"], 2), seed=5)
    ran = await run(job_named(JOB), placed)

    assert ran.errors == []
    assert len(ran.outputs) == facts["keyword_events"]
    assert Counter(word for event in ran.outputs for word in event["keywords"]) == facts["keyword_hits"]
    assert {event["event_id"] for event in ran.outputs} == named


@requires_fixtures(FIXTURES)
async def test_the_text_added_to_a_real_page_has_the_keywords_of_the_golden() -> None:
    golden: Any = read("golden/adam_himebauch.text_goldens.json")
    ran = await run(job_named(JOB), [(0, event) for event in read(PAGE)])
    assert ran.errors == []
    texts = [event for event in ran.outputs if event["field"] == "text"]
    assert only(texts, ["rev_id", "keywords"]) == only(golden["hits"], ["rev_id", "keywords"])


async def test_hidden_comments_and_texts_are_never_matched() -> None:
    spam = "banksy spam"
    base = change(1, "x", kind="create", comment=spam)
    events = [
        change(1, "x", kind="create"),
        change(2, spam),
        change(3, None),
        change(4, spam),
        change(5, spam + "\nbanksy"),
    ]
    for event, visible in zip(events, (True, False, True, True, None), strict=True):
        event["revision"]["comment"] = spam
        event["revision"]["is_comment_visible"] = visible
    assert base["comment"] == spam
    ran = await run(job_named(JOB), [(0, event) for event in events])
    found = [(event["rev_id"], event["field"], event["keywords"]) for event in ran.outputs]
    assert found == [
        (1, "comment", ["spam"]),
        (2, "text", ["banksy"]),
        (3, "comment", ["spam"]),
        (4, "comment", ["spam"]),
        (5, "comment", ["spam"]),
        (5, "text", ["banksy"]),
    ], "the text after a hidden one is not known to be added"


async def test_an_event_without_what_it_needs_is_an_error_event() -> None:
    good = recent("Undid it", revision={"old": None, "new": 5}, type="new")
    bad = [{**good, "wiki": 5}, {**change(1, "x"), "page": None}]
    ran = await run(job_named(JOB), [(0, event) for event in [*bad, recent(None), good]])
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"] * 2
    assert only(ran.outputs, ["keywords", "rev_id", "field", "wiki_id", "page_title"]) == [
        {"keywords": ["undid"], "rev_id": 5, "field": "comment", "wiki_id": "a", "page_title": "T"}
    ]


@pytest.mark.parametrize(
    ("entries", "text", "expected"),
    [
        (["revert", "undid"], "UNDID and Reverted", ["revert", "undid"]),
        (["straße"], "STRASSE", ["straße"]),
        (["STRASSE"], "große straße", ["STRASSE"]),
        (["ẞ"], "ss", ["ẞ"]),
        (["İstanbul"], "i̇stanbul", ["İstanbul"]),
        (["café"], "CAFE\u0301", ["café"]),
        (["cafe\u0301"], "café", ["cafe\u0301"]),
        ([{"keyword": "spam", "whole_word": True}], "no spam!", ["spam"]),
        ([{"keyword": "spam", "whole_word": True}], "spammer anti_spam spam2 éspam", None),
        ([{"keyword": "spam", "whole_word": True}], "spammer spam", ["spam"]),
        ([{"keyword": "spam", "whole_word": True}, "spammer"], "spammer", ["spammer"]),
        ([{"regex": "B+ad"}, "good"], "BBad good", ["B+ad", "good"]),
        ([{"regex": "B+ad"}], "bbad", None),
        (["a", "a"], "a", ["a"]),
        ([], "anything", None),
        (["x"], "", None),
    ],
)
def test_keywords_are_found_whatever_their_case_and_composition(entries: Any, text: str, expected: Any) -> None:
    for known in (keywords.keywords_of(entries), without_library(entries)):
        found = known.find(text)
        assert (found and found.keywords) == expected
        known._search_regexes.close()


def without_library(entries: Any) -> Any:
    known = keywords.keywords_of(entries)
    known._occurrences = lambda text: keywords._one_by_one(list(known._words), text)
    return known


@given(
    st.lists(st.text("aßẞİi\u0307é_S", min_size=1, max_size=3), max_size=4), st.text("aßẞİi\u0307é_S .", max_size=20)
)
def test_the_library_and_plain_python_find_the_same(words: list[str], text: str) -> None:
    words = [word for word in words if word.strip()]
    found, oracle = keywords.keywords_of(words).find(text), without_library(words).find(text)
    assert found == oracle
    folded = [unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold()) for part in [*words, text]]
    inside = list(dict.fromkeys(word for word, fold in zip(words, folded, strict=False) if fold in folded[-1]))
    assert (found.keywords if found else []) == inside


@pytest.mark.parametrize(
    "entries",
    ["spam", [""], ["  "], [5], [{"keyword": ""}], [{"regex": "("}], [{"word": "x"}], [{"keyword": "a", "regex": "b"}]],
)
def test_a_list_that_cannot_be_used_is_refused(entries: Any) -> None:
    with pytest.raises(keywords.InvalidKeywords):
        keywords.keywords_of(entries)


def test_an_expression_that_takes_for_ever_is_ended() -> None:
    known = keywords.keywords_of([{"regex": "(a+)+b"}])
    known._search_regexes._seconds = 0.2
    with pytest.raises(keywords.Bounded.__call__.__globals__["OverBudget"]):
        known.find("a" * 40)
    assert known.find("aab").keywords == ["(a+)+b"]
    known._search_regexes.close()


def test_the_file_is_read_again_when_it_changes_and_kept_while_it_is_wrong(tmp_path: Path) -> None:
    module = in_project("jobs.keyword_filter")
    file = tmp_path / "keywords.yaml"
    file.write_text("comment: [one]\n")
    lists = module.Lists(file)
    for stamp, text, expected in (
        (1, "comment: [two]\n", "two"),
        (2, "comment: ['']\n", "two"),
        (3, "comment: [three]\n", "three"),
    ):
        file.write_text(text)
        os.utime(file, (stamp, stamp))
        lists._looked_at -= 10
        assert lists.current()["comment"].find("one two three").keywords == [expected]


TEXT_LINES = st.lists(st.sampled_from(["a", "b", "++c", "--d", ""]), max_size=12)


@given(TEXT_LINES, TEXT_LINES)
def test_the_diff_is_that_of_the_standard_library(old: list[str], new: list[str]) -> None:
    before, after = "\n".join(old), "\n".join(new)
    made = lines.line_diff(before, after)
    assert made.diff == "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm=""))
    kept = Counter(before.splitlines()) - Counter(made.removed) + Counter(made.added)
    assert kept == Counter(after.splitlines())
