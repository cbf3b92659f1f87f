"""`headwater up`: runs a project's platform, its jobs and its page, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headwater.cli.console import say
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.platform import Platform
    from headwater.web.workers import WorkerPlace

CONFIG_FILE = "headwater.yaml"


@click.command(
    short_help="Run the platform and its page.",
    epilog="Example:  headwater up --project my-platform --port 8080",
)
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The project directory; the present one by default.",
)
@click.option("--host", help="The address to listen on; the project's by default.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port to listen on; 0 takes a free one.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    help="How many processes take events and stream them, on one port; more than one needs a log they can share.",
)
def command(project: Path, host: str | None, port: int | None, workers: int) -> None:
    """Run the platform of a project: intake, log, streams, jobs and the page. Ctrl + C or SIGTERM stops it."""
    from headwater.config import load_config

    require_project(project)
    overrides: dict[str, Any] = {}
    if host is not None:
        overrides["web.host"] = host
    if port is not None:
        overrides["web.port"] = port
    config = load_config(project, overrides=overrides)
    if config.web.port and not port_is_free(config.web.host, config.web.port):
        raise ConfigInvalid(
            f"Port {config.web.port} of {config.web.host} is taken.",
            hint="Stop what uses it, or choose another with --port (0: any free one).",
        )
    if workers > 1:
        from headwater.cli.workers import keep_running, require_shared_log

        require_shared_log(config)
        run_until_stopped(keep_running(config, overrides, workers))
    else:
        run_until_stopped(_serve(config))


async def _serve(config: Config) -> None:
    async with running(config) as (_, address):
        say(f"Headwater is at {address}/ (Ctrl + C stops it)")
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def running(
    config: Config, notice: str | None = None, *, place: WorkerPlace | None = None
) -> AsyncIterator[tuple[Platform, str]]:
    """The project's platform, started and served at an address for the length of the block.

    `place`: as one of several workers, of which only the first runs the jobs that are not shared.
    """
    from headwater.platform import build
    from headwater.web.server import serving

    platform = build(config)
    await platform.start(run_jobs=place is None or place.is_first, run_shared_jobs=True)
    _spare_the_collector()
    try:
        async with serving(platform, notice=notice, place=place) as address:
            yield platform, address
    finally:
        await platform.stop()


def _spare_the_collector() -> None:
    """What is there now stays; and events make much garbage but few cycles, so looking for them often is in vain."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


Result = TypeVar("Result")


def run_until_stopped(work: Coroutine[Any, Any, Result]) -> Result | None:
    """Run `work` on the fastest event loop there is; SIGINT and SIGTERM cancel it, and None is the answer then."""
    loop_factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        loop_factory = uvloop.new_event_loop

    async def cancellable() -> Result:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    with asyncio.Runner(loop_factory=loop_factory) as runner, contextlib.suppress(asyncio.CancelledError):
        return runner.run(cancellable())
    return None


def require_project(project: Path) -> None:
    """Raise ConfigInvalid where the directory is no project, before something is created in it."""
    if not (project / CONFIG_FILE).is_file():
        raise ConfigInvalid(
            f"{project.resolve()} has no {CONFIG_FILE}.",
            hint="Make a project with `headwater init NAME`, or name one with --project.",
        )


def port_is_free(host: str, port: int) -> bool:
    """Whether something could listen there now."""
    try:
        place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise ConfigInvalid(f"{host!r} is no address of this machine.", hint="Correct web.host, or --host.") from None
    with socket.socket(place[0], place[1]) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place[4])
        except OSError:
            return False
    return True
