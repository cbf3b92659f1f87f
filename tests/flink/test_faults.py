"""A job of a project on a real cluster keeps its results exactly once through kills and rescaling.

The job numbers the orders of each shop, so that one that is lost, doubled or out of order shows in all that follow.
"""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flink.probes import SUBMIT_SECONDS_MAX
from headwater.config import CONFIG_FILE, Config, load_config
from headwater.errors import FlinkUnavailable
from headwater.platform import Platform, build
from headwater.processing.flink.cluster.client import FlinkCluster
from headwater.processing.flink.cluster.rescaling import rescale
from headwater.processing.flink.runtime import find_runtime
from headwater.testing.eventually import eventually
from headwater.testing.suites.hosting import expected, numbered, send
from headwater.testing.whole_platform.project import ProjectSettings, write_whole_project
from servers import flink as servers

pytestmark = pytest.mark.timeout(600)

JOB = "numbered"
WAIT_SECONDS = 180.0


def project_on_flink(directory: Path, broker: str, cluster: servers.FlinkCluster) -> Path:
    """A project of which one job runs on the cluster, with results exactly once."""
    write_whole_project(directory, ProjectSettings())
    file = directory / CONFIG_FILE
    settings: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["log"] = {"url": f"kafka://{broker}/flink{uuid.uuid4().hex[:8]}."}
    settings["monitoring"]["canaries"] = False
    settings["flink"] = {
        "url": cluster.url,
        "jobs": [JOB],
        "python": str(servers.flink_python()),
        "connector_jar": str(cluster.connector_jar),
        "guarantee": "exactly-once",
        "checkpoint_seconds": 1,
        "restart_first_seconds": 0.5,
        "transaction_seconds_max": 120,
        "look_seconds": 0.5,
    }
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return directory


def start_job(config: Config, cluster: servers.FlinkCluster, folder: Path) -> None:
    """Start the job on the cluster; returns when the cluster has it."""
    runtime = find_runtime(config)
    command = [str(runtime.python), "-m", "headwater.processing.flink.entry", "--idle", "never"]
    command += ["--project", str(config.project_dir), "--job", JOB, "--cluster", cluster.url.removeprefix("http://")]
    environment = runtime.environment(folder / "client")
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=SUBMIT_SECONDS_MAX
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture
async def platform(kafka_server: str, flink_ha: servers.FlinkCluster, tmp_path: Path) -> AsyncIterator[Platform]:
    config = load_config(project_on_flink(tmp_path / "project", kafka_server, flink_ha), environment={})
    platform = build(config)
    await platform.start()
    try:
        await asyncio.to_thread(start_job, config, flink_ha, tmp_path)
        yield platform
    finally:
        await platform.stop()
        flink_ha.heal()


async def test_results_are_exactly_once_through_kills_and_rescaling(
    platform: Platform, flink_ha: servers.FlinkCluster
) -> None:
    sent = 0

    async def send_more(count: int = 50) -> None:
        nonlocal sent
        await send(platform, sent, count)
        sent += count

    async def are_counted() -> bool:
        return await numbered(platform) == expected(sent)

    def report() -> Any:
        return platform.runners[JOB].report()

    await send_more()
    await eventually(are_counted, seconds=WAIT_SECONDS)
    await eventually(lambda: (report().state, report().lag) == ("running", 0), seconds=WAIT_SECONDS)
    assert report().trouble is None

    # A TaskManager with the job is killed while events come.
    for number in (1, 2):
        await send_more()
        flink_ha.kill_taskmanager(number)
        await send_more()
        await asyncio.to_thread(flink_ha.restart_taskmanager, number)
    await eventually(are_counted, seconds=WAIT_SECONDS)
    await eventually(lambda: report().restarts > 0, seconds=WAIT_SECONDS)
    assert report().last_error is not None

    async with FlinkCluster(flink_ha.url) as cluster:
        for parallelism in (2, 4):
            await send_more()
            await rescale(cluster, await cluster.running(JOB), parallelism)
            await send_more()
            await eventually(are_counted, seconds=WAIT_SECONDS)

        await send_more()
        flink_ha.kill_jobmanager()
        with pytest.raises(FlinkUnavailable):
            await cluster.overview()
        await eventually(lambda: report().state == "elsewhere", seconds=WAIT_SECONDS)
        await send_more()
        await asyncio.to_thread(flink_ha.restart_jobmanager)
        await eventually(are_counted, seconds=WAIT_SECONDS)
    await eventually(lambda: (report().state, report().lag) == ("running", 0), seconds=WAIT_SECONDS)
    metrics = (await platform.metrics()).decode()
    assert f'headwater_job_lag_events{{job="{JOB}"}} 0.0\n' in metrics
    assert f'headwater_job_restarts_total{{job="{JOB}"}} 0.0\n' not in metrics
