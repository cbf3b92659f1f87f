"""A file is enough to have the messages of a topic of another Kafka in a stream, each once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually
from headwater.testing.service_kit import write_project
from servers.foreign_topic import ForeignTopic

SCHEMA = {
    "title": "shop/order",
    "description": "An order.",
    "$id": "/shop/order/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["number"],
    "properties": {
        "$schema": {"type": "string"},
        "meta": {"type": "object", "properties": {"id": {"type": "string"}, "stream": {"type": "string"}}},
        "dt": {"type": "string", "format": "date-time", "maxLength": 64},
        "number": {"type": "integer"},
    },
}
JOB = "source.orders"


def made_project(directory: Path, topic: ForeignTopic) -> Path:
    write_project(directory, [SCHEMA], [{"stream": "shop.order", "schema_title": "shop/order"}])
    (directory / "sources").mkdir()
    text = f"connector: kafka\nservers: ['{topic.server}']\ntopics: [{topic.name}]\nstream: shop.order\n"
    (directory / "sources" / "orders.yaml").write_text(text, encoding="utf-8")
    return directory


@contextlib.asynccontextmanager
async def running(project: Path) -> AsyncIterator[Platform]:
    platform = build(load_config(project, environment={}, overrides={"log": {"durability": "os"}}))
    await platform.start()
    try:
        yield platform
    finally:
        await platform.stop()


async def stored(platform: Platform, stream: str = "shop.order") -> list[Any]:
    topics = platform.streams.get(stream).topics
    return [orjson.loads(one.value) for one in await platform.log.read(await platform.log.first(topics))]


async def until_stored(platform: Platform, numbers: Sequence[int]) -> None:
    async def are_stored() -> bool:
        return sorted(one["number"] for one in await stored(platform)) == list(numbers)

    await eventually(are_stored)


async def test_the_messages_of_a_topic_are_events_of_a_stream(kafka_server: str, tmp_path: Path) -> None:
    topic = ForeignTopic(kafka_server)
    project = made_project(tmp_path / "project", topic)
    topic.put({"number": 1}, b"no JSON", None, {"number": "x"})
    topic.put({"number": 2}, partition=1)
    async with running(project) as platform:
        await until_stored(platform, [1, 2])
    topic.put({"number": 3})
    async with running(project) as platform:
        await until_stored(platform, [1, 2, 3])
        errors = await stored(platform, f"{JOB}.error")
    assert len(errors) == 2, "once, whichever process reads on"
    assert any(f"Message 1 of {topic.name}/0" in one["message"] for one in errors)


async def test_a_topic_that_was_created_again_stops_its_source_with_the_reason(
    kafka_server: str, tmp_path: Path
) -> None:
    topic = ForeignTopic(kafka_server)
    topic.put({"number": 1})
    async with running(made_project(tmp_path / "project", topic)) as platform:
        await until_stored(platform, [1])
        source = platform.runners[JOB]
        await eventually(lambda: source.report().lag == 0)
        await topic.recreate()
        await eventually(lambda: source.report().state == "stopped_on_error")
        assert "its position is lost" in str(source.report().last_error)
