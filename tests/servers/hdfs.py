"""HDFS as the tests run it: one name node and one data node on loopback ports, used by WebHDFS."""

from __future__ import annotations

import json
import subprocess
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
HADOOP = "3.5.0"
JARS = Jars(
    f"hdfs-{HADOOP}",
    (
        f"org.apache.hadoop:hadoop-hdfs:{HADOOP}",
        f"org.apache.hadoop:hadoop-hdfs-client:{HADOOP}",
        f"org.apache.hadoop:hadoop-common:{HADOOP}",
    ),
    Path(__file__).with_name("hdfs.sha256"),
)
READY_SECONDS = 90.0
FORMAT_SECONDS_MAX = 60
NAME_NODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
DATA_NODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
STATE = "jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
# Without it no error is shown.
LOGGING = """
log4j.rootLogger=WARN,out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{HH:mm:ss.SSS} %p %m (%c)%n
"""


@dataclass(slots=True)
class HdfsServer:
    """An HDFS whose name node answers WebHDFS at `address`, `HOST:PORT`; everybody may write as the user `root`."""

    name: str = "hdfs"
    address: str = ""
    _processes: tuple[ServerProcess, ...] = ()

    def missing(self) -> str | None:
        return JARS.missing(find_java(JAVA_VERSION_MIN), JAVA_VERSION_MIN)

    def resolve(self) -> None:
        JARS.resolve(self._java())

    def start(self, run: Run) -> str:
        self.resolve()
        rpc, http, data, data_http, data_ipc = free_ports(5)
        self.address = f"{LOOPBACK}:{http}"
        self._configure(run.folder, {"rpc": rpc, "http": http, "data": data, "data_http": data_http, "ipc": data_ipc})
        formatted = subprocess.run(
            [*self._command(run.folder), NAME_NODE, "-format", "-force", "-nonInteractive"],
            cwd=run.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=FORMAT_SECONDS_MAX,
        )
        if formatted.returncode:
            raise ServerError(f"HDFS could not be formatted: {(formatted.stdout + formatted.stderr)[-600:]}")
        nodes = (("name-node", NAME_NODE), ("data-node", DATA_NODE))
        self._processes = tuple(run.spawn(label, [*self._command(run.folder), main]) for label, main in nodes)
        try:
            self._await()
        except BaseException:
            self.stop()
            raise
        return self.address

    def stop(self) -> None:
        for process in self._processes:
            process.end(grace_seconds=5.0)

    def _java(self) -> Java:
        java = find_java(JAVA_VERSION_MIN)
        if java is None:
            raise ServerError(f"HDFS needs Java: {self.missing()}")
        return java

    def _command(self, folder: Path) -> list[str]:
        # Without the option WebHDFS answers with an empty 500.
        opened = "--add-opens=java.base/java.lang=ALL-UNNAMED"
        small = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [self._java().executable, opened, *small, "-cp", f"{folder / 'conf'}:{JARS.folder}/*"]

    def _configure(self, folder: Path, ports: dict[str, int]) -> None:
        conf = folder / "conf"
        for empty in ("webapps/hdfs", "webapps/datanode"):
            (conf / empty).mkdir(parents=True)
        (conf / "log4j.properties").write_text(LOGGING)
        shared = {"fs.defaultFS": f"hdfs://{LOOPBACK}:{ports['rpc']}", "hadoop.tmp.dir": str(folder / "tmp")}
        (conf / "core-site.xml").write_text(_settings(shared))
        (conf / "hdfs-site.xml").write_text(
            _settings(
                {
                    "dfs.replication": "1",
                    "dfs.namenode.name.dir": f"file://{folder / 'nn'}",
                    "dfs.datanode.data.dir": f"file://{folder / 'dn'}",
                    "dfs.namenode.http-address": self.address,
                    "dfs.datanode.address": f"{LOOPBACK}:{ports['data']}",
                    "dfs.datanode.http.address": f"{LOOPBACK}:{ports['data_http']}",
                    "dfs.datanode.ipc.address": f"{LOOPBACK}:{ports['ipc']}",
                    # Otherwise redirects name the machine.
                    "dfs.datanode.hostname": LOOPBACK,
                    "dfs.namenode.safemode.extension": "0",
                    "dfs.client.block.write.replace-datanode-on-failure.policy": "NEVER",
                    "dfs.namenode.fs-limits.min-block-size": "0",
                    # How long each small file waits for the report of its block: otherwise 0.4 seconds.
                    "dfs.client.block.write.locateFollowingBlock.initial.delay.ms": "5",
                    "dfs.client.block.write.locateFollowingBlock.retries": "12",
                }
            )
        )

    def _await(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://{self.address}/{STATE}", timeout=5) as answer:
                    (state,) = json.load(answer)["beans"]
                if state["NumLiveDataNodes"] == 1 and state["FSState"] == "Operational":
                    return
            except (OSError, urllib.error.URLError, ValueError, KeyError):
                pass
            for process in self._processes:
                if not process.is_alive():
                    raise ServerError(f"HDFS ended before it was ready.{process.tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"HDFS was not ready after {READY_SECONDS:.0f} seconds.{self._processes[0].tail()}")
            time.sleep(POLL_SECONDS)


def _settings(values: dict[str, str]) -> str:
    listed = "".join(f"<property><name>{key}</name><value>{value}</value></property>" for key, value in values.items())
    return f"<configuration>{listed}</configuration>"
