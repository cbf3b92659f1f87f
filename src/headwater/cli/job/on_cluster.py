"""What the verbs share that act on a job which runs on a Flink cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from headwater.cli.job.measured import project_jobs
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.processing.flink.cluster.answers import FlinkJob
    from headwater.processing.flink.cluster.client import FlinkCluster

T = TypeVar("T")

flink_option = click.option(
    "--flink", "url", help="REST address of the cluster (default: that of the job in flink.jobs, else flink.url)."
)


@dataclass(frozen=True, slots=True)
class OnCluster:
    """A job that runs on the Flink cluster at `url`, and the configuration of its project."""

    name: str
    config: Config
    url: str

    def do(self, what: Callable[[FlinkCluster, FlinkJob], Awaitable[T]]) -> T:
        """What `what` makes of the job. Raises FlinkUnavailable, FlinkRefused, JobUnknown."""
        from headwater.processing.flink.cluster.client import FlinkCluster

        async def ask() -> T:
            async with FlinkCluster(self.url, request_seconds_max=self.config.flink.request_seconds_max) as cluster:
                return await what(cluster, await cluster.running(self.name))

        return asyncio.run(ask())


def on_cluster(project: Path, name: str, url: str | None) -> OnCluster:
    """The job of the project on the cluster at `url`, or at the address that the settings have for it.

    Raises ConfigInvalid, JobInvalid if the project has no such job.
    """
    from headwater.config import load_config

    # Checked in the same way, wherever it is written.
    config = load_config(project, overrides=None if url is None else {"flink.url": url})
    project_jobs(project, name)
    found = url or config.flink.url_of(name)
    if found is None:
        raise ConfigInvalid("No Flink cluster is named.", hint="Set flink.url, or use --flink http://HOST:PORT.")
    return OnCluster(name, config, found)
