"""What binds a process of jobs to the platform: it ends with it, even while a function blocks its event loop.

How this works: the two share a socket, which is the standard input of the process. A thread of the process waits at it:
when the platform ends, however it does, the socket ends, and the thread ends the process at once, so that no job
continues to write next to its successor. The thread also notices that the event loop does not run, and then sends
which job blocks it, and where in the code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from headwater.processing.stack import file_name

LOOK_SECONDS = 1.0
# From when on an event loop that has not run counts as blocked.
BLOCKED_SECONDS = 2.0
# The exit status of a process whose platform is gone.
EXIT_ORPHANED = 3
PLACE_BYTES_MAX = 500


class LifeLine:
    """The end of the process. Once it has an event loop, that is to call `beat` at least every second."""

    def __init__(self, sock: socket.socket, project: Path, gone: Callable[[int], object] = os._exit) -> None:
        """`project`: its files are named relative to it. `gone` is called with the exit status."""
        self._sock = sock
        self._project = project
        self._gone = gone
        self._loop_thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat_at = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="life line", daemon=True)

    def start(self) -> None:
        """Begin to watch; call it in the thread of the event loop."""
        self._loop_thread = threading.get_ident()
        self.beat()
        self._thread.start()

    def runs_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """The event loop of the process."""
        self._loop = loop

    def beat(self) -> None:
        """The event loop runs."""
        self._beat_at = time.monotonic()

    def _watch(self) -> None:
        self._sock.settimeout(LOOK_SECONDS)
        while True:
            try:
                if not self._sock.recv(64):
                    break
            except TimeoutError:
                if time.monotonic() - self._beat_at > BLOCKED_SECONDS:
                    self._send_place()
            except OSError:
                break
        self._gone(EXIT_ORPHANED)

    def _send_place(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        text = f"{self._running()} has not returned from {place_of(frame, self._project)}"
        with contextlib.suppress(OSError):
            self._sock.send(text.encode("utf-8", "replace")[:PLACE_BYTES_MAX] + b"\n", socket.MSG_DONTWAIT)

    def _running(self) -> str:
        """The task that blocks the event loop; tasks of jobs are named so: `job counts`."""
        task = None if self._loop is None else asyncio.current_task(self._loop)
        return "a function" if task is None else task.get_name()


def place_of(frame: FrameType | None, project: Path) -> str:
    """The innermost function of the project that is running, or of anything: `enrich (jobs/pages.py, line 12)`."""
    root = os.path.join(os.path.abspath(project), "")
    found = innermost = frame
    while found is not None and not found.f_code.co_filename.startswith(root):
        found = found.f_back
    shown = found or innermost
    if shown is None:
        return ""
    return f"{shown.f_code.co_name} ({file_name(shown.f_code.co_filename, project)}, line {shown.f_lineno})"
