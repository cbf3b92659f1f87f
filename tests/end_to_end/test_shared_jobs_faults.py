"""A shared job while brokers die and hang, the coordinators of its transactions among them: nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path

import pytest

from end_to_end.sharing import edit, has, numbers_of, records_of, shared_project, started
from headwater.errors import HeadwaterError
from headwater.platform import Platform
from headwater.testing.eventually import eventually
from servers.kafka import KafkaCluster

AWAY_SECONDS = 3.0
CATCH_UP_SECONDS = 60.0


async def inputs_of(platform: Platform) -> list[int]:
    return sorted(json.loads(record.value)["number"] for record in await records_of(platform, "edit"))


@pytest.mark.slow
async def test_a_shared_job_outlives_each_broker_in_turn_without_losing_or_repeating_anything(
    tmp_path: Path, kafka_cluster: KafkaCluster
) -> None:
    config = shared_project(tmp_path / "project", kafka_cluster.bootstrap)
    first, second = await started(config), await started(config)
    stopping = asyncio.Event()

    async def writing() -> None:
        number = 0
        while not stopping.is_set():
            # What the brokers did not take need not come out; what they took counts, told or not.
            with contextlib.suppress(HeadwaterError):
                await first.intake.write([edit(number + more) for more in range(5)])
            number += 5
            await asyncio.sleep(0.02)

    writer = asyncio.create_task(writing())
    try:
        await eventually(lambda: has(first, 2)() and has(second, 2)())
        for number in kafka_cluster.nodes:
            end = kafka_cluster.pause if number == 2 else kafka_cluster.kill
            await asyncio.to_thread(end, number)
            await asyncio.sleep(AWAY_SECONDS)
            await asyncio.to_thread(kafka_cluster.resume if number == 2 else kafka_cluster.restart, number)
        stopping.set()
        await writer
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while (made := sorted(await numbers_of(first))) != (taken := await inputs_of(first)):
            assert time.monotonic() < deadline, f"{len(made)} of {len(taken)} came"
            await asyncio.sleep(0.5)
        assert len(taken) > 100
        await asyncio.sleep(0.5)
        assert sorted(await numbers_of(first)) == taken
    finally:
        stopping.set()
        await asyncio.gather(writer, return_exceptions=True)
        await second.stop()
        await first.stop()
