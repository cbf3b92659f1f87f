"""`headwater connectors new`: a package with a connector of one's own, whose tests pass as it is made."""

from __future__ import annotations

import re
from pathlib import Path

import click

from headwater.cli.connectors.scaffold import files_of
from headwater.cli.console import say
from headwater.errors import ConfigInvalid

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NAME_CHARS_MAX = 40


@click.command(short_help="Create a package with a connector.", epilog="Example:  headwater connectors new acme")
@click.argument("name")
@click.option(
    "--output-dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to create it (default: headwater-NAME).",
)
def command(*, name: str, directory: Path | None) -> None:
    """Create a package with a connector NAME: a sink of tables, its entry point and its tests.

    The tests are the suite of the contract and pass as they are written. Then replace the body of the sink by calls to
    your system. Once the package is installed, stream files name it as `connector: NAME`.
    """
    from headwater.connectors.registry import sink_names

    if not _NAME.fullmatch(name) or len(name) > NAME_CHARS_MAX:
        raise click.UsageError(
            f"{name[:60]!r} cannot be the name of a connector.\n"
            f"Use up to {NAME_CHARS_MAX} small letters, digits and '_', a letter first, such as `acme_store`."
        )
    if name in sink_names():
        raise click.UsageError(f"There is a connector {name} already; see `headwater connectors show {name}`.")
    chosen = directory or Path(f"headwater-{name.replace('_', '-')}")
    if chosen.exists() and any(chosen.iterdir()):
        raise ConfigInvalid(f"The directory {chosen} is not empty.", hint="Name another one with --output-dir.")
    for path, text in files_of(name).items():
        (chosen / path).parent.mkdir(parents=True, exist_ok=True)
        (chosen / path).write_text(text, encoding="utf-8")
    say(f"Created {chosen}. Next: cd {chosen}, pip install -e '.[test]', and pytest.")
