"""Something asynchronous for tests that are not: it is open in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

T = TypeVar("T")

START_SECONDS_MAX = 30.0


@contextlib.contextmanager
def open_in_thread(
    opened: Callable[[], AbstractAsyncContextManager[T]], name: str, *, seconds: float = START_SECONDS_MAX
) -> Iterator[T]:
    """Enter what `opened` makes, and leave it at the end of the block, both in a thread of this name.

    :raises RuntimeError: it was not entered within `seconds`. What it raises itself is raised here.
    """
    started = threading.Event()
    entered: list[T] = []
    failures: list[BaseException] = []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def run() -> None:
        async with opened() as value:
            entered.append(value)
            started.set()
            await done.wait()

    def main() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:
            failures.append(error)
        finally:
            loop.close()
            started.set()

    thread = threading.Thread(target=main, name=name)
    thread.start()
    if not started.wait(seconds):
        loop.call_soon_threadsafe(done.set)
        raise RuntimeError(f"{name} was not there within {seconds:g} seconds.")
    try:
        if not entered:
            raise failures[0]
        yield entered[0]
    finally:
        # The loop may have ended by itself, of a failure.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)
        thread.join()
    if failures:
        raise failures[0]
