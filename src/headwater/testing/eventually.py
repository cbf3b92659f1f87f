"""Waits in tests for what happens asynchronously: a condition is polled until it holds, with a deadline.

The deadline only bounds a failing test. It must be far longer than the event takes on a slow, busy machine; a test
never sleeps for a time in which something "will have happened". To show that something does not happen, cause something
that comes after it and wait for that.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
PAUSE_SECONDS = 0.02
ROUNDS = 200


async def eventually(condition: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS) -> Any:
    """The first true result of `condition`; the event loop runs in between.

    `condition` may be a function or a coroutine function.

    :raises AssertionError: no result was true within `seconds`; the message has the last one.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = condition()
        answer = await asked if inspect.isawaitable(asked) else asked
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} seconds; the last result was {answer!r}")
        await asyncio.sleep(PAUSE_SECONDS)


async def let_others_run() -> None:
    """Run the event loop often enough that every task continues until it waits for something from outside.

    No time passes: for tests whose parts run in this loop only, without threads, sockets or timers.
    """
    for _ in range(ROUNDS):
        await asyncio.sleep(0)


def eventually_blocking(condition: Callable[[], T], *, seconds: float = DEADLINE_SECONDS) -> T:
    """`eventually` for a test or a thread without an event loop.

    :raises AssertionError: no result was true within `seconds`; the message has the last one.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} seconds; the last result was {answer!r}")
        time.sleep(PAUSE_SECONDS)
    return answer
