"""Waits in the event loop for what threads of the Kafka client answer, many at once, until the log is closed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any

from headwater.errors import LogUnavailable

# The client ends a request itself when its time is over; a busy machine may be late with that.
OVERDUE_SECONDS = 10.0


class Waits:
    """What is waited for now. Belongs to one event loop."""

    def __init__(self) -> None:
        self._asked: set[asyncio.Future[None]] = set()

    def give_up(self) -> None:
        """Stop waiting for answers: the log is being closed."""
        for future in list(self._asked):
            if not future.done():
                future.set_exception(LogUnavailable("The log is being closed.", hint="Try again.", is_away=True))

    async def all_done(self, futures: Collection[Future[Any]], seconds_max: float) -> None:
        """Wait for all with one call into the event loop: there may be thousands.

        `seconds_max`: how long the client waits for the brokers. Raises LogUnavailable if it has not ended then.
        """
        if not futures:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        left = itertools.count(len(futures) - 1, -1)

        def all_are_done() -> None:
            if not done.done():
                done.set_result(None)

        def one_is_done(_: Future[Any]) -> None:
            # Taking a number is atomic, in every thread.
            if next(left) == 0:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(all_are_done)

        for future in futures:
            future.add_done_callback(one_is_done)

        def is_overdue() -> None:
            if not done.done():
                done.set_exception(
                    LogUnavailable("The Kafka client does not end a request.", hint="Try again.", is_away=True)
                )

        timer = loop.call_later(seconds_max + OVERDUE_SECONDS, is_overdue)
        self._asked.add(done)
        try:
            await done
        finally:
            timer.cancel()
            self._asked.discard(done)
