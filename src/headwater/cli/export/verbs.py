"""`headwater export`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "asyncapi": ("headwater.cli.export.asyncapi", "Print one stream, or all, as an AsyncAPI 3 document."),
    "prometheus": ("headwater.cli.export.prometheus", "Print alerting rules for Prometheus."),
    "grafana": ("headwater.cli.export.grafana", "Print a dashboard for Grafana."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="Make what other tools read of the declarations.",
    epilog="Example:  headwater export prometheus > headwater.rules.yaml",
)
def command() -> None:
    """Make what other tools read of a project's declarations. Nothing has to run."""
