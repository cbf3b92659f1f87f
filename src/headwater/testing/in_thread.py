"""Something asynchronous for tests that are not: it is open in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")

START_SECONDS_MAX = 30.0


def result_within(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, seconds: float) -> T:
    """What `work` returns in the loop of another thread. Raises TimeoutError, which says what may be the reason."""
    waited = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return waited.result(seconds)
    except TimeoutError:
        if waited.done():
            raise
        waited.cancel()
        raise TimeoutError(
            f"The jobs were not done after {seconds:g} s. A function may block, or wait for an answer, or "
            "its failures are retried for longer: `retry=Retry(within=…)`."
        ) from None


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
