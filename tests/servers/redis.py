"""A Redis for the tests, of the version that is installed."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.places import LOOPBACK, free_ports
from servers.processes import ServerProcess
from servers.run import Run
from servers.sql import missing_program

READY_LINE = "Ready to accept connections"
READY_SECONDS = 30.0


@dataclass(slots=True)
class RedisServer:
    """One Redis that stores each write before it answers, and that a test may kill, pause and start again."""

    name: str = "redis"
    port: int = 0
    _run: Run | None = None
    _folder: Path | None = None
    _process: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def missing(self) -> str | None:
        return missing_program({"redis-server": shutil.which("redis-server")}, "redis-server")

    def resolve(self) -> None:
        if missing := self.missing():
            raise ServerError(missing)

    def start(self, run: Run) -> str:
        self._run, self._folder = run, run.open_folder(None)
        (self.port,) = free_ports(1)
        self.restart()
        return f"{LOOPBACK}:{self.port}"

    def restart(self, *options: str) -> None:
        """Start it on its data, ended first if it runs; `options` are added to the command."""
        self.stop()
        assert self._run is not None
        command = ["redis-server", "--port", str(self.port), "--bind", LOOPBACK, "--dir", str(self._folder)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no", *options]
        self._process = self._run.spawn("redis", command)
        try:
            self._process.wait_for_line(READY_LINE, seconds=READY_SECONDS)
        except BaseException:
            self.stop()
            raise

    def pause(self) -> None:
        """Pause it, its connections open, until `resume` (SIGSTOP)."""
        assert self._process is not None
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        assert self._process is not None
        self._process.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it as a power failure would (SIGKILL)."""
        if self._process is not None:
            self._process.end()
