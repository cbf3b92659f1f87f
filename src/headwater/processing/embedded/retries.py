"""Retries what a runner asks of its source and its store, while the error says that this can help."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from headwater.backoff import Backoff
from headwater.errors import HeadwaterError
from headwater.processing.status import RunnerStatus

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often one runner retries, and after which pauses. None are made once it is `stopping`."""

    retries_max: int
    pause_seconds: float
    pause_seconds_max: float
    status: RunnerStatus
    stopping: asyncio.Event

    async def of(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """The result of the attempt. Raises its error if that is not retriable, or the last one."""
        backoff: Backoff | None = None
        for tried in range(self.retries_max + 1):
            try:
                return await _shielded(attempt())
            except HeadwaterError as error:
                if not error.retriable or tried == self.retries_max or self.stopping.is_set():
                    raise
                self.status.retrying(error)
                backoff = backoff or Backoff(self.pause_seconds, self.pause_seconds_max)
                await asyncio.sleep(backoff.next_pause())
        raise AssertionError("unreachable")


async def _shielded(work: Awaitable[_T]) -> _T:
    """Wait for `work` to end even when cancelled: the next run must find either all of a commit or nothing."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            await asyncio.wait((task,))
        raise
