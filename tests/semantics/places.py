"""Runs one job on the same events in each of the places where jobs run: on SQLite, on Kafka's features, and in batch.

An input is an event, or bytes that may be none. The outcome is what the job wrote, by stream, in order, and its counts.
A run that raised is continued by the next one with the same directory. On Kafka the state of the job is in a file with
an outbox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from headwater.intake.gate import GateSettings
from headwater.jobs.job import Job
from headwater.log.contract import Record
from headwater.log.sqlite.log import SqliteLog
from headwater.processing.batch.admission import AdmissionRules, InputLine
from headwater.processing.batch.run import HistoryRun, HistorySettings
from headwater.processing.batch.store import FilesStore, ResultFile
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.stores.contract import JobStore
from headwater.processing.stores.outbox import OutboxStore
from headwater.schemas.validation.validator import Validator
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit, OpenSchemas, streams_of
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog
from headwater.times import utc_milliseconds

Event = dict[str, Any]
Input = Event | bytes
Place = Callable[..., Awaitable["Outcome"]]
# One event at a time, so that the watermark has moved before the next.
SETTINGS = RunnerSettings(batch_records_max=1, wait_seconds=0.01, retry_seconds=0.01, commit_seconds=0.001)
# The beginning of a minute, long ago.
START_MS = 1_600_000_020_000


# By the directory of a test: they outlive a run.
_BROKERS: dict[Path, OracleBrokers] = {}


class Outcome(NamedTuple):
    """What the job wrote, and how many events were late and failed."""

    streams: dict[str, list[Event]]
    late: int
    errors: int
    skipped: int = 0


def event(number: int, key: str, second: float, **fields: Any) -> Event:
    """An event of the stream `in`, `second` seconds after the start."""
    at = utc_milliseconds(START_MS + int(second * 1_000))
    meta = {"stream": "in", "id": f"id-{number}", "dt": at}
    return {"$schema": "/in/1.0.0", "meta": meta, "dt": at, "key": key, "number": number, **fields}


async def on_sqlite(job: Job, events: Sequence[Input], directory: Path, *, http: Any = None) -> Outcome:
    """Live, on the embedded log; restarted in the middle of the events."""
    log = SqliteLog(directory / "events.db", durability="os")
    return await _live(lambda: JobKit(job, log=log, settings=SETTINGS, http=http), events)


async def on_kafka(job: Job, events: Sequence[Input], directory: Path, *, http: Any = None) -> Outcome:
    """Live, on a log that keeps no state; restarted in the middle of the events."""
    log = OracleKafkaLog(_BROKERS.setdefault(directory, OracleBrokers()))

    def store() -> JobStore:
        return OutboxStore(log, job.group, directory / "state.db", durability="os")

    return await _live(lambda: JobKit(job, log=log, settings=SETTINGS, http=http, store=store()), events)


async def in_batch(job: Job, events: Sequence[Input], directory: Path, *, http: Any = None) -> Outcome:
    """Over history, in the order of arrival."""
    lines = [
        InputLine("in", number, number, one if isinstance(one, bytes) else orjson.dumps(one), "in")
        for number, one in enumerate(events)
    ]
    names = job.writes().streams
    store = FilesStore(directory, [ResultFile(name, frozenset([name]), directory / name) for name in names])
    project = (streams_of(job), Validator(OpenSchemas()), GateSettings(enforce_streams=False))
    settings = HistorySettings(order="arrival", rules=AdmissionRules(deduplicate=False))
    run = HistoryRun(job, project, lambda: lines, store=store, directory=directory, settings=settings, http=http)
    await asyncio.to_thread(run.read, lambda: None)
    summary = await run.process()
    await store.publish()
    written = {name: [orjson.loads(line) for line in (directory / name).read_bytes().splitlines()] for name in names}
    return Outcome(written, summary.late, summary.errors, summary.skipped)


async def _live(new_kit: Callable[[], JobKit], events: Sequence[Input]) -> Outcome:
    first = _in_the_present(new_kit())
    await first.open()
    try:
        # Those that a run before this one did not put.
        there = sum((await first.log.last(["in"])).offsets.values())
        half = max(len(events) // 2, there)
        await _put(first, events[there:half])
        await _until_nothing_is_left(first)
        # As another process would continue.
        second = _in_the_present(new_kit())
        await _put(second, events[half:])
        await _until_nothing_is_left(second)
        await second.run()
        written = {name: await second.events(name) for name in second.job.writes().streams}
    finally:
        await first.log.close()
    reports = [kit.runner.status.report() for kit in (first, second)]
    counts = [sum(getattr(one, name) for one in reports) for name in ("late", "errors", "skipped")]
    return Outcome(written, *counts)


async def _until_nothing_is_left(kit: JobKit) -> None:
    task = asyncio.create_task(kit.runner.run())

    async def is_over() -> bool:
        # Before it has begun it knows no position.
        return task.done() or (kit.runner.status.has_run and await kit.runner.lag() == 0)

    await eventually(is_over)
    kit.runner.stop()
    await task


def _in_the_present(kit: JobKit) -> JobKit:
    kit.clock.now = time.time()
    return kit


async def _put(kit: JobKit, events: Sequence[Input]) -> None:
    for one in events:
        if isinstance(one, bytes):
            await kit.log.append([Record("in", one)])
        else:
            await kit.put(one)


PLACES: dict[str, Place] = {"sqlite": on_sqlite, "kafka": on_kafka, "batch": in_batch}
