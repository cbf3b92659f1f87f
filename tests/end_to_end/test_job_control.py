"""Pausing, resuming, resetting and rewinding jobs over HTTP, and from the command line with and without a server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from end_to_end.test_streams_api import key, running, written_project
from headwater.cli.main import main
from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.processing import supervisor
from headwater.testing.eventually import eventually

JOBS = """
from headwater.jobs import Await, Job, NotYet, Retry, ToStream, job


@job(source="clicks", sink="views")
def copies(event, context):
    return {"$schema": "/note/1.0.0"}


@job(source="clicks", sink="views", key="n", state=int)
def counts(event, context):
    context.state += 1
    return {"$schema": "/note/1.0.0"}


async def ask(event, context):
    raise NotYet("the service has no answer")


asks = Job("asks", ("clicks",), (Await("ask", ask, retry=Retry("1ms", "1ms", park="1h")),), ToStream("views"))
"""
CAREFUL = """
from pathlib import Path
from headwater.jobs import job


@job(source="clicks", sink="views", on_error="stop")
def careful(event, context):
    if event["n"] == "13" and not (Path(__file__).parents[1] / "unlucky").exists():
        raise ValueError("unlucky")
    return {"$schema": "/note/1.0.0"}
"""
Served = tuple[Platform, httpx.AsyncClient]


def project(directory: Path) -> Path:
    written_project(directory)
    (directory / "headwater.yaml").write_text("web: {port: 0}\n", encoding="utf-8")
    (directory / "jobs").mkdir()
    (directory / "jobs" / "jobs.py").write_text(JOBS, encoding="utf-8")
    return directory


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with running(project(tmp_path)) as both:
        yield both


async def send(client: httpx.AsyncClient, *numbers: int) -> None:
    events = [{"$schema": "/note/1.0.0", "meta": {"stream": "clicks"}, "n": str(number)} for number in numbers]
    response = await client.post("/v1/events", json=events)
    assert response.status_code == 201, response.text


async def processed(platform: Platform, name: str, number: int) -> None:
    await eventually(lambda: platform.runners[name].report().read >= number)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["job", *arguments])


async def test_a_job_is_paused_and_resumed_and_the_others_continue(served: Served) -> None:
    platform, client = served
    headers = key(platform)
    answer = await client.post("/v1/jobs/copies", json={"do": "pause"}, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"job": "copies", "do": "pause", "consequences": []}
    await eventually(lambda: platform.runners["copies"].report().state == "paused")
    await send(client, 1, 2)
    await processed(platform, "counts", 2)
    assert platform.runners["copies"].report().read == 0
    ready = (await client.get("/readyz")).json()
    assert ready.get("jobs", []) == []
    await client.post("/v1/jobs/copies", json={"do": "resume"}, headers=headers)
    await processed(platform, "copies", 2)


async def test_a_job_that_stops_at_an_event_is_reported_everywhere_and_is_resumed(tmp_path: Path) -> None:
    directory = project(tmp_path)
    (directory / "jobs" / "careful.py").write_text(CAREFUL, encoding="utf-8")
    async with running(directory) as (platform, client):
        await send(client, 1, 13, 2)
        await eventually(lambda: platform.runners["careful"].report().state == "stopped_on_error")
        await processed(platform, "copies", 3)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        [shown] = ready.json()["jobs"]
        assert shown["name"] == "careful"
        assert shown["reason"].startswith("stopped: function: ValueError: unlucky (at ")
        assert "(at clicks/0/1)" in shown["reason"]
        assert ">stopped on error<" in (await client.get("/monitoring")).text
        metrics = (await client.get("/metrics")).text
        assert 'headwater_job_stopped{job="careful"} 1.0' in metrics
        assert 'headwater_job_in_trouble{job="careful"} 1.0' in metrics
        assert 'headwater_job_stopped{job="copies"} 0.0' in metrics
    said = await asyncio.to_thread(run, "show", "careful", "--project", str(directory))
    assert "It is stopped: function: ValueError: unlucky (at " in said.output
    assert "headwater job resume careful" in said.output
    listed = await asyncio.to_thread(run, "list", "--project", str(directory))
    assert re.findall("stopped", listed.output) == ["stopped"]
    (directory / "unlucky").touch()
    async with running(directory) as (platform, client):
        await processed(platform, "careful", 2)
        report = platform.runners["careful"].report()
        assert (report.written, report.errors, report.trouble) == (2, 0, None)


async def test_a_reset_reports_what_it_deletes_and_a_dry_run_changes_nothing(served: Served) -> None:
    platform, client = served
    headers = key(platform)
    await send(client, 1, 1)
    await processed(platform, "counts", 2)
    dry = await client.post("/v1/jobs/counts?dry_run=true", json={"do": "reset"}, headers=headers)
    assert dry.status_code == 200
    assert "deleted" in " ".join(dry.json()["consequences"])
    await asyncio.sleep(0.05)
    assert platform.runners["counts"].report().read == 2
    reset = await client.post("/v1/jobs/counts", json={"do": "reset"}, headers=headers)
    assert reset.json()["consequences"] == dry.json()["consequences"]
    await processed(platform, "counts", 4)


async def test_a_rewind_to_a_time_that_the_job_has_not_reached_says_what_it_leaves_out(
    served: Served, tmp_path: Path
) -> None:
    platform, client = served
    headers = key(platform)
    await send(client, 1)
    await processed(platform, "counts", 1)
    await client.post("/v1/jobs/counts", json={"do": "pause"}, headers=headers)
    await eventually(lambda: platform.runners["counts"].report().state == "paused")
    await send(client, 2, 3)
    ahead, back = {"do": "rewind", "to": "2100-01-01T00:00:00Z"}, {"do": "rewind", "to": "2020-01-01T00:00:00Z"}
    dry = await client.post("/v1/jobs/counts?dry_run=true", json=ahead, headers=headers)
    said = "It has not come that far: 2 events before 2100-01-01T00:00:00.000Z will never be processed by it."
    assert dry.json()["consequences"][0] == said
    dry = await client.post("/v1/jobs/counts?dry_run=true", json=back, headers=headers)
    assert "never" not in " ".join(dry.json()["consequences"])
    arguments = ("rewind", "counts", "--to", "2100-01-01T00:00:00Z", "--project", str(tmp_path))
    # Without --yes only the consequences are printed.
    without_server = await asyncio.to_thread(run, *arguments)
    assert said in without_server.output
    asked = await client.post("/v1/jobs/counts", json=ahead, headers=headers)
    assert (asked.status_code, asked.json()["consequences"][0]) == (202, said)


async def test_the_page_shows_what_is_parked_and_which_job_is_paused_or_waits_for_an_outage(served: Served) -> None:
    platform, client = served
    await client.post("/v1/jobs/copies", json={"do": "pause"}, headers=key(platform))
    await eventually(lambda: platform.runners["copies"].report().state == "paused")
    await send(client, 1, 2)
    await eventually(lambda: platform.runners["asks"].report().calls.parked == 2)
    page = (await client.get("/monitoring")).text
    assert "2 parked for later" in page
    assert ">paused<" in page
    await send(client, *range(40))
    await eventually(lambda: platform.runners["asks"].report().state == "circuit_open")
    assert ">circuit open<" in (await client.get("/monitoring")).text
    ready = (await client.get("/readyz")).json()
    assert ready["status"] == "degraded"
    (reason,) = [job["reason"] for job in ready["jobs"]]
    assert reason.startswith("circuit open")
    assert "the service has no answer" in reason
    metrics = (await client.get("/metrics")).text
    assert 'headwater_job_circuit_open{job="asks"} 1.0' in metrics


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("copie", {"do": "pause"}, 404, "copies"),
        ("copies", {"do": "stop"}, 422, "pause, resume, reset, rewind"),
        ("copies", {"do": "rewind"}, 422, "the time to rewind to"),
        ("copies", {"do": "rewind", "to": "yesterday"}, 422, "the time to rewind to"),
        ("copies", {"do": "pause", "to": "2026-01-01T00:00:00Z"}, 422, "rewind"),
        ("copies", {"do": "rewind", "position": "0-1-1234"}, 422, "reads streams"),
        ("copies", {"do": "rewind", "position": ""}, 422, "1 to 2,000 characters"),
        ("copies", {"do": "rewind", "position": "0-1-1", "to": "2026-01-01T00:00:00Z"}, 422, "not to both"),
        ("copies", {"do": "reset", "position": "0-1-1234"}, 422, "for a rewind"),
        ("copies", {"do": "pause", "at": 1}, 422, "'at'"),
        ("copies", [], 422, "object"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_the_reason(
    served: Served, name: str, body: Any, status: int, said: str
) -> None:
    platform, client = served
    answer = await client.post(f"/v1/jobs/{name}", json=body, headers=key(platform))
    assert answer.status_code == status
    assert said in answer.text


async def test_a_key_that_may_not_write_may_not_control_jobs(served: Served) -> None:
    platform, client = served
    assert (await client.post("/v1/jobs/copies", json={"do": "pause"})).status_code == 401
    reader = key(platform, "streams:read")
    assert (await client.post("/v1/jobs/copies", json={"do": "pause"}, headers=reader)).status_code == 403
    await asyncio.sleep(0.05)
    assert platform.runners["copies"].report().state == "running"


async def test_the_command_line_asks_a_server(served: Served, tmp_path: Path) -> None:
    platform, client = served
    file = tmp_path / "key"
    file.write_text(key(platform)["authorization"].removeprefix("Bearer "), encoding="utf-8")
    asked = ["--project", str(tmp_path), "--server", str(client.base_url), "--key-file", str(file)]
    paused = await asyncio.to_thread(run, "pause", "copies", *asked)
    assert paused.exit_code == 0, paused.output
    await eventually(lambda: platform.runners["copies"].report().state == "paused")
    in_use = await asyncio.to_thread(run, "pause", "copies", "--project", str(tmp_path))
    assert in_use.exit_code != 0
    assert "--server" in in_use.output
    without_key = await asyncio.to_thread(run, "pause", "copies", *asked[:-2])
    assert without_key.exit_code == 1
    assert "--key-file" in without_key.output
    refused = await asyncio.to_thread(run, "reset", "copies", *asked)
    assert refused.exit_code == 2
    assert "is deleted" in refused.output
    assert "--yes" in refused.output
    done = await asyncio.to_thread(run, "reset", "copies", *asked, "--yes")
    assert done.exit_code == 0, done.output
    unknown = await asyncio.to_thread(run, "pause", "copie", *asked)
    assert unknown.exit_code == 1
    assert "copies" in unknown.output


async def test_without_a_server_it_is_done_when_one_starts(tmp_path: Path) -> None:
    directory = project(tmp_path)
    async with running(directory) as (platform, client):
        await send(client, 1, 2, 3)
        await processed(platform, "copies", 3)
    here = ["--project", str(directory)]
    for arguments in (["pause", "copies"], ["rewind", "counts", "--to", "2020-01-01T00:00:00Z", "--yes"]):
        done = await asyncio.to_thread(run, *arguments, *here)
        assert done.exit_code == 0, done.output
        assert "when one starts" in done.output
    printed = await asyncio.to_thread(run, "list", "--json", *here)
    listed = {row["name"]: row for row in map(json.loads, printed.stdout.splitlines())}
    assert [(listed[name]["paused"], listed[name]["begins_again"]) for name in ("asks", "copies", "counts")] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    said = [(await asyncio.to_thread(run, *verb, *here)).output for verb in (["list"], ["show", "copies"])]
    assert re.findall("paused|begins again", said[0]) == ["paused", "begins again"]
    assert "headwater job resume copies" in said[1]
    assert "begin again" in (await asyncio.to_thread(run, "show", "counts", *here)).output
    async with running(directory) as (platform, client):
        await processed(platform, "counts", 3)
        await eventually(lambda: platform.runners["copies"].report().state == "paused")
    resumed = await asyncio.to_thread(run, "resume", "copies", *here)
    assert resumed.exit_code == 0
    async with running(directory) as (platform, client):
        await send(client, 4)
        await processed(platform, "copies", 1)
        assert json.loads((await client.get("/readyz")).text)["status"] == "ok"


def test_a_job_that_is_not_in_the_project_and_a_time_that_is_none_are_refused(tmp_path: Path) -> None:
    here = ["--project", str(project(tmp_path))]
    wrong = run("pause", "copie", *here)
    assert wrong.exit_code != 0
    assert 'Did you mean "copies"?' in wrong.output
    assert run("rewind", "copies", "--to", "noon", "--yes", *here).exit_code == 2


async def test_on_both_logs_a_job_is_paused_and_reset_across_restarts(
    tmp_path: Path, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if another process had asked: the supervisor looks by itself.
    monkeypatch.setattr(supervisor, "LOOK_SECONDS", 0.1)
    config = load_config(project(tmp_path), environment={}, overrides={"log.url": log_url, "jobs.shared": True})

    async def write(platform: Platform, *numbers: int) -> None:
        clicks = [{"$schema": "/note/1.0.0", "meta": {"stream": "clicks"}, "n": str(number)} for number in numbers]
        await platform.intake.write(clicks)

    platform = build(config)
    await platform.start()
    try:
        await write(platform, 1, 2)
        for name in ("copies", "counts"):
            await processed(platform, name, 2)
            control = platform.runners[name].control
            assert control is not None
            await control.pause(paused=True, by="a test")
            await eventually(lambda name=name: platform.runners[name].report().state == "paused")
            await control.move(None, by="a test")
    finally:
        await platform.stop()
    platform = build(config)
    await platform.start()
    try:
        for name in ("copies", "counts"):
            await eventually(lambda name=name: platform.runners[name].report().state == "paused")
            control = platform.runners[name].control
            assert control is not None
            await control.pause(paused=False, by="a test")
            await processed(platform, name, 2)
    finally:
        await platform.stop()
