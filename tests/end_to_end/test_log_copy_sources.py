"""`headwater log copy` moves the positions of sources: what they read afterwards is stored once, in either log."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from end_to_end.test_kafka_sources import SCHEMA, running, stored, until_stored
from headwater.cli.main import main
from headwater.testing.eventually import eventually
from headwater.testing.service_kit import write_project

GROUP = "job.source.orders"
SOURCE = "connector: jsonl\npath: orders.jsonl\nstream: shop.order\npoll_seconds: 0.02\n"


class Moving:
    """A project with a source of a file, whose log can be exchanged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        write_project(directory, [SCHEMA], [{"stream": "shop.order", "schema_title": "shop/order"}])
        (directory / "sources").mkdir()
        (directory / "sources" / "orders.yaml").write_text(SOURCE, encoding="utf-8")
        self.use(self.file("events.db"))

    def file(self, name: str) -> str:
        return f"sqlite:///{self.directory / 'var' / name}"

    def use(self, url: str) -> None:
        self.url = url
        settings = {"schemas": "schemas", "log": {"url": url}, "monitoring": {"canaries": False}}
        (self.directory / "headwater.yaml").write_text(json.dumps(settings), encoding="utf-8")

    def append(self, numbers: Sequence[int]) -> None:
        with (self.directory / "orders.jsonl").open("ab") as file:
            file.writelines(orjson.dumps({"number": number}) + b"\n" for number in numbers)

    async def read(self, count: int) -> None:
        """Let the source run until its stream has the first so many."""
        async with running(self.directory) as platform:
            await until_stored(platform, range(count))
            source = platform.runners["source.orders"]
            await eventually(lambda: source.report().position is not None)

    async def numbers(self) -> list[int]:
        async with running(self.directory) as platform:
            return sorted(one["number"] for one in await stored(platform))

    def copy(self, target: str, *options: str) -> dict[str, Any]:
        """What became of the source's group."""
        arguments = ["log", "copy", self.url, target, "--project", str(self.directory), "--json", *options]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        groups = {one["group"]: one for one in json.loads(result.stdout)["groups"]}
        found: dict[str, Any] = groups[GROUP]
        return found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.migration.topics.SETTLE_SECONDS", 0.02)
    monkeypatch.setattr("headwater.migration.topics.END_WAIT_SECONDS", 0.2)


@pytest.fixture
def moving(tmp_path: Path) -> Moving:
    return Moving(tmp_path / "project")


async def copied(moving: Moving, target: str, *options: str) -> dict[str, Any]:
    import asyncio

    return await asyncio.to_thread(moving.copy, target, *options)


async def test_a_source_reads_on_in_another_log(moving: Moving) -> None:
    moving.append(range(50))
    await moving.read(50)
    target = moving.file("copy.db")
    assert (await copied(moving, target))["token"]
    moving.use(target)
    moving.append(range(50, 80))
    await moving.read(80)


async def test_a_source_reads_on_in_kafka_and_back_again(moving: Moving, kafka_server: str) -> None:
    moving.append(range(50))
    await moving.read(50)
    for target in (f"kafka://{kafka_server}/{uuid.uuid4().hex[:12]}.", moving.file("back.db")):
        assert (await copied(moving, target))["token"]
        moving.use(target)
        count = 30 + len(await moving.numbers())
        moving.append(range(count - 30, count))
        await moving.read(count)


async def test_a_source_that_has_read_further_in_the_target_stays_there(moving: Moving) -> None:
    moving.append(range(10))
    await moving.read(10)
    first, target = moving.url, moving.file("copy.db")
    await copied(moving, target)
    moving.use(target)
    moving.append(range(10, 20))
    await moving.read(20)
    moving.use(first)
    # The target's own events are in the other topic.
    assert "ahead" in (await copied(moving, target, "--topic", "source.orders.error", "--group", GROUP))["note"]


async def test_with_only_some_topics_a_source_is_moved_only_if_it_is_named(moving: Moving) -> None:
    moving.append(range(10))
    await moving.read(10)
    left = await copied(moving, moving.file("some.db"), "--topic", "shop.order")
    assert left["token"] is None
    assert "--group" in left["note"]
    named = await copied(moving, moving.file("named.db"), "--topic", "shop.order", "--group", GROUP)
    assert named["token"]
