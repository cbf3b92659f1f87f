"""A process of jobs ends with its platform, also while its event loop is blocked, and says where it is blocked."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from headwater.processing.hosting import life_line
from headwater.processing.hosting.life_line import EXIT_ORPHANED, LifeLine, place_of
from headwater.testing.eventually import eventually_blocking

HERE = Path(__file__).resolve().parent


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life_line, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(life_line, "BLOCKED_SECONDS", 0.05)


def test_a_process_ends_when_its_platform_does_although_it_is_blocked() -> None:
    ours, theirs = socket.socketpair()
    statuses: list[int] = []
    LifeLine(theirs, HERE, statuses.append).start()
    ours.close()
    # This thread, which is that of the event loop, does nothing for it.
    assert eventually_blocking(lambda: statuses) == [EXIT_ORPHANED]
    theirs.close()


def test_the_place_where_it_is_blocked_is_sent(impatient: None) -> None:
    ours, theirs = socket.socketpair()
    ended = threading.Event()
    LifeLine(theirs, HERE, lambda _: ended.set()).start()
    ours.settimeout(30)
    sent = ours.recv(65_536).decode()
    place = "test_the_place_where_it_is_blocked_is_sent (test_life_line.py, line "
    assert sent.startswith(f"a function has not returned from {place}")
    ours.close()
    assert ended.wait(30)
    theirs.close()


def test_nothing_is_sent_while_the_event_loop_runs(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life_line, "BLOCKED_SECONDS", 0.3)
    ours, theirs = socket.socketpair()
    ended = threading.Event()
    line = LifeLine(theirs, HERE, lambda _: ended.set())
    line.start()
    until = time.monotonic() + 0.7
    ours.setblocking(False)
    while time.monotonic() < until:
        line.beat()
        time.sleep(0.001)
    sent = b""
    with contextlib.suppress(BlockingIOError):
        sent = ours.recv(65_536)
    # Something may have kept this process from running for a while.
    assert sent.count(b"\n") <= 5
    ours.close()
    assert ended.wait(30)
    theirs.close()


def test_the_place_is_the_innermost_function_of_the_project() -> None:
    over = threading.Event()

    def waits_for_it() -> None:
        over.wait()

    thread = threading.Thread(target=waits_for_it)
    thread.start()
    try:
        # `Event.wait` runs in functions of the standard library.
        expected = "waits_for_it (test_life_line.py, line "
        assert eventually_blocking(lambda: shown(thread) if shown(thread).startswith(expected) else "")
    finally:
        over.set()
        thread.join()
    assert place_of(None, HERE) == ""


def shown(thread: threading.Thread) -> str:
    """Where the thread is."""
    return place_of(sys._current_frames().get(thread.ident or 0), HERE)
