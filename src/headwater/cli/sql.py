"""`headwater sql`: one query over the streams and tables of a project, and over files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from headwater.cli.console import output, say
from headwater.times import utc_of

if TYPE_CHECKING:
    from rich.table import Table

    from headwater.queries.engine import QueryResult
    from headwater.queries.project import ProjectTables

VALUE_CHARS_MAX = 60
NUMBERS = ("BIGINT", "INTEGER", "HUGEINT", "DOUBLE", "DECIMAL", "UBIGINT")


@click.command(
    short_help="Query streams, tables and files with SQL.",
    epilog="""\b
Examples:
  headwater sql 'select wiki, count(*) from "demo.edit" group by wiki order by 2 desc'
  headwater sql "select tumble(dt, '5 minutes') as start, count(*) from \\"demo.edit\\" group by start" --json
  headwater sql "select * from 'edits.parquet' limit 3"
  headwater sql --tables""",
)
@click.argument("query", required=False)
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Project directory (default: current directory).",
)
@click.option(
    "--file", "-f", type=click.Path(exists=True, dir_okay=False, allow_dash=True), help="Read the query from a file."
)
@click.option("--since", help="Read events received at this time or later (ISO 8601, or an epoch).")
@click.option("--until", help="Read events received before this time.")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Write .parquet, .csv or .jsonl instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row, and all rows.")
@click.option("--rows-max", type=click.IntRange(1), default=100, show_default=True, help="Rows to print as a table.")
@click.option("--untyped", is_flag=True, help="Find the types of columns in the events instead of the schemas.")
@click.option("--memory-bytes-max", type=click.IntRange(67_108_864), help="Memory of the query.  [default: 1 GiB]")
@click.option("--spool-bytes-max", type=click.IntRange(1), help="Temporary files of the query.  [default: 20 GB]")
@click.option("--tables", "lists", is_flag=True, help="List the streams and tables that a query can name.")
def command(query: str | None, **options: Any) -> None:
    """Run one QUERY in DuckDB's SQL, in time zone UTC.

    Streams are tables named in quotes, with the fields of their newest schema as columns, and _topic, _partition,
    _offset and _received (the time of receipt). Tables of jobs have their own names. Files are named in single quotes.
    `tumble(time, size)` is the start of a window, `hop(time, slide, size)` those of all sliding windows of a row.
    Everything that the log holds now is read, also while a server is running.
    """
    from headwater.config import CONFIG_FILE
    from headwater.queries.project import ProjectTables

    project = options["project"]
    tables = ProjectTables(project) if (project / CONFIG_FILE).exists() else None
    if options["lists"]:
        _list_tables(tables)
        return
    if (query is None) == (options["file"] is None):
        raise click.UsageError("Give a query, or a file with --file.")
    if query is None:
        with click.open_file(options["file"], encoding="utf-8") as file:
            query = file.read()
    _run(query, tables, options)


def _run(query: str, tables: ProjectTables | None, options: dict[str, Any]) -> None:
    from headwater.queries.engine import FILE_OPTIONS
    from headwater.queries.project import QueryLimits, querying
    from headwater.queries.relations import between

    sizes = {name: options[name] for name in ("memory_bytes_max", "spool_bytes_max") if options[name] is not None}
    to: Path | None = options["to"]
    if to is not None and to.suffix not in FILE_OPTIONS:
        raise click.UsageError(f"--to writes {', '.join(FILE_OPTIONS)}, and {to.name!r} is none of these.")
    times = between(options["since"], options["until"])
    with querying(query, tables, times, typed=not options["untyped"], limits=QueryLimits(**sizes)) as ready:
        for note in ready.notes:
            say(f"note: {note}")
        if to is not None:
            ready.write(to)
            say(f"Written to {to}.")
        elif options["as_json"]:
            _print_lines(ready.run())
        else:
            _print_table(ready.run(), options["rows_max"])


def _list_tables(tables: ProjectTables | None) -> None:
    if tables is None:
        raise click.UsageError("There is no project here: name one with --project.")
    for name in tables.names():
        if name in tables.tables:
            click.echo(f"{name}\ttable of {tables.tables[name].label}")
        else:
            click.echo(f'"{name}"\tstream\t{tables.streams.get(name).summary}'.rstrip())


def _print_lines(result: QueryResult) -> None:
    for row in result.rows():
        line = {name: _plain(value) for name, value in zip(result.columns, row, strict=True)}
        sys.stdout.buffer.write(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def _print_table(result: QueryResult, rows_max: int) -> None:
    from rich.text import Text

    console = output()
    rows: list[tuple[str, ...]] = []
    for count, row in enumerate(result.rows()):
        if count == rows_max:
            say(f"Only {rows_max:,} rows are shown: --rows-max shows more, --json and --to write all.")
            break
        rows.append(tuple(_short(value) for value in row))
    widths = [max(map(len, column)) for column in zip(result.columns, *rows, strict=True)]
    if sum(widths) + 3 * len(widths) <= console.width:
        console.print(_as_table(result, rows))
        return
    # Too wide for a table: a line per value.
    label = max(map(len, result.columns))
    for number, row in enumerate(rows, start=1):
        console.print(Text(f"row {number}", style="bold"))
        for name, value in zip(result.columns, row, strict=True):
            console.print(Text.assemble((name.ljust(label), "cyan"), "  ", value), soft_wrap=True)


def _as_table(result: QueryResult, rows: Sequence[tuple[str, ...]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, kind in zip(result.columns, result.types, strict=True):
        shown.add_column(Text(name), justify="right" if kind.startswith(NUMBERS) else "left")
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown


def _short(value: Any) -> str:
    if value is None:
        return ""
    plain = _plain(value)
    text = plain if isinstance(plain, str) else orjson.dumps(plain, default=str).decode()
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}…"


def _plain(value: Any) -> Any:
    """A value as JSON: times in UTC end in Z, integers beyond 64 bits are text."""
    match value:
        case datetime():
            return utc_of(value)
        case dict():
            return {str(name): _plain(one) for name, one in value.items()}
        case str() | bytes():
            return value if isinstance(value, str) else value.hex()
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case Iterable():
            return [_plain(one) for one in value]
        case _:
            return value
