"""`headwater job deploy`: files for running one job on Flink, on Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.deploy import deploy_options, read_release, write_manifests
from headwater.errors import ConfigInvalid
from headwater.times import time_ms, utc_text

if TYPE_CHECKING:
    from headwater.deploy.flink_manifests import Backfill


@click.command(
    short_help="Write files for running one job on Flink, on Kubernetes.",
    epilog="""\b
Examples:
  headwater job deploy page_content --to kubernetes
  headwater job deploy page_content --to kubernetes --output-dir deploy/production/page_content
  headwater job deploy page_content --to kubernetes --since 2026-11-01 --until 2026-11-08""",
)
@click.argument("name")
@click.option("--to", "target", type=click.Choice(["kubernetes"]), required=True, help="What to write files for.")
@click.option("--since", metavar="TIME", help="A backfill: only events received at this time or later.")
@click.option("--until", metavar="TIME", help="A backfill: only events received before this time; then it ends.")
@deploy_options
def command(
    *,
    name: str,
    target: str,
    since: str | None,
    until: str | None,
    project: Path,
    environment: Path | None,
    output: Path | None,
    only_checks: bool,
) -> None:
    """Write a FlinkDeployment for the job NAME, and everything that it needs, as files to commit.

    They are for Flink's operator, which starts the job, continues it from its newest checkpoint or a savepoint when it
    has changed, and shows how it is doing. A job that Flink cannot run is refused with all reasons. No secret is in
    the files, only names of secrets.

    With --since and --until it is a backfill: a second application, next to the one of the job, that processes what was
    received in between, with positions of its own, and ends. Events that the job has written before have the same ids.
    """
    from headwater.deploy.flink_manifests import flink_manifests

    release = read_release(project, environment)
    manifests = flink_manifests(release, [name], _backfill(since, until))
    write_manifests(manifests, output, only_checks=only_checks)


def _backfill(since: str | None, until: str | None) -> Backfill | None:
    from headwater.deploy.flink_manifests import Backfill

    if since is None and until is None:
        return None
    if since is None or until is None:
        raise ConfigInvalid("A backfill has a beginning and an end.", hint="Use --since and --until together.")
    found = [time_ms(time) for time in (since, until)]
    for text, time in zip((since, until), found, strict=True):
        if time is None:
            raise ConfigInvalid(f"{text} is not a time.", hint="Such as 2026-11-01T12:00:00Z.")
    first, last = (time for time in found if time is not None)
    if first >= last:
        raise ConfigInvalid(f"--since {since} is not before --until {until}.")
    return Backfill(utc_text(first), utc_text(last))
