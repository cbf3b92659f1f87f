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
    short_help="Export the declarations for other tools.",
    epilog="Example:  headwater export prometheus > headwater.rules.yaml",
)
def command() -> None:
    """Export a project's declarations for other tools. The platform need not be running."""
