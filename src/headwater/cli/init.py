"""`headwater init`: creates a project directory that passes `headwater check` and runs unchanged."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import click

from headwater.cli.console import called_as
from headwater.errors import ConfigInvalid

# In the template it has a name that version control and tools ignore.
_RENAMED = {"gitignore": ".gitignore", "jsonschema-tools.yaml": ".jsonschema-tools.yaml"}


@click.command(short_help="Create a new project directory.", epilog="Example:  headwater init my-platform")
@click.argument("directory", metavar="NAME", type=click.Path(file_okay=False, path_type=Path))
def command(directory: Path) -> None:
    """Create the project directory NAME with an example schema, streams and jobs."""
    written = write_project(directory)
    headwater = called_as(elsewhere=True)
    click.echo(
        f"Created {directory} with {len(written)} files. Next:\n  cd {directory}\n  {headwater} check\n"
        f"  {headwater} up\n"
        f"A job of your own:\n  {headwater} job new NAME --source demo.edit"
    )


def write_project(directory: Path) -> list[Path]:
    """Copy the template into `directory`, which must be absent or empty. Raises ConfigInvalid."""
    if directory.exists() and any(directory.iterdir()):
        raise ConfigInvalid(f"{directory} exists and is not empty.", hint="Name a directory that does not exist yet.")
    written: list[Path] = []
    with as_file(files("headwater.cli").joinpath("template")) as template:
        for source in sorted(template.rglob("*")):
            if not source.is_file() or "__pycache__" in source.parts:
                continue
            place = source.relative_to(template)
            target = directory / place.parent / _RENAMED.get(place.name, place.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            written.append(target)
    return written
