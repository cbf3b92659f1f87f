"""Keeps a runner running: restarts it after failures with exponential backoff, and reports them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from headwater.backoff import Backoff
from headwater.errors import HeadwaterError, JobInvalid, SinkUnavailable
from headwater.foreign import awaited
from headwater.jobs.job import Job
from headwater.processing.contract import Runner
from headwater.processing.status import JobReport

PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 60.0
AWAY_PAUSE_SECONDS_MAX = 4.0


class Supervisor:
    """One runner as a task of this process. A failure of the job never ends more than the job's current attempt."""

    def __init__(
        self,
        runner: Runner,
        *,
        pause_seconds: float = PAUSE_SECONDS,
        random: Callable[[], float] = random.random,
    ) -> None:
        """`random` gives numbers from 0 to 1."""
        self.runner = runner
        self._backoff = Backoff(pause_seconds, PAUSE_SECONDS_MAX, random=random)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def job(self) -> Job:
        return self.runner.job

    def report(self) -> JobReport:
        return self.runner.status.report()

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=f"job {self.job.name}")

    async def stop(self, *, patience_seconds: float = 5.0) -> None:
        """Let the current batch be committed, or abandon it after `patience_seconds`; nothing is lost either way."""
        self._stopping.set()
        self.runner.stop()
        if self._task is None:
            return
        _, still = await asyncio.wait((self._task,), timeout=patience_seconds)
        for task in still:
            task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def finish(self) -> None:
        """Stop, then process what there is and fire all timers. Raises what the runner raises."""
        await self.stop()
        await awaited(self.runner.run(drain=True))
        self.runner.status.ended()

    async def _keep_running(self) -> None:
        """Run until stopped. If it ends otherwise, restart it, after longer pauses while it processes nothing."""
        self._backoff.reset()
        while True:
            read_before = self.report().read
            error = await self._attempt()
            if error is None and self._stopping.is_set():
                break
            if self.report().read > read_before:
                self._backoff.reset()
            reason = error or JobInvalid("it ended without being asked to")
            is_away = isinstance(reason, HeadwaterError) and reason.is_away
            # It was not the job that failed, so that it resumes soon after the log or target has returned.
            wait = self._backoff.next_pause(AWAY_PAUSE_SECONDS_MAX if is_away else None)
            if isinstance(reason, SinkUnavailable):
                wait = max(wait, reason.back_off_seconds)
            self.runner.status.restarting(reason, wait, unforeseen=not isinstance(reason, HeadwaterError))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            if self._stopping.is_set():
                break
        self.runner.status.ended()

    async def _attempt(self) -> BaseException | None:
        """Run once, in a task of its own, which is all that a job can cancel. Why it ended; None if by itself."""
        task = asyncio.create_task(awaited(self.runner.run()), name=f"job {self.job.name}")
        try:
            await asyncio.wait((task,))
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        if not task.cancelled():
            return task.exception()
        self.runner.cancelled_itself()
        return JobInvalid("it cancelled the task it runs in")
