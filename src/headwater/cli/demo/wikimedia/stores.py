"""Looks into the stores of the demo: the search index, the files of the lake, and the table of pages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from headwater.cli.demo.wikimedia.journeys import Stored
from headwater.cli.demo.wikimedia.project import LAKE_FOLDER, has_parquet, lake_row
from headwater.cli.demo.wikimedia.stations import INDEX, LAKE, TABLE
from headwater.connectors.lake.commits import TableDirectory
from headwater.connectors.lake.file_sink import FileOptions
from headwater.connectors.lake.formats import json_lines
from headwater.connectors.lake.storage import file_system
from headwater.platform import Platform

ROWS_MAX = 1_000_000
PAGE_ROWS = 1_000


class StoreReader:
    """Reads the stores of a project that runs as `platform`."""

    def __init__(self, platform: Platform, directory: Path) -> None:
        self._platform = platform
        self._directory = directory
        # A partition of the lake, and what it had when its files were these.
        self._lake: dict[str, tuple[frozenset[str], Counter[int]]] = {}

    async def stored(self) -> Stored:
        """What they have now."""
        views = await self._platform.read_tables(ROWS_MAX)
        index: dict[int, int] = {}
        for view in views:
            if view.name == INDEX.name:
                page_id, rev_id = view.columns.index("page_id"), view.columns.index("rev_id")
                index = {row[page_id]: row[rev_id] for row in view.rows}
        table, lake = await asyncio.to_thread(lambda: (self._pages(), self._revisions()))
        return Stored({INDEX.name: index, TABLE.name: table}, lake)

    def _pages(self) -> dict[int, int]:
        reader = self._platform.materialized(TABLE.name)
        found: dict[int, int] = {}
        after: bytes | None = b""
        while after is not None:
            page = reader.page(prefix=(), after=after, rows_max=PAGE_ROWS)
            found.update({one.row["page_id"]: one.row["rev_id"] for one in page.rows})
            after = page.after
        return found

    def _revisions(self) -> Counter[int]:
        """How many rows of the lake each revision has."""
        files = file_system(LAKE_FOLDER, FileOptions(location=LAKE_FOLDER), self._directory)
        try:
            table = TableDirectory(files, LAKE.name)
            return sum((self._of_place(table, place) for place in table.places()), Counter[int]())
        finally:
            files.close()

    def _of_place(self, table: TableDirectory, place: str) -> Counter[int]:
        names = frozenset(table.manifest(place).files)
        known = self._lake.get(place)
        if known is not None and known[0] == names:
            return known[1]
        manifest, contents = table.contents(place)
        rows = (row for content in contents.values() for row in self._rows(content))
        found = Counter(rev_id for row in rows if (rev_id := lake_row(row)) is not None)
        self._lake[place] = frozenset(manifest.files), found
        return found

    def _rows(self, content: bytes) -> Iterable[Mapping[str, Any]]:
        if not has_parquet():
            return json_lines().rows(content)
        import pyarrow
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
        return rows
