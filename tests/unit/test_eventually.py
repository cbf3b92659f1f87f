"""Waiting for what happens by itself ends with the first true answer, or with the last one in the error."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headwater.testing.eventually import eventually, eventually_blocking


async def test_it_returns_the_first_true_answer_while_others_run() -> None:
    answers: list[str] = []

    async def answer() -> None:
        answers.append("here")

    task = asyncio.create_task(answer())
    assert await eventually(lambda: answers) == ["here"]
    await task


async def test_a_coroutine_function_is_awaited_each_time() -> None:
    asked = []

    async def third() -> bool:
        asked.append(1)
        return len(asked) == 3

    assert await eventually(third) is True
    assert len(asked) == 3


async def test_the_error_holds_the_last_answer() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 seconds; the last result was \[\]"):
        await eventually(list, seconds=0)


def test_the_blocking_one_does_the_same_beside_threads() -> None:
    done = threading.Event()
    threading.Thread(target=done.set).start()
    assert eventually_blocking(done.is_set) is True
    with pytest.raises(AssertionError, match="not within 0 seconds; the last result was None"):
        eventually_blocking(lambda: None, seconds=0)
