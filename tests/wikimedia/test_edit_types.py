"""The job edit_types: the golden of mwedittypes, and what is hidden, missing, slow or not wikitext."""

from __future__ import annotations

import json

import pytest

from requirements import requires_fixtures
from wikimedia.page_events import change, unannounced
from wikimedia.project import FIXTURES, Event, job_named, only, read, run

JOB = "edit_types"
EVENTS = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
GOLDEN = "golden/adam_himebauch.edit_types_simple.jsonl.gz"


@requires_fixtures(FIXTURES)
async def test_the_edit_types_of_a_real_page_are_those_of_the_golden() -> None:
    events = read(EVENTS)
    announced = {event["revision"]["rev_id"] for event in events}
    expected = [row for row in read(GOLDEN) if row["edit_types"] and row["rev_id"] in announced]

    ran = await run(job_named(JOB, library="mwedittypes"), [(0, event) for event in events])

    assert ran.errors == []
    assert only(ran.outputs, ["rev_id", "edit_types"]) == expected


def found(outputs: list[Event]) -> dict[int, Event]:
    return {event["rev_id"]: event["edit_types"] for event in outputs}


async def test_only_edits_with_both_texts_have_types() -> None:
    events = [
        change(1, "a [[b]]", kind="create"),
        change(2, None),
        change(3, "a [[b]] [[c]]"),
        change(4, "a [[b]] [[c]]", kind="move"),
        change(5, "a"),
        change(5, "a", kind="delete"),
        change(5, "a", kind="undelete"),
        change(5, None, kind="visibility_change"),
        change(6, "b"),
        change(7, "b [[d]]", parent=6),
        change(9, "b [[d]] [[e]]", parent=8),
        change(20, "elsewhere", page_id=8, parent=19),
    ]
    ran = await run(job_named(JOB, library="mwedittypes"), [(0, event) for event in events])
    assert ran.errors == []
    assert sorted(found(ran.outputs)) == [1, 5, 7]
    assert ran.outputs[0]["links_added"] == ["b"]
    assert found(ran.outputs)[7]["Wikilink"] == {"insert": 1}


async def test_an_unannounced_revision_with_the_same_text_does_not_break_the_chain() -> None:
    events = [
        change(1, "a", kind="create", sha1="x"),
        change(3, "a [[b]]", prior_state=unannounced(2, "x")),
        change(5, "a [[b]] [[c]]", prior_state=unannounced(4, "of another text")),
    ]
    ran = await run(job_named(JOB, library="mwedittypes"), [(0, event) for event in events])
    assert sorted(found(ran.outputs)) == [1, 3]


async def test_an_invalid_event_is_an_error_event_and_the_next_goes_on() -> None:
    invalid = change(1, "a", kind="create")
    texts = [{"page": {"page_id": "ten", "page_title": "x"}}, {"revision": None}, {"wiki_id": 5}, {"page": {}}]
    events = [{**invalid, **wrong} for wrong in texts]
    events.append({**invalid, "revision": {**invalid["revision"], "content_slots": {"main": "text"}}})
    ran = await run(job_named(JOB, library="mwedittypes"), [(0, event) for event in [*events, invalid]])
    assert len(ran.errors) == len(events)
    assert all(error["error_type"] == "INVALID_INPUT" for error in ran.errors)
    assert sorted(found(ran.outputs)) == [1]


async def test_a_text_that_takes_too_long_is_an_error_event_and_the_next_is_compared_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_named(JOB, library="mwedittypes")
    function = next(step.apply for step in job.steps if step.name == JOB)
    monkeypatch.setattr(function.__globals__["find"], "_seconds", 0.3)
    function.__globals__["find"].close()
    slow = "{{a|[[b|''c''<ref>d</ref>]]}} " * 5_000
    events = [change(1, slow, kind="create"), change(2, "x", parent=1, sha1="y"), change(3, "x y")]
    ran = await run(job, [(0, event) for event in events])
    function.__globals__["find"].close()
    assert {error["error_type"] for error in ran.errors} == {"TIMEOUT"}
    assert 3 in found(ran.outputs)


async def test_an_item_is_compared_by_statement() -> None:
    before = {"labels": {"en": {"value": "a"}}, "claims": {"P1": [{"id": "Q1$1", "rank": "normal"}]}, "sitelinks": []}
    after = {
        "labels": {"en": {"value": "b"}, "de": {"value": "c"}},
        "claims": {"P1": [{"id": "Q1$1", "rank": "preferred"}], "P2": [{"id": "Q1$2"}]},
        "aliases": {"en": [{"value": "d"}]},
    }
    texts = [json.dumps(before), json.dumps(after), "no JSON", json.dumps(before)]
    events = [
        change(number, text, kind="edit" if number > 1 else "create", model="wikibase-item", sha1=str(number))
        for number, text in enumerate(texts, 1)
    ]
    ran = await run(job_named(JOB, library="mwedittypes"), [(0, event) for event in events])
    assert found(ran.outputs)[2] == {
        "Label": {"change": 1, "insert": 1},
        "Statement": {"change": 1, "insert": 1},
        "Alias": {"insert": 1},
    }
    kinds = [error["error_type"] for error in ran.errors]
    assert kinds == ["INVALID_INPUT"] * 2, "the text that is not JSON, as the newer and as the older"


@pytest.mark.parametrize(
    "text",
    [
        *("5", "[]", '"x"', "{", "[" * 5_000),
        *('{"labels": 5}', '{"aliases": {"en": 5}}', '{"claims": {"P1": 5}}', '{"claims": {"P1": ["x"]}}'),
    ],
)
async def test_an_entity_of_another_shape_is_an_invalid_input(text: str) -> None:
    event = change(1, text, kind="create", model="wikibase-item")
    ran = await run(job_named(JOB, library="mwedittypes"), [(0, event)])
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"]
