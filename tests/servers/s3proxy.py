"""S3Proxy, an S3 with its objects in a folder, which checks signatures and honours conditional writes."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.java import Jars, Java, find_java
from servers.places import LOOPBACK, free_ports
from servers.processes import POLL_SECONDS, ServerProcess
from servers.run import Run

JAVA_VERSION_MIN = 17
VERSION = "4.1.0"
JARS = Jars(
    f"s3proxy-{VERSION}",
    (f"org.gaul:s3proxy:{VERSION}:jar:jar-with-dependencies",),
    Path(__file__).with_name("s3proxy.sha256"),
)
READY_SECONDS = 60.0
ACCESS_KEY = "tester"
SECRET_KEY = "secret-of-tester"


@dataclass(slots=True)
class S3proxyServer:
    """An S3 at `endpoint`, that a test may stop and start again."""

    name: str = "s3proxy"
    endpoint: str = ""
    _run: Run | None = None
    _process: ServerProcess | None = None

    def missing(self) -> str | None:
        return JARS.missing(find_java(JAVA_VERSION_MIN), JAVA_VERSION_MIN)

    def resolve(self) -> None:
        JARS.resolve(self._java())

    def start(self, run: Run) -> str:
        self.resolve()
        self._run = run
        (port,) = free_ports(1)
        self.endpoint = f"http://{LOOPBACK}:{port}"
        self._buckets.mkdir()
        settings = {
            "s3proxy.endpoint": self.endpoint,
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": ACCESS_KEY,
            "s3proxy.credential": SECRET_KEY,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": str(self._buckets),
        }
        (run.folder / "s3proxy.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self.restart()
        return self.endpoint

    def restart(self) -> None:
        """Start it on its data, ended first if it runs."""
        self.stop()
        assert self._run is not None
        small = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        main = ["-cp", f"{JARS.folder}/*", "org.gaul.s3proxy.Main"]
        settings = ["--properties", str(self._run.folder / "s3proxy.properties")]
        self._process = self._run.spawn("s3proxy", [self._java().executable, *small, *main, *settings])
        try:
            self._await(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it as a power failure would (SIGKILL)."""
        if self._process is not None:
            self._process.end()

    def new_bucket(self, name: str) -> str:
        """Make a bucket, whose name is returned."""
        (self._buckets / name).mkdir()
        return name

    @property
    def _buckets(self) -> Path:
        assert self._run is not None
        return self._run.folder / "buckets"

    def _java(self) -> Java:
        java = find_java(JAVA_VERSION_MIN)
        if java is None:
            raise ServerError(f"S3Proxy needs Java: {self.missing()}")
        return java

    def _await(self, process: ServerProcess) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(self.endpoint, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                # It answers, but not to a request without a signature.
                error.close()
                return
            except OSError as error:
                if not process.is_alive() or time.monotonic() > deadline:
                    raise ServerError(f"S3Proxy does not answer.{process.tail()}") from error
            time.sleep(POLL_SECONDS)
