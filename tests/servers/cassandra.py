"""An Apache Cassandra of one node for the tests, on the one version of Java that it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.java import Jars, Java, find_java
from servers.places import LOOPBACK, free_ports
from servers.processes import OneProcess
from servers.run import Run

JAVA_VERSION = 17
JARS = Jars(
    "cassandra-5.0.9",
    ("org.apache.cassandra:cassandra-all:5.0.9",),
    Path(__file__).with_name("cassandra.sha256"),
)
READY_LINE = "Startup complete"
READY_SECONDS = 120.0
LOGGING = """<configuration>
<appender name="out" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d{HH:mm:ss.SSS} %-5level %msg \\(%logger{0}\\)%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"""
# What Cassandra reaches in Java beyond what is open to all.
EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
)
OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)


@dataclass(slots=True)
class CassandraServer(OneProcess):
    """One Cassandra without authentication, that a test may kill, pause and start again."""

    name: str = "cassandra"
    port: int = 0
    _jmx_port: int = 0
    _run: Run | None = None

    def missing(self) -> str | None:
        java = find_java(JAVA_VERSION)
        if java is not None and java.version != JAVA_VERSION:
            return f"install Java {JAVA_VERSION}, or name it with JAVA_HOME: Cassandra does not run on {java.version}"
        return JARS.missing(java, JAVA_VERSION)

    def resolve(self) -> None:
        JARS.resolve(self._java())

    def start(self, run: Run) -> str:
        self.resolve()
        self._run = run
        self.port, self._jmx_port, storage_port = free_ports(3)
        (run.folder / "logback.xml").write_text(LOGGING)
        (run.folder / "cassandra.yaml").write_text(self._settings(run.folder, storage_port))
        self.restart()
        return f"{LOOPBACK}:{self.port}"

    def restart(self) -> None:
        """Start it on its data, ended first if it runs; returns when it answers."""
        self.stop()
        assert self._run is not None
        folder = self._run.folder
        command = [self._java().executable, "-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTS]
        command += [f"--add-opens={name}=ALL-UNNAMED" for name in OPENS]
        properties = {
            "jdk.attach.allowAttachSelf": "true",
            "cassandra.config": (folder / "cassandra.yaml").as_uri(),
            "cassandra.storagedir": folder,
            "cassandra-foreground": "yes",
            "cassandra.ring_delay_ms": 0,
            "cassandra.skip_wait_for_gossip_to_settle": 0,
            "cassandra.jmx.local.port": self._jmx_port,
            "logback.configurationFile": folder / "logback.xml",
        }
        command += [f"-D{name}={value}" for name, value in properties.items()]
        command += ["-cp", f"{JARS.folder}/*", "org.apache.cassandra.service.CassandraDaemon"]
        process = self._run.spawn("cassandra", command)
        self._begin(process, lambda one: one.wait_for_line(READY_LINE, seconds=READY_SECONDS))

    def _settings(self, folder: Path, storage_port: int) -> str:
        seeds = f'[{{seeds: "{LOOPBACK}:{storage_port}"}}]'
        settings = {
            "cluster_name": "headwater-test",
            "num_tokens": 1,
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            # What was answered is on the disk, so that a kill shows what a sink relies on.
            "commitlog_sync": "batch",
            "commitlog_segment_size": "8MiB",
            "data_file_directories": f"[{folder / 'data'}]",
            "commitlog_directory": folder / "commitlog",
            "saved_caches_directory": folder / "saved_caches",
            "hints_directory": folder / "hints",
            "cdc_raw_directory": folder / "cdc_raw",
            "seed_provider": f"[{{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: {seeds}}}]",
            "listen_address": LOOPBACK,
            "storage_port": storage_port,
            "rpc_address": LOOPBACK,
            "native_transport_port": self.port,
            "start_native_transport": "true",
            "endpoint_snitch": "SimpleSnitch",
            "auto_snapshot": "false",
        }
        return "".join(f"{name}: {value}\n" for name, value in settings.items())

    def _java(self) -> Java:
        java = find_java(JAVA_VERSION)
        if java is None or self.missing():
            raise ServerError(str(self.missing()))
        return java
