"""`headwater up --jobs`: processes that only serve, and one that runs the jobs, on one log."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from end_to_end.running import up
from headwater.cli.init import write_project
from headwater.cli.main import main
from headwater.testing.eventually import eventually_blocking


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path / "mine")
    return tmp_path / "mine"


def edit(number: int) -> dict[str, Any]:
    return {
        "$schema": "/demo/edit/1.0.0",
        "meta": {"stream": "demo.edit", "id": f"{number:032x}"},
        "dt": "2026-01-31T12:00:00Z",
        "wiki": "dewiki",
        "title": "Elbe",
        "user": "Ann",
        "bot": False,
        "bytes": 12,
    }


def states(address: str) -> dict[str, str]:
    return {job["name"]: job["state"] for job in httpx.get(f"{address}/v1/jobs").json()["jobs"]}


@pytest.mark.slow
def test_one_process_serves_and_another_runs_the_jobs(project: Path, kafka_server: str) -> None:
    environment = {
        "HEADWATER_LOG": f"kafka://{kafka_server}/{uuid.uuid4().hex[:8]}.",
        "HEADWATER_MONITORING_CANARIES": "false",
    }
    with up(project, "--jobs", "none", environment=environment) as serving:
        assert set(states(serving.address).values()) == {"elsewhere"}
        assert httpx.get(f"{serving.address}/readyz").json()["status"] == "ok"
        events = [edit(number) for number in range(20)]
        assert httpx.post(f"{serving.address}/v1/events", json=events).status_code == 201
        with up(project, environment=environment) as jobs:
            found = eventually_blocking(lambda: page_edits(serving.address))
            assert [event["edits"] for event in found] == list(range(1, 21))
            # The process of the jobs reports from time to time.
            assert eventually_blocking(lambda: states(jobs.address)["page_edits"] == "running")
        assert set(states(serving.address).values()) == {"elsewhere"}


def page_edits(address: str) -> list[dict[str, Any]]:
    """What the job has written so far, if that is all, read from the process that does not run it."""
    found: list[dict[str, Any]] = []
    since = "2026-01-01T00:00:00Z"
    with httpx.stream("GET", f"{address}/v2/stream/demo.page_edits?since={since}", timeout=5) as answer:
        try:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    found.append(httpx.Response(200, content=line.removeprefix("data: ")).json())
                if len(found) == 20:
                    return found
        except httpx.ReadTimeout:
            pass
    return []


@pytest.mark.parametrize("which", ["none", "shared"])
def test_sqlite_has_one_process(project: Path, which: str) -> None:
    result = CliRunner().invoke(main, ["up", "--project", str(project), "--port", "0", "--jobs", which])
    assert result.exit_code == 2
    assert f"--jobs {which} needs a log that several processes can write" in result.output


def test_shared_jobs_must_be_shared_by_all(project: Path) -> None:
    arguments = ["up", "--project", str(project), "--port", "0", "--jobs", "shared"]
    result = CliRunner().invoke(main, arguments, env={"HEADWATER_LOG": "kafka://127.0.0.1:1"})
    assert result.exit_code == 2
    assert "jobs.shared: true" in result.output
