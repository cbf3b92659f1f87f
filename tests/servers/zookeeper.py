"""An Apache ZooKeeper for the tests: where a Flink cluster keeps which jobs it runs, and who leads."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.java import Jars, Java, find_java
from servers.places import LOOPBACK, free_ports
from servers.processes import ServerProcess
from servers.run import Run

JAVA_VERSION_MIN = 17
JARS = Jars(
    "zookeeper-3.9.4",
    (
        "org.apache.zookeeper:zookeeper:3.9.4",
        "io.dropwizard.metrics:metrics-core:4.1.12.1",
        "org.xerial.snappy:snappy-java:1.1.10.7",
        "ch.qos.logback:logback-classic:1.3.15",
    ),
    Path(__file__).with_name("zookeeper.sha256"),
)
READY_SECONDS = 60.0
LOGGING = """<configuration>
<appender name="out" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d{HH:mm:ss.SSS} %-5level %msg \\(%logger{0}\\)%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"""


@dataclass(slots=True)
class ZookeeperServer:
    """One ZooKeeper on the loopback address, empty."""

    name: str = "zookeeper"
    port: int = 0
    _process: ServerProcess | None = None

    def missing(self) -> str | None:
        return JARS.missing(find_java(JAVA_VERSION_MIN), JAVA_VERSION_MIN)

    def resolve(self) -> None:
        JARS.resolve(self._java())

    def start(self, run: Run) -> str:
        self.resolve()
        [self.port] = free_ports(1)
        (run.folder / "logback.xml").write_text(LOGGING)
        settings = {
            "tickTime": 500,
            "dataDir": run.folder / "zookeeper",
            "clientPort": self.port,
            "clientPortAddress": LOOPBACK,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "ruok",
        }
        configuration = run.folder / "zoo.cfg"
        configuration.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        command = [self._java().executable, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [f"-Dlogback.configurationFile={run.folder / 'logback.xml'}", "-cp", f"{JARS.folder}/*"]
        command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(configuration)]
        self._process = run.spawn("zookeeper", command)
        self._await()
        return f"{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        if self._process is not None:
            self._process.end()

    def _await(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if not self._process.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"ZooKeeper did not get ready.{self._process.tail()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=2) as asking:
            asking.sendall(b"ruok")
            return asking.recv(4) == b"imok"
        return False

    def _java(self) -> Java:
        java = find_java(JAVA_VERSION_MIN)
        if java is None:
            raise ServerError(f"ZooKeeper needs Java: {self.missing()}")
        return java
