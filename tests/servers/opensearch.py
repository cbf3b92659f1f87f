"""An OpenSearch of one node for the tests: the distribution without a Java of its own and with few modules."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import time
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.failure import ServerError
from servers.java import Jars, Java, find_java
from servers.places import LOOPBACK, free_ports
from servers.processes import POLL_SECONDS, ServerProcess
from servers.run import Run

JAVA_VERSION_MIN = 17
VERSION = "2.19.6"
ARCHIVE = Jars(
    f"opensearch-{VERSION}",
    (f"org.opensearch.distribution.integ-test-zip:opensearch:{VERSION}:zip",),
    Path(__file__).with_name("opensearch.sha256"),
)
READY_SECONDS = 120.0
# It refuses to run as root.
USER = "nobody"
# Options of Java that write next to the programs, where this user may not write, or are for large machines.
UNWANTED = ("gc.log", "HeapDump", "ErrorFile", "G1")


@dataclass(slots=True)
class OpensearchServer:
    """One OpenSearch without security, that a test may kill, pause and start again."""

    name: str = "opensearch"
    port: int = 0
    _run: Run | None = None
    _folder: Path | None = None
    _process: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def missing(self) -> str | None:
        return ARCHIVE.missing(find_java(JAVA_VERSION_MIN), JAVA_VERSION_MIN)

    def resolve(self) -> None:
        ARCHIVE.resolve(self._java())

    def start(self, run: Run) -> str:
        self.resolve()
        user = _user()
        self._run, self._folder = run, run.open_folder(user)
        (archive,) = ARCHIVE.folder.iterdir()
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(self._folder)
        for path in (self._folder / f"opensearch-{VERSION}" / "bin").iterdir():
            path.chmod(0o755)
        self.port, transport = free_ports(2)
        self._configure(transport)
        for name in ("data", "logs", "tmp", "config"):
            (self._folder / name).mkdir(exist_ok=True)
            _give(self._folder / name, user)
        self.restart()
        return f"{LOOPBACK}:{self.port}"

    def restart(self) -> None:
        """Start it on its data, ended first if it runs; returns when it answers."""
        self.stop()
        assert self._run is not None
        assert self._folder is not None
        environment = {
            "OPENSEARCH_JAVA_HOME": str(self._java().home),
            "OPENSEARCH_PATH_CONF": str(self._folder / "config"),
            "OPENSEARCH_TMPDIR": str(self._folder / "tmp"),
            "OPENSEARCH_JAVA_OPTS": "-Xms256m -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        }
        program = str(self._folder / f"opensearch-{VERSION}" / "bin" / "opensearch")
        self._process = self._run.spawn(
            "opensearch", [program], folder=self._folder, environment=environment, user=_user()
        )
        try:
            self._wait()
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

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, seconds: float = 30.0) -> Any:
        """The answer of its HTTP interface.

        :raises OSError: it does not answer, or answers with an error.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return json.load(answer)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if not self._process.is_alive():
                raise ServerError(f"opensearch ended before it was ready.{self._process.tail()}")
            try:
                if not self.ask("GET", "/_cluster/health?wait_for_status=yellow&timeout=5s")["timed_out"]:
                    return
            except OSError:
                time.sleep(POLL_SECONDS)
        raise ServerError(f"opensearch was not ready after {READY_SECONDS:.0f} seconds.{self._process.tail()}")

    def _configure(self, transport: int) -> None:
        assert self._folder is not None
        config = self._folder / "config"
        shutil.copytree(self._folder / f"opensearch-{VERSION}" / "config", config)
        options = (config / "jvm.options").read_text().splitlines()
        kept = [line for line in options if not any(word in line for word in UNWANTED)]
        (config / "jvm.options").write_text("\n".join(kept))
        settings = {
            "cluster.name": "headwater-test",
            "node.name": "one",
            "discovery.type": "single-node",
            "path.data": self._folder / "data",
            "path.logs": self._folder / "logs",
            "http.host": LOOPBACK,
            "http.port": self.port,
            "transport.host": LOOPBACK,
            "transport.port": transport,
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }
        (config / "opensearch.yml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))

    def _java(self) -> Java:
        java = find_java(JAVA_VERSION_MIN)
        if java is None:
            raise ServerError(str(self.missing()))
        return java


def _user() -> str | None:
    """The user to run it as; None for this one."""
    return USER if os.getuid() == 0 and USER in {entry.pw_name for entry in pwd.getpwall()} else None


def _give(folder: Path, user: str | None) -> None:
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)
