"""`headwater errors redrive` against a running platform, and killed while it runs: each event is processed once."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from end_to_end.edits import SCHEMAS, write_files
from end_to_end.running import HEADWATER
from headwater.config import Config, load_config
from headwater.errors import TopicUnknown
from headwater.log.contract import Log
from headwater.platform import Platform, build
from headwater.processing.failures.redriven import redrive_topic
from headwater.testing.eventually import eventually

EVENTS = 42
# The job fails for every other event, for as long as there is a file.
JOB = """
from pathlib import Path
from headwater.jobs import job

BROKEN = Path(__file__).parent.parent / "broken"

@job(source="edit", sink="passed", key="wiki", state=int)
def passed(event, context):
    context.state += 1
    if event["number"] % 2 and BROKEN.exists():
        raise ValueError(f"number {event['number']}")
    return {"edit": event["number"], "count": context.state}
"""
FILES = {
    **SCHEMAS,
    "streams/edit.yaml": "stream: edit\nschema_title: edit\ntransport: {kafka: {partitions: 2}}\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "jobs/jobs.py": JOB,
    "broken": "",
}


def edit(number: int) -> dict[str, Any]:
    meta = {"stream": "edit", "id": f"edit-{number}", "dt": "2023-11-14T20:00:00Z"}
    return {"$schema": "/edit/1.0.0", "meta": meta, "wiki": f"wiki{number % 3}", "number": number}


def started(config: Config, *arguments: str, job: str = "passed") -> subprocess.Popen[str]:
    """`headwater errors redrive` as a process."""
    # The log is named in the project's file, as a process of its own reads that.
    settings = config.project_dir / "headwater.yaml"
    settings.write_text(f"log: {config.log.url}\n")
    command = [*HEADWATER, "errors", "redrive", job, "--project", str(config.project_dir), "--json", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def redriven(config: Config, *arguments: str, job: str = "passed") -> dict[str, Any]:
    """What the command says about what it did."""
    process = started(config, *arguments, job=job)
    said, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(said)
    return found


async def count_of(log: Log, topic: str) -> int:
    try:
        return sum((await log.last([topic])).offsets.values())
    except TopicUnknown:
        return 0


async def events_of(log: Log, topic: str) -> list[dict[str, Any]]:
    position = await log.first([topic])
    events = []
    while records := await log.read(position):
        events += [json.loads(record.value) for record in records]
        for record in records:
            position = position.after(record)
    return events


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Platform]:
    platform = build(config)
    await platform.start()
    try:
        yield platform
    finally:
        await platform.stop()


async def check_redrive(config: Config) -> None:
    """Events fail, the cause is repaired, a redrive is killed and repeated; all the while the platform runs."""
    async with running(config) as platform:
        await platform.intake.write([edit(number) for number in range(EVENTS)])
        await eventually(lambda: platform.runners["passed"].report().errors == EVENTS // 2, seconds=30)
        (config.project_dir / "broken").unlink()

        # It would take longer than anything here may, and makes a transaction for each event.
        killed = started(config, "--rate", "1")

        async def has_begun() -> bool:
            assert killed.poll() is None, killed.communicate()
            return await count_of(platform.log, redrive_topic("passed")) >= 3

        await eventually(has_begun, seconds=40)
        killed.send_signal(signal.SIGKILL)
        await asyncio.to_thread(killed.communicate)

        rest = await redriven(config)
        assert rest["redriven_before"] > 0
        assert rest["redriven_before"] + rest["events"] == EVENTS // 2
        await eventually(lambda: platform.runners["passed"].report().written == EVENTS, seconds=30)
        again = await redriven(config)
        assert (again["events"], again["redriven_before"]) == (0, EVENTS // 2)
        found = await events_of(platform.log, "passed")
        assert sorted(event["edit"] for event in found) == list(range(EVENTS))
        assert len({event["meta"]["id"] for event in found}) == EVENTS
        counts = {wiki: sorted(e["count"] for e in found if e["edit"] % 3 == wiki) for wiki in range(3)}
        assert counts == {wiki: list(range(1, EVENTS // 3 + 1)) for wiki in range(3)}


async def test_a_killed_redrive_is_continued_while_the_platform_runs(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    url = f"sqlite:///{tmp_path / 'events.db'}"
    await check_redrive(load_config(tmp_path, environment={}, overrides={"log.url": url}))


@pytest.mark.real_server
async def test_a_killed_redrive_is_continued_on_kafka(tmp_path: Path, kafka_url: str) -> None:
    write_files(tmp_path, FILES)
    await check_redrive(load_config(tmp_path, environment={}, overrides={"log.url": kafka_url}))
