"""Options that several verbs share, under one name each; former names are still accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

SERVER = "http://localhost:8080"
Command = TypeVar("Command", bound=Callable[..., Any])


class RenamedOption(click.Option):
    """An option that is also accepted under its former names, which the help does not show."""

    def __init__(self, declarations: Sequence[str], *, old_names: Sequence[str] = (), **settings: Any) -> None:
        self.old_names = tuple(old_names)
        super().__init__([*declarations, *old_names], **settings)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        every = self.opts
        self.opts = [name for name in every if name not in self.old_names]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = every


def server_option(*old_names: str) -> Callable[[Command], Command]:
    """`--server`: the address of a running platform, as the argument `server`."""
    return click.option(
        "--server",
        "server",
        cls=RenamedOption,
        old_names=old_names,
        default=SERVER,
        show_default=True,
        help="Address of the running platform.",
    )


# As the argument `bases`.
repositories_option = click.option(
    "-r",
    "--repository",
    "bases",
    cls=RenamedOption,
    old_names=["--schemas"],
    multiple=True,
    metavar="DIR_OR_URL",
    help="Schema repository; may be repeated: the first that has a schema is used.  [default: the project's]",
)

# As the argument `key_file`.
key_option = click.option(
    "--key-file",
    type=click.File(),
    help="File with the API key, if one is needed; `-` reads it from standard input.",
)
