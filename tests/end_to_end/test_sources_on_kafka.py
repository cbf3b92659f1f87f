"""Sources of every kind, in a project whose log is on Kafka: whatever is killed, each event is there once."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from contract.test_postgres_cdc import Database
from end_to_end.test_change_data_capture import database  # noqa: F401 - a fixture
from end_to_end.test_sources_killed import SCHEMA, address_of, started  # noqa: F401 - a fixture
from end_to_end.upstreams import SECRET, Posted, Upstream, every_kind
from headwater.config import load_config
from headwater.platform import build
from headwater.testing.eventually import eventually
from headwater.testing.whole_platform.process import UpProcess

LIVES = 3
SECONDS_MAX = 120.0


def write_project(directory: Path, url: str, upstreams: list[Upstream]) -> None:
    files = {
        "schemas/number/1.0.0.yaml": orjson.dumps(SCHEMA).decode(),
        "headwater.yaml": f"schemas: schemas\nmonitoring: {{canaries: false}}\nlog: {{url: '{url}'}}\n",
    }
    for one in upstreams:
        stream = "" if one.kind == "postgres_cdc" else f"stream: from.{one.kind}\n"
        files[f"streams/from.{one.kind}.yaml"] = f"stream: from.{one.kind}\nschema_title: number\n"
        files[f"sources/{one.kind}.yaml"] = f"connector: {one.kind}\n{stream}{one.options}"
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")


class Filling(threading.Thread):
    """Adds numbers to one system until it is ended; `count`: how many."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(daemon=True)
        self.upstream = upstream
        self.count = 0
        self._chance = random.Random(upstream.kind)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.05):
            more = 1 if self.upstream.kind == "webhook" else self._chance.randrange(2, 40)
            self.upstream.add(range(self.count, self.count + more))
            self.count += more

    def end(self) -> None:
        self._ended.set()
        self.join(SECONDS_MAX)
        assert not self.is_alive(), self.upstream.kind


@contextmanager
def filling(upstreams: list[Upstream]) -> Iterator[list[Filling]]:
    threads = [Filling(one) for one in upstreams]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.end()


async def stored(directory: Path) -> dict[str, list[int]]:
    """The numbers in the log, by the kind of the source."""
    platform = build(load_config(directory))
    await platform.log.open()
    found: dict[str, list[int]] = {}
    try:
        for name in platform.streams.names():
            if name.startswith("from."):
                position = await platform.log.first(platform.streams.get(name).topics)
                numbers = found[name.removeprefix("from.")] = []
                while records := await platform.log.read(position):
                    numbers += [orjson.loads(record.value)["number"] for record in records]
                    position = position.after_all(records)
        return found
    finally:
        await platform.log.close()


@pytest.mark.slow
@pytest.mark.timeout(500)
async def test_events_of_every_kind_of_source_are_there_once_although_the_platform_is_killed(
    tmp_path: Path,
    kafka_server: str,
    database: Database,  # noqa: F811
    started: Callable[..., UpProcess],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("CDC_URL", database.url)
    chance = random.Random(14)
    directory = tmp_path / "project"
    directory.mkdir()
    with every_kind(directory, kafka_server, database) as upstreams:
        write_project(directory, f"kafka://{kafka_server}/{uuid.uuid4().hex[:12]}.", upstreams)
        (posted,) = [one for one in upstreams if isinstance(one, Posted)]
        process = started(directory)
        posted.url = await asyncio.to_thread(address_of, process)
        with filling(upstreams) as threads:
            for _ in range(LIVES - 1):
                # A kill in the middle of whatever each of them does then.
                await asyncio.to_thread(time.sleep, chance.uniform(0.5, 3.0))
                process.kill()
                process = started(directory)
                posted.url = await asyncio.to_thread(address_of, process)
        expected = {one.upstream.kind: Counter(range(one.count)) for one in threads}

        async def all_arrived() -> bool:
            found = await stored(directory)
            return all(len(found[kind]) >= numbers.total() for kind, numbers in expected.items())

        await eventually(all_arrived, seconds=SECONDS_MAX)
        assert await asyncio.to_thread(process.stop, 30)
    found = await stored(directory)
    for kind, numbers in expected.items():
        assert Counter(found[kind]) == numbers, kind
