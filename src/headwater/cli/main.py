"""The command `headwater` and its table of verbs."""

from __future__ import annotations

import click

from headwater import __version__
from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "init": ("headwater.cli.init", "Make a new project directory."),
    "up": ("headwater.cli.up.up", "Run the platform and its page."),
    "demo": ("headwater.cli.demo.demo", "Show everything at work on a synthetic stream of edits."),
    "check": ("headwater.cli.check", "Validate everything in a project."),
    "produce": ("headwater.cli.produce", "Post one event."),
    "tail": ("headwater.cli.tail", "Follow streams and print their events."),
    "replay": ("headwater.cli.replay", "Send a file of events through the intake."),
    "schema": ("headwater.cli.schema.verbs", "Manage schemas: make, check, compare, release, serve them."),
    "streams": ("headwater.cli.streams.verbs", "List, explain, import and export declarations of streams."),
    "keys": ("headwater.cli.keys", "Make and revoke API keys."),
    "export": ("headwater.cli.export.verbs", "Write what is declared for AsyncAPI, Prometheus and Grafana."),
    "canary": ("headwater.cli.canary", "Send canary events, and see how far they come."),
    "completeness": ("headwater.cli.completeness", "Say which hours of a stream are whole."),
    "plan": ("headwater.cli.plan", "Show what would change in the log's topics."),
    "apply": ("headwater.cli.apply", "Create and alter the log's topics as declared."),
    "log": ("headwater.cli.log.verbs", "Look into the log, move it, and load files into it."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with:  headwater demo",
)
@click.version_option(__version__, "-V", "--version", prog_name="headwater", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Headwater: schema-checked events in, a durable log, live streams, Python jobs and tables out."""
