"""What is opened in a thread is there, is left at the end, and its errors come to the caller."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import pytest

from headwater.testing.in_thread import open_in_thread


def test_it_is_open_in_a_thread_with_a_loop_for_as_long_as_the_block() -> None:
    said: list[str] = []

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[str]:
        await asyncio.sleep(0)
        said.append("entered")
        yield threading.current_thread().name
        said.append("left")

    with open_in_thread(opened, "a-thread") as name:
        assert (name, said) == ("a-thread", ["entered"])
    assert said == ["entered", "left"]


@pytest.mark.parametrize("fails_late", [False, True])
def test_its_errors_are_raised_to_the_caller(fails_late: bool) -> None:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        if not fails_late:
            raise ValueError("at once")
        yield
        raise ValueError("late")

    with pytest.raises(ValueError, match="late" if fails_late else "at once"), open_in_thread(opened, "a-thread"):
        assert fails_late


def test_one_that_does_not_begin_in_time_is_given_up() -> None:
    may_begin = threading.Event()

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        await asyncio.to_thread(may_begin.wait)
        yield

    with pytest.raises(RuntimeError, match="a-thread was not there"), open_in_thread(opened, "a-thread", seconds=0.01):
        pytest.fail("it was there")
    may_begin.set()
