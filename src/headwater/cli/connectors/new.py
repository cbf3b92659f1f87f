"""`headwater connectors new`: a package with a connector of one's own, whose tests pass as it is made."""

from __future__ import annotations

import re
from pathlib import Path

import click

from headwater.cli.connectors.scaffold.package import KINDS, Kind, entry_of, files_of
from headwater.cli.console import say
from headwater.errors import ConfigInvalid

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NAME_CHARS_MAX = 40


@click.command(
    short_help="Create a package with a connector.", epilog="Example:  headwater connectors new acme --kind source"
)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="table",
    show_default=True,
    help="table: a sink of rows; events: a sink of whole events, such as requests; source: what reads events.",
)
@click.option(
    "--output-dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to create it (default: headwater-NAME).",
)
def command(*, name: str, kind: Kind, directory: Path | None) -> None:
    """Create a package with a connector NAME, its entry point and its tests.

    The tests are the suite of the contract and pass as they are written. Then replace what reads or writes files by
    calls to your system. Once the package is installed, stream files, or files of sources, name it as `connector:
    NAME`.
    """
    from headwater.connectors.registry import SINK, sink_names, source_names

    if not _NAME.fullmatch(name) or len(name) > NAME_CHARS_MAX:
        raise click.UsageError(
            f"{name[:60]!r} cannot be the name of a connector.\n"
            f"Use up to {NAME_CHARS_MAX} small letters, digits and '_', a letter first, such as `acme_store`."
        )
    if name in (sink_names() if entry_of(kind) == SINK else source_names()):
        raise click.UsageError(f"There is a {entry_of(kind)} {name} already; see `headwater connectors show {name}`.")
    chosen = directory or Path(f"headwater-{name.replace('_', '-')}")
    if chosen.exists() and any(chosen.iterdir()):
        raise ConfigInvalid(f"The directory {chosen} is not empty.", hint="Name another one with --output-dir.")
    for path, text in files_of(name, kind).items():
        (chosen / path).parent.mkdir(parents=True, exist_ok=True)
        (chosen / path).write_text(text, encoding="utf-8")
    say(f"Created {chosen}. Next: cd {chosen}, pip install -e '.[test]', and pytest.")
