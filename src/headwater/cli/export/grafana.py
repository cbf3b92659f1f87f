"""`headwater export grafana`: a dashboard generated from the stream declarations."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headwater.cli.export.chosen import exported_streams, private_option
from headwater.cli.plan import load_declared, project_option


@click.command(
    short_help="Print a dashboard for Grafana.",
    epilog="Example:  headwater export grafana > headwater.dashboard.json",
)
@project_option
@private_option
def command(*, project: Path, private: bool) -> None:
    """Print a dashboard as Grafana imports it: the whole platform, then a row for each owner of streams."""
    from headwater.catalog.dashboard import dashboard

    platform = load_declared(project).platform
    made = dashboard(exported_streams(platform, private=private), platform.config.intake.service_name)
    click.echo(json.dumps(made, indent=2, ensure_ascii=False))
