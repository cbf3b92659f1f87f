"""The client of a Flink cluster asks a real one: jobs, failures, savepoints, and what the default scheduler refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flink.probes import submit_probe
from headwater.errors import FlinkRefused, JobUnknown
from headwater.processing.flink.cluster.answers import FlinkJob, latest_reason
from headwater.processing.flink.cluster.client import FlinkCluster
from headwater.processing.flink.cluster.rescaling import is_adaptive, rescale
from headwater.testing.eventually import eventually
from servers import flink as servers

pytestmark = pytest.mark.timeout(600)

REASON = "ValueError: the number {} is broken (probe_program.py:"


@pytest.fixture
async def cluster(flink_cluster: servers.FlinkCluster) -> AsyncIterator[FlinkCluster]:
    async with FlinkCluster(flink_cluster.url) as client:
        yield client


async def is_running(cluster: FlinkCluster, name: str) -> FlinkJob | None:
    """The job, when all of its parts run and it was checkpointed."""
    job = await cluster.newest(name)
    if job is None or job.state != "RUNNING" or {one.state for one in await cluster.vertices(job)} != {"RUNNING"}:
        return None
    return job if (await cluster.checkpoints(job)).completed else None


async def test_an_empty_cluster_is_described(cluster: FlinkCluster) -> None:
    overview = await cluster.overview()
    assert (overview.taskmanagers, overview.slots, overview.slots_free) == (2, 8, 8)
    assert overview.version.startswith("2.2.")
    with pytest.raises(JobUnknown, match="runs no job named nothing"):
        await cluster.running("nothing")


async def test_a_job_is_stopped_with_a_savepoint_and_started_from_it(
    cluster: FlinkCluster, flink_cluster: servers.FlinkCluster, tmp_path: Path
) -> None:
    submit_probe(flink_cluster, tmp_path, "counted")
    job: FlinkJob = await eventually(lambda: is_running(cluster, "counted"), seconds=120)
    checkpoints = await cluster.checkpoints(job)
    assert checkpoints.last_path is not None
    assert checkpoints.last_path.startswith("file:")
    assert checkpoints.state_bytes > 0
    vertices = await cluster.vertices(job)
    assert "HASH" in {how for one in vertices for how in one.inputs.values()}
    assert await cluster.metrics(job, ["numRestarts", "lastCheckpointExternalPath"]) == {"numRestarts": 0}
    # Without the adaptive scheduler it must be started again to be rescaled, and the cluster says so.
    assert not await is_adaptive(cluster, job)
    with pytest.raises(FlinkRefused, match="AdaptiveScheduler"):
        await rescale(cluster, job, 2)

    copy = await cluster.savepoint(job)
    assert (await cluster.running("counted")).id == job.id
    path = await cluster.stop(job)
    assert path != copy
    assert path.startswith((flink_cluster.folder / "savepoints").as_uri().replace("file://", "file:"))
    ended = await cluster.newest("counted")
    assert ended is not None
    assert (ended.state, ended.has_ended) == ("FINISHED", True)

    submit_probe(flink_cluster, tmp_path, "counted", savepoint=path)
    job = await eventually(lambda: is_running(cluster, "counted"), seconds=120)
    await cluster.cancel(job)
    assert (await cluster.newest("counted")).state == "CANCELED"  # type: ignore[union-attr]


async def test_a_job_that_fails_shows_the_exception_of_the_users_code(
    cluster: FlinkCluster, flink_cluster: servers.FlinkCluster, tmp_path: Path
) -> None:
    submit_probe(flink_cluster, tmp_path, "broken", fails_at=3, mode="process")

    async def reason() -> str | None:
        job = await cluster.newest("broken")
        return None if job is None or job.state != "FAILED" else latest_reason(await cluster.failures(job))

    assert (await eventually(reason, seconds=120)).startswith(REASON.format(14))


async def test_a_job_that_is_restarted_shows_why(
    cluster: FlinkCluster, flink_cluster: servers.FlinkCluster, tmp_path: Path
) -> None:
    submit_probe(flink_cluster, tmp_path, "restarted", fails_at=3, restarts=True)

    async def restarts() -> float:
        return (await cluster.metrics(await cluster.running("restarted"), ["numRestarts"])).get("numRestarts", 0)

    await eventually(restarts, seconds=120)
    job = await cluster.running("restarted")
    assert (latest_reason(await cluster.failures(job)) or "").startswith(REASON.format(14))
