"""Rules as jobs: events become requests, and requests are sent, retried, ignored or given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.errors import LookupUnavailable
from headwater.jobs.rules.jobs import RuleJobs, rule_jobs
from headwater.lookups.request import Request
from headwater.testing.answers import Answer
from headwater.testing.run_job import JobOutcome, JobTest, run

Event = dict[str, Any]
NOON = "2026-01-31T12:00:00Z"
RULES = """
rules:
  render:
    stream: edits
    match: {kind: edit}
    exec: {uri: "https://{meta.domain}/html/{title}/{rev}", headers: {cache-control: no-cache}}
"""


def jobs(folder: Path, text: str = RULES) -> RuleJobs:
    file = folder / "rules.yaml"
    file.write_text(text, "utf-8")
    return rule_jobs("changes", file)


def edit(number: int, **more: Any) -> Event:
    meta = {"id": f"id-{number}", "dt": NOON, "domain": "w.example", "stream": "edits", "request_id": f"r{number}"}
    more_meta = more.pop("meta", {})
    uri = {"uri": f"https://w.example/wiki/{number}"}
    return {"meta": {**meta, **uri, **more_meta}, "kind": "edit", "title": "A/B c", "rev": number, **more}


def requests(folder: Path, events: list[Event], text: str = RULES) -> JobOutcome:
    return run(jobs(folder, text).requests, events)


def made(folder: Path, events: list[Event], text: str = RULES) -> list[Event]:
    outcome = requests(folder, events, text)
    assert outcome.errors == []
    return outcome.values


def test_an_event_becomes_the_request_of_its_rule(tmp_path: Path) -> None:
    (request,) = made(tmp_path, [edit(1), edit(2, kind="delete")])
    assert request["uri"] == "https://w.example/html/A%2FB%20c/1"
    assert (request["method"], request["headers"], request["rule"]) == ("GET", {"cache-control": "no-cache"}, "render")
    assert request["triggered_by"] == "req:r1,edits:https://w.example/wiki/1"
    assert request["event"]["rev"] == 1
    assert "body" not in request


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("{link}", "https://o.example/a b?c#d"),
        ("https://s.example/{link}", "https://s.example/https%3A%2F%2Fo.example%2Fa%20b%3Fc%23d"),
        ("https://s.example/{+part}", "https://s.example/a%2Fb"),
        ("https://s.example/{part}", "https://s.example/a%252Fb"),
        ("https://s.example/{{x}}", "https://s.example/{x}"),
        ("https://s.example/{match.first}", "https://s.example/A"),
        ("https://s.example/{rev}", "https://s.example/1"),
    ],
)
def test_what_becomes_of_fields_in_an_address(template: str, uri: str, tmp_path: Path) -> None:
    text = f"rules: {{a: {{stream: edits, match: {{title: '/^(?<first>.)/'}}, exec: {{uri: '{template}'}}}}}}"
    (request,) = made(tmp_path, [edit(1, link="https://o.example/a b?c#d", part="a%2Fb")], text)
    assert request["uri"] == uri


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ("'title={title}'", "title=A/B c", None),
        ("{rev: '{rev}', of: ['{title}', 1]}", '{"rev":1,"of":["A/B c",1]}', "application/json"),
    ],
)
def test_what_becomes_of_a_body(body: str, sent: str, kind: str | None, tmp_path: Path) -> None:
    text = f"rules: {{a: {{stream: edits, exec: {{method: post, uri: 'https://s.example/', body: {body}}}}}}}"
    (request,) = made(tmp_path, [edit(1)], text)
    assert (request["method"], request["body"], request["headers"].get("content-type")) == ("POST", sent, kind)


def test_the_first_case_that_fits_counts_and_a_case_may_have_several_requests(tmp_path: Path) -> None:
    text = """
rules:
  one:
    streams: [edits]
    match: {kind: '/(?<kind>.+)/'}
    match_not: [{bot: true}, {rev: 3}]
    cases:
      - {match: {rev: 1}, exec: {uri: "https://s.example/first/{match.kind}"}}
      - {match_not: {rev: 4}, exec: [{uri: "https://s.example/a"}, {uri: "https://s.example/b"}]}
"""
    events = [edit(1), edit(2), edit(3), edit(4), edit(5, bot=True)]
    uris = [request["uri"] for request in made(tmp_path, events, text)]
    assert uris == ["https://s.example/first/edit", "https://s.example/a", "https://s.example/b"]


@pytest.mark.parametrize(
    "broken", ["uri: 'https://s.example/{nothing}'", "uri: 'https://s.example/', headers: {a: '{line}'}"]
)
def test_a_rule_that_cannot_be_applied_fails_alone(broken: str, tmp_path: Path) -> None:
    text = f"{RULES}  broken:\n    stream: edits\n    exec: {{{broken}}}\n"
    outcome = requests(tmp_path, [edit(1, line="a\nb"), edit(2, line="a\nb")], text)
    assert [request["rule"] for request in outcome.values] == ["render", "render"]
    assert [error["error_type"] for error in outcome.errors] == ["RULE_FAILED"] * 2
    assert "the rule broken" in outcome.errors[0]["message"]


def test_an_event_among_its_own_causes_is_dropped(tmp_path: Path) -> None:
    first = edit(1, meta={"uri": "https://w.example/wiki/A,_B"})
    (request,) = made(tmp_path, [first])
    second = edit(2, triggered_by=request["triggered_by"])
    (other,) = made(tmp_path, [second])
    chain = "req:r1,edits:https://w.example/wiki/A%2C_B,edits:https://w.example/wiki/2"
    assert other["triggered_by"] == chain
    for written in (chain, chain.replace("%2C", ",")):
        again = edit(3, meta={"uri": "https://w.example/wiki/A,_B"}, triggered_by=written)
        near = edit(4, meta={"uri": "https://w.example/wiki/A"}, triggered_by=written)
        assert [request["event"]["rev"] for request in made(tmp_path, [again, near])] == [4]


def at(minute: int) -> str:
    return f"2026-01-31T12:{minute:02}:00Z"


def seen(number: int, minute: int, **more: Any) -> Event:
    return edit(number, meta={"dt": at(minute)}, **more)


def root(minute: int, signature: str = "s") -> Event:
    return {"dt": at(minute), "signature": signature}


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([seen(1, 0), seen(1, 1)], [1]),
        ([seen(1, 0, sha1="x"), seen(2, 1, sha1="x"), seen(3, 2, sha1="y")], [1, 2, 3]),
        # Made before the same content was handled.
        ([seen(1, 5, sha1="x"), seen(2, 9, sha1="x", root_event=root(4))], [1]),
        # The root event of another is later.
        ([seen(1, 1, root_event=root(1)), seen(2, 2, root_event=root(0))], [1]),
        ([seen(1, 1, root_event=root(0)), seen(2, 2, root_event=root(0))], [1, 2]),
        ([seen(1, 1, root_event=root(1)), seen(2, 2, root_event=root(0, "t"))], [1, 2]),
    ],
)
def test_which_events_are_repeats(events: list[Event], left: list[int], tmp_path: Path) -> None:
    with JobTest(jobs(tmp_path).requests) as test:
        for event in events:
            # One after the other: the clock is that of the event.
            test.put(event)
            outcome = test.process()
    assert [request["event"]["rev"] for request in outcome.values] == left
    assert outcome.errors == []


def test_a_sample_takes_the_same_events_each_time(tmp_path: Path) -> None:
    text = f"{RULES}    sample: 0.5\n"
    taken = [request["event"]["rev"] for request in made(tmp_path, [edit(n) for n in range(100)], text)]
    assert 20 < len(taken) < 80
    assert taken == [request["event"]["rev"] for request in made(tmp_path, [edit(n) for n in range(100)], text)]
    assert made(tmp_path, [edit(1)], f"{RULES}    sample: 0\n") == []
    assert len(made(tmp_path, [edit(1)], f"{RULES}    sample: {{rate: 1, hash_template: '{{title}}'}}\n")) == 1


class Sent:
    """Requests, and answers one after the other; the last one again and again."""

    def __init__(self, *statuses: int | Exception) -> None:
        self.statuses = list(statuses)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Any:
        self.requests.append(request)
        answer = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return answer if isinstance(answer, Exception) else Answer(status=answer)


def executing(folder: Path, sent: Sent, text: str = RULES, **settings: Any) -> JobTest:
    return JobTest(jobs(folder, text).executions, http={"*": sent}, settings=settings, at=NOON)


def requested(folder: Path, *events: Event, text: str = RULES) -> list[Event]:
    return requests(folder, list(events), text).events


RETRIES = "changes.retry.edits"


def test_a_request_that_fails_twice_is_sent_after_a_minute_and_after_six_more(tmp_path: Path) -> None:
    sent = Sent(503, 503, 200)
    with executing(tmp_path, sent) as test:
        test.put(*requested(tmp_path, edit(1)))
        (first,) = test.process()[RETRIES]
        assert (first["retries_left"], first["emitter_id"], first["error_status"]) == (2, "changes#render", 503)
        assert first["original_event"]["rev"] == 1
        assert first["triggered_by"] == "req:r1,edits:https://w.example/wiki/1"
        test.advance("59s")
        assert len(sent.requests) == 1
        test.advance("1s")
        assert len(sent.requests) == 2
        # The delays survive a restart.
        test.restart(jobs(tmp_path).executions)
        test.advance("359s")
        assert len(sent.requests) == 2
        outcome = test.advance("1s")
    assert [retry["retries_left"] for retry in outcome[RETRIES]] == [2, 1]
    assert (len(sent.requests), outcome.errors) == (3, [])
    headers = {name.lower(): value for name, value in sent.requests[0].headers.items()}
    assert (headers["cache-control"], headers["x-triggered-by"]) == ("no-cache", first["triggered_by"])


@pytest.mark.parametrize("failure", [503, 500, LookupUnavailable("GET https://w.example: no connection.")])
def test_what_fails_each_time_is_an_error_event_after_the_third(failure: Any, tmp_path: Path) -> None:
    sent = Sent(failure)
    with executing(tmp_path, sent) as test:
        test.put(*requested(tmp_path, edit(1)))
        outcome = test.finish()
    assert (len(sent.requests), [retry["retries_left"] for retry in outcome[RETRIES]]) == (3, [2, 1])
    (error,) = outcome.errors
    assert (error["error_type"], "the rule render" in error["message"]) == ("UNAVAILABLE", True)


@pytest.mark.parametrize("status", [400, 403, 404, 410, 429])
def test_other_refusals_are_error_events_at_once(status: int, tmp_path: Path) -> None:
    sent = Sent(status)
    with executing(tmp_path, sent) as test:
        test.put(*requested(tmp_path, edit(1)))
        outcome = test.finish()
    assert (len(sent.requests), outcome[RETRIES]) == (1, [])
    (error,) = outcome.errors
    assert (error["error_type"], str(status) in error["message"]) == ("REJECTED", True)


@pytest.mark.parametrize(("more", "status"), [("", 412), ("    ignore: [404]\n", 404), ("    ignore: [503]\n", 503)])
def test_an_ignored_status_is_a_success(more: str, status: int, tmp_path: Path) -> None:
    sent = Sent(status)
    with executing(tmp_path, sent, f"{RULES}{more}") as test:
        test.put(*requested(tmp_path, edit(1)))
        outcome = test.finish()
    assert (len(sent.requests), outcome[RETRIES], outcome.errors) == (1, [], [])


def test_a_rule_says_what_is_retried_how_often_and_when(tmp_path: Path) -> None:
    text = f"{RULES}    retry_on: [409]\n    retry_limit: 1\n    retry_delay: 10s\n"
    sent = Sent(409, 200)
    with executing(tmp_path, sent, text) as test:
        test.put(*requested(tmp_path, edit(1)))
        assert [retry["retries_left"] for retry in test.process()[RETRIES]] == [1]
        test.advance("9s")
        assert len(sent.requests) == 1
        assert test.advance("1s").errors == []
        assert len(sent.requests) == 2


def test_while_too_many_requests_for_a_key_failed_no_more_are_sent(tmp_path: Path) -> None:
    text = f"{RULES}    retry_limit: 0\n    concurrency: 1\n    limiters: [{{key: '{{title}}', errors: 2, per: 1h}}]\n"
    sent = Sent(500)
    events = [edit(n, title="one") for n in range(4)] + [edit(9, title="other")]
    with executing(tmp_path, sent, text) as test:
        test.put(*requested(tmp_path, *events, text=text))
        assert len(test.process().errors) == 3
        test.advance("61m")
        test.put(*requested(tmp_path, edit(10, title="one"), text=text))
        assert len(test.process().errors) == 4
    assert [request.url.split("/")[4] for request in sent.requests] == ["one", "one", "other", "one"]


def test_all_requests_may_be_sent_to_one_service(tmp_path: Path) -> None:
    sent = Sent(200)
    with executing(tmp_path, sent, base_url="http://127.0.0.1:1/x/") as test:
        test.put(*requested(tmp_path, edit(1)))
        assert test.finish().errors == []
    (request,) = sent.requests
    assert (request.url, request.headers["Host"]) == ("http://127.0.0.1:1/x/html/A%2FB%20c/1", "w.example")


@pytest.mark.parametrize("event", [{"a": 1}, {"rule": 1}, edit(1)])
def test_what_is_no_request_is_an_error_event(event: Event, tmp_path: Path) -> None:
    with executing(tmp_path, Sent(200)) as test:
        test.put(event, stream="changes.request.v1")
        assert [error["error_type"] for error in test.finish().errors] == ["INVALID_INPUT"]


def test_a_request_of_a_rule_that_is_gone_is_an_error_event_with_the_nearest(tmp_path: Path) -> None:
    sent = Sent(200)
    events = requested(tmp_path, edit(1))
    with executing(tmp_path, sent, RULES.replace("render", "rendered")) as test:
        test.put(*events)
        (error,) = test.finish().errors
    assert "rendered" in error["message"]
    assert sent.requests == []
