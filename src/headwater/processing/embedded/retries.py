"""Retries what a runner asks of its source and its store, while the error says that this can help."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from headwater.backoff import Backoff
from headwater.errors import HeadwaterError, SinkUnavailable, WriteIncomplete
from headwater.futures import retrieve
from headwater.processing.status import RunnerStatus

# Between attempts at events that the target does not accept, while it accepts others.
COUNTED_PAUSE_SECONDS_MAX = 1.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often one runner retries, and after which pauses; `stopping` ends a pause, and there is no further attempt.

    A target may ask for a longer pause. Attempts after which less is left to be done than before are not counted, nor
    those that the store counts as attempts at single events.
    """

    retries_max: int
    pause_seconds: float
    pause_seconds_max: float
    status: RunnerStatus
    stopping: asyncio.Event

    async def of(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """The result of the attempt. Raises its error if that is not retriable, or the last one."""
        backoff: Backoff | None = None
        failures = 0
        while True:
            try:
                return await _shielded(attempt())
            except HeadwaterError as error:
                pause_seconds_max = None
                if isinstance(error, WriteIncomplete):
                    if error.has_progressed:
                        backoff, failures = None, 0
                    elif error.is_counted:
                        # The store gives its events up after some attempts; others wait for that.
                        failures, pause_seconds_max = 0, COUNTED_PAUSE_SECONDS_MAX
                if not error.retriable or failures == self.retries_max or self.stopping.is_set():
                    raise
                failures += 1
                self.status.retrying(error)
                backoff = backoff or Backoff(self.pause_seconds, self.pause_seconds_max)
                asked_for = error.back_off_seconds if isinstance(error, SinkUnavailable) else 0.0
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), max(backoff.next_pause(pause_seconds_max), asked_for))
                if self.stopping.is_set():
                    raise


async def _shielded(work: Awaitable[_T]) -> _T:
    """Wait for `work` to end even when cancelled: the next run must find either all of a commit or nothing."""
    task = asyncio.ensure_future(work)
    # Its error is of no interest to a caller that is cancelled.
    task.add_done_callback(retrieve)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            await asyncio.wait((task,))
        raise
