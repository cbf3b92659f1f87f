"""`headwater schema docs`: pages about the schemas of a repository, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import say
from headwater.cli.schema.repository_option import folder_named, repository_options

if TYPE_CHECKING:
    from headwater.schemas.reports.pages import SchemaPage
    from headwater.schemas.workspace.version_files import VersionFile
    from headwater.schemas.workspace.working_copy import WorkingCopy


@click.command(
    short_help="Write pages about schemas.",
    epilog="""\b
Examples:
  headwater schema docs page/edit                       print one page
  headwater schema docs --output-dir site --format html""",
)
@click.argument("names", nargs=-1, metavar="[SCHEMA]...")
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write pages and an index into this directory.",
)
@click.option(
    "--format", "form", type=click.Choice(["md", "html"]), default="md", help="Markdown or HTML.  [default: md]"
)
@repository_options
def command(copy: WorkingCopy, names: tuple[str, ...], output_dir: Path | None, form: str) -> None:
    """Describe the latest version of each SCHEMA (default: all): fields, examples, what it uses and what uses it.

    Without --output-dir the pages are printed.
    """
    from headwater.schemas.reports.pages import schema_pages
    from headwater.schemas.workspace.version_files import write_changed

    pages = schema_pages(copy, [folder_named(copy, name).title for name in names] or None)
    if output_dir is None:
        for page in pages:
            click.echo(_text(page, form, set()))
        return
    written = write_changed(_files(pages, output_dir, form))
    say(f"{len(pages)} pages in {output_dir}, {len(written)} files written.")


def _text(page: SchemaPage, form: str, known: set[str]) -> str:
    from headwater.schemas.reports.pages import html_page, markdown_page

    return (markdown_page if form == "md" else html_page)(page, known)


def _files(pages: list[SchemaPage], output_dir: Path, form: str) -> list[VersionFile]:
    from headwater.schemas.reports.pages import html_index, markdown_index, page_name
    from headwater.schemas.workspace.version_files import VersionFile

    known = {page.title for page in pages}
    files = [
        VersionFile(output_dir / page_name(page.title, form), content=_text(page, form, known).encode())
        for page in pages
    ]
    index = (markdown_index if form == "md" else html_index)(pages)
    return [*files, VersionFile(output_dir / f"index.{form}", content=index.encode())]
