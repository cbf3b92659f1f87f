"""A process that runs jobs for a platform: it loads them, runs them as `inside` does, and reports what they do.

How this works: what it is to do comes through its life line (`life_line.py`); the platform then asks over the link for
rows and metrics, and lets it stop. It ends by itself when the link does. An error while it starts is sent to the
platform, which shows it as the reason why the jobs do not run.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import pickle
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from headwater.config import Config
from headwater.control.stream_control import StreamControl
from headwater.errors import ConfigInvalid, HeadwaterError, JobInvalid, LogUnavailable
from headwater.intake.gate import Gate, GateSettings
from headwater.jobs.job import Job
from headwater.jobs.loader import load_jobs
from headwater.jobs.settings import with_settings
from headwater.log.contract import Log
from headwater.lookups import Lookups
from headwater.process_link.crossing_errors import encode_error
from headwater.process_link.link import Link
from headwater.processing.declared_connectors import project_sinks, source_jobs
from headwater.processing.flight_recorder import FlightRecorder, memory_bytes
from headwater.processing.hosting import messages
from headwater.processing.hosting.inside import InsideHosting
from headwater.processing.hosting.life_line import LifeLine
from headwater.processing.hosting.messages import Assignment, Reports, outline
from headwater.processing.status import JobReport
from headwater.schemas.configured import project_schemas
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.telemetry import Telemetry

REPORT_SECONDS = 0.2
# A report is sent at least this often, so that the platform knows that the event loop runs.
BEAT_REPORTS = 5
# How long the log may take to close, of the time that the platform waits for this process.
CLOSE_SECONDS_MAX = 3.0
# The pause before a log that does not answer is asked again.
AWAY_SECONDS = 1.0
EXIT_FAILED = 1

T = TypeVar("T")

_LENGTH = struct.Struct("!I")
_RESTART = "Restart the platform to apply the changes."

# The log of this process, given its configuration and the link to the platform, which is not started yet.
NewLog = Callable[[Config, Link], Log]


def read_assignment(sock: socket.socket) -> Assignment:
    """What the platform sends first. Raises EOFError if it is gone. Blocks."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    assignment = pickle.loads(_exactly(sock, length))
    assert isinstance(assignment, Assignment)
    return assignment


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


async def run_jobs(assignment: Assignment, link_socket: socket.socket, life_line: LifeLine, new_log: NewLog) -> int:
    """Run the jobs until the platform lets them stop, or is gone; returns the exit status."""
    life_line.runs_in(asyncio.get_running_loop())
    link = Link(link_socket, peer="the platform")
    child = _Child(assignment, link, life_line)
    log = new_log(assignment.config, link)
    await link.start()
    try:
        await child.open(log)
    except HeadwaterError as error:
        link.notify(messages.FAILED, encode_error(error))
        await link.close()
        return EXIT_FAILED
    # A service manager may stop all processes at once.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, child.stopped.set)
    reporting = asyncio.create_task(child.keep_reporting(), name="reports")
    try:
        await asyncio.wait(
            (asyncio.shield(link.closed), asyncio.ensure_future(child.stopped.wait()), reporting),
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
        await child.close()
        await link.close()
    return 0


class _Child:
    """The jobs of this process, and what they need."""

    def __init__(self, assignment: Assignment, link: Link, life_line: LifeLine) -> None:
        self.stopped = asyncio.Event()
        self._assignment = assignment
        self._link = link
        self._life_line = life_line
        self._telemetry = Telemetry()
        self._sent: dict[str, JobReport] = {}
        self._stack = contextlib.AsyncExitStack()
        self._hosting: InsideHosting | None = None
        link.handle(messages.STOP, self._stop)
        link.handle(messages.VIEWS, self._views)
        link.handle(messages.METRICS, self._metrics)
        link.handle(messages.LOOK, self._look)

    async def open(self, log: Log) -> None:
        """Load the jobs and start them; waits for a log that is away, which the platform has reported.

        Raises JobInvalid, ConfigInvalid, ExtraMissing, LogUnavailable.
        """
        config, streams = self._assignment.config, self._assignment.streams
        jobs = jobs_of(self._assignment, streams)
        validator = Validator(project_schemas(config))
        self._stack.callback(validator.repository.close)
        gate = Gate(streams, validator, GateSettings.from_config(config))
        await _once_it_answers(log.open)
        self._stack.push_async_callback(self._close_log, log)

        async def start_control() -> StreamControl:
            control = StreamControl(log, streams, self._telemetry, gate.use_streams)
            await control.start()
            return control

        control = await _once_it_answers(start_control)
        self._stack.push_async_callback(control.stop)
        recorder = self._stack.enter_context(_recorder(self._assignment))
        lookups = Lookups(config.lookups, self._telemetry)
        self._stack.push_async_callback(lookups.close)
        hosting = self._hosting = InsideHosting(
            config,
            jobs,
            log=log,
            gate=gate,
            telemetry=self._telemetry,
            lookups=lookups,
            shares=self._assignment.shares,
            materialized=self._assignment.materialized,
            recorder=recorder,
        )
        await hosting.start({})

    async def keep_reporting(self) -> None:
        """Send each report that has changed, and a sign of life every second."""
        turn = 0
        while True:
            self._life_line.beat()
            self._report(always=turn % BEAT_REPORTS == 0)
            turn += 1
            await asyncio.sleep(REPORT_SECONDS)

    async def close(self) -> None:
        """Let the jobs commit their current batches, and release everything. Idempotent."""
        hosting, self._hosting = self._hosting, None
        if hosting is not None:
            await hosting.stop()
            self._send(hosting, always=False)
        await self._stack.aclose()

    def _report(self, *, always: bool) -> None:
        if self._hosting is not None:
            self._send(self._hosting, always=always)

    def _send(self, hosting: InsideHosting, *, always: bool) -> None:
        found = {name: supervisor.report() for name, supervisor in hosting.jobs.items()}
        changed = {name: report for name, report in found.items() if report != self._sent.get(name)}
        if changed or always:
            self._link.notify(messages.REPORTS, messages.encode(Reports(changed)))
            self._sent = found

    async def _close_log(self, log: Log) -> None:
        log.close_within(CLOSE_SECONDS_MAX)
        await log.close()

    async def _stop(self, _: bytes) -> None:
        await self.close()
        # What is sent before the answer, such as the last reports, arrives before it.
        asyncio.get_running_loop().call_soon(self.stopped.set)

    async def _views(self, payload: bytes) -> bytes:
        rows_max = messages.decode_rows_max(payload)
        return messages.encode_views([] if self._hosting is None else await self._hosting.views(rows_max))

    def _metrics(self, _: bytes) -> bytes:
        return messages.encode(self._telemetry.families())

    def _look(self, payload: bytes) -> None:
        if self._hosting is not None and (supervisor := self._hosting.jobs.get(payload.decode())) is not None:
            supervisor.look()


@contextlib.contextmanager
def _recorder(assignment: Assignment) -> Iterator[FlightRecorder]:
    """Records what is in flight, until the jobs have been stopped."""
    with mmap.mmap(assignment.recorder, memory_bytes(len(assignment.jobs))) as memory:
        recorder = FlightRecorder(memory, list(assignment.jobs), assignment.suspicions)
        yield recorder
        recorder.close()


async def _once_it_answers(ask: Callable[[], Awaitable[T]]) -> T:
    """What the log answers, asked again until it does. Raises what is no reason to wait."""
    while True:
        try:
            return await ask()
        except LogUnavailable as error:
            if not error.is_away:
                raise
        await asyncio.sleep(AWAY_SECONDS)


def jobs_of(assignment: Assignment, streams: StreamRegistry) -> Sequence[Job]:
    """The jobs as the files of the project define them now. Raises JobInvalid, ConfigInvalid if they are gone, or have
    become others than the platform knows.
    """
    config = assignment.config
    refused: list[ConfigInvalid] = []
    sinks = project_sinks(config, streams, refused.append)
    others = chain(sinks, source_jobs(config, refused.append))
    loaded = load_jobs(config.path(config.jobs.path), config.project_dir, refused.append, others=others)
    found = {job.name: job for job in loaded if job.name in assignment.jobs}
    written = {name: one for name, one in config.jobs.settings.items() if name in found}
    found = {job.name: job for job in with_settings(list(found.values()), written)}
    for name, known in assignment.jobs.items():
        job = found.get(name)
        if job is None:
            raise refused[0] if refused else JobInvalid(f"The job {name} is no longer there.", hint=_RESTART)
        if outline(job) != known:
            raise job.invalid(
                f"The job {name} has changed since the platform was started: it reads or writes something else.",
                hint=_RESTART,
            )
    return [found[name] for name in assignment.jobs]
