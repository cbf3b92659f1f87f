"""A stop that takes too long says what it waits for, and ends."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

PROGRAM = """
import asyncio, os, signal, sys, threading, time
from headwater.cli.up import stopping, up

stopping.SAID_AFTER_SECONDS, stopping.SECONDS_MAX = 0.3, {seconds_max}

async def work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)
    finally:
        {wait}

up.run_until_stopped(work())
"""
WAITS = {
    "a task": "await asyncio.create_task(asyncio.sleep(SECONDS), name='somebody slow')",
    "a thread": "asyncio.get_running_loop().run_in_executor(None, time.sleep, SECONDS)",
    "the loop itself": "time.sleep(SECONDS)",
}


def stopped(wait: str, *, seconds: float, seconds_max: float) -> tuple[int, str, float]:
    program = PROGRAM.format(wait=WAITS[wait].replace("SECONDS", str(seconds)), seconds_max=seconds_max)
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr, time.monotonic() - began


@pytest.mark.parametrize("wait", WAITS)
def test_a_stop_that_does_not_end_is_ended(wait: str) -> None:
    code, said, seconds = stopped(wait, seconds=50, seconds_max=1.0)
    assert code == 1
    assert seconds < 40
    assert "Still stopping after 0.3 s" in said
    assert "is terminated" in said
    if wait == "a task":
        assert "the task 'somebody slow'" in said


@pytest.mark.parametrize("wait", WAITS)
def test_a_slow_stop_says_what_it_waits_for_and_ends_by_itself(wait: str) -> None:
    code, said, _ = stopped(wait, seconds=2, seconds_max=50)
    assert code == 0
    assert "Still stopping" in said
    assert "is terminated" not in said


def test_a_stop_in_time_says_nothing() -> None:
    code, said, _ = stopped("a task", seconds=0, seconds_max=50)
    assert (code, said) == (0, "")
