"""Apache Kafka as the tests run it: one node or three, in KRaft mode, on loopback ports.

Topics never create themselves here, and the retention check runs every second: what relies on either fails in a test
and not in production. A single node also has a listener that demands TLS and a password.
"""

from __future__ import annotations

import base64
import signal
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from servers.certificates import STORE_PASSWORD, loopback_certificate
from servers.failure import ServerError
from servers.java import Jars, Java, find_java
from servers.places import LOOPBACK, free_ports
from servers.processes import ServerProcess
from servers.run import Run

JAVA_VERSION_MIN = 17
JARS = Jars(
    "kafka-4.3.1",
    ("org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.2"),
    Path(__file__).with_name("kafka.sha256"),
)
READY_LINE = "Kafka Server started"
READY_SECONDS = 90.0

USER = "headwater"
PASSWORD = "correct horse"

LOGGING = """
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %m (%c)%n
"""

# For small machines, quick answers and much deleting; nothing here weakens what the broker promises.
SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.initial.task.delay.ms": "1000",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.index.size.max.bytes": "1048576",
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    "replica.lag.time.max.ms": "5000",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


@dataclass(frozen=True, slots=True)
class SecureListener:
    """Where and how to reach a broker that demands TLS and SASL (SCRAM-SHA-512 or PLAIN)."""

    bootstrap: str
    ca_file: Path
    user: str = USER
    password: str = PASSWORD
    mechanisms: tuple[str, ...] = ("SCRAM-SHA-512", "PLAIN")


@dataclass(slots=True)
class _Node:
    number: int
    port: int
    controller_port: int
    secure_port: int | None
    process: ServerProcess | None = None
    is_paused: bool = False

    @property
    def label(self) -> str:
        return f"kafka-{self.number}"


@dataclass(slots=True)
class KafkaCluster:
    """One or three Kafka nodes, each broker and controller; node numbers count from 1, as Kafka's broker ids do."""

    name: str = "kafka"
    node_count: int = 1
    bootstrap: str = ""
    nodes: dict[int, _Node] = field(default_factory=dict)
    secure: SecureListener | None = None
    _run: Run | None = None

    def missing(self) -> str | None:
        return JARS.missing(find_java(JAVA_VERSION_MIN), JAVA_VERSION_MIN)

    def resolve(self) -> None:
        JARS.resolve(self._java())

    def start(self, run: Run) -> str:
        self.resolve()
        self._run = run
        per_node = 3 if self.node_count == 1 else 2
        ports = free_ports(per_node * self.node_count)
        for number in range(1, self.node_count + 1):
            own = ports[(number - 1) * per_node : number * per_node]
            self.nodes[number] = _Node(number, own[0], own[1], own[2] if per_node == 3 else None)
        self.bootstrap = ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes.values())
        (run.folder / "log4j2.properties").write_text(LOGGING)
        for node in self.nodes.values():
            (run.folder / f"{node.label}.properties").write_text(self._properties(node))
        self._format()
        try:
            for node in self.nodes.values():
                self._spawn(node)
            for node in self.nodes.values():
                self._await(node)
        except BaseException:
            self.stop()
            raise
        return self.bootstrap

    def stop(self) -> None:
        # Killed, not asked: the data goes with the folder, and an orderly leave of a whole quorum takes its time.
        for node in self.nodes.values():
            if node.process is not None:
                node.process.end()

    def kill(self, number: int) -> None:
        """End node `number` as a power cut would (SIGKILL)."""
        self._process(number).end()
        self.nodes[number].is_paused = False

    def terminate(self, number: int, *, grace_seconds: float = 30.0) -> None:
        """End node `number` in order: it hands over its partitions first."""
        self._process(number).end(grace_seconds=grace_seconds)
        self.nodes[number].is_paused = False

    def pause(self, number: int) -> None:
        """Pause node `number`, its connections open, until `resume` (SIGSTOP)."""
        self._process(number).signal(signal.SIGSTOP)
        self.nodes[number].is_paused = True

    def resume(self, number: int) -> None:
        """Let a paused node continue."""
        self._process(number).signal(signal.SIGCONT)
        self.nodes[number].is_paused = False

    def restart(self, number: int) -> None:
        """Start node `number` again on its data, ended first if it runs; returns when it is ready."""
        self._process(number).end()
        node = self.nodes[number]
        node.is_paused = False
        self._spawn(node)
        self._await(node)

    def is_alive(self, number: int) -> bool:
        return self._process(number).is_alive()

    def heal(self) -> None:
        """Resume what is paused and start what has ended, so that the next test finds the cluster whole."""
        for number, node in self.nodes.items():
            if node.is_paused:
                self.resume(number)
        dead = [node for number, node in self.nodes.items() if not self.is_alive(number)]
        for node in dead:
            self._spawn(node)
        for node in dead:
            self._await(node)

    def _java(self) -> Java:
        java = find_java(JAVA_VERSION_MIN)
        if java is None:
            raise ServerError(f"Kafka needs Java: {self.missing()}")
        return java

    def _process(self, number: int) -> ServerProcess:
        process = self.nodes[number].process if number in self.nodes else None
        if process is None:
            raise ServerError(f"{self.name} has no running node {number}; its nodes: {sorted(self.nodes)}")
        return process

    def _spawn(self, node: _Node) -> None:
        assert self._run is not None
        java = self._java()
        command = [java.executable, "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-Dlog4j2.configurationFile=log4j2.properties", "-cp", f"{JARS.folder}/*"]
        command += ["kafka.Kafka", f"{node.label}.properties"]
        node.process = self._run.spawn(node.label, command)

    def _await(self, node: _Node) -> None:
        assert node.process is not None
        node.process.wait_for_line(READY_LINE, seconds=READY_SECONDS)

    def _format(self) -> None:
        assert self._run is not None
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A")
        for node in self.nodes.values():
            command = [self._java().executable, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
            command += ["-cp", f"{JARS.folder}/*", "kafka.tools.StorageTool", "format"]
            command += ["-t", cluster, "-c", f"{node.label}.properties"]
            if node.secure_port is not None:
                command += ["--add-scram", f'SCRAM-SHA-512=[name="{USER}",password="{PASSWORD}"]']
            done = subprocess.run(
                command, cwd=self._run.folder, capture_output=True, text=True, check=False, timeout=READY_SECONDS
            )
            if done.returncode:
                said = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[-8:])
                raise ServerError(f"Kafka's storage could not be formatted; it said:\n    {said}")

    def _properties(self, node: _Node) -> str:
        assert self._run is not None
        replicas = self.node_count
        insync = max(1, replicas - 1)
        listeners = {"PLAINTEXT": node.port, "CONTROLLER": node.controller_port}
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        settings = dict(SETTINGS)
        if node.secure_port is not None:
            listeners["SECURE"] = node.secure_port
            protocols["SECURE"] = "SASL_SSL"
            settings |= self._demands(node.secure_port)
        addresses = {name: f"{name}://{LOOPBACK}:{port}" for name, port in listeners.items()}
        settings |= {
            "node.id": str(node.number),
            "controller.quorum.voters": ",".join(
                f"{each.number}@{LOOPBACK}:{each.controller_port}" for each in self.nodes.values()
            ),
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(at for name, at in addresses.items() if name != "CONTROLLER"),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "log.dirs": str(self._run.folder / f"{node.label}.data"),
            "default.replication.factor": str(replicas),
            "min.insync.replicas": str(insync),
            "offsets.topic.replication.factor": str(replicas),
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(insync),
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "share.coordinator.state.topic.min.isr": str(insync),
        }
        return "".join(f"{key}={value}\n" for key, value in settings.items())

    def _demands(self, port: int) -> dict[str, str]:
        """What makes the listener SECURE take only clients that use TLS and know the password."""
        certificate = loopback_certificate(self._java())
        self.secure = SecureListener(f"{LOOPBACK}:{port}", certificate.trusted)
        modules = "org.apache.kafka.common.security"
        prefix = "listener.name.secure"
        return {
            f"{prefix}.ssl.keystore.type": "PKCS12",
            f"{prefix}.ssl.keystore.location": str(certificate.key_store),
            f"{prefix}.ssl.keystore.password": STORE_PASSWORD,
            f"{prefix}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            f"{prefix}.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
            f"{prefix}.plain.sasl.jaas.config": f'{modules}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
        }
