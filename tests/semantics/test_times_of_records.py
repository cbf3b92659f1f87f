"""A log dates what a job writes by its time of receipt, whatever time the event states."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.jobs import Context, job
from headwater.log.contract import Log
from headwater.log.event_time import event_time_of
from headwater.log.sqlite.log import SqliteLog
from headwater.testing.clock import ManualClock
from headwater.testing.job_kit import JobKit
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog
from semantics.places import START_MS, Event, event

LATER_MS = START_MS + 86_400_000


@job(source="in", sink="out")
def copied(one: Event, context: Context) -> Event:
    return one


@pytest.fixture(params=["sqlite", "kafka"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    clock = ManualClock(LATER_MS / 1000)
    if request.param == "sqlite":
        return SqliteLog(tmp_path / "events.db", durability="os", clock=clock)
    return OracleKafkaLog(OracleBrokers(), clock=clock)


async def test_the_time_of_a_record_is_that_of_its_receipt_and_the_events_own_time_is_beside_it(log: Log) -> None:
    kit = JobKit(copied, log=log)
    kit.clock.now = LATER_MS / 1000
    await kit.open()
    await kit.put(event(1, "a", 0), event(2, "a", 172_800))
    await kit.run()
    records = await log.read(await log.first(["out"]))
    assert [record.timestamp_ms for record in records] == [LATER_MS, LATER_MS]
    # The earlier of both.
    assert [event_time_of(record, "dt") for record in records] == [START_MS, LATER_MS]
    await log.close()
