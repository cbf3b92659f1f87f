"""The rows that a step keeps per key, between the store and the functions: loaded when needed, cached, committed.

How this works: a row is in the job's store under the namespace `job/NAME/STEP/rows`, its key there is the encoded key
of the step (JSON, so without a zero byte), a zero byte, and the row's name. A cell says whether its key has rows, so
that nothing is read for a key without any. The rows of a key are read together before its first event of a batch. Those
of the keys used last stay in memory, up to a number of bytes; changed ones stay until the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from headwater.jobs.cells import Cell
from headwater.jobs.rows import KeyRows
from headwater.log.contract import StateChange
from headwater.processing.stores.contract import JobStore

# The rows of other keys follow those of a key: the first page is small.
FIRST_PAGE_ROWS = 16
PAGE_ROWS = 1024
SCANS_AT_ONCE = 32
CACHED_BYTES_MAX = 67_108_864
# What a cached key costs besides its rows.
KEY_BYTES = 500


class RowState:
    """The rows of one `PerKey` step. Belongs to one run of one runner."""

    def __init__(self, store: JobStore, job: str, step: str, *, cached_bytes_max: int = CACHED_BYTES_MAX) -> None:
        self._store = store
        self._name = f"job/{job}/{step}/rows"
        self._cached_bytes_max = cached_bytes_max
        # In order of use, the one used last at the end.
        self._cached: dict[bytes, KeyRows] = {}
        self._cached_bytes = 0
        self._used: dict[bytes, KeyRows] = {}

    @property
    def size_change(self) -> int:
        """By how many bytes the next commit changes the rows."""
        return sum(rows.size_bytes - rows.committed_bytes for rows in self._used.values())

    async def load(self, cells: Iterable[tuple[bytes, Cell]]) -> None:
        """Load the rows of these keys, given with their cells, into memory."""
        missing = []
        for key, cell in cells:
            if key in self._used:
                continue
            rows = self._cached.pop(key, None)
            if rows is not None:
                self._cached_bytes -= rows.size_bytes + KEY_BYTES
                self._used[key] = rows
            elif cell.has_rows:
                missing.append(key)
            else:
                self._used[key] = KeyRows()
        for start in range(0, len(missing), SCANS_AT_ONCE):
            some = missing[start : start + SCANS_AT_ONCE]
            self._used.update(zip(some, await asyncio.gather(*map(self._read, some)), strict=True))

    def of(self, key: bytes) -> KeyRows:
        """The rows of a loaded key, with the changes so far."""
        return self._used[key]

    def changes(self) -> list[StateChange]:
        """The state changes for the next commit."""
        return [
            StateChange(self._name, key + b"\0" + name.encode(), encoded)
            for key, rows in self._used.items()
            for name, encoded in rows.changes()
        ]

    def committed(self) -> None:
        """The changes were committed."""
        for key, rows in self._used.items():
            rows.committed()
            # Without any, the cell says so.
            if rows:
                self._cached[key] = rows
                self._cached_bytes += rows.size_bytes + KEY_BYTES
        self._used = {}
        while self._cached_bytes > self._cached_bytes_max:
            oldest = next(iter(self._cached))
            self._cached_bytes -= self._cached.pop(oldest).size_bytes + KEY_BYTES

    async def _read(self, key: bytes) -> KeyRows:
        prefix = after = key + b"\0"
        found: list[tuple[str, bytes]] = []
        page_rows = FIRST_PAGE_ROWS
        while True:
            page = await self._store.state_scan(self._name, after=after, rows_max=page_rows)
            for stored, encoded in page:
                if not stored.startswith(prefix):
                    return KeyRows(found)
                found.append((stored[len(prefix) :].decode(), encoded))
            if len(page) < page_rows:
                return KeyRows(found)
            after, page_rows = page[-1][0], PAGE_ROWS
