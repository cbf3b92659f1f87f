"""How rows are written in files, and read back: Parquet by pyarrow, and compressed lines of JSON."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.event import decode_json, encode_json

ROW_GROUP_ROWS_MAX = 131_072
_GZIP_LEVEL = 3
# What encoding raises about rows that do not fit.
UNFIT = (ValueError, TypeError, OverflowError, NotImplementedError)

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file. `merged` makes one file of several; `rows` yields the rows of one, columns by name.

    `encoded` raises one of UNFIT if a row does not fit.
    """

    suffix: str
    encoded: Callable[[Rows], bytes]
    merged: Callable[[Sequence[bytes]], bytes]
    rows: Callable[[bytes], Iterable[Mapping[str, Any]]]


def parquet(schema: Any) -> Format:
    """Parquet files with the columns of a `pyarrow.Schema`; merged ones, too."""
    import pyarrow
    from pyarrow import parquet as arrow_parquet

    def written(table: Any) -> bytes:
        out = io.BytesIO()
        arrow_parquet.write_table(table, out, compression="zstd", row_group_size=ROW_GROUP_ROWS_MAX)
        return out.getvalue()

    def encoded(rows: Rows) -> bytes:
        return written(pyarrow.Table.from_pylist(list(rows), schema=schema))

    def merged(files: Sequence[bytes]) -> bytes:
        tables = [arrow_parquet.read_table(pyarrow.BufferReader(content)) for content in files]
        try:
            together = pyarrow.concat_tables(tables, promote_options="default").cast(schema)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError, ValueError):
            # Columns inside of columns were added.
            together = pyarrow.Table.from_pylist([row for table in tables for row in table.to_pylist()], schema=schema)
        return written(together)

    def rows(content: bytes) -> Iterable[Mapping[str, Any]]:
        for batch in arrow_parquet.ParquetFile(pyarrow.BufferReader(content)).iter_batches():
            yield from batch.to_pylist()

    return Format(".parquet", encoded, merged, rows)


def json_lines() -> Format:
    """Lines of JSON, compressed with gzip; several members in one file are one text."""

    def encoded(rows: Rows) -> bytes:
        return gzip.compress(b"".join(encode_json(row) + b"\n" for row in rows), _GZIP_LEVEL, mtime=0)

    def rows(content: bytes) -> Iterable[Mapping[str, Any]]:
        return (decode_json(line) for line in gzip.decompress(content).splitlines())

    return Format(".jsonl.gz", encoded, b"".join, rows)


def first_rows(form: Format, files: Iterable[bytes], rows_max: int) -> list[Mapping[str, Any]]:
    """Up to so many rows of these files, in order."""
    return list(itertools.islice(itertools.chain.from_iterable(map(form.rows, files)), rows_max))
