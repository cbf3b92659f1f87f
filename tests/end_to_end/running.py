"""`headwater up` as a process of its own, for tests of what a user starts, reads and ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]
# Whoever runs the tests may ignore hang-ups, as `nohup` does, and children inherit that.
_NOTICES_HANG_UPS = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
STOP_SECONDS_MAX = 40.0


class RunningServer:
    """A server that has printed its address: `address`, without a final slash, and `said`, all lines until then."""

    def __init__(self, project: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it on a free port. Raises AssertionError with what it wrote when it ends instead."""
        self.project = project
        self.process = subprocess.Popen(
            [
                *HEADWATER[:-1],
                _NOTICES_HANG_UPS + HEADWATER[-1],
                "up",
                "--project",
                str(project),
                "--port",
                "0",
                *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.said = ""
        while not (found := re.search(r"at (http://\S+)/ ", self.said)):
            line = self.read_line()
            if not line:
                self.stop(signal.SIGKILL)
                raise AssertionError(f"the server ended; it wrote: {self.said}")
            self.said += line
        self.address = found[1]

    def read_line(self) -> str:
        """The next line it writes; "" when it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it, if it has not ended; its exit code and what else it wrote. Killed if it is not in time."""
        assert self.process.stderr is not None
        if self.process.stderr.closed:
            return self.process.returncode, ""
        self.process.send_signal(how)
        killing = threading.Timer(STOP_SECONDS_MAX, self.process.kill)
        killing.start()
        try:
            rest = self.process.stderr.read()
            self.process.stderr.close()
            return self.process.wait(), rest
        finally:
            killing.cancel()


@contextlib.contextmanager
def up(project: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[RunningServer]:
    """A running server, ended with the block if it has not ended by then."""
    server = RunningServer(project, *options, environment=environment)
    try:
        yield server
    finally:
        server.stop()
