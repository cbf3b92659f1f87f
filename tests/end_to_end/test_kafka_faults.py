"""Brokers die, hang and come back under load; records with old event times meet the broker's retention."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from headwater.config import IntakeConfig
from headwater.intake import Accepted, Gate, GateSettings, Intake
from headwater.log.contract import Log, Record, TopicSettings
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.job_kit import OpenSchemas

if TYPE_CHECKING:
    from servers.kafka import KafkaCluster

WEEK_SECONDS = 7 * 86_400.0
TEN_YEARS = timedelta(days=3652)
EVENTS = 500
CHECK_SECONDS_MAX = 30


def new_log(bootstrap: str, namespace: str = "") -> Log:
    from headwater.log.kafka.log import KafkaLog

    return KafkaLog(f"kafka://{bootstrap}/{namespace}")


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_brokers_are_killed_and_paused_under_load_and_no_accepted_event_is_lost_or_doubled(
    kafka_cluster: KafkaCluster,
) -> None:
    from headwater.testing.campaign.kafka_faults import FAULTS, BrokerCampaign

    stream = f"faults-{uuid.uuid4().hex[:8]}"
    campaign = BrokerCampaign(kafka_cluster, lambda: new_log(kafka_cluster.bootstrap), stream=stream, seed=1)
    report = await campaign.run(
        [FAULTS["follower killed"], FAULTS["leader killed"], FAULTS["leader paused"], FAULTS["two of three killed"]],
        hold_seconds=5.0,
    )
    print(report.text())
    assert report.problems == []
    assert len(report.faults) == 4
    assert all(figures.accepted for figures in report.faults)


@pytest.fixture
async def log(kafka_server: str) -> AsyncIterator[Log]:
    log = new_log(kafka_server, f"{uuid.uuid4().hex[:8]}.")
    await log.open()
    yield log
    await log.close()


async def _removed_by_retention(log: Log, topic: str, count: int) -> None:
    """Wait until the first `count` records of the topic are gone."""
    for _ in range(CHECK_SECONDS_MAX * 10):
        if (await log.first([topic])).offsets[topic, 0] >= count:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"the broker's retention check removed nothing from {topic!r} in {CHECK_SECONDS_MAX} seconds")


async def test_events_of_ten_years_ago_outlive_the_retention_check_of_a_stream_kept_for_seven_days(log: Log) -> None:
    # A record that claims to have been received then shows that the check runs, and what it does to such records.
    await log.ensure_topic("control", TopicSettings(retention_seconds=WEEK_SECONDS))
    then = datetime.now(UTC) - TEN_YEARS
    await log.append([Record("control", b"x", timestamp_ms=int(then.timestamp() * 1000))])

    stream = Stream("old", schema_title="old", retention_seconds=WEEK_SECONDS)
    gate = Gate(StreamRegistry([stream]), Validator(OpenSchemas()), GateSettings())
    intake = Intake(gate, log, IntakeConfig(), Telemetry())
    await intake.start()
    for hour in range(0, EVENTS, 50):
        events = [
            {
                "$schema": "/old/1.0.0",
                "meta": {"stream": "old", "dt": (then + timedelta(minutes=number)).isoformat()},
                "dt": (then + timedelta(minutes=number)).isoformat(),
                "number": number,
            }
            for number in range(hour, hour + 50)
        ]
        assert all(isinstance(outcome, Accepted) for outcome in await intake.write(events))
    await intake.stop()

    # Twice: the check that removed the first one may have seen the stream before its last event.
    await _removed_by_retention(log, "control", 1)
    await log.append([Record("control", b"x", timestamp_ms=int(then.timestamp() * 1000))])
    await _removed_by_retention(log, "control", 2)

    position, found = await log.first(["old"]), []
    while records := await log.read(position, wait_seconds=0.5):
        for record in records:
            found.append(orjson.loads(record.value)["number"])
            position = position.after(record)
    assert found == list(range(EVENTS))
