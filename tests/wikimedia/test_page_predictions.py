"""The job page_predictions: real events, answers that are no predictions, failures, and the rule of thumb."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import JobOutcome, JobTest
from requirements import requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, in_project, job_named, read, retrying_for, run_files
from wikimedia.recording_service import recording

JOB = "page_predictions"
PATH = "/v1/models/revertrisk-language-agnostic:predict"
REAL = "real/page_change/liftwing_enwiki_edit_1.3.0.json"
NEWER = "real/page_change/liftwing_wikidata_edit_1.6.0.json"


def real(name: str) -> Event:
    event: Event = read(name)["event"]  # type: ignore[call-overload]
    return event


def answer(likely: float = 0.25, **more: Any) -> dict[str, Any]:
    probabilities = {"true": likely, "false": 1 - likely}
    return {
        "model_name": "revertrisk-language-agnostic",
        "model_version": "3",
        "wiki_db": "enwiki",
        "output": {"prediction": likely > 0.5, "probabilities": probabilities},
        **more,
    }


@requires_fixtures(FIXTURES / REAL)
@pytest.mark.parametrize("name", [REAL, NEWER])
def test_a_real_edit_has_one_valid_prediction(name: str, tmp_path: Path) -> None:
    event = real(name)
    with recording(lambda number, asked: answer(0.75)) as service:
        ran = run_files(JOB, [event, event], tmp_path, "--set", f"server={service.url}")
    assert ran.errors == []
    (made,) = ran.outputs
    (asked,) = service.requests
    assert (asked.target, json.loads(asked.body)["event"]["revision"]) == (PATH, event["revision"])
    predicted = made["predicted_classification"]
    assert predicted["predictions"] == ["true"]
    assert abs(math.fsum(predicted["probabilities"].values()) - 1) <= 1e-6
    assert made["$schema"] == "/mediawiki/page/prediction_classification_change/1.3.0"
    for same in ("request_id", "domain", "uri"):
        assert made["meta"][same] == event["meta"][same]
    assert made["meta"]["id"] != event["meta"]["id"]
    assert made["revision"]["rev_id"] == event["revision"]["rev_id"]
    assert "user_central_id" in event["performer"]
    assert "user_central_id" not in made["performer"], "the schema does not have it"


@requires_fixtures(FIXTURES / REAL)
def test_live_with_repeats_canaries_and_restarts_each_edit_has_one() -> None:
    event = real(REAL)
    edits = [
        {**event, "meta": {**event["meta"], "id": f"id{n}"}, "page": {**event["page"], "page_id": n}} for n in range(9)
    ]
    edits.append({**event, "meta": {**event["meta"], "domain": "canary", "id": "canary"}})
    random.Random(4).shuffle(edits)
    with JobTest(job_named(JOB), settings={"server": "stub"}) as test:
        for some in (edits[:4], edits[2:7], edits):
            test.put(*some)
            outcome = test.process()
            test.restart(test.job)
        assert outcome.errors == []
        assert sorted(made["page"]["page_id"] for made in outcome.values) == list(range(9))


def edit(**more: Any) -> Event:
    event = change(12, "text", **more)
    return {**event, "meta": {**event["meta"], "stream": "mediawiki.page_change.v1"}}


def asked_for(given: Any, *events: Event) -> JobOutcome:
    url = f"https://models.test{PATH}"
    job = retrying_for("300ms", job_named(JOB))
    with JobTest(job, http={f"POST {url}": given}, settings={"server": "https://models.test"}) as test:
        test.put(*events)
        return test.finish()


def test_an_unknown_schema_is_an_error_event(tmp_path: Path) -> None:
    event = {**edit(), "$schema": "/mediawiki/page/change/9.0.0"}
    (error,) = run_files(JOB, [event], tmp_path, "--set", "server=stub").errors
    assert error["error_type"] == "SCHEMA_NOT_FOUND"
    assert "/mediawiki/page/change/9.0.0" in error["message"]


def test_an_event_of_another_kind_is_refused_by_name() -> None:
    outcome = asked_for(answer(), {**edit(), "$schema": "/mediawiki/revision/create/2.0.0"})
    assert [error["error_type"] for error in outcome.errors] == ["UNSUPPORTED_SCHEMA"]


def test_a_server_that_fails_for_a_moment_is_asked_again() -> None:
    outcome = asked_for((503, 503, answer()), edit())
    assert len(outcome.values) == 1
    assert outcome.errors == []


def test_a_server_that_stays_away_gives_an_error_event_and_no_score() -> None:
    outcome = asked_for(503, edit())
    assert outcome.values == []
    assert [error["error_type"] for error in outcome.errors] == ["UNAVAILABLE"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"output": None},
        answer(output={"prediction": True, "probabilities": {"true": 0.9, "false": 0.2}}),
        answer(output={"prediction": True, "probabilities": {"true": 1.5, "false": -0.5}}),
        answer(output={"prediction": True, "probabilities": {}}),
        answer(output={"prediction": None, "probabilities": {"true": 1.0}}),
        answer(model_name=""),
        "no JSON",
    ],
)
def test_an_answer_that_is_no_prediction_is_an_error_event(given: Any) -> None:
    outcome = asked_for(given, edit())
    assert outcome.values == []
    assert [error["error_type"] for error in outcome.errors] == ["UNEXPECTED_RESPONSE"]


def test_a_request_that_is_refused_is_not_repeated() -> None:
    outcome = asked_for((400, answer()), edit())
    assert (outcome.values, len(outcome.errors)) == ([], 1)


def test_only_edits_with_a_parent_are_asked_about_and_only_of_a_server() -> None:
    others = [edit(kind=kind, parent=0) for kind in ("create", "move", "delete", "edit")]
    assert asked_for(500, *others).values == []
    with JobTest(job_named(JOB)) as test:
        test.put(edit())
        (error,) = test.process().errors
    assert "set `server`" in error["message"]


def test_the_rule_of_thumb_says_what_it_is_and_is_the_same_each_time() -> None:
    stub = in_project("content.model_call").stub
    event = edit()
    event["revision"] |= {"rev_size": 10, "editor": {"edit_count": 1}}
    event["prior_state"] = {"revision": {"rev_size": 1000}}
    found = stub(event)
    assert found == stub(event)
    assert found.model_name == "stub-without-training"
    assert found.predictions == ["true"]
    event["revision"]["rev_size"] = 1010
    assert stub(event).predictions == ["false"]
