"""`headwater schema dereference`: prints schemas without `$ref` and `allOf`, otherwise unchanged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.schema.repository_option import folder_named, repository_options
from headwater.errors import SchemaNotFound

if TYPE_CHECKING:
    from headwater.schemas.source import Source
    from headwater.schemas.workspace.working_copy import WorkingCopy


@click.command(
    short_help="Print schemas without $ref and allOf.",
    epilog="Example:  headwater schema dereference jsonschema/page/edit/current.yaml",
)
@click.argument("names", nargs=-1, metavar="[SCHEMA]...")
@click.option(
    "-c", "--content-type", type=click.Choice(["yaml", "json"]), default="yaml", help="What to print.  [default: yaml]"
)
@repository_options
def command(copy: WorkingCopy, names: tuple[str, ...], content_type: str) -> None:
    """Print every SCHEMA (a title, directory or file; standard input when none is named) with its references filled in.

    One schema is printed as it is, several as a list.
    """
    documents = dereferenced(copy, names)
    print_text(documents[0] if len(documents) == 1 else documents, content_type)


def dereferenced(copy: WorkingCopy, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The named schemas, or the one on standard input. Raises what materializing raises."""
    from headwater.schemas.workspace.materialize import Materializer
    from headwater.schemas.workspace.yaml_style import sorted_keys

    materializer = Materializer(copy)
    sources = [_source(copy, name) for name in names or ("-",)]
    return [sorted_keys(materializer.dereferenced(source, uri)) for source, uri in sources]


def print_text(value: Any, content_type: str) -> None:
    """A value on standard output as `yaml` or `json`."""
    from headwater.schemas.workspace.materialize import text_of

    text = text_of(value, content_type)
    click.echo(text, nl=not text.endswith("\n"))


def source_from_stdin(copy: WorkingCopy) -> Source:
    """The schema on standard input. Raises SchemaInvalid."""
    from headwater.schemas.source import read_source

    return read_source(sys.stdin.buffer.read(copy.limits.document_bytes_max + 1), "standard input", copy.limits)


def _source(copy: WorkingCopy, name: str) -> tuple[Source, str]:
    """A schema and its place in the repository."""
    from headwater.schemas.workspace.working_copy import parse_file

    if name == "-":
        return source_from_stdin(copy), "/stdin/current"
    path = Path(name).resolve()
    if not path.is_file():
        folder = folder_named(copy, name)
        if folder.current is None:
            raise SchemaNotFound(f"The schema {folder.title} has no {copy.settings.current_file}.")
        path = folder.current
    uri = "/" + path.relative_to(copy.base).as_posix() if path.is_relative_to(copy.base) else f"/{path.name}"
    return parse_file(path, copy.shown(path), copy.limits), uri
