"""moto, an S3 of one process in memory, in a Python environment of its own: its packages do not fit among others.

Any key is accepted, and a bucket is made for every client that asks for it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.places import LOOPBACK, free_ports, only_one, packages_folder
from servers.processes import POLL_SECONDS, ServerProcess
from servers.run import Run

PACKAGES = Path(__file__).with_name("moto.txt")
INSTALL = ("-m", "pip", "install", "-q", "--require-hashes", "--no-deps")
INSTALL_SECONDS_MAX = 600
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
        with only_one(self.name):
            if not self._program.exists():
                packages_folder().mkdir(parents=True, exist_ok=True)
                scratch = Path(tempfile.mkdtemp(prefix=".", dir=packages_folder()))
                try:
                    self._install(scratch)
                    shutil.rmtree(self._environment, ignore_errors=True)
                    scratch.rename(self._environment)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)

    def start(self, run: Run) -> str:
        self.resolve()
        (port,) = free_ports(1)
        self.endpoint = f"http://{LOOPBACK}:{port}"
        # Its start script names the folder that the environment was made in.
        command = [str(self._program), "-c", "from moto.server import main; main()", "-H", LOOPBACK, "-p", str(port)]
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

    @property
    def _environment(self) -> Path:
        pinned = hashlib.sha256(PACKAGES.read_bytes()).hexdigest()[:12]
        return packages_folder() / f"moto-{sys.version_info.major}.{sys.version_info.minor}-{pinned}"

    @property
    def _program(self) -> Path:
        return self._environment / "bin" / "python"

    def _install(self, folder: Path) -> None:
        steps = (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), *INSTALL, "-r", str(PACKAGES)],
        )
        for command in steps:
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS_MAX)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ServerError(f"moto could not be installed: {error}") from error
            if done.returncode:
                raise ServerError(f"moto could not be installed: {(done.stdout + done.stderr).strip()[-600:]}")

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
