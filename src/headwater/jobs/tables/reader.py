"""Reads the rows of materialized tables, wherever their state is: what `context.table(name)` is, and pages show.

How this works: a reader is given two functions that read committed state by namespace and key. They may read the log of
this process, or a file that another process writes: a reader never asks the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from headwater.declaration import nearest
from headwater.errors import JobInvalid
from headwater.jobs.tables.materialized import MaterializedTable, TableRow

ROWS_MAX = 1_000
# So many cells are read at most for one page: a table may have more tombstones than rows.
CELLS_MAX = 10_000

Get = Callable[[str, Sequence[bytes]], Mapping[bytes, bytes]]
Scan = Callable[[str, bytes, int], Sequence[tuple[bytes, bytes]]]


def just_before(begins: bytes) -> bytes:
    """Where a scan begins, which is behind a key, to find those that begin so: no key is between this and the first of
    them, as keys are UTF-8."""
    return begins[:-1] + bytes([begins[-1] - 1, 0xFF])


class TablePage(NamedTuple):
    """Some rows in order of their keys. `after`: the encoded key that the next page begins behind; None at the end."""

    rows: list[TableRow]
    after: bytes | None


class TableReader:
    """The committed rows of one table, read by each call. Calls block for a moment; any thread may make them.

    What it reads was committed by the table's job: it lags behind the stream as the job does, and what the reading job
    has done in the meantime has no effect on it.
    """

    __slots__ = ("_get", "_scan", "table")

    def __init__(self, table: MaterializedTable, get: Get, scan: Scan) -> None:
        self.table = table
        self._get = get
        self._scan = scan

    def get(self, key: Any, default: Any = None) -> Any:
        """The row of a key as a new dict, or `default`: a value, or a list or tuple of one for each part of the key.

        Raises JobInvalid for a key of another form, and what the log raises.
        """
        encoded = self.table.encoded(key)
        row = self.table.row_of(self._get(self.table.namespace, [encoded]).get(encoded))
        return default if row is None else row

    def scan(self, *, prefix: Sequence[Any] = (), after: Any = None, rows_max: int = ROWS_MAX) -> list[TableRow]:
        """Up to `rows_max` rows as (key, row), in order of the JSON of their keys, from behind the key `after` on.

        `prefix`: only keys that begin with these parts. Raises JobInvalid, and what the log raises.
        """
        found: list[TableRow] = []
        start: bytes | None = b"" if after is None else self.table.encoded(after)
        while start is not None and len(found) < rows_max:
            page = self.page(prefix=prefix, after=start, rows_max=rows_max - len(found))
            found += page.rows
            start = page.after
        return found

    def page(self, *, prefix: Sequence[Any] = (), after: bytes = b"", rows_max: int = ROWS_MAX) -> TablePage:
        """As `scan`, from behind an encoded key on, with a bounded amount of work: it may have fewer rows."""
        begins = self.table.encoded_prefix(prefix)
        if begins and after < begins:
            after = just_before(begins)
        asked = min(max(rows_max, 1), CELLS_MAX)
        cells = self._scan(self.table.namespace, after, asked)
        rows: list[TableRow] = []
        for encoded, cell in cells:
            if not encoded.startswith(begins):
                return TablePage(rows, None)
            row = self.table.row_of(cell)
            if row is not None:
                rows.append(TableRow(self.table.key_of(encoded), row))
        return TablePage(rows, cells[-1][0] if len(cells) == asked else None)

    def named(self, table: MaterializedTable) -> TableReader:
        """The same rows, with the names that `table` gives to the parts of their keys."""
        return TableReader(table, self._get, self._scan)

    def stored(self, after: bytes, keys_max: int) -> list[tuple[bytes, TableRow | None]]:
        """Up to `keys_max` encoded keys behind another one, in order, each with its row; None for a tombstone."""
        found: list[tuple[bytes, TableRow | None]] = []
        for encoded, cell in self._scan(self.table.namespace, after, keys_max):
            row = self.table.row_of(cell)
            found.append((encoded, None if row is None else TableRow(self.table.key_of(encoded), row)))
        return found

    def __iter__(self) -> Iterator[TableRow]:
        after: bytes | None = b""
        while after is not None:
            page = self.page(after=after)
            yield from page.rows
            after = page.after

    def __repr__(self) -> str:
        return f"TableReader({self.table.name!r})"


class Tables:
    """The materialized tables of a project by name: `tables(name)` is the reader of one."""

    def __init__(
        self,
        tables: Mapping[str, MaterializedTable],
        reader: Callable[[MaterializedTable], TableReader],
        *,
        otherwise: str = "Declare one with @table(source=…, key=…).",
    ) -> None:
        """`otherwise`: what to do where there is no table at all."""
        self._otherwise = otherwise
        self._tables = tables
        self._make = reader
        self._readers: dict[str, TableReader] = {}

    def __call__(self, name: str) -> TableReader:
        """Raises JobInvalid, naming the nearest, for a table that there is not."""
        found = self._readers.get(name)
        if found is None:
            table = self._tables.get(name)
            if table is None:
                raise no_table(name, self._tables, self._otherwise)
            found = self._readers[name] = self._make(table)
        return found

    def names(self) -> list[str]:
        """Sorted."""
        return sorted(self._tables)


def no_table(name: Any, known: Mapping[str, Any] | Sequence[str], otherwise: str) -> JobInvalid:
    """The error for a name that no table has."""
    names = sorted(known)
    near = nearest(name, names) if isinstance(name, str) else None
    hint = f"Did you mean {near!r}?" if near else f"Known: {', '.join(names)}." if names else otherwise
    return JobInvalid(f"There is no materialized table {name!r:.200}.", hint=hint)
