"""`headwater job`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "new": ("headwater.cli.job.new", "Create a job with its schema, stream, tests and runbook."),
    "list": ("headwater.cli.job.list", "List the jobs of a project."),
    "show": ("headwater.cli.job.show", "Draw one job: streams, steps, state and table."),
    "pause": ("headwater.cli.job.pause", "Pause a job until it is resumed, across restarts."),
    "resume": ("headwater.cli.job.resume", "Let a paused job continue."),
    "reset": ("headwater.cli.job.reset", "Delete what a job keeps, and let it begin again."),
    "rewind": ("headwater.cli.job.rewind", "Let a job begin again at a time."),
    "run": ("headwater.cli.job.run", "Run one job over files, without a server, or on Flink."),
    "deploy": ("headwater.cli.job.deploy", "Write files for running one job on Flink, on Kubernetes."),
    "stop": ("headwater.cli.job.stop", "Stop a job on Flink, with a savepoint."),
    "export": ("headwater.cli.job.export", "Stop a job, and write its state to a directory."),
    "import": ("headwater.cli.job.import_", "Let a job continue here from an exported state."),
    "verify-state": ("headwater.cli.job.verify_state", "Compare an exported state with its checksums, or another one."),
    "rescale": ("headwater.cli.job.rescale", "Let a job on Flink run in more parts, or in fewer."),
}

# What people look for → what there is.
OTHER_WORDS = {
    "backfill": "job run",
    "create": "job new",
    "draw": "job show",
    "errors": "errors list",
    "history": "job run",
    "init": "job new",
    "ls": "job list",
    "move": "job export",
    "redrive": "errors redrive",
    "replay": "job rewind",
    "restart": "job reset",
    "scale": "job rescale",
    "retry": "errors redrive",
    "start": "job resume",
    "status": "job list",
    "suspend": "job pause",
}


@click.command(
    cls=Verbs,
    table=VERBS,
    other_words=OTHER_WORDS,
    short_help="Create, list, draw, run and control the jobs of a project.",
    epilog="Example:  headwater job run page_edits --from edits.jsonl.gz --to out.jsonl",
)
def command() -> None:
    """Work with the jobs of a project."""
