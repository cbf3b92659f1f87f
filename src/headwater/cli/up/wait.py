"""Starts a project's platform; if its log is on brokers that do not answer yet, waits for them and reports it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from headwater.cli.console import say
from headwater.cli.up.jobs_here import WhichJobs, elsewhere
from headwater.errors import LogUnavailable

if TYPE_CHECKING:
    from headwater.checking import Project
    from headwater.config import Config
    from headwater.platform import Platform
    from headwater.web.workers import WorkerPlace

    Attempt = Callable[[], Awaitable[Platform]]

# Starts a process for the jobs (job_process.py). No module in the current directory replaces one of Python's (-P).
JOB_COMMAND = (sys.executable, "-P", "-m", "headwater.cli.up.job_process")
PAUSE_SECONDS = 1.0
# The first reminder that it is still waiting; each further one comes after twice as long.
REMIND_SECONDS = 60.0


async def started(
    config: Config,
    *,
    place: WorkerPlace | None,
    project: Project | None,
    which_jobs: WhichJobs = "all",
    command: str,
) -> tuple[Platform, Sequence[socket.socket]]:
    """The started platform, and the sockets that were served while waiting for it; empty without a wait.

    Requests are answered with 503 meanwhile. Raises what `Platform.start` does, except for unreachable brokers.
    """
    from headwater.platform import build

    async def attempt() -> Platform:
        nonlocal project
        platform = build(config, project, job_command=JOB_COMMAND)
        # A platform that stops closes what the project has opened.
        project = None
        await platform.start(
            run_jobs=which_jobs == "all" and (place is None or place.is_first),
            run_shared_jobs=True,
            elsewhere=elsewhere(which_jobs, (job.name for job in platform.jobs)),
            command=command,
        )
        return platform

    try:
        return await attempt(), ()
    except LogUnavailable as error:
        if not error.is_away:
            raise
        reason = error
    from headwater.cli.up.workers import listening
    from headwater.web.waiting import waiting

    sockets = list(place.sockets) if place is not None else [listening(config.web.host, config.web.port)]
    say(f"{reason.message} Waiting for it; until then all requests, /readyz included, are answered with 503.")
    async with waiting(config, sockets):
        return await _once_it_answers(attempt, config), sockets


async def _once_it_answers(attempt: Attempt, config: Config) -> Platform:
    loop = asyncio.get_running_loop()
    began = loop.time()
    remind_at = began + REMIND_SECONDS
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        try:
            await _ask(config)
            platform = await attempt()
        except LogUnavailable as error:
            if not error.is_away:
                raise
            if loop.time() > remind_at:
                say(f"Still waiting, for {loop.time() - began:.0f} s: {error.message}")
                remind_at += 2 * (remind_at - began)
            continue
        say(f"The log is available, after {loop.time() - began:.0f} s.")
        return platform


async def _ask(config: Config) -> None:
    """Whether the log can be opened. It opens nothing else, since it is called often."""
    from headwater.log.open import log_of

    log = log_of(config)
    await log.open()
    await log.close()
