"""Events in Parquet files, read and written with DuckDB: a row per event, a column per field.

How this works: a column that is null is an absent field, since schemas know no null there. Times are text in UTC, as in
JSON. On the way out types come from the events themselves, and texts stay texts whatever they look like.
"""

from __future__ import annotations

import base64
import datetime
import decimal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.event import encode_json
from headwater.event_lines import LINE_BYTES_MAX
from headwater.schemas.types.words import sql_text
from headwater.times import utc_of

SUFFIX = ".parquet"
ROWS_AT_A_TIME = 1_000
# In lakes a column cannot begin with a dollar sign everywhere.
SCHEMA_COLUMNS = ("_schema",)
# No text looks like a time in this form.
_NO_TIME = "%d#"


def parquet_rows(path: Path) -> Iterator[bytes]:
    """The rows of a file as JSON. Raises ConfigInvalid for a file that is not Parquet, ExtraMissing."""
    duckdb = _duckdb()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            found = connection.execute("SELECT * FROM read_parquet(?, hive_partitioning = false)", [str(path)])
        except duckdb.Error as error:
            raise ConfigInvalid(f"{path} cannot be read as Parquet: {error}.") from None
        names = [column[0] for column in found.description or ()]
        names = ["$schema" if name in SCHEMA_COLUMNS and "$schema" not in names else name for name in names]
        while rows := found.fetchmany(ROWS_AT_A_TIME):
            for row in rows:
                fields = zip(names, row, strict=True)
                yield encode_json({name: _plain(value) for name, value in fields if value is not None})


def write_parquet(lines: Path, path: Path) -> None:
    """Write a file of JSON lines as Parquet. Raises ConfigInvalid if they cannot be, ExtraMissing."""
    duckdb = _duckdb()
    read = (
        f"SELECT * FROM read_json({sql_text(str(lines))}, format = 'newline_delimited', sample_size = -1, "
        f"maximum_object_size = {LINE_BYTES_MAX}, map_inference_threshold = -1, "
        f"dateformat = '{_NO_TIME}', timestampformat = '{_NO_TIME}')"
    )
    if not lines.stat().st_size:
        read = 'SELECT NULL::VARCHAR AS "$schema" WHERE false'
    with duckdb.connect() as connection:
        try:
            connection.execute(f"COPY ({read}) TO {sql_text(str(path))} (FORMAT parquet, COMPRESSION zstd)")
        except duckdb.Error as error:
            raise ConfigInvalid(
                f"The results cannot be written as Parquet: {error}.", hint="Write them as .jsonl.gz."
            ) from None


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise ExtraMissing(
            "Parquet files need DuckDB, which is not installed.", hint="Install headwater[duckdb]."
        ) from error
    return duckdb


def _plain(value: Any) -> Any:
    """A value of DuckDB as JSON has it."""
    match value:
        case bool() | int() | float() | str():
            return value
        case datetime.datetime():
            return utc_of(value)
        case decimal.Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return _text(value)
        case Mapping():
            return {str(name): _plain(part) for name, part in value.items() if part is not None}
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            return str(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
