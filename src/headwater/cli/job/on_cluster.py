"""What the verbs share that act on a job which runs on a Flink cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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

flink_option = click.option("--flink", "url", help="REST address of the cluster (default: flink.url of the project).")


def project_with_cluster(project: Path, name: str, url: str | None) -> Config:
    """The configuration of the project, with the cluster that `url` names if it names one.

    Raises ConfigInvalid, JobInvalid if the project has no such job.
    """
    from headwater.config import load_config

    overrides = None if url is None else {"flink.url": url}
    project_jobs(project, name)
    config = load_config(project, overrides=overrides)
    if config.flink.url is None:
        raise ConfigInvalid("No Flink cluster is named.", hint="Set flink.url, or use --flink http://HOST:PORT.")
    return config


def on_cluster(config: Config, name: str, do: Callable[[FlinkCluster, FlinkJob], Awaitable[T]]) -> T:
    """What `do` makes of the job, which runs on the cluster. Raises FlinkUnavailable, FlinkRefused, JobUnknown."""
    from headwater.processing.flink.cluster.client import FlinkCluster

    async def ask() -> T:
        async with FlinkCluster(
            config.flink.url or "", request_seconds_max=config.flink.request_seconds_max
        ) as cluster:
            return await do(cluster, await cluster.running(name))

    return asyncio.run(ask())
