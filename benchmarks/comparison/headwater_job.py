"""The tasks of the comparison as jobs of Headwater, in a project that `write_project` makes.

Run as a program it starts the platform of such a project, waits until its job has committed all events, and ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvloop
import work

from headwater.cli.up.interpreter import prepare_interpreter
from headwater.config import load_config
from headwater.log.contract import Record
from headwater.platform import Platform, build

JOB = "benchmark"
SOURCES = ("benchmark.in", "benchmark.right")
SINK = "benchmark.out"
PER_APPEND = 1_000
TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
META = {"type": "object", "properties": {"id": TEXT, "dt": TEXT, "stream": TEXT}}
FIELDS = {
    "in": {"number": WHOLE, "key": TEXT, "size": WHOLE, "pad": TEXT},
    "out": {"number": WHOLE, "key": TEXT, "total": WHOLE, "start_ms": WHOLE, "pad": TEXT},
}
HEAD = f"""
import work
from headwater.jobs import Join, job, tumbling

given = {{"source": "{SOURCES[0]}", "sink": "{SINK}", "name": "{JOB}"}}
"""
CODE = {
    "stateless": """
@job(**given)
def passed(event, context):
    return work.passed(event)
""",
    "keyed": """
@job(**given, key="key", state=int)
def counted(event, context):
    context.state += 1
    return work.counted(event, context.state)
""",
    "windowed": """
@job(**given, key="key", window=tumbling("1m").count("number").sum("total", "size"))
def windowed(window, context):
    return work.window(window.key, window.start_ms, window.number, window.total)
""",
    "joined": f"""
@job(**given, key="key", join=Join("{SOURCES[1]}", "5s"))
def joined(pair, context):
    return work.joined(*pair)
""",
    "async": """
import asyncio

@job(**given, concurrency=work.CONCURRENCY)
async def looked_up(event, context):
    await asyncio.sleep(work.LOOKUP_SECONDS)
    return work.passed(event)
""",
}


def write_project(folder: Path, task: str, log_url: str, processes: int) -> None:
    """The project of a task."""
    for name, fields in FIELDS.items():
        schema = {
            "title": f"benchmark/{name}",
            "$id": f"/benchmark/{name}/1.0.0",
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"$schema": TEXT, "meta": META, **fields},
        }
        (folder / f"schemas/benchmark/{name}").mkdir(parents=True)
        (folder / f"schemas/benchmark/{name}/1.0.0.yaml").write_text(json.dumps(schema))
    for part in ("streams", "jobs"):
        (folder / part).mkdir()
    for stream in (*SOURCES, SINK):
        declared = {"stream": stream, "schema_title": f"benchmark/{'out' if stream == SINK else 'in'}"}
        (folder / f"streams/{stream}.yaml").write_text(json.dumps(declared))
    (folder / "jobs/job.py").write_text(HEAD + CODE[task])
    settings = {"log": {"url": log_url}, "jobs": {"processes": processes}, "monitoring": {"canaries": False}}
    (folder / "headwater.yaml").write_text(json.dumps(settings))


def platform_of(folder: Path) -> Platform:
    """The platform of the project, not started."""
    return build(load_config(folder, environment={}))


async def fill(folder: Path, run: work.Run) -> None:
    """Write the events of the run directly into the log of the project, those of two streams in turns."""
    platform = platform_of(folder)
    await platform.start(run_jobs=False)
    try:
        sides = [work.events_of(run, side) for side in range(len(run.inputs))]
        topics = [platform.streams.get(SOURCES[side]).topics[0] for side in range(len(sides))]
        for start in range(0, run.count, PER_APPEND):
            for topic, events in zip(topics, sides, strict=True):
                some = [next(events) for _ in range(min(PER_APPEND, run.count - start))]
                await platform.log.append([Record(topic, value) for _, _, value in some])
    finally:
        await platform.stop()


async def results(folder: Path) -> list[Any]:
    """What the job has written."""
    platform = platform_of(folder)
    await platform.start(run_jobs=False)
    try:
        topics = platform.streams.get(SINK).topics
        position, found = await platform.log.first(topics), []
        while records := await platform.log.read(position):
            for record in records:
                position = position.after(record)
            found += [json.loads(record.value) for record in records]
        return found
    finally:
        await platform.stop()


async def process(folder: Path, events: int) -> None:
    """Run the job until it has committed so many events."""
    platform = platform_of(folder)
    await platform.start()
    host = platform.runners[JOB]
    while host.report().read < events:  # noqa: ASYNC110 - what is measured has no event to wait for
        await asyncio.sleep(0.02)
    await platform.stop()


if __name__ == "__main__":
    prepare_interpreter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(process(Path(sys.argv[1]), int(sys.argv[2])))
