"""The job revision_score: real answers of ORES, models that fail, and what the events say of the revision."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import JobTest
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, Ran, declared, in_project, job_named, read, retrying_for, run_files
from wikimedia.recording_service import recording

JOB = "revision_score"
ANSWERS = "real/ores/enwiki_ores_responses.json"
REVISIONS = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
ALL, DAMAGING, GOODFAITH = (
    "mediawiki.revision-score",
    "mediawiki.revision_score_damaging",
    "mediawiki.revision_score_goodfaith",
)


def revision(rev_id: int, **more: Any) -> Event:
    event = change(rev_id, "text", **more)
    return {**event, "wiki_id": "enwiki", "performer": {"user_text": "Ada", "user_id": 1, "groups": ["user"]}}


def scored(events: list[Event], said: Any, folder: Path) -> tuple[Ran, list[Any]]:
    with recording(lambda number, asked: said(asked)) as service:
        ran = run_files(JOB, events, folder, "--set", f"server={service.url}")
    return ran, service.requests


def of(ran: Ran, stream: str) -> list[Event]:
    return [event for event in ran.outputs if event["meta"]["stream"] == stream]


def answer(rev_id: int, **said: Any) -> dict[str, Any]:
    models = {"damaging": {"version": "0.5.1"}, "goodfaith": {"version": "0.5.1"}}
    scores = {model: {"score": {"prediction": True, "probability": {"true": 0.75, "false": 0.25}}} for model in models}
    return {"enwiki": {"models": models, "scores": {str(rev_id): scores | said}}}


@requires_fixtures(FIXTURES / ANSWERS)
def test_a_real_answer_becomes_valid_events_with_texts_for_booleans(tmp_path: Path) -> None:
    real: Any = at_least_one(read(ANSWERS))["context_rev_id"]  # type: ignore[call-overload]
    rev_id = real["rev_id"]
    events = [revision(rev_id)]
    events[0]["meta"]["dt"] = events[0]["dt"] = events[0]["revision"]["rev_dt"] = "2026-01-31T12:00:00Z"
    ran, asked = scored([*events, *events], lambda one: real["response"], tmp_path)
    assert ran.errors == []
    (made,) = of(ran, ALL)
    given = real["response"]["enwiki"]["scores"][str(rev_id)]
    assert made["scores"].keys() == given.keys()
    assert made["scores"]["damaging"] == {
        "model_name": "damaging",
        "model_version": "0.5.1",
        "prediction": ["false"],
        "probability": given["damaging"]["score"]["probability"],
    }
    assert made["scores"]["goodfaith"]["prediction"] == ["true"]
    assert made["scores"]["articletopic"]["prediction"] == given["articletopic"]["score"]["prediction"]
    assert "errors" not in made
    assert of(ran, DAMAGING)[0]["scores"].keys() == {"damaging"}
    assert of(ran, GOODFAITH)[0]["scores"].keys() == {"goodfaith"}
    assert asked[0].target == f"/v3/scores/enwiki/{rev_id}?models=damaging|goodfaith"
    assert json.loads(asked[0].body)["event"]["revision"]["content_slots"]["main"]["content_body"] == "text"


@requires_fixtures(FIXTURES / ANSWERS)
@pytest.mark.parametrize("name", ["context_rev_id", "context_many_rev_ids", "context_one_rev_ids_no_models"])
def test_every_real_answer_is_read(name: str) -> None:
    real: Any = read(ANSWERS)[name]["response"]  # type: ignore[call-overload]
    scores_of = in_project("content.model_call").scores_of
    for rev_id, scores in real["enwiki"]["scores"].items():
        assert scores_of(real, "enwiki", int(rev_id)).scores.keys() == scores.keys()


@requires_fixtures(FIXTURES / REVISIONS)
def test_each_real_revision_is_scored_once_and_named_as_the_older_events_do(tmp_path: Path) -> None:
    events = at_least_one(read(REVISIONS))[:40]
    ran, asked = scored(events, lambda one: answer(int(re.findall(r"\d+", one.target)[1])), tmp_path)
    assert ran.errors == []
    made = {event["rev_id"]: event for event in of(ran, ALL)}
    assert made.keys() == {event["revision"]["rev_id"] for event in events}
    assert len(asked) == len(events) == len(of(ran, DAMAGING))
    first = made[events[1]["revision"]["rev_id"]]
    assert first["rev_parent_id"] == events[1]["revision"]["rev_parent_id"]
    assert first["performer"]["user_text"] == events[1]["performer"]["user_text"]


def test_a_model_that_fails_has_an_error_in_the_event_and_no_score(tmp_path: Path) -> None:
    failed = {"error": {"type": "RevisionNotFound", "message": "Could not find it."}}
    ran, _ = scored([revision(12)], lambda one: answer(12, goodfaith=failed), tmp_path)
    assert ran.errors == []
    (made,) = of(ran, ALL)
    assert made["scores"].keys() == {"damaging"}
    about = {"model_name": "goodfaith", "model_version": "0.5.1"}
    assert made["errors"] == {"goodfaith": {**about, **failed["error"]}}
    assert (len(of(ran, DAMAGING)), of(ran, GOODFAITH)) == (1, [])


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"code": "not found"}},
        {"enwiki": {"models": {}, "scores": {}}},
        answer(13),
        answer(12, damaging={"score": 5}),
        answer(12, damaging={"score": {"prediction": True, "probability": {"true": "high"}}}),
    ],
)
def test_an_answer_without_scores_is_an_error_event(said: Any, tmp_path: Path) -> None:
    ran, _ = scored([revision(12)], lambda one: said, tmp_path)
    assert ran.outputs == []
    assert [error["error_type"] for error in ran.errors] == ["UNEXPECTED_RESPONSE"]


def test_a_server_that_stays_away_gives_no_score() -> None:
    job = retrying_for("300ms", job_named(JOB))
    with JobTest(job, http={"POST https://ores.test/*": 503}, settings={"server": "https://ores.test"}) as test:
        test.put(revision(12))
        outcome = test.finish()
        assert outcome.values == []
        assert [error["error_type"] for error in outcome.errors] == ["UNAVAILABLE"]


def test_what_is_hidden_or_no_revision_is_not_asked_about(tmp_path: Path) -> None:
    events = [change(12, None), revision(13, kind="delete"), revision(14, kind="visibility_change")]
    ran, asked = scored(events, lambda one: answer(12), tmp_path)
    assert (ran.outputs, ran.errors, asked) == ([], [], [])


def test_a_hidden_editor_is_not_told(tmp_path: Path) -> None:
    event = revision(12)
    event["revision"]["is_editor_visible"] = False
    ran, _ = scored([event], lambda one: answer(12), tmp_path)
    assert "performer" not in of(ran, ALL)[0]


def test_the_streams_are_those_of_the_wikis() -> None:
    streams = declared()[0]
    assert {streams.get(name).schema_title for name in (ALL, DAMAGING, GOODFAITH)} == {"mediawiki/revision/score"}
