"""`headwater up --workers N`: several processes on one port, supervised by a parent that does nothing else.

How this works: the parent binds the port once and passes the listening socket to every worker, so that no waiting
connection is lost when a worker dies. Only the first worker serves the web pages and runs the jobs that are not shared.
A worker (worker.py) receives the secret that the workers share on its standard input, where no other user of the
machine can read it. It prints "ready" on its standard output, and stops when its standard input ends, as it does when
the parent dies. A worker that ends by itself is replaced: immediately the first time, then with backoff.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.backoff import Backoff
from headwater.cli.console import say
from headwater.cli.up.changed_files import ChangedFiles
from headwater.cli.up.jobs_here import WhichJobs
from headwater.config import Config
from headwater.errors import ConfigInvalid, HeadwaterError, LogUnavailable

BACKLOG = 2048
PAUSE_SECONDS_FIRST = 0.1
PAUSE_SECONDS_MAX = 30.0
# The backoff is reset after a worker has run for this long.
SETTLED_SECONDS = 60.0
# The server's own ten seconds, and what the intake and the jobs then still have in flight.
DRAIN_SECONDS_MAX = 30.0
READY = b"ready\n"


def require_shared_log(config: Config) -> None:
    """Raise ConfigInvalid if the project's log allows only one writing process."""
    if not config.log.is_kafka:
        raise ConfigInvalid(
            "--workers needs a log that several processes can write, such as kafka://…; "
            f"this project's log is {config.log.url}.",
            hint="Omit --workers: SQLite has one writer, and further processes would only wait for it.",
        )


async def keep_running(
    config: Config,
    overrides: Mapping[str, Any],
    count: int,
    files: ChangedFiles,
    *,
    which_jobs: WhichJobs = "all",
    force: bool = False,
) -> None:
    """Run `count` workers until this is cancelled. Raises ConfigInvalid if the first ones cannot start.

    `force`: ignore files of the project that cannot be read.
    """
    listener = listening(config.web.host, config.web.port)
    own = [listening("127.0.0.1", 0) for _ in range(count)]
    ports = [each.getsockname()[1] for each in own]
    project = str(config.project_dir.resolve())
    specification = {
        "project": project,
        "overrides": dict(overrides),
        "ports": ports,
        "force": force,
        "jobs": which_jobs,
    }
    secret = secrets.token_urlsafe(32)
    workers = [_Worker(number, specification, (listener, own[number]), secret) for number in range(count)]
    try:
        async with asyncio.TaskGroup() as group:
            # The first creates topics; the others find them.
            group.create_task(workers[0].keep())
            await workers[0].ready.wait()
            for worker in workers[1:]:
                group.create_task(worker.keep())
            for worker in workers[1:]:
                await worker.ready.wait()
            host, port = listener.getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            stops = "press Ctrl + C to stop; restart after changing files"
            say(f"Headwater is at http://{address}/ with {count} workers ({stops})")
            await files.tell()
    except* HeadwaterError as errors:
        raise errors.exceptions[0] from None
    finally:
        # Accept no further connections while the workers finish the open ones.
        for each in (listener, *own):
            each.close()
        await asyncio.gather(*(worker.stop() for worker in workers))


class _Worker:
    """One worker process, and those that come after it."""

    def __init__(
        self, number: int, specification: Mapping[str, Any], sockets: Sequence[socket.socket], secret: str
    ) -> None:
        self.number = number
        self.ready = asyncio.Event()
        self._sockets = sockets
        self._secret = secret
        self._argument = json.dumps({**specification, "number": number, "sockets": [one.fileno() for one in sockets]})
        self._process: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        """Run a worker, and another one whenever it ends."""
        backoff = Backoff(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX)
        while True:
            began = time.monotonic()
            status = await self._run_one()
            if not self.ready.is_set():
                raise LogUnavailable(f"Worker {self.number} could not start (status {status}).")
            if time.monotonic() - began > SETTLED_SECONDS:
                backoff.reset()
            pause = backoff.next_pause()
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            say(f"Worker {self.number} {how}; starting another one in {pause:.2g} s.")
            await asyncio.sleep(pause)

    async def _run_one(self) -> int:
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headwater.cli.up.worker", self._argument),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[one.fileno() for one in self._sockets],
        )
        assert process.stdout is not None
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(self._secret.encode() + b"\n")
            await process.stdin.drain()
        if await process.stdout.readline() == READY:
            self.ready.set()
        return await process.wait()

    async def stop(self) -> None:
        """Let the worker finish its requests, and kill it if that takes too long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                await process.wait()
        except TimeoutError:
            say(f"Worker {self.number} did not stop within {DRAIN_SECONDS_MAX:g} s and was killed.")
            process.kill()
            await process.wait()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises ConfigInvalid if that is impossible."""
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # asyncio sets TCP_NODELAY only if the protocol is given: otherwise a response waits for the client's ACK.
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(place)
    except OSError as error:
        listener.close()
        raise ConfigInvalid(
            f"Port {port} of {host} cannot be used: {error.strerror or error}.",
            hint="Choose another with --port (0: any free one).",
        ) from None
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
