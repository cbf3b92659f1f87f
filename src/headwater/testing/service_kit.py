"""A whole service for synchronous tests: a project on disk, served from a thread."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from headwater.cli.up.workers import listening
from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.in_thread import open_in_thread
from headwater.web.server import serving
from headwater.web.workers import WorkerPlace


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

    @contextlib.asynccontextmanager
    async def served() -> AsyncIterator[str]:
        await platform.start()
        try:
            async with contextlib.AsyncExitStack() as stack:
                addresses = [
                    await stack.enter_async_context(serving(platform, place=place)) for place in places(workers)
                ]
                yield addresses[-1]
        finally:
            await platform.stop()

    with open_in_thread(served, "served-project") as address:
        yield address, platform


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
