"""Events that jobs could not process, over HTTP: their causes, one of them, and who may redrive them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner

from end_to_end.test_streams_api import key, running, written_project
from headwater.cli.main import main
from headwater.log.open import redriving_alone
from headwater.platform import Platform
from headwater.processing.failures.redrive import redrive_entries
from headwater.testing.eventually import eventually
from headwater.web.jobs import failures

# Fails for each word that is not in the file of the project.
JOBS = """
from pathlib import Path
from headwater.jobs import job

KNOWN = Path(__file__).parents[1] / "known"


def known(event):
    words = KNOWN.read_text().split()
    if event["word"] not in words:
        raise LookupError(f"no such {event['kind']}")
    return {"$schema": "/note/1.0.0", "word": event["word"]}


@job(source="clicks", sink="views")
def copies(event, context):
    return known(event)


@job(source="secrets", sink="safe")
def hush(event, context):
    return known(event)
"""
EVENTS = [("a", "house"), ("b", "house"), ("c", "tree"), ("d", "house"), ("e", "stone")]
Served = tuple[Platform, httpx.AsyncClient]


def project(directory: Path) -> Path:
    written_project(directory)
    (directory / "headwater.yaml").write_text("log: sqlite:///var/events.db\n", encoding="utf-8")
    safe = {"stream": "safe", "schema_title": "note", "privacy": {"class": "private"}}
    (directory / "streams" / "safe.yaml").write_text(yaml.safe_dump(safe), encoding="utf-8")
    (directory / "jobs").mkdir()
    (directory / "jobs" / "jobs.py").write_text(JOBS, encoding="utf-8")
    (directory / "known").write_text("", encoding="utf-8")
    return directory


def event(stream: str, word: str, kind: str) -> dict[str, Any]:
    return {"$schema": "/note/1.0.0", "meta": {"stream": stream, "id": f"{stream}-{word}"}, "word": word, "kind": kind}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with running(project(tmp_path)) as (platform, client):
        await platform.intake.write([event("clicks", *one) for one in EVENTS])
        await platform.intake.write([event("secrets", "s", "house")])
        for name, count in (("copies", len(EVENTS)), ("hush", 1)):
            await eventually(lambda name=name, count=count: platform.runners[name].report().errors == count)
        yield platform, client


def reader(platform: Platform) -> dict[str, str]:
    return key(platform, "events:read")


def operator(platform: Platform) -> dict[str, str]:
    return key(platform, "streams:write", "events:read")


async def groups(client: httpx.AsyncClient, headers: dict[str, str], query: str = "") -> list[dict[str, Any]]:
    response = await client.get(f"/v1/errors?{query}", headers=headers)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["groups"]
    return found


async def redrive(
    client: httpx.AsyncClient, headers: dict[str, str], body: dict[str, Any], *, dry: bool = False
) -> dict[str, Any]:
    query = "?dry_run=true" if dry else ""
    response = await client.post(f"/v1/errors/redrive{query}", json=body, headers=headers)
    assert response.status_code == (200 if dry else 202), response.text
    found: dict[str, Any] = response.json()
    return found


async def test_causes_are_listed_as_the_command_lists_them(served: Served, tmp_path: Path) -> None:
    platform, client = served
    found = await groups(client, reader(platform))
    assert [(one["job"], one["count"], one["message"]) for one in found] == [
        ("copies", 3, "function: no such house"),
        ("copies", 1, "function: no such stone"),
        ("copies", 1, "function: no such tree"),
        ("hush", 1, "function: no such house"),
    ]
    arguments = ["errors", "list", "--json", "--project", str(tmp_path)]
    said = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    listed = [json.loads(line) for line in said.stdout.splitlines()]
    assert sorted(listed, key=lambda one: one["sample"]) == sorted(found, key=lambda one: one["sample"])


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("job=copies", 5),
        ("job=copies&job=hush", 6),
        ("where=error_type%3DHANDLER_ERROR", 6),
        ("where=event.kind%3Dhouse", 4),
        ("where=event.kind%20%3D%3D%20%22house%22&where=event.word%3Da", 1),
        ("since=2100-01-01", 0),
        ("until=2020-01-01T00:00:00Z", 0),
        ("group=000000000000", 0),
    ],
)
async def test_errors_are_chosen_by_job_field_and_time(served: Served, query: str, count: int) -> None:
    platform, client = served
    assert sum(one["count"] for one in await groups(client, reader(platform), query)) == count


async def test_pages_give_each_group_once(served: Served) -> None:
    platform, client = served
    headers, whole, pages = reader(platform), await groups(client, reader(platform)), []
    after = ""
    while after is not None:
        page = (await client.get(f"/v1/errors?limit=1&after={after}", headers=headers)).json()
        pages += page["groups"]
        after = page["next"]
    assert pages == whole


async def test_one_error_is_found_by_its_group_and_by_ids(served: Served) -> None:
    platform, client = served
    headers = reader(platform)
    [row] = await groups(client, headers, "where=event.word%3Dc")
    for name in (row["group"], row["sample"], "clicks-c"):
        found = (await client.get(f"/v1/errors/{name}", headers=headers)).json()
        assert (found["job"], found["event"]["value"]["word"], found["found"]) == ("copies", "c", 1)
        assert "jobs/jobs.py" in found["stack"]
    unknown = await client.get("/v1/errors/clicks-z", headers=headers)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "failure_unknown")


async def test_who_may_not_read_an_error_stream_sees_no_errors_in_it(served: Served) -> None:
    platform, client = served
    [row] = await groups(client, reader(platform), "job=hush")
    public, declared = {}, key(platform, "streams:read", "streams:write")
    for headers, of_known, of_hidden in ((public, 401, 404), (declared, 403, 403)):
        listed = (await client.get("/v1/errors", headers=headers)).json()
        assert (listed["jobs"], listed["groups"]) == ([], [])
        for name in (row["group"], row["sample"], "secrets-s", "clicks-a"):
            answer = await client.get(f"/v1/errors/{name}", headers=headers)
            assert answer.status_code == 404
        assert (await client.get("/v1/errors?job=copies", headers=headers)).status_code == of_known
        assert (await client.get("/v1/errors?job=hush", headers=headers)).status_code == of_hidden


async def test_the_event_is_hidden_from_who_may_read_only_the_error_stream(tmp_path: Path) -> None:
    directory = project(tmp_path)
    opened = {"stream": "hush.error", "schema_title": "error", "privacy": {"class": "public"}}
    (directory / "streams" / "hush.error.yaml").write_text(yaml.safe_dump(opened), encoding="utf-8")
    async with running(directory) as (platform, client):
        await platform.intake.write([event("secrets", "s", "house")])
        await eventually(lambda: platform.runners["hush"].report().errors == 1)
        [row] = await groups(client, reader(platform), "job=hush")
        shown = await client.get(f"/v1/errors/{row['group']}")
        for text in ("house", "secrets-s", '"word"'):
            assert text not in shown.text
        whole = await client.get(f"/v1/errors/{row['group']}", headers=reader(platform))
        assert whole.json()["event"]["value"]["kind"] == "house"


async def test_redriven_events_are_processed_once_and_who_did_it_is_recorded(served: Served, tmp_path: Path) -> None:
    platform, client = served
    headers = operator(platform)
    house = (await groups(client, headers, "where=event.word%3Da"))[0]["group"]
    (tmp_path / "known").write_text("a b c d e", encoding="utf-8")
    chosen = {"job": "copies", "group": house}
    tried = await redrive(client, headers, chosen, dry=True)
    assert (tried["events"], tried["dry_run"], tried["complete"]) == (3, True, True)
    assert [entry async for entry in redrive_entries(platform.log)] == []
    # It continues where the one before has ended, and may be repeated.
    found = [await redrive(client, headers, {**chosen, "limit": limit}) for limit in (2, 2, 10)]
    assert [(one["events"], one["redriven_before"], one["complete"]) for one in found] == [
        (2, 0, False),
        (1, 2, True),
        (0, 3, True),
    ]
    await eventually(lambda: platform.runners["copies"].report().written == 3)
    entries = [entry async for entry in redrive_entries(platform.log)]
    names = {one.name for one in platform.keys.all()}
    assert [entry["filter"] for entry in entries] == [{"group": house, "limit": 2}] * 2
    assert {entry["by"] for entry in entries} <= names
    listed = {one["group"]: (one["count"], one["redriven"]) for one in await groups(client, headers, "job=copies")}
    assert listed[house] == (3, 3)
    shown = (await client.get(f"/v1/errors/{house}", headers=headers)).json()
    assert [one["by"] for one in shown["redrives"]] == [entries[-1]["by"]]


async def test_only_who_may_control_jobs_may_redrive(served: Served) -> None:
    platform, client = served
    body = {"job": "copies"}
    assert (await client.post("/v1/errors/redrive", json=body)).status_code == 401
    refused = await client.post("/v1/errors/redrive", json=body, headers=reader(platform))
    assert refused.status_code == 403
    # Without reading them, errors are chosen by cause and time, and nothing of them is shown.
    declared = key(platform, "streams:write")
    assert (await redrive(client, declared, body, dry=True))["events"] == len(EVENTS)
    spied = await client.post("/v1/errors/redrive", json={**body, "where": "event.word=a"}, headers=declared)
    assert (spied.status_code, spied.json()["type"]) == (403, "scope_missing")


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({}, 422, "`job` must be the name of a job"),
        ({"job": "copis"}, 404, 'Did you mean "copies"?'),
        ({"job": "copies", "gruop": "x"}, 422, 'Did you mean "group"?'),
        ({"job": "copies", "dry_run": True}, 422, "?dry_run=true"),
        ({"job": "copies", "limit": 0}, 422, "`limit` must be a number from 1 to"),
        ({"job": "copies", "limit": True}, 422, "`limit` must be a number from 1 to"),
        ({"job": "copies", "where": 7}, 422, "`where` must be a filter"),
        ({"job": "copies", "where": "wiki ==="}, 400, "filter_invalid"),
        ({"job": "copies", "since": "yesterday"}, 400, "'yesterday' is not a time"),
        ({"job": "copies", "since": 7}, 422, "`since` must be a text"),
    ],
)
async def test_a_wrong_request_is_refused_with_the_reason(
    served: Served, body: dict[str, Any], status: int, why: str
) -> None:
    platform, client = served
    answer = await client.post("/v1/errors/redrive", json=body, headers=operator(platform))
    assert answer.status_code == status, answer.text
    assert why in answer.text.replace('\\"', '"')
    assert [entry async for entry in redrive_entries(platform.log)] == []


async def test_a_wrong_question_is_refused(served: Served) -> None:
    platform, client = served
    for query in ("limit=0", "limit=x", "limit=1001", "after=%21", "after=W10", "since=never", "until=7", "where=("):
        assert (await client.get(f"/v1/errors?{query}", headers=reader(platform))).status_code == 400, query


async def test_a_redrive_waits_for_no_other_process_that_redrives(served: Served) -> None:
    platform, client = served
    with redriving_alone(platform.config):
        answer = await client.post("/v1/errors/redrive", json={"job": "copies"}, headers=operator(platform))
        assert (answer.status_code, answer.json()["type"]) == (503, "log_in_use")
    assert (await redrive(client, operator(platform), {"job": "copies"}))["events"] == len(EVENTS)


async def test_requests_take_turns_and_only_some_wait(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    platform, client = served
    monkeypatch.setattr(failures, "WAITING_MAX", 2)
    headers = reader(platform)
    answers = await asyncio.gather(*(client.get("/v1/errors", headers=headers) for _ in range(12)))
    statuses = {one.status_code for one in answers}
    assert statuses <= {200, 429}
    assert 200 in statuses


async def test_a_response_says_if_not_all_errors_were_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    platform, client = served
    monkeypatch.setattr(failures, "READ_SECONDS_MAX", 0.0)
    answer = (await client.get("/v1/errors", headers=reader(platform))).json()
    assert (answer["groups"], answer["complete"]) == ([], False)
    found = await redrive(client, operator(platform), {"job": "copies"})
    assert (found["events"], found["complete"]) == (0, False)


@pytest.mark.real_server
async def test_errors_are_listed_and_redriven_once_on_kafka(tmp_path: Path, kafka_url: str) -> None:
    directory = project(tmp_path)
    (directory / "headwater.yaml").write_text(f"log: {kafka_url}\n", encoding="utf-8")
    async with running(directory) as (platform, client):
        await platform.intake.write([event("clicks", *one) for one in EVENTS])
        await eventually(lambda: platform.runners["copies"].report().errors == len(EVENTS), seconds=30)
        (tmp_path / "known").write_text("a b c d e", encoding="utf-8")
        headers = operator(platform)
        assert sum(one["count"] for one in await groups(client, headers)) == len(EVENTS)
        found = [await redrive(client, headers, {"job": "copies", "limit": limit}) for limit in (2, 10, 10)]
        assert [(one["events"], one["redriven_before"]) for one in found] == [(2, 0), (3, 2), (0, 5)]
        await eventually(lambda: platform.runners["copies"].report().written == len(EVENTS), seconds=30)
