"""`headwater.sql` and `headwater.read`: queries and whole streams from a notebook or a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from headwater.errors import ExtraMissing

As = Literal["arrow", "pandas", "polars", "rows"]


def sql(
    query: str,
    *,
    project: str | Path = ".",
    since: str | None = None,
    until: str | None = None,
    typed: bool = True,
    to: As = "arrow",
) -> Any:
    """The answer to a query over the streams and tables of `project`, and over files, in DuckDB's SQL.

    Streams are named in quotes: `sql('select count(*) from "shop.order"')`. `since` and `until` (ISO 8601) limit what
    is read of streams by the time of receipt. `typed`: types come from the schemas. `to` chooses the result: a
    pyarrow.Table, a DataFrame of pandas or polars (which must be installed), or `rows`, a list of dicts.

    Raises QueryInvalid, ExtraMissing, TimestampInvalid, and what reading the log raises.
    """
    # Imported when it is used: `import headwater` stays quick, and needs no DuckDB.
    from headwater.config import CONFIG_FILE
    from headwater.queries.project import ProjectTables, querying
    from headwater.queries.relations import between

    directory = Path(project)
    tables = ProjectTables(directory) if (directory / CONFIG_FILE).exists() else None
    with querying(query, tables, between(since, until), typed=typed) as ready:
        if to == "arrow":
            return ready.arrow()
        if to == "polars":
            return _polars().from_arrow(ready.arrow())
        result = ready.run()
        if to == "pandas":
            return result.pandas()
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows()]


def read(
    stream: str,
    *,
    project: str | Path = ".",
    since: str | None = None,
    until: str | None = None,
    where: str | None = None,
    typed: bool = True,
    to: As = "pandas",
) -> Any:
    """The events of a stream of `project`, one row an event, by default as a pandas.DataFrame.

    `where`: a condition in DuckDB's SQL, such as `wiki = 'enwiki'`. The rest, and what is raised, as `sql`.
    """
    name = stream.replace('"', '""')
    condition = "" if where is None else f" where {where}"
    return sql(f'select * from "{name}"{condition}', project=project, since=since, until=until, typed=typed, to=to)


def _polars() -> Any:
    import importlib

    try:
        return importlib.import_module("polars")
    except ImportError:
        raise ExtraMissing(
            "polars is not installed.", hint="Run `pip install polars`, or choose another result with `to`."
        ) from None
