"""A backlog of many windows against a wiki that fails in every way: all events end, in order, in bounded memory."""

from __future__ import annotations

from typing import Any

from headwater.jobs import Context, Retry
from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Await
from headwater.lookups import open_lookups
from headwater.processing.embedded.settings import RunnerSettings
from headwater.settings import LookupsConfig, MediaWikiConfig
from headwater.testing.job_kit import JobKit
from headwater.testing.mediawiki import MediaWikiStandIn, serving

WIKI = "en.wikipedia.org"
WINDOW = 12
EVENTS = 50 * WINDOW
KEYS = 31
REVISIONS = 200
UNKNOWN = (13, 100, 199)
HIDDEN = 150

# Requests that match a rule no other one before it has matched; so that each mode has its turn.
STORM = [
    {"mode": "maxlag", "lag": 7, "every": 31},
    {"mode": "ratelimit", "retry_after": 1, "every": 29},
    {"mode": "ratelimit", "retry_after": None, "every": 37},
    {"mode": "http", "status": 503, "every": 11},
    {"mode": "http", "status": 500, "every": 13},
    {"mode": "http", "status": 503, "headers": {"Retry-After": "1"}, "every": 41},
    {"mode": "close", "every": 17},
    {"mode": "close", "after_bytes": 100, "every": 19},
    {"mode": "slow", "seconds": 1, "every": 61},
    {"mode": "garbage", "every": 43},
    {"mode": "empty", "every": 47},
    {"mode": "nocontent", "every": 53},
    {"mode": "api_error", "code": "readonly", "every": 23},
    {"mode": "api_error", "code": "internal_api_error_DBQueryError", "every": 27},
]


ENDS = {"LookupNotFound", "LookupUnavailable", "AnswerInvalid", "NOT_FOUND", "UNAVAILABLE", "UNEXPECTED_RESPONSE"}
ENDS |= {"EMPTY_RESPONSE", "NO_CONTENT"}


def rows() -> list[dict[str, Any]]:
    made = []
    for number in range(1, REVISIONS + 1):
        row = {"domain": WIKI, "page_id": 7, "title": "River", "rev_id": number}
        if number not in UNKNOWN:
            made.append({**row, "content": f"text {number}", "texthidden": number == HIDDEN})
    return made


async def test_every_event_ends_as_an_output_or_an_error_in_the_order_of_its_key() -> None:
    running: set[int] = set()
    most = 0

    async def with_text(event: dict[str, Any], context: Context) -> dict[str, Any]:
        nonlocal most
        running.add(event["n"])
        most = max(most, len(running))
        try:
            revision = await context.http.mediawiki.revision(WIKI, event["rev_id"])
        finally:
            running.discard(event["n"])
        return {**event, "$schema": "/out/1.0.0", "text": revision.content}

    step = Await("look up", with_text, 1000, Retry("60s", "5ms", "50ms"), 60_000, lambda event, _: event["key"])
    job = Job("chaos", ("in",), (step,), ToStream("out"))
    settings = RunnerSettings(
        in_flight_events_max=WINDOW, wait_seconds=0.02, commit_seconds=0.005, probe_seconds=0.01, probe_seconds_max=0.05
    )
    stand_in = MediaWikiStandIn(rows(), rules=STORM)
    async with serving(stand_in) as url:
        lookups = LookupsConfig(
            read_seconds_max=0.4,
            total_seconds_max=20.0,
            pause_seconds_max=0.02,
            retry_first_seconds=0.01,
            retries_per_second_min=50.0,
            mediawiki=MediaWikiConfig(url=f"{url}/w/api.php"),
        )
        async with open_lookups(lookups) as http:
            kit = JobKit(job, settings=settings, http=http)
            await kit.open()
            events = [{"n": n, "key": n * 7 % KEYS, "rev_id": n * 11 % REVISIONS + 1} for n in range(EVENTS)]
            await kit.put(*events)
            await kit.run()
            outputs, errors = await kit.events("out"), await kit.errors()
    ended = {event["n"] for event in outputs}
    assert len(ended) == len(outputs)
    assert len(outputs) + len(errors) == EVENTS
    lost = {event["n"] for event in events} - ended
    never = {event["n"] for event in events if event["rev_id"] in UNKNOWN}
    # An answer that cannot be used is asked for once more, and then it is final.
    assert never <= lost
    assert len(lost) < len(never) + EVENTS / 20
    assert {error["error_type"] for error in errors} <= ENDS
    assert all(event["text"] == (None if event["rev_id"] == HIDDEN else f"text {event['rev_id']}") for event in outputs)
    for key in range(KEYS):
        numbers = [event["n"] for event in outputs if event["key"] == key]
        assert numbers == sorted(numbers)
    assert most <= WINDOW
    assert len(stand_in.requests) < EVENTS
    assert {request.rule for request in stand_in.requests} >= {rule["mode"] for rule in STORM}
