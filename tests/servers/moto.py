"""moto, an S3 of one process in memory, in a Python environment of its own: its packages do not fit among others.

Any key is accepted, and a bucket is made for every client that asks for it.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.places import LOOPBACK, free_ports
from servers.processes import POLL_SECONDS, ServerProcess
from servers.python_packages import PythonPackages
from servers.run import Run

PACKAGES = PythonPackages("moto", Path(__file__).with_name("moto.txt"))
READY_SECONDS = 60.0
KEY = "testing"


@dataclass(slots=True)
class MotoServer:
    """An S3 at `endpoint`."""

    name: str = "moto"
    endpoint: str = ""
    _process: ServerProcess | None = None

    def missing(self) -> str | None:
        return None

    def resolve(self) -> None:
        PACKAGES.resolve()

    def start(self, run: Run) -> str:
        self.resolve()
        (port,) = free_ports(1)
        self.endpoint = f"http://{LOOPBACK}:{port}"
        command = [str(PACKAGES.python), "-c", "from moto.server import main; main()", "-H", LOOPBACK, "-p", str(port)]
        self._process = run.spawn("moto", command)
        try:
            self._await(self._process)
        except BaseException:
            self.stop()
            raise
        return self.endpoint

    def stop(self) -> None:
        if self._process is not None:
            self._process.end(grace_seconds=5.0)

    def new_bucket(self, name: str) -> str:
        """Make a bucket, whose name is returned."""
        request = urllib.request.Request(
            f"{self.endpoint}/{name}", method="PUT", headers={"Authorization": f"AWS {KEY}:{KEY}"}
        )
        with urllib.request.urlopen(request, timeout=30):
            return name

    def _await(self, process: ServerProcess) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/moto-api/", timeout=5):
                    return
            except (OSError, urllib.error.URLError) as error:
                if not process.is_alive() or time.monotonic() > deadline:
                    raise ServerError(f"moto does not answer.{process.tail()}") from error
            time.sleep(POLL_SECONDS)
