"""A process that runs windows, state, calls and tables is killed again and again; everything is exact all the same."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from headwater.config import Config, load_config
from headwater.log.contract import Position
from headwater.platform import Platform, build

KILLS = 8
# A process is killed while it starts, or after it has read up to so many events; together they are not all of them.
EVENTS_READ_MAX = 200
SECONDS_MAX = 0.005
STARTING_SECONDS_MAX = 0.5
# Each process is given more events than it reads before it is killed, however late its killing thread has its turn.
EVENTS_EACH = 375
EVENTS = KILLS * EVENTS_EACH
WIKIS = 7
PAGES = 20

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
    "streams/asked.yaml": "stream: asked\nschema_title: counts\n",
    "streams/running.yaml": "stream: running\nschema_title: counts\n",
    "jobs/counts.py": """
import asyncio
from headwater.jobs import Await, Job, NotYet, PerKey, Retry, ToStream, Transition, job, table, tumbling

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

async def answered(event, context):
    number = int(event["meta"]["id"].removeprefix("edit-"))
    await asyncio.sleep(0.001 * (number % 4))
    if number % 11 == 0 and context.attempt == 1:
        raise NotYet("there is no answer yet")
    return {**event, "edit": number}

def wiki(event, context):
    return event["wiki"]

def numbered(state, event, context):
    number = (state or 0) + 1
    return Transition(number, events=[{"wiki": event["wiki"], "edit": event["edit"], "number": number}])

asked = Job(
    "asked",
    ("edit",),
    (
        Await("answer", answered, 16, Retry("60s", "1ms", "5ms", park="1s", hold_key=True), key=wiki),
        PerKey("number", wiki, numbered),
    ),
    ToStream("asked"),
)

def version(event):
    return int(event["meta"]["id"].removeprefix("edit-")) * 7919 % 3001

@table(source="edit", key=("wiki", "page"), version=version, delete=lambda event: version(event) % 3 == 0)
def newest(event):
    return {"edit": event["meta"]["id"]}

counted = table("counts", source="counts", key=("wiki", "start"),
                columns={"wiki": "text", "start": "text", "edits": "integer"})
""",
}

# Small batches, so that there are many moments between two commits. The thread that kills does not wait for the event
# loop, so that it does so at any moment.
CHILD = """
import asyncio, os, signal, sys, threading, time
from pathlib import Path
from headwater.config import load_config
from headwater.platform import build
from headwater.processing.embedded.settings import RunnerSettings

def kill(report, events, seconds):
    deadline = time.monotonic() + 60
    while report().read < events and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    platform = build(load_config(Path(sys.argv[1]), environment={}, overrides={"log.url": sys.argv[2]}))
    for supervisor in platform.runners.values():
        supervisor.runner.settings = RunnerSettings(batch_records_max=20)
    arguments = (platform.runners["counts"].report, int(sys.argv[3]), float(sys.argv[4]))
    threading.Thread(target=kill, args=arguments, daemon=True).start()
    await platform.start()
    await asyncio.sleep(90)

asyncio.run(main())
"""


def edit(number: int) -> dict[str, Any]:
    minute, second = (number * 7) % 30, number % 60
    return {
        "$schema": "/edit/1.0.0",
        "meta": {"stream": "edit", "id": f"edit-{number}", "dt": f"2023-11-14T20:{minute:02}:{second:02}Z"},
        "wiki": f"wiki{number % WIKIS}",
        "page": number % PAGES,
    }


def newest_edits() -> dict[tuple[str, int], str]:
    """The newest edit of each page, as the table of the project has it, unless that deletes the page."""
    found: dict[tuple[str, int], tuple[int, str]] = {}
    for number in range(EVENTS):
        event, version = edit(number), number * 7919 % 3001
        key = (event["wiki"], event["page"])
        found[key] = max(found.get(key, (-1, "")), (version, event["meta"]["id"]))
    return {key: name for key, (version, name) in found.items() if version % 3}


def run_and_kill(project: Path, log_url: str, events: int, seconds: float) -> None:
    command = [sys.executable, "-c", CHILD, str(project), log_url, str(events), str(seconds)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


async def write_and_read_so_far(config: Config, numbers: range) -> int:
    """How many events the window job had committed, before those of `numbers` were written."""
    platform = build(config)
    await platform.start(run_jobs=False)
    token = await platform.log.committed("job.counts")
    await platform.intake.write([edit(number) for number in numbers])
    await platform.stop()
    offsets = Position.parse(token).offsets if token else {}
    return sum(offset for (topic, _), offset in offsets.items() if topic == "edit")


async def test_counts_and_states_are_exact_whenever_the_process_is_killed(tmp_path: Path, log_url: str) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    config = load_config(tmp_path, environment={}, overrides={"log.url": log_url})
    chance = random.Random(8)
    partly, written = 0, 0
    for number in range(KILLS):
        partly += 0 < await write_and_read_so_far(config, range(written, written + EVENTS_EACH)) < written
        written += EVENTS_EACH
        is_starting = number % 4 == 0
        events = 0 if is_starting else chance.randrange(1, EVENTS_READ_MAX)
        seconds = chance.uniform(0.0, STARTING_SECONDS_MAX if is_starting else SECONDS_MAX)
        await asyncio.to_thread(run_and_kill, tmp_path, log_url, events, seconds)
    assert partly > 0, "no kill fell between two commits: the test proves nothing"

    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        await platform.finish_jobs()
        expected = Counter((edit(n)["wiki"], edit(n)["meta"]["dt"][:16] + ":00Z") for n in range(EVENTS))
        rows = platform.tables["counts"].view(10_000).rows
        assert {(wiki, start): edits for wiki, start, edits in rows} == expected

        newest = {key: row["edit"] for key, row in platform.materialized("newest")}
        assert newest == newest_edits()
        assert 50 < len(newest) < WIKIS * PAGES

        running = await events_of(platform, "running")
        numbers: dict[str, list[int]] = {}
        for event in running:
            numbers.setdefault(event["wiki"], []).append(event["number"])
        of_each = Counter(edit(n)["wiki"] for n in range(EVENTS))
        assert numbers == {wiki: list(range(1, count + 1)) for wiki, count in of_each.items()}
        assert len({event["meta"]["id"] for event in running}) == EVENTS
        asked = await events_of(platform, "asked")
        assert len({event["meta"]["id"] for event in asked}) == len(asked) == EVENTS
        of_wiki: dict[str, list[tuple[int, int]]] = {}
        for event in asked:
            of_wiki.setdefault(event["wiki"], []).append((event["number"], event["edit"]))
        for wiki, count in of_each.items():
            assert [number for number, _ in of_wiki[wiki]] == list(range(1, count + 1))
            # A key is in both partitions of its topic, and in order in each.
            assert len({edit for _, edit in of_wiki[wiki]}) == count
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
