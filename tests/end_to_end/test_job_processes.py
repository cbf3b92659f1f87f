"""Jobs in processes of their own: what happens when one blocks, dies, leaks, or cannot be started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.test_streams_api import written_project
from headwater.cli.up.wait import JOB_COMMAND
from headwater.config import load_config
from headwater.event import decode_stored
from headwater.platform import Platform, build
from headwater.processing.hosting import process_state
from headwater.processing.hosting.processes import ProcessHosting
from headwater.streams.seen import SeenStreams
from headwater.streams.visibility import Sight
from headwater.testing.eventually import eventually, eventually_blocking
from headwater.web.jobs.views import job_views

JOBS = """
import time
from headwater.jobs import job

kept = []


def wait_for(seconds):
    time.sleep(seconds)


@job(source="clicks", sink="views", key="n", state=int)
def counts(event, context):
    context.state += 1
    if event["n"] == "leak" and context.attempt == 1:
        kept.append(bytearray(400_000_000))
        time.sleep(10)
    if event["n"] == "block":
        wait_for(6)
    return {"$schema": "/note/1.0.0", "n": f"{event['n']}/{context.state}"}
"""
OTHER = """
from headwater.jobs import job


@job(source="clicks", sink="views")
def copies(event, context):
    return {"$schema": "/note/1.0.0", "n": event["n"]}
"""


@contextlib.asynccontextmanager
async def running(directory: Path, log_url: str | None = None, **settings: Any) -> AsyncIterator[Platform]:
    overrides = {f"jobs.{name}": value for name, value in settings.items()}
    overrides |= {"log.url": log_url} if log_url else {}
    config = load_config(directory, environment={}, overrides=overrides)
    platform = build(config, job_command=JOB_COMMAND)
    await platform.start()
    try:
        yield platform
    finally:
        await platform.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    written_project(tmp_path)
    (tmp_path / "headwater.yaml").write_text("web: {port: 0}\n", encoding="utf-8")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "counts.py").write_text(JOBS, encoding="utf-8")
    (tmp_path / "jobs" / "other.py").write_text(OTHER, encoding="utf-8")
    return tmp_path


async def send(platform: Platform, *names: str) -> None:
    events = [{"$schema": "/note/1.0.0", "meta": {"stream": "clicks"}, "n": name} for name in names]
    outcomes = await platform.intake.write(events)
    assert {type(one).__name__ for one in outcomes} == {"Accepted"}


async def views(platform: Platform) -> list[str]:
    position = await platform.log.first(["views"])
    found: list[str] = []
    while records := await platform.log.read(position):
        for record in records:
            found.append(str(decode_stored(record.value, record.headers)["n"]))
            position = position.after(record)
    return found


def processes(platform: Platform) -> ProcessHosting:
    assert isinstance(platform.hosting, ProcessHosting)
    return platform.hosting


def pid_of(platform: Platform, name: str) -> int | None:
    hosting = processes(platform)
    return next(one.pid for one in hosting.processes if name in one.state.jobs)


async def works(platform: Platform, name: str, written: int) -> None:
    await eventually(lambda: platform.runners[name].report().written >= written)


async def test_a_killed_process_is_replaced_and_nothing_is_lost_or_repeated(project: Path, log_url: str) -> None:
    # On Kafka both processes share the job without state.
    async with running(project, log_url, processes=2) as platform:
        await send(platform, *"abc" * 20)
        await works(platform, "counts", 1)
        process = next(one for one in processes(platform).processes if "counts" in one.state.jobs)
        killed = process.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: platform.runners["counts"].report().state == "restarting")
        trouble = str(platform.runners["counts"].report().trouble)
        assert trouble.startswith("restarting: its process has ended: it was ended by SIGKILL")
        await send(platform, *"abc" * 20)
        wanted = sorted([f"{name}/{n}" for name in "abc" for n in range(1, 41)] + list("abc" * 40))

        async def is_processed() -> bool:
            return len(await views(platform)) >= len(wanted)

        await eventually(is_processed)
        assert sorted(await views(platform)) == wanted
        assert process.pid not in (None, killed)
        await eventually(lambda: platform.runners["counts"].report().state == "running")
        assert platform.runners["counts"].report().restarts == 1
        await eventually(lambda: process.state.is_up)
        text = (await platform.metrics()).decode()
        assert f'headwater_job_process_restarts_total{{process="{process.state.number}"}} 1.0\n' in text
        assert f'headwater_job_process_up{{process="{process.state.number}"}} 1.0\n' in text


async def test_a_blocked_process_is_reported_with_the_place_and_events_are_accepted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_state, "SILENT_SECONDS", 1.5)
    async with running(project, processes=2) as platform:
        await send(platform, "block")
        counts, copies = platform.runners["counts"], platform.runners["copies"]
        expected = "job counts has not returned from wait_for (jobs/counts.py, line 9)"
        await eventually(lambda: expected in str(counts.report().trouble))
        # Neither those who send events nor the other process have any part in it.
        await send(platform, "a")
        await works(platform, "copies", 2)
        assert copies.report().trouble is None
        strangers = job_views(platform, SeenStreams(platform.streams, Sight.PUBLIC))
        assert [view["trouble"] for view in strangers if view["name"] == "counts"] == ["its process does not respond"]
        await works(platform, "counts", 2)
        await eventually(lambda: counts.report().trouble is None)


async def test_a_process_that_uses_too_much_memory_is_ended_with_that_reason(project: Path) -> None:
    async with running(project, process_memory_bytes_max=300_000_000) as platform:
        await works(platform, "counts", 0)
        await send(platform, "leak")
        expected = "more than jobs.process_memory_bytes_max (300,000,000)"
        await eventually(lambda: expected in str(platform.runners["counts"].report().trouble))


async def test_what_has_changed_in_a_file_is_reported_when_the_process_cannot_be_replaced(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.processing.hosting.process.PAUSE_SECONDS_MAX", 0.1)
    async with running(project, processes=2) as platform:
        await send(platform, "a")
        await works(platform, "counts", 1)
        file = project / "jobs" / "counts.py"
        file.write_text("import no_such_module\n" + JOBS, encoding="utf-8")
        pid = pid_of(platform, "counts")
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        counts = platform.runners["counts"]
        await eventually(lambda: "jobs/counts.py:1" in str(counts.report().trouble))
        assert "No module named 'no_such_module'" in str(counts.report().trouble)
        file.write_text(JOBS.replace('sink="views", key', 'sink="elsewhere", key'), encoding="utf-8")
        await eventually(lambda: "reads or writes something else. Restart the platform" in str(counts.report().trouble))
        file.write_text(JOBS, encoding="utf-8")
        await send(platform, "a")
        await works(platform, "counts", 2)
        assert sorted(await views(platform)) == ["a", "a", "a/1", "a/2"]


def test_a_process_of_jobs_ends_with_a_killed_platform(project: Path) -> None:
    command = [sys.executable, "-c", "from headwater.cli import main; main()", "up", "--force", "--port", "0"]
    with subprocess.Popen([*command, "--project", str(project)], stdout=subprocess.DEVNULL) as up:
        children = Path(f"/proc/{up.pid}/task/{up.pid}/children")
        child = int(eventually_blocking(lambda: children.read_text(encoding="ascii").split())[0])
        up.kill()
        up.wait()
    eventually_blocking(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child))


def _is_zombie(pid: int) -> bool:
    """Whether it has ended, and nobody has asked for its exit status."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    return True


async def test_a_platform_stops_although_a_process_is_blocked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.processing.hosting.process.STOP_SECONDS_MAX", 0.3)
    async with running(project) as platform:
        await eventually(lambda: platform.runners["counts"].report().state == "running")
        pid = pid_of(platform, "counts")
        assert pid is not None
        # As good as a function that does not return.
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
