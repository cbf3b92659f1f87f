"""`headwater schema new`: writes the first current file of a schema, and creates the repository if there is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import say
from headwater.errors import SchemaInvalid, SchemaUnavailable
from headwater.event import json_bytes

if TYPE_CHECKING:
    from headwater.schemas.workspace.working_copy import WorkingCopy


@click.command(
    short_help="Create a schema.",
    epilog="""\b
Examples:
  headwater schema new page/edit --field wiki:string! --field bytes:integer --description "A page was changed."
  headwater schema new fragment/performer --field name:string!""",
)
@click.argument("title")
@click.option("--description", default="", help="Description of one event.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME:TYPE[!]",
    help="Field; may be repeated. Types: string, integer, number, boolean, date-time, uri, string[], integer[], map."
    " A ! makes it required.",
)
@click.option(
    "--include",
    metavar="REF",
    help="Fragment to include, such as /fragment/common/1.0.0#; $schema, meta and dt are added if it lacks them."
    "  [default: the latest fragment/common of the repository]",
)
@click.option(
    "-r",
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Schema repository (default: found from the current directory).",
)
def command(title: str, description: str, fields: tuple[str, ...], include: str | None, repository: Path) -> None:
    """Write the current file of a new schema TITLE, version 1.0.0, with an example that is valid.

    A TITLE below fragment/ becomes a fragment: a part for other schemas. If the directory is not a schema repository
    yet, the settings of one are written, too.
    """
    from headwater.schemas.workspace.new_schema import new_current

    copy = _opened(repository)
    title = title.strip("/")
    file = copy.base / title / copy.settings.current_file
    if file.exists():
        raise SchemaInvalid(f"{copy.shown(file)} exists already.", hint="Edit it, or choose another title.")
    is_fragment = title.startswith("fragment/")
    reference = None if is_fragment else include or _common_fragment(copy)
    text = new_current(
        title,
        description or f"TODO: describe {'this fragment' if is_fragment else 'one event'}.",
        fields,
        meta_reference=reference,
        brought=_brought(copy, reference) if reference else None,
        is_fragment=is_fragment,
    )
    _check(copy, text, copy.shown(file), title)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    click.echo(copy.shown(file))
    say(f"Next: edit it, then `headwater schema materialize {title}`.")


def _brought(copy: WorkingCopy, reference: str) -> Mapping[str, Any] | None:
    """A fragment with its references resolved; None if it is not in the repository or not a schema."""
    from headwater.schemas.dialect import DRAFT_07
    from headwater.schemas.source import read_source
    from headwater.schemas.workspace.materialize import Materializer

    asking = {"$id": "/asking/1.0.0", "$schema": DRAFT_07, "type": "object", "allOf": [{"$ref": reference}]}
    try:
        source = read_source(json_bytes(asking), reference, copy.limits)
        return Materializer(copy).document(source, "asking").document
    except (SchemaInvalid, SchemaUnavailable):
        return None


def _check(copy: WorkingCopy, text: str, where: str, title: str) -> None:
    """Raise SchemaInvalid, with the place, if an included fragment is not a valid schema."""
    from headwater.schemas.source import read_source
    from headwater.schemas.workspace.materialize import Materializer

    try:
        Materializer(copy).document(read_source(text.encode(), where, copy.limits), title)
    except SchemaUnavailable:
        # Fragments on the network are not fetched here.
        return
    except SchemaInvalid as error:
        # A fragment may be added later; one that exists and is invalid is reported now.
        if error.line is not None:
            raise


def _opened(repository: Path) -> WorkingCopy:
    from headwater.schemas.workspace.new_schema import start_repository
    from headwater.schemas.workspace.working_copy import WorkingCopy
    from headwater.schemas.workspace.working_settings import SETTINGS_FILE

    repository.mkdir(parents=True, exist_ok=True)
    copy = WorkingCopy.open(repository)
    if copy.base == copy.root and not (copy.root / SETTINGS_FILE).exists() and not copy.schemas:
        click.echo(str(start_repository(repository)))
        copy = WorkingCopy.open(repository)
    return copy


def _common_fragment(copy: WorkingCopy) -> str | None:
    from headwater.errors import SchemaNotFound
    from headwater.schemas.workspace.new_schema import META_FRAGMENT

    try:
        folder = copy.folder(META_FRAGMENT)
    except SchemaNotFound:
        return None
    return f"{folder.uri(folder.latest)}#" if folder.latest else None
