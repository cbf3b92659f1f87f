"""Bounds how long a process takes to stop: it reports what it waits for, and finally stops without waiting."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

from headwater.cli.console import say

SAID_AFTER_SECONDS = 12.0
# Code that waits for brokers gives up earlier.
SECONDS_MAX = 60.0
NAMES_MAX = 5


class Stopping:
    """The stop of one event loop. `begin` may be called from a signal handler, and more than once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._said_after_seconds = SAID_AFTER_SECONDS
        self._seconds_max = SECONDS_MAX
        self._over = threading.Event()
        self._watch: threading.Thread | None = None

    def begin(self) -> None:
        """Start the time limit."""
        if self._watch is None:
            self._watch = threading.Thread(target=self._wait, name="stopping", daemon=True)
            self._watch.start()

    def over(self) -> None:
        """Everything has ended, including threads."""
        self._over.set()

    def _wait(self) -> None:
        if self._over.wait(self._said_after_seconds):
            return
        say(f"Still stopping after {self._said_after_seconds:g} s. It waits for {self._waited_for()}.")
        if self._over.wait(self._seconds_max - self._said_after_seconds):
            return
        say(
            f"It did not stop within {self._seconds_max:g} s and is terminated; everything acknowledged is"
            f" stored. It waited for {self._waited_for()}."
        )
        os._exit(1)

    def _waited_for(self) -> str:
        names: list[str] = []
        # Meanwhile, tasks start and end in another thread.
        with contextlib.suppress(RuntimeError):
            names = sorted(f"the task {task.get_name()!r}" for task in asyncio.all_tasks(self._loop))
        ours = (threading.current_thread(), threading.main_thread())
        names += sorted(f"the thread {one.name!r}" for one in threading.enumerate() if one not in ours)
        more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
        return (", ".join(names[:NAMES_MAX]) or "unnamed tasks or threads") + more
