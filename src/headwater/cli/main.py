"""The command `headwater` and its table of verbs; a verb's module is imported only when the verb is used."""

from __future__ import annotations

import importlib
from typing import Any

import click

from headwater import __version__
from headwater.cli.console import report_error
from headwater.errors import Fault, HeadwaterError

# Verb → (module with `command`, one line for `headwater --help`): the line stands here so that help imports nothing.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("headwater.cli.init", "Make a new project directory."),
    "up": ("headwater.cli.up", "Run the platform and its page."),
    "demo": ("headwater.cli.demo", "Show everything at work on a synthetic stream of edits."),
    "produce": ("headwater.cli.produce", "Post one event."),
    "tail": ("headwater.cli.tail", "Follow streams and print their events."),
    "replay": ("headwater.cli.replay", "Send a file of events through the intake."),
    "check": ("headwater.cli.check", "Validate everything in a project."),
    "log": ("headwater.cli.log", "Look into the log: topics, records, checksums."),
    "schema": ("headwater.cli.schema", "Work with schemas and judge events by them."),
}

EXIT_FAILED = 1
EXIT_OPERATOR = 2


class Verbs(click.Group):
    """A group that imports a verb's module on first use and turns our errors into one line and a hint."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{VERBS[cmd_name][0]}.command is not a click command")
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{_nearest(args[0])}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadwaterError as error:
            if ctx.params.get("debug"):
                raise
            report_error(error.message, error.hint)
            ctx.exit(EXIT_OPERATOR if error.fault is Fault.OPERATOR else EXIT_FAILED)


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, VERBS, n=1)
    return f" Did you mean '{near[0]}'?" if near and "Did you mean" not in name else ""


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with:  headwater demo",
)
@click.version_option(__version__, "-V", "--version", prog_name="headwater", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Headwater: schema-checked events in, a durable log, live streams, Python jobs and tables out."""
