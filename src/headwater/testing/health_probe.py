"""Measures how long others wait for `/healthz` while a service is given something large to do.

How this works: a process of its own asks over new connections, one after the other, until its input ends. From each
wait it takes the time in which the kernel had others run instead of it or of a thread of the service, which is the
machine's and not the program's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60.0
PAUSE_SECONDS = 0.01


@dataclass(slots=True)
class Waits:
    """How often `/healthz` was asked, and the longest wait; known when the block of `asking_meanwhile` has ended."""

    asked: int = 0
    worst_seconds: float = 0.0


@contextlib.contextmanager
def asking_meanwhile(address: str, pid: int) -> Iterator[Waits]:
    """Ask the service at `address`, whose process is `pid`, for the length of a `with` block."""
    waits = Waits()
    command = [sys.executable, "-m", __name__, address, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # The first answer has come.
        process.stdout.readline()
        try:
            yield waits
        finally:
            process.stdin.close()
            waits.asked, waits.worst_seconds = json.loads(process.stdout.readline() or "[0, 0.0]")


def delayed_seconds(pid: int) -> float:
    """For how long threads of a process have waited for a processor in all; 0 where the system does not say."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        # A thread may have ended meanwhile.
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int(file.read_text().split()[1])
    return total / 1e9


def _wait(host: str, port: int, pid: int) -> float:
    own, delayed, began = _own_delayed_seconds(), delayed_seconds(pid), time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    connection.close()
    waited = time.monotonic() - began
    return max(0.0, waited - (delayed_seconds(pid) - delayed) - (_own_delayed_seconds() - own))


def _own_delayed_seconds() -> float:
    """As `delayed_seconds`, of the thread that asks."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def _ask(address: str, pid: int) -> None:
    place = urlsplit(address)
    host, port = place.hostname or "127.0.0.1", place.port or 80
    ended = threading.Event()

    def await_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=await_end, daemon=True).start()
    asked, worst = 0, 0.0
    _wait(host, port, pid)
    print("asking", flush=True)
    while not ended.wait(PAUSE_SECONDS):
        asked, worst = asked + 1, max(worst, _wait(host, port, pid))
    print(json.dumps([asked, worst]), flush=True)


if __name__ == "__main__":
    _ask(sys.argv[1], int(sys.argv[2]))
