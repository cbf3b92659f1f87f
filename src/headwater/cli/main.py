"""The command `headwater` and its table of verbs."""

from __future__ import annotations

import click

from headwater import __version__
from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "init": ("headwater.cli.init", "Create a new project directory."),
    "up": ("headwater.cli.up.up", "Run the platform and its web pages."),
    "demo": ("headwater.cli.demo.demo", "Run a whole platform on a synthetic stream of edits."),
    "check": ("headwater.cli.check", "Validate everything in a project."),
    "produce": ("headwater.cli.produce", "Post one event."),
    "tail": ("headwater.cli.tail", "Follow streams and print their events."),
    "replay": ("headwater.cli.replay", "Send a file of events through the intake."),
    "job": ("headwater.cli.job.verbs", "Create, list, draw, run and control the jobs of a project."),
    "sinks": ("headwater.cli.sinks.verbs", "List, test and control what writes streams to other systems."),
    "connectors": ("headwater.cli.connectors.verbs", "List, show and create connectors to other systems."),
    "table": ("headwater.cli.table.verbs", "Read the materialized tables of a project."),
    "schema": ("headwater.cli.schema.verbs", "Manage schemas: create, check, compare, release, serve."),
    "codegen": ("headwater.cli.codegen.verbs", "Write code from schemas."),
    "sources": ("headwater.cli.sources.verbs", "List, try and control the sources of a project."),
    "streams": ("headwater.cli.streams.verbs", "List, explain, import and export stream declarations."),
    "errors": ("headwater.cli.errors.verbs", "Find out why events failed, and process them again."),
    "keys": ("headwater.cli.keys", "Create and revoke API keys."),
    "export": ("headwater.cli.export.verbs", "Export the declarations for AsyncAPI, Prometheus and Grafana."),
    "canary": ("headwater.cli.canary", "Send canary events, and show how far they get."),
    "completeness": ("headwater.cli.completeness", "Show which hours of a stream are complete."),
    "plan": ("headwater.cli.plan", "Show what would change in the log's topics and the tables of sinks."),
    "apply": ("headwater.cli.apply", "Create and alter topics and tables as declared."),
    "sql": ("headwater.cli.sql", "Query streams, tables and files with SQL."),
    "deploy": ("headwater.cli.deploy", "Write files for running a project on Kubernetes."),
    "log": ("headwater.cli.log.verbs", "Inspect, copy, repair and load the log."),
}

# What people look for → what there is.
OTHER_WORDS = {
    "backfill": "job run",
    "consume": "tail",
    "connector": "connectors",
    "create": "init",
    "new": "init",
    "lint": "check",
    "pause": "job pause",
    "post": "produce",
    "publish": "produce",
    "query": "sql",
    "redrive": "errors redrive",
    "resume": "job resume",
    "retry": "errors redrive",
    "run": "up",
    "send": "produce",
    "serve": "up",
    "start": "up",
    "stream": "streams",
    "subscribe": "tail",
    "validate": "check",
}


@click.command(
    cls=Verbs,
    table=VERBS,
    other_words=OTHER_WORDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with:  headwater demo",
)
@click.version_option(__version__, "-V", "--version", prog_name="headwater", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Headwater: an event platform with schema validation, a durable log, live streams, Python jobs and tables."""
