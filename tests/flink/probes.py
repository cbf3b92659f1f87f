"""Submits the probe program to a Flink cluster of the tests, with the command line of Flink."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from headwater.config import Config
from headwater.processing.flink.runtime import FlinkRuntime, find_runtime
from headwater.settings import FlinkConfig
from servers.flink import FlinkCluster, flink_python

PROGRAM = Path(__file__).with_name("probe_program.py")
SUBMIT_SECONDS_MAX = 240


def runtime_of(cluster: FlinkCluster, project: Path) -> FlinkRuntime:
    """The environment of Flink, for a process that uses the cluster."""
    flink = FlinkConfig(url=cluster.url, python=str(flink_python()), connector_jar=str(cluster.connector_jar))
    return find_runtime(replace(Config(project), flink=flink))


def submit_probe(
    cluster: FlinkCluster,
    folder: Path,
    name: str,
    *,
    fails_at: int = 0,
    mode: str = "thread",
    restarts: bool = False,
    savepoint: str | None = None,
) -> None:
    """Start the job `name`, from a savepoint if one is named; returns when the cluster has it."""
    runtime = runtime_of(cluster, folder)
    command = [str(runtime.script), "run", "--detached", "-m", cluster.url.removeprefix("http://")]
    command += ["-pyclientexec", str(runtime.python), "-pyexec", str(runtime.python)]
    if savepoint is not None:
        command += ["--fromSavepoint", savepoint]
    command += ["-py", str(PROGRAM), name, str(fails_at), mode, "restarted" if restarts else "not-restarted"]
    environment = runtime.environment(folder / "client")
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=SUBMIT_SECONDS_MAX
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
