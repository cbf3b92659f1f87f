"""`headwater up`: runs a project's platform, its jobs and its web pages until it is stopped."""

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

from headwater.cli.console import date_log_lines, say
from headwater.cli.up.changed_files import ChangedFiles
from headwater.cli.up.interpreter import prepare_interpreter
from headwater.cli.up.jobs_here import WhichJobs, require_possible
from headwater.cli.up.memory import bound_free_memory, returning_memory
from headwater.cli.up.start_check import checked, force_option
from headwater.cli.up.stopping import Stopping
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.checking import Project
    from headwater.config import Config
    from headwater.platform import Platform
    from headwater.web.workers import WorkerPlace

CONFIG_FILE = "headwater.yaml"
# How long a server on a port that is in use may take to answer with its name.
PROBE_SECONDS_MAX = 1.0


@click.command(
    short_help="Run the platform and its web pages.",
    epilog="Example:  headwater up --project my-platform --port 8080",
)
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Project directory (default: current directory).",
)
@click.option("--host", help="Address to listen on (default: the project's).")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0 uses a free one.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    help="Number of processes that accept and stream events on one port; more than one needs a log they can share.",
)
@click.option(
    "--jobs",
    "which_jobs",
    type=click.Choice(["all", "shared", "none"]),
    default="all",
    help="Which jobs, sinks and sources to run here, if other processes of the project run the others: `shared`, those "
    "that processes share (`jobs.shared`), or `none`.  [default: all]",
)
@force_option
def command(
    *,
    project: Path,
    host: str | None,
    port: int | None,
    workers: int,
    which_jobs: WhichJobs,
    force: bool,
) -> None:
    """Run the platform of a project: intake, log, streams, jobs and web pages. Ctrl + C or SIGTERM stops it.

    It does not start if `headwater check` finds errors. Settings, streams and jobs are read once: restart it after
    their files have changed.
    """
    from headwater.config import load_config

    require_project(project)
    overrides: dict[str, Any] = {}
    if host is not None:
        overrides["web.host"] = host
    if port is not None:
        overrides["web.port"] = port
    config = load_config(project, overrides=overrides)
    require_free_place(config)
    files = ChangedFiles(config)
    require_possible(which_jobs, config)
    if workers > 1:
        from headwater.cli.up.workers import keep_running, require_shared_log

        require_shared_log(config)
    read = checked(config, force=force)
    if workers > 1:
        run_until_stopped(keep_running(config, overrides, workers, files, which_jobs=which_jobs, force=force))
    else:
        run_until_stopped(_serve(read, files, which_jobs))


async def _serve(project: Project, files: ChangedFiles, which_jobs: WhichJobs) -> None:
    async with running(project.config, project=project, which_jobs=which_jobs) as (_, address):
        say(f"Headwater is at {address}/ (press Ctrl + C to stop; restart after changing files)")
        await files.tell()


@contextlib.asynccontextmanager
async def running(
    config: Config,
    notice: str | None = None,
    *,
    place: WorkerPlace | None = None,
    project: Project | None = None,
    which_jobs: WhichJobs = "all",
    command: str = "up",
) -> AsyncIterator[tuple[Platform, str]]:
    """The project's platform, started by the verb `command` and served at an address for the duration of the block.

    `project`: as read by the check, so that it is not read again.
    `place`: as one of several workers, of which only the first runs the jobs that are not shared. `which_jobs`: those
    that run here at all.
    """
    from headwater.cli.up.wait import started
    from headwater.web.server import serving

    date_log_lines()
    bound_free_memory()
    platform, sockets = await started(config, place=place, project=project, which_jobs=which_jobs, command=command)
    prepare_interpreter()
    try:
        async with serving(platform, notice=notice, place=place, sockets=sockets) as address, returning_memory():
            if platform.owner is not None:
                platform.owner.serves_at(f"{address}/")
            try:
                yield platform, address
            finally:
                platform.prepare_stop()
    finally:
        await platform.stop()
        # When Python ends it finalizes what is left, and drivers written in C would report frozen objects as leaks.
        gc.unfreeze()


Result = TypeVar("Result")


def run_until_stopped(work: Coroutine[Any, Any, Result]) -> Result | None:
    """Run `work` on the fastest event loop available; SIGINT, SIGTERM and SIGHUP cancel it: the result is None.

    A SIGHUP that is ignored, as under `nohup`, stays ignored. The time to stop is bounded (`Stopping`).
    """
    loop_factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        loop_factory = uvloop.new_event_loop

    async def cancellable(stopping: Stopping) -> Result:
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            stopping.begin()
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, stop)
        return await work

    stopping: Stopping | None = None
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner, contextlib.suppress(asyncio.CancelledError):
            stopping = Stopping(runner.get_loop())
            return runner.run(cancellable(stopping))
    finally:
        if stopping is not None:
            stopping.over()
    return None


def require_project(project: Path) -> None:
    """Raise ConfigInvalid if the directory is not a project, before anything is created in it."""
    if not (project / CONFIG_FILE).is_file():
        raise ConfigInvalid(
            f"{project.resolve()} has no {CONFIG_FILE}.",
            hint="Create a project with `headwater init NAME`, or name one with --project.",
        )


def require_free_place(config: Config) -> None:
    """Raise LogInUse or ConfigInvalid if another server uses the project's log, or its port."""
    # Before the port: if the project is running already, the advice is to use it, not to take another port.
    require_free_log(config)
    host, port = config.web.host, config.web.port
    if not port or port_is_free(host, port):
        return
    name = _server_at(host, port)
    if name == config.intake.service_name:
        raise ConfigInvalid(
            f'Port {port} of {host} is in use by a Headwater server of the same name, "{name}".',
            hint="If it is this project's server, use it or stop it first. If not, choose another port"
            " with --port (0: any free one).",
        )
    raise ConfigInvalid(
        f"Port {port} of {host} is in use{f' by the Headwater server {name!r}' if name else ''}.",
        hint="Stop what uses it, or choose another with --port (0: any free one).",
    )


def require_free_log(config: Config) -> None:
    """Raise LogInUse if another process serves the project's log and the log allows only one."""
    if not config.log.is_kafka:
        from headwater.log.sqlite.owner import require_unowned

        require_unowned(config.log_path)


def _server_at(host: str, port: int) -> str | None:
    """The name of the Headwater server that answers there; None if another server answers, or none in time."""
    import httpx

    wildcards = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}
    shown = wildcards.get(host, f"[{host}]" if ":" in host else host)
    try:
        answer = httpx.get(f"http://{shown}:{port}/_info", timeout=PROBE_SECONDS_MAX, trust_env=False)
        name = answer.json()["name"] if answer.status_code == 200 else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise ConfigInvalid(
            f"{host!r} is not an address of this machine.", hint="Correct `web.host`, or use --host."
        ) from None
    with socket.socket(place[0], place[1]) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place[4])
        except OSError:
            return False
    return True
