"""Starts a job of a project on a session cluster, in a process of the environment of Flink."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from headwater.config import Config
from headwater.errors import FlinkRefused
from headwater.processing.flink.runtime import FlinkRuntime

START_SECONDS_MAX = 300.0
SAID_CHARS_MAX = 1_000


def start_from_savepoint(config: Config, runtime: FlinkRuntime, name: str, savepoint: str, parallelism: int) -> None:
    """Start the job on the cluster of `flink.url`, from a savepoint, in so many parts; returns when the cluster has it.

    Raises FlinkRefused, with what was printed, if it does not start.
    """
    place = urlsplit(config.flink.url or "")
    command = [str(runtime.python), "-m", "headwater.processing.flink.entry"]
    command += ["--project", str(config.project_dir.absolute()), "--job", name]
    command += ["--cluster", f"{place.hostname}:{place.port or 8081}"]
    command += ["--savepoint", savepoint, "--parallelism", str(parallelism)]
    with tempfile.TemporaryDirectory(prefix="headwater-flink-") as folder:
        environment = runtime.environment(Path(folder))
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=START_SECONDS_MAX
            )
            code, printed = done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            code, printed = 1, f"it was not started within {START_SECONDS_MAX:g} s"
    if code:
        raise FlinkRefused(
            f"The job {name} did not start from {savepoint}: {printed.strip()[-SAID_CHARS_MAX:]}",
            hint="Nothing is lost: it can be started from this savepoint.",
        )
