"""What is measured of a running job: in the metrics, on the page, in the answer of the API and on the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from end_to_end.test_streams_api import written_project
from headwater.cli.main import main
from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually
from headwater.web.server import serving

JOBS = """
from headwater.jobs import NotYet, Retry, job


@job(source="clicks", sink="views", key="n", state=str)
def kept(event, context):
    context.state += "x" * 100
    return {"$schema": "/note/1.0.0"}


@job(source="clicks", sink="views", retry=Retry("30s", "1ms", "2ms"))
def insists(event, context):
    if context.attempt == 1:
        raise NotYet("at the second attempt")
    return {"$schema": "/note/1.0.0"}
"""


@pytest.fixture
async def served(tmp_path: Path, log_url: str) -> AsyncIterator[tuple[Platform, httpx.AsyncClient]]:
    written_project(tmp_path)
    (tmp_path / "headwater.yaml").write_text("web: {port: 0}\n", encoding="utf-8")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "jobs.py").write_text(JOBS, encoding="utf-8")
    overrides = {"log.url": log_url, "jobs.processes": 0}
    platform = build(load_config(tmp_path, environment={}, overrides=overrides))
    await platform.start()
    async with serving(platform) as address, httpx.AsyncClient(base_url=address, timeout=30) as client:
        yield platform, client
    await platform.stop()


async def test_what_a_running_job_measures_is_in_the_metrics_on_the_page_and_in_the_answer(
    served: tuple[Platform, httpx.AsyncClient], tmp_path: Path
) -> None:
    platform, client = served
    events = [{"$schema": "/note/1.0.0", "meta": {"stream": "clicks"}, "n": str(number)} for number in range(3)]
    assert (await client.post("/v1/events", json=events)).status_code == 201

    async def measured() -> bool:
        reports = [platform.runners[name].report() for name in ("kept", "insists")]
        return all(one.read == 3 and one.lag == 0 for one in reports)

    await eventually(measured)
    text = (await client.get("/metrics")).text
    for line in (
        'headwater_job_latency_seconds_count{job="kept"} 3.0',
        'headwater_job_latency_seconds_bucket{job="kept",le="+Inf"} 3.0',
        'headwater_job_events_total{job="kept",what="read"} 3.0',
        'headwater_job_events_total{job="kept",what="skipped"} 0.0',
        'headwater_job_lag_events{job="kept"} 0.0',
        'headwater_job_lag_seconds{job="kept"} 0.0',
        'headwater_job_state_keys{job="kept"} 3.0',
        'headwater_job_retries_total{job="insists"} 3.0',
    ):
        assert line in text, line
    assert 'headwater_job_state_keys{job="insists"}' not in text
    jobs = {one["name"]: one for one in (await client.get("/v1/jobs")).json()["jobs"]}
    kept, insists = jobs["kept"], jobs["insists"]
    assert (kept["lag"], kept["state_keys"], kept["read"], kept["written"]) == (0, 3, 3, 3)
    assert kept["state_bytes"] > 300
    assert 0 < kept["latency"]["p50_ms"] <= kept["latency"]["p99_ms"] < 600_000
    assert (insists["retried"], insists["state_keys"]) == (3, 0)
    assert [one["name"] for one in (await client.get("/v1/jobs?name=kept")).json()["jobs"]] == ["kept"]
    missing = await client.get("/v1/jobs?name=keptt")
    assert (missing.status_code, "kept" in missing.text) == (404, True)
    page = (await client.get("/monitoring")).text
    assert "3 keys, " in page
    arguments = ["job", "show", "kept", "--project", str(tmp_path), "--server", str(client.base_url)]
    shown = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert shown.exit_code == 0, shown.output
    for words in ("lag            0 events", "latency  ", "(median)", "3 read, 3 written", "3 keys, "):
        assert words in shown.output, shown.output
    arguments = ["job", "list", "--project", str(tmp_path), "--server", str(client.base_url)]
    shown = await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "--json"])
    listed = {one["name"]: one for one in map(json.loads, shown.stdout.splitlines())}
    assert {name: (listed[name]["state"], listed[name]["lag"]) for name in ("kept", "insists")} == {
        "kept": ("running", 0),
        "insists": ("running", 0),
    }
    assert listed["kept"]["trouble"] is None
    platform.runners["kept"].runner.status.stopped_on_error("function: ValueError: unlucky")
    shown = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert "stopped on error" in shown.output
    assert "stopped: function: ValueError: unlucky" in shown.output
