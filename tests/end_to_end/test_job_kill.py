"""A process that runs a window job and fills its table is killed again and again; the counts are exact all the same."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from headwater.config import Config, load_config
from headwater.log.contract import Position
from headwater.platform import Platform, build

KILLS = 8
# A process on Kafka has to be the only writer of its groups first, which takes a moment.
SECONDS_MAX = {"sqlite": 0.1, "kafka": 0.6}
EVENTS = 3000
WIKIS = 7

FILES = {
    "schemas/edit/1.0.0.yaml": """
title: edit
$id: /edit/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
properties:
  meta: {type: object, properties: {id: {type: string}, stream: {type: string}, dt: {type: string}}}
""",
    "schemas/counts/1.0.0.yaml": """
title: counts
$id: /counts/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
properties:
  meta: {type: object, properties: {id: {type: string}, stream: {type: string}, dt: {type: string}}}
""",
    "streams/edit.yaml": "stream: edit\nschema_title: edit\ntransport: {kafka: {partitions: 2}}\n",
    "streams/counts.yaml": "stream: counts\nschema_title: counts\n",
    "streams/passed.yaml": "stream: passed\nschema_title: counts\n",
    "streams/running.yaml": "stream: running\nschema_title: counts\n",
    "jobs/counts.py": """
from headwater.jobs import job, table, tumbling

@job(source="edit", sink="counts", key="wiki", window=tumbling("1m", lateness="1d").count("edits"))
def counts(window, context):
    return {"wiki": window.key, "start": window.start, "edits": window.edits}

@job(source="edit", sink="running", key="wiki", state=int)
def running(event, context):
    context.state += 1
    return {"wiki": event["wiki"], "number": context.state}

@job(source="edit", sink="passed")
def passed(event, context):
    return {"wiki": event["wiki"], "number": int(event["meta"]["id"].removeprefix("edit-"))}

counted = table("counts", source="counts", key=("wiki", "start"),
                columns={"wiki": "text", "start": "text", "edits": "integer"})
""",
}

# Small batches, so that there are many moments between two commits.
CHILD = """
import asyncio, sys
from pathlib import Path
from headwater.config import load_config
from headwater.platform import build
from headwater.processing.embedded.loop import RunnerSettings

async def main():
    platform = build(load_config(Path(sys.argv[1]), environment={}, overrides={"log.url": sys.argv[2]}))
    for supervisor in platform.runners.values():
        supervisor.runner.settings = RunnerSettings(batch_records_max=20)
    await platform.start()
    print("started", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def edit(number: int) -> dict[str, Any]:
    minute, second = (number * 7) % 30, number % 60
    return {
        "$schema": "/edit/1.0.0",
        "meta": {"stream": "edit", "id": f"edit-{number}", "dt": f"2023-11-14T20:{minute:02}:{second:02}Z"},
        "wiki": f"wiki{number % WIKIS}",
    }


def run_and_kill(project: Path, log_url: str, seconds: float) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, str(project), log_url], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)


async def read_so_far(config: Config) -> int:
    """How many events the window job had committed."""
    platform = build(config)
    await platform.start(run_jobs=False)
    token = await platform.log.committed("job.counts")
    await platform.stop()
    offsets = Position.parse(token).offsets if token else {}
    return sum(offset for (topic, _), offset in offsets.items() if topic == "edit")


async def test_counts_and_states_are_exact_whenever_the_process_is_killed(tmp_path: Path, log_url: str) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    config = load_config(tmp_path, environment={}, overrides={"log.url": log_url})
    platform = build(config)
    await platform.start(run_jobs=False)
    await platform.intake.write([edit(number) for number in range(EVENTS)])
    await platform.stop()

    chance = random.Random(8)
    partly = 0
    for _ in range(KILLS):
        seconds = chance.uniform(0.0, SECONDS_MAX[log_url.partition(":")[0]])
        await asyncio.to_thread(run_and_kill, tmp_path, log_url, seconds)
        partly += 0 < await read_so_far(config) < EVENTS
    assert partly > 0, "no kill fell between two commits: the test proves nothing"

    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        await platform.finish_jobs()
        expected = Counter((edit(n)["wiki"], edit(n)["meta"]["dt"][:16] + ":00Z") for n in range(EVENTS))
        rows = platform.tables["counts"].view(10_000).rows
        assert {(wiki, start): edits for wiki, start, edits in rows} == expected

        running = await events_of(platform, "running")
        numbers: dict[str, list[int]] = {}
        for event in running:
            numbers.setdefault(event["wiki"], []).append(event["number"])
        of_each = Counter(edit(n)["wiki"] for n in range(EVENTS))
        assert numbers == {wiki: list(range(1, count + 1)) for wiki, count in of_each.items()}
        assert len({event["meta"]["id"] for event in running}) == EVENTS
        assert sorted(event["number"] for event in await events_of(platform, "passed")) == list(range(EVENTS))
    finally:
        await platform.stop()


async def events_of(platform: Platform, topic: str) -> list[dict[str, Any]]:
    position = await platform.log.first([topic])
    events = []
    while records := await platform.log.read(position):
        events += [json.loads(record.value) for record in records]
        for record in records:
            position = position.after(record)
    return events
