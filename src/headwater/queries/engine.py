"""Runs a query in DuckDB, in time zone UTC, over views of newline-delimited JSON files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.declaration import nearest
from headwater.errors import ExtraMissing, QueryInvalid
from headwater.schemas.types.words import double_quoted, sql_text

try:
    import duckdb
except ImportError as error:
    raise ExtraMissing("SQL needs DuckDB, which is not installed.", hint="Install headwater[sql].") from error

ROWS_AT_A_TIME = 1000
# DuckDB reserves memory for a few lines of this size.
LINE_BYTES_MAX = 16_777_216
# What a result can be written as.
FILE_OPTIONS: Mapping[str, str] = {
    ".parquet": "FORMAT parquet, COMPRESSION zstd",
    ".csv": "FORMAT csv, HEADER",
    ".jsonl": "FORMAT json",
    ".ndjson": "FORMAT json",
}
_UNKNOWN_TABLE = re.compile(r"Table with name (.+?) does not exist")
# Windows are aligned to the epoch, as those of jobs are.
_MACROS = """
CREATE MACRO _window(ts, size) AS
  time_bucket(CAST(size AS INTERVAL), CAST(ts AS TIMESTAMPTZ), TIMESTAMPTZ '1970-01-01 00:00:00+00');
CREATE MACRO tumble(ts, size) AS _window(ts, size);
CREATE MACRO hop_starts(ts, slide, size) AS
  list_filter(
    generate_series(
      _window(CAST(ts AS TIMESTAMPTZ) - CAST(size AS INTERVAL), slide), _window(ts, slide), CAST(slide AS INTERVAL)),
    lambda start: start + CAST(size AS INTERVAL) > CAST(ts AS TIMESTAMPTZ));
"""


class QueryResult:
    """The answer to a query; it is read once, by one of the methods."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, text: str, known: Collection[str]) -> None:
        self._connection = connection
        self._text = text
        self._known = known
        described = connection.execute(text).description or ()
        self.columns: tuple[str, ...] = tuple(column[0] for column in described)
        self.types: tuple[str, ...] = tuple(str(column[1]) for column in described)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows as Python values, read as they are needed. Raises QueryInvalid."""
        with explaining(self._known):
            while rows := self._connection.fetchmany(ROWS_AT_A_TIME):
                yield from rows

    def pandas(self) -> Any:
        """A pandas.DataFrame. Raises ExtraMissing without pandas, QueryInvalid."""
        with explaining(self._known):
            return self._connection.df()


class Engine:
    """A DuckDB of its own in memory, which uses files in `directory` when that is not enough."""

    def __init__(self, directory: Path, *, memory_bytes_max: int) -> None:
        self._duckdb = duckdb.connect(":memory:")
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.execute(f"SET temp_directory = {sql_text(str(directory / 'spilled'))}")
        self._duckdb.execute(f"SET memory_limit = '{memory_bytes_max // 1024}KiB'")
        # Nothing is fetched from elsewhere because of a query.
        self._duckdb.execute("SET autoinstall_known_extensions = false")
        self._duckdb.execute(_MACROS)

    def view(self, name: str, file: Path, columns: Mapping[str, str] | None) -> None:
        """The lines of `file` as a view: the columns with their types, or whatever DuckDB finds if they are None."""
        described = "sample_size = -1"
        if columns is not None:
            pairs = ", ".join(f"{double_quoted(column)}: {sql_text(kind)}" for column, kind in columns.items())
            described = f"columns = {{{pairs}}}"
        self._duckdb.execute(
            f"CREATE VIEW {double_quoted(name)} AS SELECT * FROM read_json({sql_text(str(file))}, "
            f"format = 'newline_delimited', maximum_object_size = {LINE_BYTES_MAX}, {described})"
        )

    def files_view(self, name: str, directory: Path) -> None:
        """The Parquet files below `directory`, in hourly partitions, as a view. Some may lack columns."""
        partitions = "{'datacenter': VARCHAR, 'year': INTEGER, 'month': INTEGER, 'day': INTEGER, 'hour': INTEGER}"
        self._duckdb.execute(
            f"CREATE VIEW {double_quoted(name)} AS SELECT * FROM read_parquet("
            f"{sql_text(str(directory / '**' / '*.parquet'))}, union_by_name = true, hive_partitioning = true, "
            f"hive_types = {partitions})"
        )

    def run(self, text: str, known: Collection[str]) -> QueryResult:
        """Run one statement; `known` are the names that hints choose from. Raises QueryInvalid."""
        with explaining(known):
            return QueryResult(self._duckdb, text, known)

    def arrow(self, text: str, known: Collection[str]) -> Any:
        """The rows of one statement as a pyarrow.Table. Raises ExtraMissing without pyarrow, QueryInvalid."""
        with explaining(known):
            return self._duckdb.sql(text).to_arrow_table()

    def write(self, text: str, path: Path, known: Collection[str]) -> None:
        """Write the rows of one statement to a file, whose extension is one of FILE_OPTIONS. Raises QueryInvalid."""
        with explaining(known):
            self._duckdb.execute(f"COPY ({text}) TO {sql_text(str(path))} ({FILE_OPTIONS[path.suffix]})")

    def close(self) -> None:
        self._duckdb.close()


@contextmanager
def explaining(known: Collection[str]) -> Iterator[None]:
    """Translates DuckDB's errors. Raises QueryInvalid, ExtraMissing."""
    try:
        yield
    except duckdb.Error as error:
        raise _explained(error, known) from error
    except ImportError as error:
        raise ExtraMissing(
            f"This needs {error.name}, which is not installed.", hint=f"Install {error.name}."
        ) from error


def _explained(error: duckdb.Error, known: Collection[str]) -> QueryInvalid:
    text = str(error).strip()
    if unknown := _UNKNOWN_TABLE.search(text):
        name = unknown[1].strip('"')
        near = nearest(name, known)
        hint = f'Did you mean "{near}"?' if near else "`headwater sql --tables` lists the streams and tables."
        return QueryInvalid(f"There is no stream or table {name!r}.", hint=hint)
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryInvalid(f"The query needs more memory than it may use: {text}", hint="Raise --memory-bytes-max.")
    if "read_json" in text or "JSON transform error" in text or isinstance(error, duckdb.ConversionException):
        return QueryInvalid(
            f"A value does not have the type of its column: {text}",
            hint="With --untyped the types are found by looking at all events instead of the schema.",
        )
    return QueryInvalid(text)
