"""A Redis for the tests, of the version that is installed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.places import LOOPBACK, free_ports
from servers.processes import OneProcess
from servers.run import Run
from servers.sql import missing_program

READY_LINE = "Ready to accept connections"
READY_SECONDS = 30.0


@dataclass(slots=True)
class RedisServer(OneProcess):
    """One Redis that stores each write before it answers, and that a test may kill, pause and start again."""

    name: str = "redis"
    port: int = 0
    _run: Run | None = None
    _folder: Path | None = None

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
        process = self._run.spawn("redis", command)
        self._begin(process, lambda one: one.wait_for_line(READY_LINE, seconds=READY_SECONDS))
