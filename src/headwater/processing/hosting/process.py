"""One process that runs jobs, as the platform sees it: started, watched, and started again when it ends.

How this works: the process (`child.py`) gets what it is to do through its life line (`life_line.py`), which is its
standard input, and exchanges everything else over a link. It reports its jobs when something has changed and at least
every second. When it ends, whatever the reason, another one is started, after pauses that grow while they end soon.
Killing it at any moment is safe: what its jobs had not committed is processed again by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import mmap
import pickle
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Sequence
from typing import IO

from headwater.backoff import Backoff
from headwater.connectors.tables import TableView
from headwater.errors import HeadwaterError
from headwater.process_link.crossing_errors import decode_error
from headwater.process_link.link import Link
from headwater.processing.flight_recorder import Flights, flights_in, memory_bytes
from headwater.processing.hosting import messages
from headwater.processing.hosting.deaths import Deaths
from headwater.processing.hosting.messages import Assignment
from headwater.processing.hosting.process_state import ProcessState
from headwater.processing.hosting.resources import resident_bytes
from headwater.telemetry import Family

PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0
# A process that ran for this long is started again soon.
SETTLED_SECONDS = 60.0
# The patience with a job's current batch, and closing its files.
STOP_SECONDS_MAX = 8.0
ASK_SECONDS_MAX = 2.0
METRICS_SECONDS_MAX = 0.5

_LENGTH = struct.Struct("!I")
_log = logging.getLogger(__name__)

# Lets the process at the other end of a link, which is not started yet, write the platform's log until the link ends.
ServeLog = Callable[[Link], None]


class JobProcess:
    """A process and its successors, which `start` runs and `stop` ends; `state` is what is known of them."""

    def __init__(
        self,
        assignment: Assignment,
        command: Sequence[str],
        serve_log: ServeLog | None,
        memory_bytes_max: int | None,
        deaths: Deaths,
    ) -> None:
        """`command` starts a process; it gets the file descriptor of the link, its number and its jobs.

        `serve_log`: None if the process has a log of its own. `deaths` is shared by all processes.
        """
        self.state = ProcessState(assignment.number, tuple(assignment.jobs))
        self._assignment = assignment
        self._command = command
        self._serve_log = serve_log
        self._memory_bytes_max = memory_bytes_max
        self._deaths = deaths
        self._views: list[TableView] = []
        self._process: asyncio.subprocess.Process | None = None
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        # Whether it is known which event has ended the last process, so that the others need not wait long.
        self._is_soon = False
        # Why the process that runs cannot continue.
        self._cause: str | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs; None between two."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=f"job process {self.state.number}")

    async def stop(self) -> None:
        """Let the jobs commit their current batches; kill the process if that takes too long. Idempotent."""
        self._stopping = True
        if self._task is None:
            return
        if self._link is not None and self.state.is_up:
            with contextlib.suppress(HeadwaterError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await self._link.call(messages.STOP)
                    await asyncio.wait((self._task,))
        if self.pid is not None and self.state.is_running:
            place = self.state.blocked()
            _log.warning("%s did not stop in time and was killed; nothing is lost%s.", self.state.name, place)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    def look(self, job: str) -> None:
        """Let it look at what was asked of the job."""
        if self._link is not None:
            self._link.notify(messages.LOOK, job.encode())

    async def views(self, rows_max: int) -> list[TableView]:
        """The tables of its jobs; the last ones known while it does not answer."""
        found = await self._asked(messages.VIEWS, messages.encode(rows_max), ASK_SECONDS_MAX)
        if found is not None:
            self._views = messages.decode_views(found)
        return self._views

    async def families(self) -> list[Family]:
        """What it and its predecessors have measured; the last that is known while it does not answer."""
        found = await self._asked(messages.METRICS, b"", METRICS_SECONDS_MAX)
        if found is not None:
            self.state.measured(messages.decode_families(found))
        return self.state.families

    def check(self) -> None:
        """Notice that it does not respond, or that it uses too much memory. To be called every second."""
        pid, limit = self.pid, self._memory_bytes_max
        if pid is None:
            return
        self.state.check()
        if limit is not None and (used := resident_bytes(pid) or 0) > limit:
            self._cause = f"it used {used:,} bytes of memory, more than jobs.process_memory_bytes_max ({limit:,})"
            assert self._process is not None
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _asked(self, method: str, payload: bytes, seconds_max: float) -> bytes | None:
        link = self._link
        if link is None or not self.state.is_up:
            return None
        try:
            async with asyncio.timeout(seconds_max):
                return await link.call(method, payload)
        except (HeadwaterError, TimeoutError):
            return None

    async def _keep(self) -> None:
        """Run a process, and another one whenever it ends."""
        backoff = Backoff(PAUSE_SECONDS, PAUSE_SECONDS_MAX)
        while True:
            self.state.starts()
            try:
                reason = await self._run_one()
            except OSError as error:
                reason = f"it could not be started: {error.strerror or error}"
            if self._stopping:
                return
            if self._is_soon or self.state.ran_seconds() > SETTLED_SECONDS:
                backoff.reset()
            pause = backoff.next_pause()
            self.state.restarts_after(reason, pause)
            await asyncio.sleep(pause)

    async def _run_one(self) -> str:
        """Run one process to its end; returns why it ended."""
        ours, theirs = socket.socketpair()
        life, their_life = socket.socketpair()
        link = Link(ours, peer=self.state.name)
        link.handle(messages.REPORTS, lambda payload: self.state.reported(messages.decode_reports(payload)))
        link.handle(messages.FAILED, self._take_failure)
        if self._serve_log is not None:
            self._serve_log(link)
        process = None
        jobs = self.state.jobs
        shared = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
        try:
            shared.truncate(memory_bytes(len(jobs)))
            with theirs, their_life:
                process = self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    *(str(theirs.fileno()), str(self.state.number), ",".join(self.state.jobs)[:200]),
                    stdin=their_life.fileno(),
                    pass_fds=[theirs.fileno(), shared.fileno()],
                )
            await link.start()
            self._link = link
            suspicions = self._deaths.suspicions(jobs)
            await self._hand_over(
                life, dataclasses.replace(self._assignment, recorder=shared.fileno(), suspicions=suspicions)
            )
            await self._until_ended(process, link)
        finally:
            asyncio.get_running_loop().remove_reader(life.fileno())
            life.close()
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            self._link = None
            await link.close()
            self.state.left()
            with shared:
                flights = _flights(shared, jobs)
        is_ours, status = self._cause is not None, process.returncode
        reason = self._reason(status)
        if not self._stopping:
            self._is_soon = self._deaths.note(flights, reason, status=status, is_ours=is_ours)
        return reason

    async def _hand_over(self, life: socket.socket, assignment: Assignment) -> None:
        """Send what the process is to do, and follow where in the code it is blocked."""
        loop = asyncio.get_running_loop()
        life.setblocking(False)
        payload = pickle.dumps(assignment)
        # A process that has ended already is noticed by who waits for it.
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(life, _LENGTH.pack(len(payload)) + payload)
            loop.add_reader(life.fileno(), self._take_place, life)

    async def _until_ended(self, process: asyncio.subprocess.Process, link: Link) -> None:
        """Wait for the end of the process. One that has closed its link has nothing more to do here."""
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait((ended, asyncio.shield(link.closed)), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((ended,), timeout=ASK_SECONDS_MAX)
            if not ended.done():
                self._cause = self._cause or "it closed the connection to the platform"
        finally:
            ended.cancel()

    def _reason(self, status: int | None) -> str:
        cause, self._cause = self._cause, None
        if cause is not None:
            return cause
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            perhaps = "; the system does that when memory runs out" if -status == signal.SIGKILL else ""
            return f"it was ended by {name}{perhaps}"
        if status == 0:
            return "it ended by itself, or was asked to by SIGTERM"
        return f"it ended with status {status}"

    def _take_failure(self, payload: bytes) -> None:
        error = decode_error(payload)
        # The end of a sentence.
        self._cause = f"it could not start: {error}".rstrip(".")

    def _take_place(self, life: socket.socket) -> None:
        try:
            sent = life.recv(65_536)
        except OSError:
            sent = b""
        if not sent:
            asyncio.get_running_loop().remove_reader(life.fileno())
        elif lines := sent.decode("utf-8", "replace").split("\n")[:-1]:
            self.state.place = lines[-1]


def _flights(shared: IO[bytes], jobs: Sequence[str]) -> Flights:
    with mmap.mmap(shared.fileno(), memory_bytes(len(jobs)), access=mmap.ACCESS_READ) as memory:
        return flights_in(memory, jobs)
