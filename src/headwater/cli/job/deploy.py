"""`headwater job deploy`: files for running one job on Flink, on Kubernetes."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.deploy import deploy_options, read_release, write_manifests


@click.command(
    short_help="Write files for running one job on Flink, on Kubernetes.",
    epilog="""\b
Examples:
  headwater job deploy page_content --to kubernetes
  headwater job deploy page_content --to kubernetes --output-dir deploy/production/page_content""",
)
@click.argument("name")
@click.option("--to", "target", type=click.Choice(["kubernetes"]), required=True, help="What to write files for.")
@deploy_options
def command(
    *, name: str, target: str, project: Path, environment: Path | None, output: Path | None, only_checks: bool
) -> None:
    """Write a FlinkDeployment for the job NAME, and everything that it needs, as files to commit.

    They are for Flink's operator, which starts the job, continues it from its newest checkpoint or a savepoint when it
    has changed, and shows how it is doing. A job that Flink cannot run is refused with all reasons. No secret is in
    the files, only names of secrets.
    """
    from headwater.deploy.flink_manifests import flink_manifests

    release = read_release(project, environment)
    write_manifests(flink_manifests(release, [name]), output, only_checks=only_checks)
