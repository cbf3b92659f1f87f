"""A group of verbs whose modules are imported only when they are used; turns our errors into one line and a hint."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click

from headwater.cli.console import called_as, report_error
from headwater.errors import Fault, HeadwaterError

EXIT_FAILED = 1
EXIT_OPERATOR = 2

# Verb → (module with `command`, one line for the list of verbs): the line is here so that help imports nothing.
Table = Mapping[str, tuple[str, str]]


class Verbs(click.Group):
    """A group over a table of verbs; those added with a decorator come first.

    `other_words`: what people look for → the verb that there is, with its group.
    """

    def __init__(self, *args: Any, table: Table, other_words: Mapping[str, str] | None = None, **named: Any) -> None:
        super().__init__(*args, **named)
        self.table = table
        self.other_words = other_words or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self.table]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return self.commands.get(cmd_name)
        command = importlib.import_module(self.table[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.table[cmd_name][0]}.command is not a click command")
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [(name, command.get_short_help_str(limit=90)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *((name, summary) for name, (_, summary) in self.table.items())])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args[0] in self.other_words:
                there_is = f"{called_as()} {self.other_words[args[0]]}"
                raise click.UsageError(f"No such command '{args[0]}'. See `{there_is} --help`.", ctx) from None
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            addition = f" Did you mean '{near[0]}'?" if near and "Did you mean" not in error.message else ""
            raise click.UsageError(f"{error.message}{addition}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadwaterError as error:
            if ctx.find_root().params.get("debug"):
                raise
            report_error(error.message, error.hint)
            ctx.exit(EXIT_OPERATOR if error.fault is Fault.OPERATOR else EXIT_FAILED)
