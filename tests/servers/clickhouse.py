"""A ClickHouse for the tests: its engine as a Python package, in an environment of its own, behind its HTTP interface.

There is no current server of ClickHouse in the registries that the other servers come from. The package `chdb` is the
same engine without its servers; `clickhouse_http.py` is the interface in front of it.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from servers.places import LOOPBACK, free_ports
from servers.processes import OneProcess
from servers.python_packages import PythonPackages
from servers.run import Run

PACKAGES = PythonPackages("clickhouse", Path(__file__).with_name("clickhouse.txt"))
PROGRAM = Path(__file__).with_name("clickhouse_http.py")
READY_SECONDS = 120.0


@dataclass(slots=True)
class ClickhouseServer(OneProcess):
    """One ClickHouse at `url`, that a test may kill, pause and start again."""

    name: str = "clickhouse"
    port: int = 0
    _run: Run | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def missing(self) -> str | None:
        return None

    def resolve(self) -> None:
        PACKAGES.resolve()

    def start(self, run: Run) -> str:
        self.resolve()
        self._run = run
        (self.port,) = free_ports(1)
        self.restart()
        return self.url

    def restart(self) -> None:
        """Start it on its data, ended first if it runs; returns when it answers."""
        self.stop()
        assert self._run is not None
        command = [str(PACKAGES.python), str(PROGRAM), str(self.port), str(self._run.folder / "data")]
        process = self._run.spawn("clickhouse", command)
        self._begin(process, lambda one: one.wait_until(self._is_ready, seconds=READY_SECONDS))

    def ask(self, statement: str, *, seconds: float = 60.0) -> str:
        """What it answers to a statement.

        :raises OSError: it does not answer, or refuses the statement.
        """
        request = urllib.request.Request(self.url, data=statement.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return str(answer.read().decode())

    def _is_ready(self) -> bool:
        return bool(self.ask("SELECT 1", seconds=5))
