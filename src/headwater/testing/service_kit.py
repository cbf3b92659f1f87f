"""A whole service for synchronous tests: a project on disk, served from a thread."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from headwater.cli.up.workers import listening
from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.web.server import serving
from headwater.web.workers import WorkerPlace

START_SECONDS_MAX = 30.0


def write_project(directory: Path, schemas: Sequence[Mapping[str, Any]], streams: Sequence[Mapping[str, Any]]) -> None:
    """The files of a project: each schema under its `$id`, each stream under its name."""
    for schema in schemas:
        _write(directory / "schemas" / f"{schema['$id'].lstrip('/')}.yaml", schema)
    for stream in streams:
        _write(directory / "streams" / f"{stream['stream']}.yaml", stream)


@contextlib.contextmanager
def served_project(
    directory: Path, *, workers: int = 1, **sections: Mapping[str, Any]
) -> Iterator[tuple[str, Platform]]:
    """Serve the project on a free port; yields the address and the platform, which belongs to the thread.

    `workers`: how many servers of the one platform, as if each were a process of its own; the address is the last
    one's.
    """
    overrides = {"web": {"port": 0}, "log": {"durability": "os"}} | sections
    platform = build(load_config(directory, environment={}, overrides=overrides))
    started = threading.Event()
    addresses: list[str] = []
    failures: list[BaseException] = []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def run() -> None:
        await platform.start()
        try:
            async with contextlib.AsyncExitStack() as stack:
                for place in places(workers):
                    addresses[:] = [await stack.enter_async_context(serving(platform, place=place))]
                started.set()
                await done.wait()
        finally:
            await platform.stop()

    def main() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:
            failures.append(error)
        finally:
            loop.close()
            started.set()

    thread = threading.Thread(target=main, name="served-project")
    thread.start()
    if not started.wait(START_SECONDS_MAX) or not addresses:
        raise RuntimeError("The service did not start.") from (failures[0] if failures else None)
    try:
        yield addresses[0], platform
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
    if failures:
        raise failures[0]


def places(count: int) -> list[WorkerPlace | None]:
    """The addresses of this many workers, each on a port of its own; None for a single one."""
    if count == 1:
        return [None]
    sockets = [listening("127.0.0.1", 0) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    secret = secrets.token_urlsafe(32)
    return [WorkerPlace(number, [one], ports, secret) for number, one in enumerate(sockets)]


def _write(file: Path, document: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(dict(document)), encoding="utf-8")
