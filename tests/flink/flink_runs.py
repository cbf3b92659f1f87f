"""Runs jobs on the Flink cluster of the tests, over what is in their streams now, and waits until they have ended."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.config import load_config
from headwater.processing.flink.plan import exchange_before_hash
from headwater.processing.flink.runtime import find_runtime
from servers.flink import FlinkCluster, flink_python

PROGRAM = Path(__file__).with_name("run_jobs.py")


@dataclass(frozen=True)
class FlinkRun:
    """A job of a project on one log: how it runs, and whether its timers fire by events alone."""

    project: Path
    url: str
    job: str
    mode: str
    parallelism: int
    never_idle: bool = False

    def asked(self, cluster: FlinkCluster) -> dict[str, Any]:
        """As `run_jobs.py` is asked for it."""
        arguments = [
            *("--project", str(self.project), "--job", self.job),
            *("--mode", self.mode, "--parallelism", str(self.parallelism)),
            *("--cluster", cluster.url.removeprefix("http://"), "--until-end"),
            *("--flink", "execution.checkpointing.interval=1s", "--flink", "restart-strategy.type=none"),
            *(("--idle", "never") if self.never_idle else ()),
        ]
        return {"arguments": arguments, "environment": {"HEADWATER_LOG_URL": self.url}}


@dataclass(frozen=True)
class FlinkEnd:
    """How a run has ended: the reason if it has failed; and what mixed up the order of events in the plan that the
    cluster ran, None if nothing did.
    """

    reason: str | None
    mixed: str | None


def run_on_flink(
    cluster: FlinkCluster, runs: Sequence[FlinkRun], folder: Path, *, seconds_max: float
) -> list[FlinkEnd]:
    """Run all, several at a time; how each has ended."""
    runtime = find_runtime(load_config(runs[0].project, {}, {"flink.python": str(flink_python())}))
    said = folder / "client.log"
    with said.open("wb") as log:
        done = subprocess.run(
            [str(runtime.python), str(PROGRAM)],
            input=json.dumps([run.asked(cluster) for run in runs]).encode(),
            stdout=subprocess.PIPE,
            stderr=log,
            env=runtime.environment(folder / "client"),
            timeout=seconds_max,
            check=False,
        )
    assert done.returncode == 0, said.read_text()[-5_000:]
    return [FlinkEnd(one["reason"], _mixed(cluster, one["id"])) for one in json.loads(done.stdout)]


def _mixed(cluster: FlinkCluster, job_id: str | None) -> str | None:
    """What is wrong with the plan that the cluster has run, in which operators are chained."""
    if job_id is None:
        return None
    nodes = cluster.ask(f"/jobs/{job_id}/plan")["plan"]["nodes"]
    assert nodes
    plan = [
        {"id": node["id"], "type": node.get("description"), "predecessors": node.get("inputs", [])} for node in nodes
    ]
    return exchange_before_hash(plan)
