"""Keeps a runner running: restarts it after failures with exponential backoff, and carries out what is asked of it.

How this works: before each run, and every few seconds while it runs, it looks at what was asked of the job (`control`).
A pause ends the run, and no other begins until it is over; so does a move of the position, which is made in between.
A run that has stopped in front of an event that it cannot process is followed by the next when the job is resumed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from headwater.backoff import Backoff
from headwater.errors import HeadwaterError, JobInvalid, JobStopped, SinkFrozen, SinkUnavailable, SourceUnavailable
from headwater.foreign import awaited
from headwater.futures import retrieve
from headwater.jobs.job import Job
from headwater.processing.contract import Runner
from headwater.processing.control import JobControl
from headwater.processing.status import JobReport

PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 60.0
AWAY_PAUSE_SECONDS_MAX = 4.0
# While the record is searched for that makes its batch fail each time.
SEARCH_PAUSE_SECONDS_MAX = 0.5
# How often it is looked at what other processes have asked of the job.
LOOK_SECONDS = 2.0
# How often the lag is looked at, which asks the log for the ends of the job's topics.
LAG_SECONDS = 10.0
FIRST_LAG_SECONDS = 1.0
# How often, and for how long each time, a run is asked to end before it is cancelled.
PATIENCE_TURNS = 25
TURN_SECONDS = 0.2

_log = logging.getLogger(__name__)


class Supervisor:
    """One runner as a task of this process. A failure of the job never ends more than the job's current attempt."""

    def __init__(
        self,
        runner: Runner,
        *,
        pause_seconds: float = PAUSE_SECONDS,
        random: Callable[[], float] = random.random,
        control: JobControl | None = None,
        on_stopped: Callable[[JobStopped], None] | None = None,
    ) -> None:
        """`random` gives numbers from 0 to 1. `control`: what people ask of the job; None: nothing.

        `on_stopped`: called when the runner has stopped in front of an event, if the whole job is another's to stop.
        """
        self.runner = runner
        self.control = control
        self._on_stopped = on_stopped
        # What an earlier process has stopped at is tried again once.
        self._tries_again = True
        self._asked = asyncio.Event()
        self._is_interrupted = False
        self._backoff = Backoff(pause_seconds, PAUSE_SECONDS_MAX, random=random)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None

    @property
    def job(self) -> Job:
        return self.runner.job

    def report(self) -> JobReport:
        return self.runner.status.report()

    def look(self) -> None:
        """Look now at what was asked of the job."""
        self._asked.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=f"job {self.job.name}")
        if self._on_stopped is None:
            self._measuring = asyncio.create_task(self._measure_lag(), name=f"lag of job {self.job.name}")

    async def stop(self, *, patience_seconds: float = 5.0) -> None:
        """Let the current batch be committed, or abandon it after `patience_seconds`; nothing is lost either way."""
        self._stopping.set()
        if self._measuring is not None:
            self._measuring.cancel()
            self._measuring = None
        self.runner.stop()
        if self._task is None:
            return
        _, still = await asyncio.wait((self._task,), timeout=patience_seconds)
        for task in still:
            task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def finish(self) -> None:
        """Stop, then process all there is and fire all timers, unless it is paused. Raises what the runner raises."""
        await self.stop()
        if self.control is not None and await self._prepare(self.control):
            return
        await awaited(self.runner.run(drain=True))
        self.runner.status.ended()

    async def _keep_running(self) -> None:
        """Run until stopped. If it ends otherwise, restart it, after longer pauses while it processes nothing."""
        self._backoff.reset()
        while True:
            read_before = self.report().read
            error = await self._attempt()
            if self._stopping.is_set() and error is None:
                break
            if self._is_interrupted and error is None:
                continue
            if isinstance(error, JobStopped):
                await self._stop_on_error(error)
                if self._stopping.is_set():
                    break
                continue
            if self.report().read > read_before:
                self._backoff.reset()
            reason = error or JobInvalid("it ended without being asked to")
            is_away = isinstance(reason, SinkFrozen) or (isinstance(reason, HeadwaterError) and reason.is_away)
            # It was not the job that failed, so that it resumes soon after the log or target has returned.
            searches = self.runner.status.is_searching
            longest = AWAY_PAUSE_SECONDS_MAX if is_away else SEARCH_PAUSE_SECONDS_MAX if searches else None
            wait = self._backoff.next_pause(longest)
            if isinstance(reason, SinkUnavailable | SourceUnavailable):
                wait = max(wait, reason.back_off_seconds)
            if isinstance(reason, SinkFrozen):
                self.runner.status.frozen(reason)
            else:
                self.runner.status.restarting(reason, wait, unforeseen=not isinstance(reason, HeadwaterError))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            if self._stopping.is_set():
                break
        self.runner.status.ended()

    async def _measure_lag(self) -> None:
        pause_seconds = FIRST_LAG_SECONDS
        while True:
            await asyncio.sleep(pause_seconds)
            if not self.runner.status.has_run:
                continue
            # A log that is away has reported that.
            with contextlib.suppress(HeadwaterError):
                self.runner.status.lags(await self.runner.lag())
                pause_seconds = LAG_SECONDS

    async def _attempt(self) -> BaseException | None:
        """Run once, in a task of its own, which is all that a job can cancel. Why it ended; None if by itself."""
        self._is_interrupted = False
        if self.control is not None:
            try:
                await self._until_allowed(self.control)
            except HeadwaterError as error:
                return error
            if self._stopping.is_set():
                return None
        task = asyncio.create_task(awaited(self.runner.run()), name=f"job {self.job.name}")
        task.add_done_callback(retrieve)
        watching = None if self.control is None else asyncio.create_task(self._interrupt(self.control, task))
        try:
            await asyncio.wait((task,))
        finally:
            if watching is not None:
                watching.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        if not task.cancelled():
            return task.exception()
        if self._is_interrupted:
            return None
        self.runner.cancelled_itself()
        return JobInvalid("it cancelled the task it runs in")

    async def _stop_on_error(self, stopped: JobStopped) -> None:
        """Make known that the job has stopped in front of an event. Without `control` nobody can resume it."""
        if self._on_stopped is not None:
            self._on_stopped(stopped)
        else:
            self.runner.status.stopped_on_error(stopped.message)
        if self.control is None:
            await self._stopping.wait()
            return
        while not self._stopping.is_set():
            try:
                await self.control.stopped(stopped.message)
                return
            except HeadwaterError:
                # The log is away, which it has reported.
                await self._until_asked()

    async def _until_allowed(self, control: JobControl) -> None:
        """Wait while the job is paused or has stopped, and carry out what was asked of it.

        Raises what log and store raise.
        """
        if self._tries_again:
            await control.stopped("")
            self._tries_again = False
        while await self._prepare(control) and not self._stopping.is_set():
            await self._until_asked()

    async def _prepare(self, control: JobControl) -> bool:
        """Carry out a move of the position, if one was asked for. Whether the job is to wait."""
        self._asked.clear()
        request = await control.read()
        if request.move is not None:
            await self.runner.reposition(await control.position(request.move))
            await control.applied(request.move)
            _log.warning("job %s: it begins again at another position, as %s asked.", self.job.label, request.by)
        if request.stopped:
            self.runner.status.stopped_on_error(request.stopped)
        elif request.waits:
            self.runner.status.paused()
        return request.waits

    async def _interrupt(self, control: JobControl, task: asyncio.Task[None]) -> None:
        """End the run when the job is paused or moved."""
        while True:
            await self._until_asked()
            self._asked.clear()
            with contextlib.suppress(HeadwaterError):
                request = await control.read()
                if request.waits or request.move is not None:
                    break
        self._is_interrupted = True
        for _ in range(PATIENCE_TURNS):
            # A run that has just begun forgets that it was asked to stop.
            self.runner.stop()
            await asyncio.wait((task,), timeout=TURN_SECONDS)
        task.cancel()

    async def _until_asked(self) -> None:
        """Wait until something may have been asked of the job, by this process or another one, or it is stopped."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._asked, self._stopping)]
        try:
            await asyncio.wait(waiting, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
