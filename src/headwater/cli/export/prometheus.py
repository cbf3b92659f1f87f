"""`headwater export prometheus`: alerting rules made of what the streams declare."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.export.chosen import exported_streams, private_option
from headwater.cli.plan import load_declared, project_option

HEADER = (
    "# Made by `headwater export prometheus` of the declarations of the streams: change those, and make it again.\n"
)


@click.command(
    short_help="Print alerting rules for Prometheus.",
    epilog="Example:  headwater export prometheus > headwater.rules.yaml",
)
@project_option
@private_option
def command(*, project: Path, private: bool) -> None:
    """Print alerting rules: for the canaries and rates that streams declare, and for what must never happen.

    Each rule of a stream has its owner as the label `owner`, for routing.
    """
    from headwater.catalog.alerts import alerting_rules
    from headwater.streams.writing import yaml_text

    platform = load_declared(project).platform
    click.echo(
        HEADER + yaml_text(alerting_rules(exported_streams(platform, private=private), platform.config)), nl=False
    )
