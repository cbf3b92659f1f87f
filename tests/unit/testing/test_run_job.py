"""The kit for tests of jobs: what it gives back, time travel, and answers of other services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.jobs import Await, Context, Each, Job, Retry, job, table, tumbling
from headwater.jobs.job import ToStream
from headwater.lookups.request import Request
from headwater.testing.answers import Answer, Answers, RecordedAnswers
from headwater.testing.run_job import JobTest, run


def edit(second: int, **fields: Any) -> dict[str, Any]:
    schema = {"$schema": "/edits/1.0.0"}
    return {
        **schema,
        "meta": {"id": f"edit-{second}", "dt": f"2026-01-31T12:00:{second:02}Z"},
        "wiki": "enwiki",
        **fields,
    }


@job(source="edits", sink="counts", key="wiki", state=int)
def counts(event: Any, context: Context) -> Any:
    context.state += 1
    if event.get("bad"):
        raise ValueError("bad")
    return {"$schema": "/counts/1.0.0", "wiki": event["wiki"], "count": context.state}


@job(source="edits", sink="minutes", key="wiki", window=tumbling("1m").count("edits"), late="minutes.late")
def minutes(window: Any, context: Context) -> Any:
    return {"$schema": "/minutes/1.0.0", "wiki": window.key, "edits": window.edits}


async def _look_up(event: Any, context: Context) -> Any:
    answer = await context.http.get(f"https://pages.example/{event['wiki']}", params={"n": event.get("n")})
    return {"$schema": "/pages/1.0.0", **answer.json()}


def pages() -> Job:
    step = Await("look_up", _look_up, retry=Retry(within="2s", base="0.01s"))
    return Job("pages", ("edits",), (step,), ToStream("pages"))


def test_outputs_errors_and_state_are_returned() -> None:
    outcome = run(counts, [edit(1), edit(2, wiki="dewiki"), edit(3, bad=True), edit(4)])
    assert outcome.values == [
        {"wiki": "enwiki", "count": 1},
        {"wiki": "dewiki", "count": 1},
        {"wiki": "enwiki", "count": 2},
    ]
    assert outcome["counts"] == outcome.events
    assert dict(outcome.state) == {"enwiki": 2, "dewiki": 1}
    assert [error["meta"]["failure"]["exception"] for error in outcome.errors] == ["ValueError"]
    assert outcome.by_id(outcome.events[1]["meta"]["id"])["wiki"] == "dewiki"
    with pytest.raises(KeyError, match="no event has the id 'nowhere'"):
        outcome.by_id("nowhere")
    with pytest.raises(KeyError, match="does not write other; it writes counts"):
        outcome["other"]


def test_the_state_of_any_key_is_returned() -> None:
    @job(source="edits", sink="counts", key=lambda event: event["key"], state=int)
    def by_value(event: Any, context: Context) -> None:
        context.state += 1

    keys: list[Any] = [{"b": [1, {}], "a": None}, ["x", {"y": []}], "text", 1.5]
    outcome = run(by_value, [edit(1, key=key) for key in keys])
    assert outcome.errors == []
    assert set(outcome.state) == {(("a", None), ("b", (1, ()))), ("x", (("y", ()),)), "text", 1.5}


def test_the_state_is_the_value_whatever_is_stored_with_it() -> None:
    @job(source="edits", key="wiki", state=int, state_ttl="1d", state_version=2, migrate=lambda old, version: old)
    def kept(event: Any, context: Context) -> None:
        context.state += 1

    assert run(kept, [edit(1), edit(2)]).state == {"enwiki": 2}


def of_version(number: int, **arguments: Any) -> Job:
    @job(name="versions", source="edits", sink="out", key="wiki", state=int, **arguments)
    def version(event: Any, context: Context) -> Any:
        context.state += number
        return {"$schema": "/out/1.0.0", "state": context.state}

    return version


def test_a_restart_with_changed_code_continues_with_position_and_state() -> None:
    with JobTest(of_version(1)) as test:
        test.put(edit(1))
        test.process()
        test.restart(of_version(10, state_version=2, migrate=lambda old, version: -old))
        test.put(edit(2))
        assert test.process().values == [{"state": 1}, {"state": 9}]
        # An older version does not read what a newer one has stored.
        test.restart(of_version(1))
        test.put(edit(3))
        outcome = test.process()
        assert [error["error_type"] for error in outcome.errors] == ["HANDLER_ERROR"]
        assert outcome.state == {"enwiki": 9}
        with pytest.raises(ValueError, match="is another job than versions"):
            test.restart(counts)


def test_a_job_that_does_not_end_is_reported_with_what_may_be_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.testing.run_job.STEP_SECONDS_MAX", 0.2)
    with pytest.raises(TimeoutError, match=r"not done after 0.2 s.*retry"):
        run(pages(), [edit(1)], http={"https://pages.example/*": 503})


def test_windows_wait_for_time_and_fire_when_it_passes() -> None:
    with JobTest(minutes) as test:
        test.put(edit(1), edit(2))
        assert test.process().values == []
        assert test.advance("2m").values == [{"wiki": "enwiki", "edits": 2}]
        test.put(
            {**edit(3), "meta": {"dt": "2026-01-31T12:30:00Z"}}, {**edit(4), "meta": {"dt": "2026-01-31T12:31:30Z"}}
        )
        test.process()
        test.put(edit(5))
        assert len(test.process().late) == 1
        assert [value["edits"] for value in test.finish().values] == [2, 1, 1]


def test_events_go_to_the_source_that_they_name() -> None:
    both = Job("both", ("a", "b"), output=counts.output)
    outcome = run(both, [{"$schema": "/x/1.0.0", "meta": {"stream": name}, "from": name} for name in ("b", "a")])
    assert [value["from"] for value in outcome.values] == ["b", "a"] or len(outcome.values) == 2


def test_rows_of_a_table_are_returned() -> None:
    totals = table("totals", source="edits", columns={"wiki": "text", "n": "integer"}, key="wiki")
    assert run(totals, [edit(1, n=1), edit(2, n=2)]).rows == [{"wiki": "enwiki", "n": 2}]


def test_answers_are_taken_by_pattern_and_in_turn() -> None:
    seen: list[Request] = []

    def by_function(request: Request) -> Any:
        seen.append(request)
        return {"by": "function"}

    http = Answers(
        {
            "https://pages.example/enwiki?n=1": (503, Answer({"by": "second"}, headers={"x-a": "b"})),
            "GET https://pages.example/dewiki*": by_function,
            "POST https://*": 500,
        }
    )
    outcome = run(pages(), [edit(1, n=1), edit(2, n=2, wiki="dewiki")], http=http)
    assert [value["by"] for value in outcome.values] == ["second", "function"]
    assert len(http.requests) == 3
    assert [request.method for request in seen] == ["GET"]
    assert outcome.errors == []


def test_a_missing_answer_fails_the_test_with_the_nearest() -> None:
    with pytest.raises(AssertionError, match=r"no answer for: GET https://pages.example/enwiki"):
        run(pages(), [edit(1)], http={"https://pages.example/dewiki*": {}})


def test_a_status_that_is_final_is_an_error_event() -> None:
    outcome = run(pages(), [edit(1)], http={"https://pages.example/*": 404})
    assert outcome.values == []
    assert len(outcome.errors) == 1


def test_recorded_answers_are_given_again(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    recording = RecordedAnswers(file, record=True)
    for body in ({"by": "first"}, b"\xff"):
        recording._write(
            "GET https://pages.example/enwiki?n=1", Answer(body, headers={"Set-Cookie": "secret"}).response("")
        )
    assert b"secret" not in file.read_bytes()
    outcome = run(pages(), [edit(1, n=1)], http=RecordedAnswers(file))
    assert [value["by"] for value in outcome.values] == ["first"]
    refused = run(pages(), [edit(1, n=2)], http=RecordedAnswers(file))
    assert "Record it again" in refused.errors[0]["message"] or refused.errors


def test_settings_and_tables_are_those_of_the_test() -> None:
    def name(event: Any, context: Context) -> Any:
        return {"$schema": "/named/1.0.0", "text": f"{context.settings['greeting']} {context.table('users').get('a')}"}

    named = Job("named", ("edits",), (Each("name", name),), ToStream("named"), settings={"greeting": "hello"})
    outcome = run(named, [edit(1)], settings={"greeting": "good day"}, tables={"users": {"a": "Ada"}})
    assert outcome.values == [{"text": "good day Ada"}]
    with pytest.raises(ValueError, match="no setting greting"):
        run(named, [], settings={"greting": "x"})


def test_the_age_of_an_event_is_counted_from_the_clock_of_the_test() -> None:
    @job(source="edits", sink="ages")
    def ages(event: Any, context: Context) -> Any:
        return {"$schema": "/ages/1.0.0", "age": context.age}

    assert run(ages, [edit(0)], at="2026-01-31T12:01:00Z").values == [{"age": 60}]
