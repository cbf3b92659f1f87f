"""`headwater.sql`: a query from a notebook or a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

As = Literal["arrow", "pandas", "rows"]


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
    pyarrow.Table, a pandas.DataFrame, or `rows`, a list of dicts.

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
        result = ready.run()
        if to == "pandas":
            return result.pandas()
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows()]
