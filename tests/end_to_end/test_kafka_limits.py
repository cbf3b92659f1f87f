"""Limits of topics that are changed while the log is open: what fits is stored, and what does not is reported by
event.
"""

from __future__ import annotations

import asyncio
import random
import string
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from end_to_end.edits import PASSED, RUNNING, SCHEMAS, write_files
from headwater.config import Config, load_config
from headwater.errors import AppendIncomplete, EventTooLarge
from headwater.log.contract import Commit, Position, Record, TopicSettings
from headwater.platform import build
from headwater.testing.eventually import eventually, eventually_blocking
from headwater.testing.suites.log import read_all, values

if TYPE_CHECKING:
    from headwater.log.kafka.log import KafkaLog

FILES = {
    **SCHEMAS,
    "streams/edit.yaml": "stream: edit\nschema_title: edit\n",
    "streams/running.yaml": "stream: running\nschema_title: count\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "jobs/jobs.py": "from headwater.jobs import job\n"
    + (RUNNING + PASSED).replace('event["number"]}', 'event["number"], "fill": event.get("fill", "")}'),
}
_chance = random.Random(7)


def incompressible(size: int) -> bytes:
    return "".join(_chance.choices(string.ascii_letters + string.digits, k=size)).encode()


def set_limit(url: str, topic: str, bytes_max: int) -> None:
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

    servers, _, namespace = url.removeprefix("kafka://").partition("/")
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, namespace + topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers})
    for changed in admin.incremental_alter_configs([resource]).values():
        changed.result(timeout=10)
    eventually_blocking(lambda: _limit_of(admin, namespace + topic) == bytes_max)


def _limit_of(admin: Any, full_name: str) -> int:
    from confluent_kafka.admin import ConfigResource

    [described] = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, full_name)]).values()
    return int(described.result(timeout=10)["max.message.bytes"].value)


@pytest.fixture
def url(kafka_server: str) -> str:
    return f"kafka://{kafka_server}/limits-{uuid.uuid4().hex[:10]}."


@pytest.fixture
async def log(url: str) -> AsyncIterator[KafkaLog]:
    from headwater.log.kafka.log import KafkaLog

    log = KafkaLog(url)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    await log.ensure_topic("b", TopicSettings())
    yield log
    await log.close()


async def test_events_that_fit_under_a_smaller_limit_are_stored_and_the_one_that_does_not_is_named(
    log: KafkaLog, url: str
) -> None:
    await log.append([Record("a", b"before")])
    await asyncio.to_thread(set_limit, url, "a", 2_000)
    many = [incompressible(300) for _ in range(30)]
    assert len(await log.append([Record("a", one) for one in many])) == 30
    mixed = [b"one", incompressible(5_000), b"three", b"elsewhere"]
    with pytest.raises((AppendIncomplete, EventTooLarge)) as caught:
        await log.append([Record("b" if one == b"elsewhere" else "a", one) for one in mixed])
    if isinstance(caught.value, AppendIncomplete):
        assert {index: type(error) for index, error in caught.value.failures.items()} == {1: EventTooLarge}
    assert set(values(await read_all(log, ["a"]))) >= {b"before", *many}


async def test_one_that_is_too_large_in_the_first_append_after_the_change_costs_its_neighbours_nothing(
    log: KafkaLog, url: str
) -> None:
    await log.append([Record("a", b"before")])
    await asyncio.to_thread(set_limit, url, "a", 2_000)
    sent = [b"one", incompressible(5_000), b"three"]
    with pytest.raises(AppendIncomplete) as caught:
        await log.append([Record("a", one) for one in sent])
    assert {index: type(error) for index, error in caught.value.failures.items()} == {1: EventTooLarge}
    assert sorted(caught.value.placements) == [0, 2]
    found = {record.offset: record.value for record in await read_all(log, ["a"])}
    assert {found[place.offset] for place in caught.value.placements.values()} == {b"one", b"three"}


async def test_a_limit_that_is_made_larger_counts_without_a_restart(
    log: KafkaLog, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.log.kafka import producer as kafka_producer

    await asyncio.to_thread(set_limit, url, "a", 2_000)
    with pytest.raises(AppendIncomplete):
        await log.append([Record("a", incompressible(5_000))])
    with pytest.raises(EventTooLarge):
        await log.append([Record("a", incompressible(5_000))])
    await asyncio.to_thread(set_limit, url, "a", 20_000)
    monkeypatch.setattr(kafka_producer, "SETTINGS_FRESH_SECONDS", 0.0)

    async def stored() -> bool:
        try:
            await log.append([Record("a", incompressible(5_000))])
        except EventTooLarge:
            return False
        return True

    await eventually(stored)


async def test_a_transaction_that_is_too_large_as_one_batch_is_repeated_in_smaller_ones(
    log: KafkaLog, url: str
) -> None:
    from headwater.processing.stores.contract import LogStore

    store = LogStore(log, "g")
    await store.open()
    await store.commit([Record("a", b"before")], "one", ())
    await asyncio.to_thread(set_limit, url, "a", 2_000)
    many = [Record("a", incompressible(300)) for _ in range(30)]
    from headwater.errors import LogUnavailable

    with pytest.raises(LogUnavailable, match="too large for a topic"):
        await store.commit(many, "two", ())
    await store.commit(many, "two", ())
    with pytest.raises(EventTooLarge):
        await log.append([Record("a", incompressible(5_000))], commit=Commit("g", "three"))
    assert values(await read_all(log, ["a"])) == [b"before", *(record.value for record in many)]


async def test_an_output_over_a_limit_that_was_lowered_is_an_error_event_and_the_job_continues(
    url: str, tmp_path: Path
) -> None:
    write_files(tmp_path, FILES)
    config: Config = load_config(tmp_path, environment={}, overrides={"log.url": url})
    platform = build(config)
    await platform.start()

    async def send(number: int, fill: int) -> None:
        event = {"$schema": "/edit/1.0.0", "meta": {"stream": "edit", "id": f"e{number}"}, "wiki": "w"}
        await platform.intake.write([{**event, "number": number, "fill": incompressible(fill).decode()}])

    async def found(topic: str) -> list[Any]:
        return list(await platform.log.read(Position({(topic, 0): 0})))

    async def has(topic: str, count: int) -> bool:
        return len(await found(topic)) >= count

    try:
        await send(1, 10)
        await eventually(lambda: has("running", 1))
        await eventually(lambda: has("passed", 1))
        for topic in ("running", "passed"):
            await asyncio.to_thread(set_limit, url, topic, 2_000)
        await send(2, 5_000)
        await send(3, 10)
        await eventually(lambda: has("running", 2))
        await eventually(lambda: has("passed", 2))
        for job in ("running", "passed"):
            (error,) = await found(f"{job}.error")
            assert b"over the limit" in error.value
            assert b'"e2"' in error.value or b"EventTooLarge" in error.value
    finally:
        await platform.stop()
