"""A client whose connection is cut at any byte, again and again under load, still gets every event exactly once."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from headwater.config import ConsumptionConfig, load_config
from headwater.consumption.hub import StreamHub
from headwater.log.contract import Log, Placement, Record, TopicSettings
from headwater.log.open import log_of
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.stream_kit import request, serving_streams

STREAMS = [
    Stream("edits", topics=("east.edits", "west.edits"), partitions=2),
    Stream("other", topics=("other",), partitions=1),
]
EVENTS = 3000
WRITERS_PAUSE_SECONDS = 0.002


@pytest.fixture
async def log(tmp_path: Path, log_url: str) -> AsyncIterator[Log]:
    log = log_of(load_config(tmp_path, environment={}, overrides={"log.url": log_url, "log.durability": "os"}))
    await log.open()
    for stream in STREAMS:
        for topic in stream.topics:
            await log.ensure_topic(topic, TopicSettings(partitions=stream.partitions))
    yield log
    await log.close()


async def _write(log: Log, rng: random.Random, count: int) -> list[Placement]:
    """Batches of mixed topics, keys, sizes and characters; every third a canary, which nobody is given."""
    placed: list[Placement] = []
    number = 0
    while number < count:
        records = []
        for _ in range(rng.randint(1, 12)):
            canary = number % 3 == 0
            event = {
                "n": number,
                "meta": {"domain": "canary" if canary else "wiki"},
                "text": "ü\n€😀" * rng.choice([0, 1, 10, 200]),
            }
            topic = rng.choice(["east.edits", "west.edits", "other"])
            key = b"%d" % rng.randint(0, 5) if topic != "other" else None
            records.append(Record(topic, orjson.dumps(event), key))
            number += 1
        placed += await log.append(records)
        await asyncio.sleep(WRITERS_PAUSE_SECONDS)
    return placed


@pytest.mark.parametrize(("seed", "form"), [(1, "token"), (2, "token"), (3, "legacy")])
async def test_nothing_is_skipped_or_repeated_when_connections_are_cut_at_random_bytes_under_load(
    log: Log, seed: int, form: str
) -> None:
    rng = random.Random(seed)
    hub = StreamHub(log, StreamRegistry(STREAMS), ConsumptionConfig(heartbeat_seconds=0.2), Telemetry())
    received: list[tuple[str, int, int]] = []
    cuts = 0
    async with serving_streams(hub) as port:
        path = f"/v2/stream/edits,other?positions&id={form}"
        first = await request(port, path)
        assert await first.until(b"\n\nretry:")
        last_id = first.last_id()
        first.hang_up()
        writing = asyncio.create_task(_write(log, random.Random(seed), EVENTS))
        while True:
            answer = await request(port, path, {"Last-Event-ID": last_id or ""})
            assert answer.status == 200
            budget = rng.choice([rng.randint(1, 400), rng.randint(1, 6_000), rng.randint(1, 120_000)])
            while len(answer.raw) < budget and await answer.receive(bytes_max=budget - len(answer.raw), seconds=1.0):
                if writing.done() and await _is_at_end(log, answer.last_id()):
                    break
            answer.hang_up()
            cuts += 1
            received += [
                (meta["topic"], meta["partition"], meta["offset"])
                for frame in answer.frames()
                if frame.data is not None
                for meta in [frame.value()["meta"]]
            ]
            last_id = answer.last_id() or last_id
            if writing.done() and await _is_at_end(log, last_id):
                break
        placed = await writing
    wanted = [(p.topic, p.partition, p.offset) for number, p in enumerate(placed) if number % 3]
    print(f"\n{len(wanted)} events over {cuts} connections")
    assert cuts > 30
    assert sorted(received) == sorted(wanted)
    for place in {(topic, partition) for topic, partition, _ in received}:
        offsets = [offset for topic, partition, offset in received if (topic, partition) == place]
        assert offsets == sorted(offsets)


async def _is_at_end(log: Log, token: str | None) -> bool:
    end = await log.last(["east.edits", "west.edits", "other"])
    if token is None or not token.startswith("["):
        # Beside each topic stands which log it is of.
        return re.sub(r"@[0-9a-f]+", "", token or "") == end.token()
    return {(one["topic"], one["partition"]): one["offset"] for one in orjson.loads(token)} == end.offsets


async def test_many_live_clients_all_get_the_same_events_in_the_same_order(log: Log) -> None:
    hub = StreamHub(log, StreamRegistry(STREAMS), ConsumptionConfig(heartbeat_seconds=0.5), Telemetry())
    async with serving_streams(hub) as port:
        clients = [await request(port, "/v2/stream/edits") for _ in range(20)]
        for client in clients:
            assert await client.until(b"retry:")
        placed = await _write(log, random.Random(3), 300)
        wanted = [p for number, p in enumerate(placed) if number % 3 and p.topic != "other"]
        bodies = []
        for client in clients:
            await client.until(b'"offset":%d' % wanted[-1].offset, seconds=2)
            while sum(frame.data is not None for frame in client.frames()) < len(wanted):
                assert await client.receive(seconds=2)
            bodies.append([frame for frame in client.frames() if frame.data is not None])
            client.hang_up()
    assert all(body == bodies[0] for body in bodies)
    assert len(bodies[0]) == len(wanted)


async def test_a_heartbeat_passes_what_is_filtered_out_behind_the_last_event(log: Log) -> None:
    hub = StreamHub(log, StreamRegistry(STREAMS), ConsumptionConfig(heartbeat_seconds=0.2), Telemetry())
    async with serving_streams(hub) as port:
        answer = await request(port, "/v2/stream/other?positions")
        assert await answer.until(b"retry:")
        events = [{"meta": {"domain": domain}} for domain in ("wiki", "canary")]
        await log.append([Record("other", orjson.dumps(event)) for event in events])
        end = (await log.last(["other"])).token()
        async with asyncio.timeout(10):
            while end.encode() not in re.sub(rb"@[0-9a-f]+", b"", answer.raw):
                await answer.receive(seconds=1)
        assert sum(frame.data is not None for frame in answer.frames()) == 1
        answer.hang_up()
