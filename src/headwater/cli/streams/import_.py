"""`headwater streams import`: converts a legacy stream configuration into a directory of equivalent stream files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from headwater.cli.console import say
from headwater.cli.options import RenamedOption
from headwater.errors import ConfigInvalid


@click.command(
    short_help="Convert a legacy stream configuration into stream files.",
    epilog="Example:  headwater streams import streams.yaml overrides.yaml --output-dir streams",
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "-o",
    "--output-dir",
    "into",
    cls=RenamedOption,
    old_names=["--into"],
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("streams"),
    show_default=True,
    help="Directory to create; it must be empty or not exist yet.",
)
def command(files: tuple[Path, ...], into: Path) -> None:
    """Convert a legacy stream configuration (YAML, JSON or PHP) into stream files.

    Name the file of streams first, then the file of overrides by site, if any. The result is read back and compared,
    stream by stream and site by site, with the legacy configuration; every difference is reported.
    """
    from headwater.streams.legacy.importer import differences, imported
    from headwater.streams.legacy.php_arrays import read_legacy_declaration
    from headwater.streams.legacy.source import LegacySource

    if into.exists() and any(into.iterdir()):
        raise ConfigInvalid(f"{into} exists and is not empty.", hint="Name a directory that does not exist yet.")
    source = LegacySource()
    for file in files:
        source.add(read_legacy_declaration(file))
    made = imported(source)
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".import-") as name:
        made_there = Path(name) / "streams"
        for path, text in made.files.items():
            target = made_there / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        found = list(differences(source, made_there))
        if into.exists():
            into.rmdir()
        shutil.move(made_there, into)
    for note in made.notes:
        say(f"Note: {note}")
    for difference in found:
        click.secho(f"Differs: {difference}", fg="red", err=True)
    click.echo(f"Created {into} with {made.streams} streams. Next:\n  headwater check")
    raise SystemExit(1 if found else 0)
