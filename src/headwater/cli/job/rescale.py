"""`headwater job rescale`: let a job on Flink run in more parts, or in fewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from headwater.cli.console import say
from headwater.cli.job.on_cluster import flink_option, on_cluster
from headwater.cli.plan import project_option
from headwater.errors import FlinkRefused

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

    A cluster with the adaptive scheduler does it while the job runs. On others nothing is changed, and the commands
    that stop the job with a savepoint and start it from there are shown.
    """
    from headwater.processing.flink.cluster.rescaling import is_adaptive, rescale

    found = on_cluster(project, name, url)
    place = urlsplit(found.url)

    async def rescale_live(cluster: FlinkCluster, job: FlinkJob) -> None:
        if not await is_adaptive(cluster, job):
            raise FlinkRefused(
                f"The cluster cannot rescale the job {name} while it runs: its scheduler is not the adaptive one.",
                hint=f"Stop it with `headwater job stop {name}`, and start it from the savepoint that this prints, with"
                f" the options that it had: `headwater job run {name} --on flink://{place.netloc}"
                f" --parallelism {parallelism} --from-savepoint PATH`.",
            )
        await rescale(cluster, job, parallelism)

    found.do(rescale_live)
    say(f"The job {name} runs in {parallelism} parts.")
