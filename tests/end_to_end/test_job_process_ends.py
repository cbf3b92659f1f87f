"""An event that ends the process of its job each time becomes an error event, and everything else is processed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from end_to_end.test_job_processes import running, send, views
from end_to_end.test_redrive import redriven
from end_to_end.test_streams_api import written_project
from headwater.config import load_config
from headwater.platform import Platform
from headwater.processing.failures.stored import stored_errors
from headwater.testing.eventually import eventually

# Each way in which a function can end its process, until there is a file.
JOBS = """
import asyncio
import ctypes
import os
import signal
from pathlib import Path
from headwater.jobs import job

REPAIRED = Path(__file__).parents[1] / "repaired"
WAYS = {
    "exit": lambda: os._exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "fault": lambda: ctypes.string_at(0),
}


def end(event):
    if event["n"] in WAYS and not REPAIRED.exists():
        WAYS[event["n"]]()


@job(source="clicks", sink="views")
def copies(event, context):
    end(event)
    return {"$schema": "/note/1.0.0", "n": f"copies {event['n']}"}


@job(source="clicks", sink="views", key="n", state=int)
def counts(event, context):
    end(event)
    context.state += 1
    return {"$schema": "/note/1.0.0", "n": f"counts {event['n']} {context.state}"}


@job(source="clicks", sink="views", concurrency=50)
async def asks(event, context):
    await asyncio.sleep(0.001)
    end(event)
    return {"$schema": "/note/1.0.0", "n": f"asks {event['n']}"}


@job(source="clicks", sink="views")
def others(event, context):
    return {"$schema": "/note/1.0.0", "n": f"others {event['n']}"}
"""


def project(directory: Path, jobs: str) -> Path:
    written_project(directory)
    (directory / "headwater.yaml").write_text("web: {port: 0}\n", encoding="utf-8")
    (directory / "jobs").mkdir()
    (directory / "jobs" / "jobs.py").write_text(jobs, encoding="utf-8")
    return directory


def only(*names: str) -> str:
    """The job that cannot fail, and these."""
    head, *jobs = JOBS.split("\n\n\n@job")
    wanted = [job for job in jobs if any(f"def {name}(" in job for name in (*names, "others"))]
    return "\n\n\n@job".join([head, *wanted])


async def errors_of(platform: Platform, job: str) -> list[dict[str, Any]]:
    topics = platform.streams.get(f"{job}.error").topics
    return [dict(one.event) async for one in stored_errors(platform.log, job, topics)]


async def written(platform: Platform, count: int) -> Counter[str]:
    async def is_written() -> bool:
        return len(await views(platform)) >= count

    await eventually(is_written, seconds=120)
    return Counter(await views(platform))


@pytest.mark.slow
async def test_an_event_that_ends_its_process_each_time_becomes_an_error_event(tmp_path: Path, log_url: str) -> None:
    name = "counts"
    project(tmp_path, only(name))
    plain = [f"{number}" for number in range(60)]
    async with running(tmp_path, log_url, process_ends_per_event_max=2) as platform:
        await send(platform, *plain[:30], "kill", *plain[30:])
        found = await written(platform, 2 * len(plain) + 1)
        assert found == Counter([f"{name} {n} 1" for n in plain] + [f"others {n}" for n in (*plain, "kill")])
        (error,) = await errors_of(platform, name)
        assert error["error_type"] == "PROCESS_ENDED"
        assert error["message"].startswith("process: it has ended its process 2 times")
        assert "SIGKILL" in error["message"]
        assert json.loads(error["raw_event"])["n"] == "kill"
        assert await errors_of(platform, "others") == []
        # After a repair it is processed again as any other event.
        (tmp_path / "repaired").touch()
        config = load_config(tmp_path, environment={}, overrides={"log.url": log_url})
        assert (await redriven(config, job=name))["events"] == 1
        again = await written(platform, 2 * len(plain) + 2)
        assert again[f"{name} kill 1"] == 1


@pytest.mark.slow
async def test_several_jobs_that_end_their_process_in_several_ways(tmp_path: Path) -> None:
    project(tmp_path, only("copies", "asks"))
    plain = [f"{number}" for number in range(30)]
    events = [*plain[:10], "exit", *plain[10:20], "fault", *plain[20:]]
    url = f"sqlite:///{tmp_path / 'events.db'}"
    async with running(tmp_path, url, process_ends_per_event_max=1) as platform:
        await send(platform, *events)
        found = await written(platform, 3 * len(plain) + 2)
        wanted = [f"copies {n}" for n in plain] + [f"asks {n}" for n in plain] + [f"others {n}" for n in events]
        assert found == Counter(wanted)
        for name in ("copies", "asks"):
            errors = await errors_of(platform, name)
            said = {json.loads(one["raw_event"])["n"]: one["message"] for one in errors}
            assert sorted(said) == ["exit", "fault"]
            assert "it ended by itself" in said["exit"]
            assert "SIGSEGV" in said["fault"]
