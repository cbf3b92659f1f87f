"""Measures how long other clients wait for `/healthz` while a service processes something large.

How this works: a separate process requests it over new connections, one after the other, until its input ends. From
each wait it subtracts the time in which the kernel ran other processes instead of it or of a thread of the service,
which is due to the machine and not to the program.
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
    """How often `/healthz` was requested, and the longest wait; valid after the block of `asking_meanwhile`."""

    asked: int = 0
    worst_seconds: float = 0.0


@contextlib.contextmanager
def asking_meanwhile(address: str, pid: int) -> Iterator[Waits]:
    """Request it from the service at `address`, whose process is `pid`, for the duration of a `with` block."""
    waits = Waits()
    command = [sys.executable, "-m", __name__, address, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # The first response has arrived.
        process.stdout.readline()
        try:
            yield waits
        finally:
            process.stdin.close()
            waits.asked, waits.worst_seconds = json.loads(process.stdout.readline() or "[0, 0.0]")


def delayed_seconds(pid: int) -> float:
    """How long the threads of a process have waited for a processor in total; 0 if the system does not report it."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        # A thread may have ended in the meantime.
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
    """As `delayed_seconds`, for the calling thread."""
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
