"""A failing job is reported: on the console, on the pages, in readiness and in the metrics, whatever log it runs on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually
from headwater.web.server import serving

TEMPLATE = Path(__file__).resolve().parents[2] / "src" / "headwater" / "cli" / "template"
JOBS = '''"""Jobs with which something is wrong."""
import asyncio
import sys

from headwater.jobs import job


def fails(event):
    what = event["title"]
    if what == "exit":
        sys.exit(3)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "cancel":
        raise asyncio.CancelledError


@job(source="demo.edit", sink="demo.copies", name="poisoned")
def poisoned(event, context):
    fails(event)
    return {name: event[name] for name in ("dt", "wiki", "title", "user", "bot", "bytes")}


@job(source="demo.edit", sink="demo.edti", name="misdirected")
def misdirected(event, context):
    return event


@job(source="secret.edit", name="discreet")
def discreet(event, context):
    raise ValueError(event["title"])
'''
STREAM = "stream: {name}\nschema_title: demo/edit\ndocs: {{summary: x, owner: team:x}}\nprivacy: {{class: {privacy}}}\n"


def edit(title: str, stream: str = "demo.edit") -> dict[str, Any]:
    return {
        "$schema": "/demo/edit/1.0.0",
        "meta": {"stream": stream},
        "dt": "2023-11-14T20:00:01Z",
        "wiki": "enwiki",
        "title": title,
        "user": "Ada",
        "bot": False,
        "bytes": 10,
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = shutil.copytree(TEMPLATE, tmp_path / "project")
    (made / "jobs" / "edits.py").write_text(JOBS)
    (made / "streams" / "demo.copies.yaml").write_text(STREAM.format(name="demo.copies", privacy="public"))
    (made / "streams" / "secret.edit.yaml").write_text(STREAM.format(name="secret.edit", privacy="private"))
    return made


@pytest.fixture
async def platform(project: Path, log_url: str, is_shared: bool) -> AsyncIterator[Platform]:
    overrides = {"log.url": log_url, "web.port": 0, "monitoring.canaries": False, "jobs.shared": is_shared}
    platform = build(load_config(project, environment={}, overrides=overrides))
    await platform.start()
    yield platform
    await platform.stop()


async def values(platform: Platform, topic: str) -> list[bytes]:
    position = await platform.log.first([topic])
    return [record.value for record in await platform.log.read(position, records_max=1000)]


@pytest.mark.parametrize(
    ("log_url", "is_shared"),
    [
        pytest.param("sqlite", False, id="sqlite-alone"),
        pytest.param("kafka", False, id="kafka-alone", marks=pytest.mark.real_server),
        pytest.param("kafka", True, id="kafka-shared", marks=pytest.mark.real_server),
    ],
    indirect=["log_url"],
)
async def test_failing_jobs_end_nothing_and_are_reported_everywhere(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    titles = ["first", "exit", "interrupt", "cancel", *["exit"] * 20, "last"]
    async with serving(platform) as address, httpx.AsyncClient(base_url=address) as client:
        await client.get("/readyz")
        for event in [*map(edit, titles), edit("nobody's business", "secret.edit")]:
            assert (await client.post("/v1/events", json=event)).status_code == 201
        reports = {name: runner.report for name, runner in platform.runners.items()}
        await eventually(lambda: reports["poisoned"]().read == len(titles) and reports["discreet"]().errors == 1)
        await eventually(lambda: reports["misdirected"]().restarts >= 2)
        copies = await values(platform, "demo.copies")
        assert [b'"first"' in copies[0], b'"last"' in copies[1], len(copies)] == [True, True, 2]
        assert len(await values(platform, "poisoned.error")) == 23

        ready = await client.get("/readyz")
        assert ready.status_code == 200
        told = {job["name"]: job["reason"] for job in ready.json()["jobs"]}
        assert ready.json()["status"] == "degraded"
        assert "SystemExit: 3" in told["poisoned"]
        # A misspelt name may be that of a private stream, so the sentence is for the console and for keys.
        assert told["misdirected"] == "restarting"
        assert "discreet" not in ready.text
        assert len(told) == 3

        state = (await client.get("/v1/_page/state")).json()["jobs"]
        assert {job["place"] for job in state} == {"jobs/edits.py:18", "jobs/edits.py:24", None}
        for page, section in (("/", 'id="jobs"'), ("/monitoring", 'class="card jobs"')):
            answer = await client.get(page, headers={"accept": "text/html"})
            text = answer.text.partition(section)[2].partition("</section>")[0]
            assert "jobs/edits.py:18" in text
            assert "SystemExit: 3" in text
            assert "discreet" not in text
            assert "nobody" not in text
        metrics = (await client.get("/metrics")).text
        assert 'headwater_job_events_total{job="poisoned",what="errors"} 23.0' in metrics
        assert 'headwater_job_in_trouble{job="poisoned"} 1.0' in metrics
        assert "SystemExit" not in metrics

    lines = [record.getMessage() for record in caplog.records if "job poisoned" in record.getMessage()]
    assert len(lines) == 3, "one for each kind of exception, whatever their number"
    assert all("jobs/edits.py:18" in line for line in lines)
    assert len([line for line in caplog.messages if "job misdirected" in line]) == 1


async def test_a_job_that_is_well_again_is_seen_as_that(project: Path, tmp_path: Path) -> None:
    overrides = {"log.url": f"sqlite:///{tmp_path}/events.db", "web.port": 0, "monitoring.canaries": False}
    (project / "jobs" / "edits.py").write_text(JOBS[: JOBS.index('@job(source="demo.edit", sink="demo.edti"')])
    platform = build(load_config(project, environment={}, overrides=overrides))
    await platform.start()
    try:
        async with serving(platform) as address, httpx.AsyncClient(base_url=address) as client:
            assert (await client.get("/readyz")).json()["status"] == "ok"
            assert (await client.get("/v1/_page/state")).json()["jobs"] == []
    finally:
        await platform.stop()
