"""Starts servers for a measurement, isolates them from the load, and reads their cost.

How this works: a server is pinned to one core and the load generator to another, so that neither takes the other's
time. The cost of a server is read from /proc for its whole process tree; the process of a server that was already
running is found by the port it listens on.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import sample

SERVER_CORE, LOAD_CORE = 0, min(1, (os.cpu_count() or 1) - 1)
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
YARDSTICK = Path(__file__).resolve().parent / "yardstick"
YARDSTICK_TOPIC = "benchmark.page_change.yardstick"
START_SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server to measure; `pid` None if its cost cannot be read."""

    name: str
    host: str
    port: int
    path: str
    pid: int | None

    def cpu_seconds(self) -> float:
        """User and system time of the whole process tree so far."""
        return sum(ticks(pid) for pid in tree(self.pid)) / TICKS_PER_SECOND if self.pid else 0.0

    def resident_bytes(self) -> int:
        """Resident memory of the whole process tree."""
        return sum(_resident_pages(pid) for pid in tree(self.pid)) * PAGE_BYTES if self.pid else 0


def pin_load() -> None:
    """Keep this process off the servers' core."""
    os.sched_setaffinity(0, {LOAD_CORE})


def from_url(url: str) -> Server:
    """A server that is already running."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    return Server(f"{host}:{port}", host, port, parts.path or "/v1/events", listening_pid(port))


@contextlib.contextmanager
def headwater(name: str = "headwater", workers: int = 1, **settings: str) -> Iterator[Server]:
    """Our own server on a new project in a temporary folder; `settings` such as `LOG_DURABILITY="os"`.

    Several workers may use all cores; one stays on the servers' core.
    """
    with tempfile.TemporaryDirectory(prefix="headwater-benchmark-") as folder:
        project = sample.write_project(Path(folder) / "project")
        environment = {**os.environ, **{f"HEADWATER_{key}": value for key, value in settings.items()}}
        command = [str(Path(sys.executable).parent / "headwater"), "up", "--project", str(project)]
        command += ["--port", "{port}", *(["--workers", str(workers)] if workers > 1 else [])]
        cores = {SERVER_CORE} if workers == 1 else {*range(os.cpu_count() or 1)}
        with running(name, command, environment, cores) as server:
            yield server


@contextlib.contextmanager
def yardstick(brokers: str | None = None, poll_milliseconds: int = 100) -> Iterator[Server]:
    """A straightforward Node intake: Express, its JSON body parser, ajv with the same schema, response 201, no storage.

    With `brokers` (`HOST:PORT`) it produces to Kafka with node-rdkafka, and responds when every event is delivered.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        raise SystemExit("The yardstick needs Node.js and npm; compare with another server by --other URL instead.")
    # The Kafka client is compiled, which takes minutes, and only one kind of run needs it.
    wanted = YARDSTICK / "node_modules" / ("node-rdkafka" if brokers else "express")
    if not wanted.is_dir():
        omit = [] if brokers else ["--omit=optional"]
        subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund", *omit], cwd=YARDSTICK, check=True)
    with tempfile.TemporaryDirectory(prefix="headwater-benchmark-") as folder:
        project = sample.write_project(Path(folder))
        schema = project / "schemas" / sample.TITLE / "1.0.0.yaml"
        command = [node, str(YARDSTICK / "server.js"), str(schema), "{port}"]
        if brokers:
            make_topic(brokers, YARDSTICK_TOPIC)
            command += [brokers, YARDSTICK_TOPIC, str(poll_milliseconds)]
        with running("node", command, dict(os.environ)) as server:
            yield server


def make_topic(brokers: str, name: str) -> None:
    """Create a topic of one partition, if it does not exist."""
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    client = AdminClient({"bootstrap.servers": brokers})
    if name not in client.list_topics(timeout=10).topics:
        for made in client.create_topics([NewTopic(name, 1)]).values():
            made.result(10)


@contextlib.contextmanager
def namespace(brokers: str, topics: Sequence[str]) -> Iterator[str]:
    """A new namespace on a broker, with `topics` of one partition; it is deleted when the block ends.

    Created here because that takes a broker longer than a server should need to start.
    """
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    name = f"benchmark-{secrets.token_hex(4)}."
    client = AdminClient({"bootstrap.servers": brokers})
    for start in range(0, len(topics), 100):
        some = [NewTopic(name + topic, 1) for topic in topics[start : start + 100]]
        for made in client.create_topics(some, operation_timeout=30).values():
            made.result(60)
    try:
        yield name
    finally:
        left = [topic for topic in client.list_topics(timeout=10).topics if topic.startswith(name)]
        for gone in client.delete_topics(left).values() if left else ():
            gone.result(60)


@contextlib.contextmanager
def with_streams(
    names: Sequence[str], log: str | None, name: str = "headwater", workers: int = 1, **settings: str
) -> Iterator[Server]:
    """Our own server with these streams, on its own file or in a namespace of its own on a broker (`kafka://…`)."""
    with tempfile.TemporaryDirectory(prefix="headwater-benchmark-streams-") as folder, contextlib.ExitStack() as stack:
        if len(names) > 1:
            sample.write_streams(Path(folder), names)
            settings["STREAMS_PATH"] = folder
        brokers = log.removeprefix("kafka://") if log else ""
        if log:
            settings["LOG"] = f"{log}/{stack.enter_context(namespace(brokers, names))}"
        server = stack.enter_context(headwater(name, workers, **settings))
        if log:
            # Not before: the broker may use all cores to create topics.
            stack.enter_context(broker_beside_the_load(brokers))
        yield server


@contextlib.contextmanager
def broker_beside_the_load(brokers: str) -> Iterator[None]:
    """Keep a broker on this machine off the servers' core until the block ends."""
    port = int(brokers.split(",", maxsplit=1)[0].rsplit(":", 1)[1])
    pid = listening_pid(port)
    if pid is None:
        yield
        return
    _pin_threads(pid, {LOAD_CORE})
    try:
        yield
    finally:
        _pin_threads(pid, {*range(os.cpu_count() or 1)})


def _pin_threads(pid: int, cores: set[int]) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(task.name), cores)


@contextlib.contextmanager
def running(
    name: str, command: list[str], environment: dict[str, str], cores: set[int] | None = None
) -> Iterator[Server]:
    """Run `command` ("{port}" in it becomes a free port) on `cores`, by default the servers', until the block ends."""
    port = free_port()
    arguments = [part.replace("{port}", str(port)) for part in command]
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(arguments, env=environment, stdout=output, stderr=output) as process,
    ):
        os.sched_setaffinity(process.pid, cores or {SERVER_CORE})
        try:
            _wait_until_it_listens(process, port, name)
            yield Server(name, "127.0.0.1", port, "/v1/events", process.pid)
        except BaseException:
            output.seek(0)
            sys.stderr.write(output.read()[-4000:].decode("utf-8", "replace"))
            raise
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{name} ended with status {process.returncode} before it listened.")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise SystemExit(f"{name} did not listen within {START_SECONDS_MAX:.0f} s.")


def tree(root: int) -> list[int]:
    """`root` and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += parents.get(pid, [])
    return found


def listening_pid(port: int) -> int | None:
    """The process that listens on a local TCP port, where /proc shows it."""
    wanted = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                wanted.add(f"socket:[{fields[9]}]")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if any(os.readlink(descriptor) in wanted for descriptor in (entry / "fd").iterdir()):
                    return int(entry.name)
    return None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name, or [] when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def ticks(pid: int) -> int:
    """User and system time of one process so far, in ticks; 0 if there is none."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; 0 if there is none."""
    return _resident_pages(pid) * PAGE_BYTES


def _resident_pages(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[21]) if fields else 0
