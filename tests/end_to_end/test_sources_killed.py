"""Sources of a platform that is killed: each event of a file, and of another platform, is in the log exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from headwater.log.contract import Log
from headwater.log.sqlite.log import SqliteLog
from headwater.testing.eventually import eventually, eventually_blocking
from headwater.testing.whole_platform.process import UpProcess

START_SECONDS_MAX = 90.0
SCHEMA = {
    "title": "number",
    "$id": "/number/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "$schema": {"type": "string"},
        "meta": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "dt": {"type": "string"}, "stream": {"type": "string"}},
        },
        "number": {"type": "integer"},
    },
    "required": ["number"],
}


def project(directory: Path, **sources: str) -> Path:
    """A project with the stream `numbers`, which these sources write."""
    files = {
        "schemas/number/1.0.0.yaml": orjson.dumps(SCHEMA).decode(),
        "streams/numbers.yaml": "stream: numbers\nschema_title: number\n",
        **{f"sources/{name}.yaml": text for name, text in sources.items()},
        "headwater.yaml": "schemas: schemas\nmonitoring: { canaries: false }\n",
    }
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def started() -> Iterator[Callable[..., UpProcess]]:
    """Starts the platform of a project; those that still run at the end are killed."""
    running: list[UpProcess] = []

    def start(directory: Path, settings: dict[str, str] | None = None) -> UpProcess:
        running.append(UpProcess(directory, settings))
        return running[-1]

    yield start
    for process in running:
        if process.is_running:
            process.kill()


def address_of(process: UpProcess) -> str:
    found = process.address(START_SECONDS_MAX)
    assert found is not None, process.printed()
    return f"http://{found[0]}:{found[1]}"


async def stored(directory: Path, topic: str = "numbers") -> list[dict[str, Any]]:
    """What the log of a platform that has ended has in a topic."""
    log: Log = SqliteLog(directory / "var" / "events.db")
    await log.open()
    try:
        records = await log.read(await log.first([topic]), records_max=100_000)
        return [orjson.loads(record.value) for record in records]
    finally:
        await log.close()


def job_of(url: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/v1/jobs", params={"name": name}, timeout=30).json()["jobs"][0]
    return found


def wait_until_written(url: str, job: str) -> None:
    eventually_blocking(lambda: job_of(url, job)["written"] > 0, seconds=START_SECONDS_MAX)


def post_numbers(url: str, numbers: range) -> None:
    for at in range(numbers.start, numbers.stop, 20):
        some = range(at, at + 20)
        meta = {number: {"stream": "numbers", "id": f"n{number}"} for number in some}
        events = [{"$schema": "/number/1.0.0", "meta": meta[number], "number": number} for number in some]
        assert httpx.post(f"{url}/v1/events", json=events, timeout=30).is_success


def append(path: Path, numbers: range) -> None:
    with path.open("ab") as file:
        file.writelines(orjson.dumps({"number": number}) + b"\n" for number in numbers)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_lines_of_a_file_are_in_the_log_once_although_the_platform_is_killed(
    tmp_path: Path, started: Callable[..., UpProcess]
) -> None:
    chance = random.Random(14)
    directory = project(tmp_path, file="connector: jsonl\npath: in.jsonl\nstream: numbers\npoll_seconds: 0.02\n")
    path = directory / "in.jsonl"
    total = 0
    for life in range(3):
        process = started(directory)
        url = address_of(process)
        target = total + 3_000
        while total < target:
            more = chance.randrange(1, 400)
            append(path, range(total, total + more))
            total += more
        if life < 2:
            wait_until_written(url, "source.file")
            process.kill()
    await eventually(partial(_read_some, directory, total), seconds=START_SECONDS_MAX)
    assert process.stop(30)
    found = await stored(directory)
    assert Counter(one["number"] for one in found) == Counter(range(total))
    assert len({one["meta"]["id"] for one in found}) == len(found)


@contextlib.contextmanager
def served_on(directory: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A platform at this port, which is killed at the end."""
    command = [sys.executable, "-c", "from headwater.cli import main; main()", "up", "--project", str(directory)]
    with (directory / "served.txt").open("ab") as output:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=output, stderr=output)
    try:
        eventually_blocking(lambda: _answers(port), seconds=START_SECONDS_MAX)
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).is_success
    return False


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_events_of_another_platform_that_is_killed_are_neither_lost_nor_doubled(
    tmp_path: Path, started: Callable[..., UpProcess]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    upstream = project(tmp_path / "upstream")
    url = f"http://127.0.0.1:{port}"
    options = f"url: {url}/v2/stream/numbers\nstart: oldest\nstream: numbers\n"
    mirror = project(tmp_path / "mirror", theirs=f"connector: sse\n{options}")
    reader = started(mirror)
    total = 0
    for _ in range(2):
        with served_on(upstream, port):
            await asyncio.to_thread(post_numbers, url, range(total, total + 400))
            total += 400
            await eventually(partial(_read_some, mirror, total - 200), seconds=START_SECONDS_MAX)
    with served_on(upstream, port):
        await eventually(partial(_read_some, mirror, total), seconds=START_SECONDS_MAX)
    assert Counter(one["meta"]["id"] for one in await stored(mirror)) == Counter(f"n{at}" for at in range(total))
    assert reader.stop(30)


async def _read_some(directory: Path, count: int) -> bool:
    return len(await stored(directory)) >= count
