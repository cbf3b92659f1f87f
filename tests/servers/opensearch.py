"""An OpenSearch, or an Elasticsearch, of one node for the tests: distributions without a Java of their own."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers.failure import ServerError
from servers.java import Jars, Java, find_java
from servers.places import LOOPBACK, free_ports
from servers.processes import OneProcess
from servers.run import Run

READY_SECONDS = 180.0
# It refuses to run as root.
USER = "nobody"
# Options of Java that write next to the programs, where this user may not write, or are for large machines.
UNWANTED = ("gc.log", "HeapDump", "ErrorFile", "G1")


@dataclass(frozen=True, slots=True)
class Distribution:
    """One version of a server that has the interface of OpenSearch.

    `program` is its name in the archive, `prefix` that of its variables, `settings` what it needs besides.
    """

    name: str
    program: str
    prefix: str
    version: str
    java_version_min: int
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def archive(self) -> Jars:
        coordinates = f"org.{self.program}.distribution.integ-test-zip:{self.program}:{self.version}:zip"
        checksums = Path(__file__).with_name(f"{self.name}.sha256")
        return Jars(f"{self.program}-{self.version}", (coordinates,), checksums)

    def java(self) -> Java:
        """:raises ServerError: there is none."""
        java = find_java(self.java_version_min)
        if java is None:
            raise ServerError(str(self.archive.missing(java, self.java_version_min)))
        return java


OPENSEARCH_2 = Distribution("opensearch", "opensearch", "OPENSEARCH", "2.19.6", 17)
OPENSEARCH_3 = Distribution("opensearch-3", "opensearch", "OPENSEARCH", "3.6.0", 21)
ELASTICSEARCH_8 = Distribution(
    "elasticsearch", "elasticsearch", "ES", "8.19.21", 17, {"xpack.security.enabled": "false"}
)


@dataclass(slots=True)
class OpensearchServer(OneProcess):
    """One server without security, that a test may kill, pause and start again."""

    distribution: Distribution = OPENSEARCH_2
    port: int = 0
    _run: Run | None = None
    _folder: Path | None = None

    @property
    def name(self) -> str:
        return self.distribution.name

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def missing(self) -> str | None:
        version_min = self.distribution.java_version_min
        return self.distribution.archive.missing(find_java(version_min), version_min)

    def resolve(self) -> None:
        self.distribution.archive.resolve(self.distribution.java())

    def start(self, run: Run) -> str:
        self.resolve()
        user = _user()
        self._run, self._folder = run, run.open_folder(user)
        (archive,) = self.distribution.archive.folder.iterdir()
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(self._folder)
        for path in self._home.glob("bin/*"):
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
        prefix = self.distribution.prefix
        environment = {
            f"{prefix}_JAVA_HOME": str(self.distribution.java().home),
            f"{prefix}_PATH_CONF": str(self._folder / "config"),
            f"{prefix}_TMPDIR": str(self._folder / "tmp"),
            f"{prefix}_JAVA_OPTS": "-Xms256m -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        }
        program = str(self._home / "bin" / self.distribution.program)
        process = self._run.spawn(self.name, [program], folder=self._folder, environment=environment, user=_user())
        self._begin(process, lambda one: one.wait_until(self._is_ready, seconds=READY_SECONDS))

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, seconds: float = 30.0) -> Any:
        """The answer of its HTTP interface.

        :raises OSError: it does not answer, or answers with an error.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return json.load(answer)

    def _is_ready(self) -> bool:
        return not self.ask("GET", "/_cluster/health?wait_for_status=yellow&timeout=5s")["timed_out"]

    def _configure(self, transport: int) -> None:
        assert self._folder is not None
        config = self._folder / "config"
        shutil.copytree(self._home / "config", config)
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
            **self.distribution.settings,
        }
        (config / f"{self.distribution.program}.yml").write_text(
            "".join(f"{key}: {value}\n" for key, value in settings.items())
        )

    @property
    def _home(self) -> Path:
        assert self._folder is not None
        (home,) = self._folder.glob(f"{self.distribution.program}-*")
        return home


def _user() -> str | None:
    """The user to run it as; None for this one."""
    return USER if os.getuid() == 0 and USER in {entry.pw_name for entry in pwd.getpwall()} else None


def _give(folder: Path, user: str | None) -> None:
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)
