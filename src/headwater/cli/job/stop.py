"""`headwater job stop`: stop a job that runs on Flink, with a savepoint from which it can be started again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import say
from headwater.cli.job.on_cluster import flink_option, on_cluster
from headwater.cli.plan import project_option

if TYPE_CHECKING:
    from headwater.processing.flink.cluster.answers import FlinkJob
    from headwater.processing.flink.cluster.client import FlinkCluster


@click.command(
    short_help="Stop a job on Flink, with a savepoint.",
    epilog="Example:  headwater job stop page_edits --savepoint s3://bucket/savepoints",
)
@click.argument("name")
@project_option
@flink_option
@click.option(
    "--savepoint", help="Where the savepoint is stored (default: flink.savepoints, else as the cluster does)."
)
@click.option("--drain", is_flag=True, help="Let timers fire and windows close, as at the end of all input.")
def command(*, name: str, project: Path, url: str | None, savepoint: str | None, drain: bool) -> None:
    """Stop the job NAME on its Flink cluster, and print the address of its savepoint.

    The savepoint has the state of the job and its position; the job can be started from it, also in more parts.
    """
    from headwater.processing.flink.execution import storage_address

    found = on_cluster(project, name, url)
    written = savepoint if savepoint is not None else found.config.flink.savepoints
    directory = None if written is None else storage_address(found.config, written)

    async def stop(cluster: FlinkCluster, job: FlinkJob) -> str:
        return await cluster.stop(job, directory, drain=drain)

    path = found.do(stop)
    say(f"The job {name} has stopped. Its savepoint:")
    click.echo(path)
