"""Keeps a runner running: starts it again after a failure, later each time, and says what is going on."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from headwater.errors import HeadwaterError
from headwater.processing.job import Job
from headwater.processing.status import JobReport, RunnerStatus

PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 60.0

_log = logging.getLogger(__name__)


class Runner(Protocol):
    """Runs one job; `run` may be called again after it raised."""

    job: Job
    status: RunnerStatus

    async def run(self, *, until_end: bool = False) -> None: ...

    def stop(self) -> None: ...

    async def take_over(self) -> None: ...

    async def lag(self) -> int: ...


class Supervisor:
    """One runner as a task of this process. A failure of the job never ends more than the job's present attempt."""

    def __init__(self, runner: Runner, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self.runner = runner
        self._pause_seconds = pause_seconds
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
        """Let the batch at hand be committed, or give up on it after `patience_seconds`: nothing is lost by that."""
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
        """Stop, then process what there is and tell what waits for its time. Raises what the runner raises."""
        await self.stop()
        await self.runner.run(until_end=True)
        self.runner.status.ended()

    async def _keep_running(self) -> None:
        pause = self._pause_seconds
        while not self._stopping.is_set():
            read_before = self.report().read
            try:
                await self.runner.run()
                break
            except HeadwaterError as error:
                _log.warning("job %s: %s", self.job.label, error)
                self.runner.status.restarting(error)
            except Exception as error:  # whatever it was, the other jobs and the intake go on
                _log.exception("job %s failed", self.job.label)
                self.runner.status.restarting(error)
            if self.report().read > read_before:
                pause = self._pause_seconds
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except TimeoutError:
                pause = min(pause * 2, PAUSE_SECONDS_MAX)
        self.runner.status.ended()
