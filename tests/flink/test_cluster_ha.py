"""On a highly available cluster a job survives its JobManager, and is rescaled while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flink.probes import submit_probe
from headwater.errors import FlinkRefused, FlinkUnavailable
from headwater.processing.flink.cluster.answers import FlinkJob
from headwater.processing.flink.cluster.client import FlinkCluster
from headwater.processing.flink.cluster.rescaling import is_adaptive, rescale
from headwater.testing.eventually import eventually
from servers import flink as servers

pytestmark = pytest.mark.timeout(600)


async def test_a_job_is_rescaled_and_survives_its_jobmanager(flink_ha: servers.FlinkCluster, tmp_path: Path) -> None:
    async with FlinkCluster(flink_ha.url) as cluster:
        submit_probe(flink_ha, tmp_path, "rescaled", restarts=True)

        async def has_checkpoints(at_least: int = 1) -> FlinkJob | None:
            job = await cluster.newest("rescaled")
            if job is None or job.state != "RUNNING":
                return None
            return job if (await cluster.checkpoints(job)).completed >= at_least else None

        job: FlinkJob = await eventually(has_checkpoints, seconds=120)
        assert await is_adaptive(cluster, job)
        for parallelism in (2, 4):
            await rescale(cluster, job, parallelism)
            by_name = {one.name: one.parallelism for one in await cluster.vertices(job)}
            assert [count for name, count in by_name.items() if "count" in name] == [parallelism]
            assert [count for name, count in by_name.items() if "numbers" in name] == [1]
        with pytest.raises(FlinkRefused, match="has 8 slots for rescaled, too few for 9"):
            await rescale(cluster, job, 9)

        await eventually(has_checkpoints, seconds=120)
        flink_ha.kill_jobmanager()
        with pytest.raises(FlinkUnavailable, match="does not answer"):
            await cluster.overview()
        flink_ha.restart_jobmanager()

        async def is_restored() -> FlinkJob | None:
            try:
                found = await cluster.newest("rescaled")
            except FlinkUnavailable:
                return None
            return found if found is not None and found.state == "RUNNING" else None

        restored: FlinkJob = await eventually(is_restored, seconds=120)
        assert restored.id == job.id
        await eventually(has_checkpoints, seconds=120)
        await cluster.cancel(restored)
