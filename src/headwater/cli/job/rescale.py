"""`headwater job rescale`: let a job on Flink run in more parts, or in fewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import say
from headwater.cli.job.on_cluster import flink_option, on_cluster, project_with_cluster
from headwater.cli.plan import project_option

if TYPE_CHECKING:
    from headwater.processing.flink.cluster.answers import FlinkJob
    from headwater.processing.flink.cluster.client import FlinkCluster

KEY_GROUPS = 128


@click.command(
    short_help="Let a job on Flink run in more parts, or in fewer.",
    epilog="Example:  headwater job rescale page_edits 4",
)
@click.argument("name")
@click.argument("parallelism", type=click.IntRange(1, KEY_GROUPS))
@project_option
@flink_option
def command(*, name: str, parallelism: int, project: Path, url: str | None) -> None:
    """Let the job NAME run in PARALLELISM parts on its Flink cluster, with its state.

    A cluster with the adaptive scheduler does it while the job runs. On others the job is stopped with a savepoint and
    started from it.
    """
    from headwater.processing.flink.cluster.rescaling import is_adaptive, rescale
    from headwater.processing.flink.execution import storage_address
    from headwater.processing.flink.resubmit import start_from_savepoint
    from headwater.processing.flink.runtime import find_runtime

    config = project_with_cluster(project, name, url)
    written = config.flink.savepoints
    directory = None if written is None else storage_address(config, written)

    async def rescale_or_stop(cluster: FlinkCluster, job: FlinkJob) -> str | None:
        if await is_adaptive(cluster, job):
            await rescale(cluster, job, parallelism)
            return None
        # Before it is stopped: without this environment it could not be started again.
        find_runtime(config)
        return await cluster.stop(job, directory)

    savepoint = on_cluster(config, name, rescale_or_stop)
    if savepoint is not None:
        say(f"The job {name} has stopped with a savepoint, and is started from it: {savepoint}")
        start_from_savepoint(config, find_runtime(config), name, savepoint, parallelism)
    say(f"The job {name} runs in {parallelism} parts.")
