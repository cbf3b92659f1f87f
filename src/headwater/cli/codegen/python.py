"""`headwater codegen python`: the types of events as TypedDicts."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.console import report_error, say
from headwater.cli.options import repositories_option
from headwater.cli.schema.finder import SchemaFinder


@click.command(
    short_help="Write the types of events for Python.",
    epilog="""\b
Examples:
  headwater codegen python shop/order
  headwater codegen python shop/order --version 1.0.0
  headwater codegen python --output event_types.py
  headwater codegen python --output event_types.py --check""",
)
@click.argument("titles", nargs=-1, metavar="[TITLE_OR_FILE]…")
@click.option("--version", metavar="VERSION", help="Version of the one TITLE.  [default: the latest]")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write instead of printing."
)
@click.option("--check", is_flag=True, help="Write nothing; the exit code is 1 if the file of --output would change.")
@repositories_option
def command(
    *, titles: tuple[str, ...], version: str | None, output: Path | None, check: bool, bases: tuple[str, ...]
) -> None:
    """Write a TypedDict for the events of each TITLE, by default for those of all streams of the project.

    Editors and type checkers then know the fields of an event:
    `def page_edits(event: DemoEdit, context: Context) -> DemoPageEdits`. Fields without one type are Any.
    """
    from headwater.schemas.types.python import python_module

    if version is not None and len(titles) != 1:
        raise click.UsageError("--version selects a version of one TITLE.")
    if check and output is None:
        raise click.UsageError("--check compares with the file of --output.")
    finder = SchemaFinder(bases)
    names = list(dict.fromkeys(titles or _titles_of_streams()))
    code = python_module([finder.typed(name, version) for name in names])
    if output is None:
        click.echo(code, nl=False)
    elif output.is_file() and output.read_text(encoding="utf-8") == code:
        say(f"{output} is up to date.")
    elif check:
        report_error(f"{output} is not up to date.", f"Run `headwater codegen python --output {output}`.")
        raise SystemExit(1)
    else:
        output.write_text(code, encoding="utf-8")
        say(f"{output}: {len(names)} {'schema' if len(names) == 1 else 'schemas'}.")


def _titles_of_streams() -> list[str]:
    from headwater.cli.up.up import require_project
    from headwater.config import load_config
    from headwater.streams.registry import StreamRegistry

    require_project(Path())
    config = load_config(Path())
    streams = StreamRegistry.load(config.path(config.streams.path)).entries()
    found = sorted({stream.schema_title for stream in streams if stream.schema_title})
    if not found:
        raise click.UsageError("No stream of the project has a schema_title: name a TITLE.")
    return found
