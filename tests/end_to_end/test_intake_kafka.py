"""The intake on a broker that hangs, goes away or refuses: bounded waits, exact answers, bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually, eventually_blocking
from headwater.web.server import serving
from servers.kafka import KafkaCluster

SCHEMA = """
title: note
$id: /note/1.0.0
$schema: https://json-schema.org/draft-07/schema#
type: object
required: [$schema, meta, text]
properties:
  $schema: {type: string}
  meta:
    type: object
    required: [stream]
    properties:
      stream: {type: string}
      id: {type: string}
      dt: {type: string, format: date-time, maxLength: 64}
  text: {type: string}
"""
RECOVERY_SECONDS_MAX = 60.0


@pytest.fixture
def broker(kafka_alone: KafkaCluster) -> Iterator[KafkaCluster]:
    yield kafka_alone
    kafka_alone.heal()


def write_project(directory: Path, *streams: str) -> None:
    schema = directory / "schemas" / "note" / "1.0.0.yaml"
    schema.parent.mkdir(parents=True, exist_ok=True)
    schema.write_text(SCHEMA)
    (directory / "streams").mkdir(exist_ok=True)
    for name in streams:
        (directory / "streams" / f"{name}.yaml").write_text(f"stream: {name}\nschema_title: note\n")
    (directory / "headwater.yaml").touch()


@contextlib.asynccontextmanager
async def running(
    directory: Path, broker: KafkaCluster, *streams: str, **intake: Any
) -> AsyncIterator[tuple[Platform, httpx.AsyncClient]]:
    """A platform on the broker, served, whose answers take a second and a half at most."""
    write_project(directory, *streams)
    overrides = {
        "log": {"url": f"kafka://{broker.bootstrap}", "delivery_seconds_max": 1.0},
        "intake": {"append_timeout_seconds": 1.5, "retry_after_seconds": 2, **intake},
        "web": {"port": 0},
    }
    platform = build(load_config(directory, environment={}, overrides=overrides))
    await platform.start()
    try:
        async with (
            serving(platform) as address,
            httpx.AsyncClient(base_url=address, timeout=30, limits=httpx.Limits(max_connections=200)) as client,
        ):
            yield platform, client
    finally:
        await platform.stop()


def stream_name() -> str:
    return f"notes.{uuid.uuid4().hex[:8]}"


def note(stream: str, text: str = "hello", event_id: str | None = None) -> dict[str, Any]:
    return {"$schema": "/note/1.0.0", "meta": {"stream": stream, "id": event_id or uuid.uuid4().hex}, "text": text}


async def post(client: httpx.AsyncClient, events: Any, query: str = "") -> httpx.Response:
    return await client.post(f"/v1/events{query}", json=events)


async def recovered(client: httpx.AsyncClient, stream: str, text: str = "hello") -> float:
    """How long until an event is accepted again."""
    start = time.monotonic()
    while (await post(client, note(stream, text))).status_code != 201:
        assert time.monotonic() - start < RECOVERY_SECONDS_MAX
        await asyncio.sleep(0.1)
    return time.monotonic() - start


def wait_for_leaders(broker: KafkaCluster) -> None:
    """A broker that stood still has to join its own cluster again before it leads a partition."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": broker.bootstrap})
    deadline = time.monotonic() + RECOVERY_SECONDS_MAX
    while True:
        # Until then it also ends connections without an answer.
        with contextlib.suppress(KafkaException):
            topics = client.list_topics(timeout=10).topics.values()
            if all(partition.leader >= 0 for topic in topics for partition in topic.partitions.values()):
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def in_topic(broker: KafkaCluster, topic: str) -> list[dict[str, Any]]:
    """The values of the only partition of a topic, read by Kafka's own client."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": uuid.uuid4().hex})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
        consumer.assign([TopicPartition(topic, 0, low)])
        found = []
        while low < high:
            message = consumer.poll(10)
            assert message is not None
            assert message.error() is None
            found.append(orjson.loads(message.value() or b""))
            low = (message.offset() or 0) + 1
        return found
    finally:
        consumer.close()


async def test_a_paused_broker_is_a_503_in_time_and_recovery_is_automatic(
    tmp_path: Path, broker: KafkaCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = stream_name()
    async with running(tmp_path, broker, stream) as (_, client):
        assert (await post(client, note(stream, "before"))).status_code == 201
        broker.pause(1)
        events = [note(stream, f"during {number}") for number in range(3)]
        start = time.monotonic()
        answer = await post(client, events)
        waited = time.monotonic() - start
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.reason_phrase.startswith("3 out of 3 events had failures and were not accepted.")
        assert [entry["event"]["text"] for entry in answer.json()["error"]] == ["during 0", "during 1", "during 2"]
        # Much less than the client would wait; a busy machine adds to the second and a half.
        assert waited < 15
        assert (await client.get("/healthz")).status_code == 200
        broker.resume(1)
        took = await recovered(client, stream)
        assert (await post(client, events)).status_code == 201
        with capsys.disabled():
            print(f"\nbroker paused: 503 after {waited:.1f} s; accepted again {took:.1f} s after it went on")
    counts = Counter(value["text"] for value in await asyncio.to_thread(in_topic, broker, stream))
    # What was answered 503 may be there all the same, when the broker had it in hand; what was accepted is there once.
    assert counts["before"] == 1
    assert min(counts[event["text"]] for event in events) >= 1


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing_that_was_accepted(
    tmp_path: Path, broker: KafkaCluster
) -> None:
    stream = stream_name()
    async with running(tmp_path, broker, stream) as (_, client):
        events = [note(stream, f"before {number}") for number in range(50)]
        assert (await post(client, events)).status_code == 201
        broker.kill(1)
        assert (await post(client, note(stream, "during"))).status_code == 503
        await asyncio.to_thread(broker.restart, 1)
        await recovered(client, stream)
    texts = [value["text"] for value in await asyncio.to_thread(in_topic, broker, stream)]
    assert texts[:50] == [event["text"] for event in events]


async def test_the_newest_requests_are_recognised_after_a_restart(tmp_path: Path, broker: KafkaCluster) -> None:
    stream = stream_name()
    requests = [[note(stream) for _ in range(500)] for _ in range(8)]
    async with running(tmp_path, broker, stream) as (_, client):
        for events in requests:
            assert (await post(client, events)).status_code == 201
    async with running(tmp_path, broker, stream) as (_, client):
        for events in (requests[-1], requests[0]):
            assert (await post(client, events)).status_code == 201
    kept = Counter(event["meta"]["id"] for event in in_topic(broker, stream))
    assert kept == Counter(event["meta"]["id"] for events in requests for event in events)


async def test_what_the_broker_refuses_is_reported_for_exactly_those_events(
    tmp_path: Path, broker: KafkaCluster
) -> None:
    taken, narrow = stream_name(), stream_name()
    async with running(tmp_path, broker, taken, narrow) as (_, client):
        assert (await post(client, [note(taken), note(narrow)])).status_code == 201
        # Behind the platform's back, the topic takes small messages only.
        await asyncio.to_thread(_limit_messages, broker, narrow, 400)
        events = [note(taken, "a"), note(narrow, "b" * 5000), note(taken, "c")]
        answer = await post(client, events)
        assert answer.status_code == 207, answer.text
        assert answer.reason_phrase.startswith("2 out of 3 events were accepted, but 1 failed")
        (error,) = answer.json()["error"]
        assert error["event"]["text"] == "b" * 5000
        # The producer for smaller batches may need longer than an event is waited for here: the sender tries again.
        await recovered(client, narrow, "d")
    assert [value["text"] for value in await asyncio.to_thread(in_topic, broker, taken)] == ["hello", "a", "c"]
    first, *others = [value["text"] for value in await asyncio.to_thread(in_topic, broker, narrow)]
    assert (first, set(others)) == ("hello", {"d"})


def _limit_messages(broker: KafkaCluster, topic: str, bytes_max: int) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": broker.bootstrap})
    for done in client.incremental_alter_configs([resource]).values():
        done.result(10)

    def is_known() -> bool:
        [described] = client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return str(described.result(10)["max.message.bytes"].value) == str(bytes_max)

    eventually_blocking(is_known)


async def test_an_oversize_event_is_refused_with_the_limit_before_the_producer_sees_it(
    tmp_path: Path, broker: KafkaCluster
) -> None:
    stream = stream_name()
    async with running(tmp_path, broker, stream, event_bytes_max=500_000) as (_, client):
        oversize = note(stream, "y" * 500_000)
        answer = await post(client, [note(stream, "small"), oversize, note(stream, "x" * 400_000)])
        assert answer.status_code == 207
        assert "retry-after" not in answer.headers
        (error,) = answer.json()["error"]
        assert error["event"]["text"].startswith("yyy")
        assert re.search(r"has \d+ bytes; the limit is 500000", error["context"]["message"])
        # And where it is all there is, it is the producer's fault.
        assert (await post(client, oversize)).status_code == 400
    stored = await asyncio.to_thread(in_topic, broker, stream)
    assert [len(value["text"]) for value in stored] == [5, 400_000]


async def test_an_event_over_the_limit_of_the_topic_is_refused_with_that_limit(
    tmp_path: Path, broker: KafkaCluster
) -> None:
    stream = stream_name()
    async with running(tmp_path, broker, stream, event_bytes_max=8_000_000) as (
        _,
        client,
    ):
        assert (await post(client, note(stream, "small"))).status_code == 201
        answer = await post(client, [note(stream, "a"), note(stream, "y" * 5_000_000), note(stream, "b")])
        assert (answer.status_code, "retry-after" in answer.headers) == (207, False)
        (error,) = answer.json()["error"]
        assert re.search(r"over the limit of \d+ of the topic", error["context"]["message"])
    stored = await asyncio.to_thread(in_topic, broker, stream)
    assert [value["text"] for value in stored] == ["small", "a", "b"]


async def test_memory_stays_bounded_while_the_broker_is_away(
    tmp_path: Path, broker: KafkaCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = stream_name()
    write_project(tmp_path, stream)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from headwater.cli import main; main()", "up"),
        *("--project", str(tmp_path), "--port", "0"),
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "HEADWATER_LOG": f"kafka://{broker.bootstrap}",
            "HEADWATER_LOG_DELIVERY_SECONDS_MAX": "1",
            "HEADWATER_INTAKE_APPEND_TIMEOUT_SECONDS": "1.5",
        },
    )
    assert process.stderr is not None
    printed = b""
    # A broker that has just started may be reported as away before.
    while (found := re.search(rb"http://\S+?(?=/ )", printed)) is None:
        line = await process.stderr.readline()
        assert line, printed
        printed += line
    statuses: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=found[0].decode(), timeout=30) as client:
        await post(client, note(stream))
        idle = peak = _resident_bytes(process.pid)
        broker.pause(1)

        async def flood() -> None:
            nonlocal peak
            for _ in range(3):
                events = [note(stream, "x" * 100_000) for _ in range(10)]
                statuses[(await post(client, events)).status_code] += 1
                peak = max(peak, _resident_bytes(process.pid))

        await asyncio.gather(*(flood() for _ in range(40)))
        broker.resume(1)
        await recovered(client, stream)
    process.terminate()
    await process.communicate()
    with capsys.disabled():
        print(f"\n120 MB to a paused broker: {dict(statuses)}, {idle / 1e6:.0f} MB idle, {peak / 1e6:.0f} MB at most")
    assert process.returncode == 0
    assert statuses == {503: 120}
    # The log's own queue of 64 MB twice, and the requests and answers of 40 connections.
    assert peak - idle < 300_000_000


def _resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def test_hasty_events_outlive_the_broker_and_the_platform_in_the_spool(
    tmp_path: Path, broker: KafkaCluster
) -> None:
    stream = stream_name()
    spooled = {"hasty_spool_path": "var/spool"}
    async with running(tmp_path, broker, stream, **spooled) as (platform, client):
        assert (await post(client, note(stream, "before"))).status_code == 201
        broker.pause(1)
        for number in range(30):
            assert (await post(client, note(stream, f"{number}"), "?hasty=true")).status_code == 202
            await asyncio.sleep(0.1)
    # Stopped in order while the broker stood still.
    assert list((tmp_path / "var" / "spool").glob("*/*.spool"))
    broker.resume(1)
    await asyncio.to_thread(wait_for_leaders, broker)
    async with running(tmp_path, broker, stream, **spooled) as (platform, client):
        await eventually(lambda: not platform.telemetry.value("headwater_intake_hasty_spool_bytes"))
        assert platform.telemetry.value("headwater_intake_hasty_lost_events_total") == 0
    texts = Counter(value["text"] for value in await asyncio.to_thread(in_topic, broker, stream))
    assert texts == Counter(["before", *(f"{number}" for number in range(30))])
