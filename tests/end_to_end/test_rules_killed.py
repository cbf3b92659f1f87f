"""Requests of rules wait for their retries while the process is killed and started again: none is lost or repeated."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.edits import write_files
from headwater.config import Config, load_config
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually
from wikimedia.recording_service import Asked, RecordingService, recording

EDITS = 20
DELAY_SECONDS = 1.0
# What the clocks of the service and of the runner may differ by.
CLOCKS_SECONDS = 0.05
SCHEMA = """
title: {name}
$id: /{name}/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
properties:
  meta: {{type: object, properties: {{id: {{type: string}}, stream: {{type: string}}, dt: {{type: string}}}}}}
"""
NAMES = ("edit", "change.request.v1", "change.retry.edit")
FILES = {
    **{f"schemas/{name}/1.0.0.yaml": SCHEMA.format(name=name) for name in NAMES},
    **{f"streams/{name}.yaml": f"stream: {name}\nschema_title: {name}\n" for name in NAMES},
    "streams/edit.yaml": "stream: edit\nschema_title: edit\ntransport: {kafka: {partitions: 2}}\n",
    "jobs/changes.py": """
from pathlib import Path
from headwater.jobs.rules.jobs import rule_jobs
change_rules, change = rule_jobs("change", Path(__file__).parent.parent / "rules.yaml")
""",
    "rules.yaml": f"""
rules:
  render:
    stream: edit
    exec: {{uri: 'https://wiki.example/edits/{{number}}'}}
    retry_delay: {DELAY_SECONDS:g}s
    retry_factor: 1
    retry_limit: 2
    concurrency: 5
""",
}
CHILD = """
import asyncio, sys
from pathlib import Path
from headwater.config import load_config
from headwater.platform import build

async def main():
    platform = build(load_config(Path(sys.argv[1]), environment={}, overrides={"log.url": sys.argv[2]}))
    await platform.start()
    await asyncio.sleep(60)

asyncio.run(main())
"""


class Unavailable:
    """Answers 503 to every request; from the one that is `held_from` on, counted from 0, only after `release`."""

    def __init__(self) -> None:
        self.held_from = sys.maxsize
        self.release = threading.Event()

    def __call__(self, number: int, asked: Asked) -> int:
        if number >= self.held_from:
            self.release.wait()
        return 503


def run_until(condition: Callable[[], bool], project: Path, log_url: str) -> None:
    """Run the project in a process of its own, and kill it when the condition holds."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(project), log_url]) as process:
        try:
            asyncio.run(eventually(condition))
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)


async def events_of(platform: Platform, topic: str) -> list[dict[str, Any]]:
    position = await platform.log.first([topic])
    events = []
    while records := await platform.log.read(position):
        events += [json.loads(record.value) for record in records]
        for record in records:
            position = position.after(record)
    return events


async def retries_of(config: Config) -> Counter[int]:
    """How many failures of each edit are committed."""
    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        retries = await events_of(platform, "change.retry.edit")
        return Counter(retry["original_event"]["number"] for retry in retries)
    finally:
        await platform.stop()


async def write_edits(config: Config) -> None:
    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        await platform.intake.write(
            [
                {"$schema": "/edit/1.0.0", "meta": {"stream": "edit", "id": f"edit-{number}"}, "number": number}
                for number in range(EDITS)
            ]
        )
    finally:
        await platform.stop()


def times_of(service: RecordingService, number: int) -> list[float]:
    return [asked.at for asked in service.requests if asked.target == f"/edits/{number}"]


@pytest.mark.slow
async def test_delays_survive_kills_and_each_failure_is_recorded_once(tmp_path: Path, log_url: str) -> None:
    answers = Unavailable()
    with recording(answers) as service:
        write_files(tmp_path, FILES)
        (tmp_path / "headwater.yaml").write_text(f"jobs: {{settings: {{change: {{base_url: '{service.url}'}}}}}}\n")
        config = load_config(tmp_path, environment={}, overrides={"log.url": log_url})
        await write_edits(config)
        # Killed among the first executions, and then among the second ones.
        # The last execution gets no answer, so that what comes after it cannot be committed before the kill.
        for executions in (EDITS // 2, EDITS + EDITS // 2):
            wanted = len(service.requests) + executions
            answers.release.clear()
            answers.held_from = wanted - 1
            await asyncio.to_thread(run_until, lambda wanted=wanted: len(service.requests) >= wanted, tmp_path, log_url)
            answers.release.set()
            answers.held_from = sys.maxsize
        before = {number: times_of(service, number) for number in range(EDITS)}
        committed = await retries_of(config)
        assert 0 < committed.total() < 2 * EDITS, "the last kill was not between two commits: the test proves nothing"

        platform = build(config)
        await platform.start()
        try:

            async def is_done() -> bool:
                return len(await events_of(platform, "change.error")) >= EDITS

            await eventually(is_done)
            errors = await events_of(platform, "change.error")
            retries = await events_of(platform, "change.retry.edit")
        finally:
            await platform.stop()

    assert {error["error_type"] for error in errors} == {"UNAVAILABLE"}
    assert len(errors) == EDITS
    assert len({retry["meta"]["id"] for retry in retries}) == len(retries)
    left = Counter((retry["original_event"]["number"], retry["retries_left"]) for retry in retries)
    assert left == {(number, still): 1 for number in range(EDITS) for still in (2, 1)}
    for number in range(EDITS):
        later = times_of(service, number)[len(before[number]) :]
        # What was committed is not done again; what was not, is. On Kafka more may be committed than the topic has.
        assert 3 - len(before[number]) <= len(later) <= 3 - committed[number], number
        every = [*before[number][-1:], *later] if committed[number] else later
        pauses = [after - earlier for earlier, after in itertools.pairwise(every)]
        if committed[number] < len(before[number]):
            # The last execution before the kill was not committed, and is repeated at once.
            pauses = pauses[1:]
        assert all(pause >= DELAY_SECONDS - CLOCKS_SECONDS for pause in pauses), (number, pauses)
