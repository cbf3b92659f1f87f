"""A job with lookups processes a backlog of fifty windows in the memory of one, while what it asks fails."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from headwater.log.contract import Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.testing.job_campaign.unreliable import UnreliableService, is_missing

pytestmark = pytest.mark.measures

WINDOW = 100
BACKLOG = 50 * WINDOW
EVENT_BYTES = 20_000
# When the caches are filled, and how much may be added after that: the backlog has 100 MB, the events and results of
# one window have 4 MB.
WARM_EVENTS = 10 * WINDOW
GROWTH_BYTES_MAX = 20_000_000
SECONDS_MAX = 120.0

# Processes the backlog, and prints by how much the process has grown since it was warm.
CHILD = f"""
import asyncio, json, resource, sys
from pathlib import Path
from headwater.errors import AnswerInvalid
from headwater.jobs import Await, Job, NotYet, Reject, Retry, ToStream
from headwater.log.sqlite.log import SqliteLog
from headwater.lookups import open_lookups
from headwater.processing.embedded.settings import RunnerSettings
from headwater.settings import LookupsConfig
from headwater.testing.job_kit import JobKit

PAGE = resource.getpagesize()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE

async def looked_up(event, context):
    url = f"{{sys.argv[2]}}/asked/{{event['number']}}"
    answer = await context.http.get(url, timeout=0.3, attempts=1, accept=(404,))
    if answer.status == 404:
        raise Reject("there is no such number")
    try:
        found = answer.json()
    except AnswerInvalid as error:
        raise NotYet("the answer is not JSON") from error
    if "error" in found:
        raise NotYet(found["error"]["code"])
    return {{**event, "$schema": "/out/1.0.0", "value": found["value"]}}

async def main():
    step = Await("look up", looked_up, 1_000, Retry("60s", "5ms", "50ms"), 5_000)
    job = Job("asking", ("in",), (step,), ToStream("out"))
    settings = RunnerSettings(in_flight_events_max={WINDOW}, wait_seconds=0.02, probe_seconds=0.01)
    lookups = LookupsConfig(retries_percent_max=1000, pause_seconds_max=0.05)
    async with open_lookups(lookups) as http:
        kit = JobKit(job, log=SqliteLog(Path(sys.argv[1])), settings=settings, http=http)
        await kit.open()
        running = asyncio.create_task(kit.runner.run(drain=True))
        first = most = in_flight = 0
        while not running.done():
            report = kit.runner.status.report()
            in_flight = max(in_flight, report.calls.in_flight)
            if not first and report.read >= {WARM_EVENTS}:
                first = resident()
            most = max(most, resident())
            await asyncio.sleep(0.005)
        await running
        report = kit.runner.status.report()
        print(json.dumps({{"first": first, "most": most, "in_flight": in_flight, "written": report.written,
                          "errors": report.errors}}))
        await kit.log.close()

asyncio.run(main())
"""


async def write_backlog(path: Path) -> None:
    log = SqliteLog(path)
    await log.open()
    for topic in ("in", "out", "asking.error"):
        await log.ensure_topic(topic, TopicSettings())
    for first in range(0, BACKLOG, WINDOW):
        records = []
        for number in range(first, first + WINDOW):
            text = f"{number} ".ljust(EVENT_BYTES, "x")
            records.append(Record("in", json.dumps({"number": number, "text": text}).encode()))
        await log.append(records)
    await log.close()


@pytest.mark.timeout(60 + SECONDS_MAX)
async def test_a_backlog_of_fifty_windows_is_processed_in_the_memory_of_one(tmp_path: Path) -> None:
    await write_backlog(tmp_path / "events.db")
    service = UnreliableService()
    url = await service.start()
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(tmp_path / "events.db"), url, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await asyncio.wait_for(child.communicate(), SECONDS_MAX)
    finally:
        await service.stop()
    assert child.returncode == 0
    found = json.loads(printed)
    print(f"{found}; it grew by {(found['most'] - found['first']) / 1e6:.1f} MB")
    missing = sum(map(is_missing, range(BACKLOG)))
    assert (found["written"], found["errors"]) == (BACKLOG - missing, missing)
    assert WINDOW / 2 < found["in_flight"] <= WINDOW
    assert service.failed.keys() >= {"429", "503", "timeout", "disconnects", "not JSON", "maxlag"}
    assert found["first"] > 0
    assert found["most"] - found["first"] < GROWTH_BYTES_MAX
