"""What a package with a connector for tables begins as: a sink that keeps each table in a file of JSON."""

from __future__ import annotations

SUMMARY = "it keeps each table in a file of JSON: replace what reads and writes the file"
USE = """\
In a stream file:

    sinks:
      - {connector: $name, path: var/$name, key: id}

What the contract asks for is written in `headwater.connectors.contract.Sink`. The tests are the suite of that contract:
they call the sink, and run a job that fills it while writes fail, targets are away and processes are killed.
"""

CODE = '''\
"""The $name sink: rows of a table, each table in a file of JSON."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.connectors.contract import Delivery, SinkFeatures, TableShape
from headwater.connectors.rows import Row, is_newer, latest_rows, row_of
from headwater.connectors.sorted_views import sorted_view
from headwater.connectors.spec import SinkSpec
from headwater.connectors.tables import TableView
from headwater.errors import SinkUnavailable, WriteIncomplete
from headwater.settings import REQUIRED, setting

# The position is kept in the log: after a crash the last batch is written again, which changes nothing with a key. A
# system with transactions may store it with the rows (`token_in_target`): then nothing is ever written twice.
FEATURES = SinkFeatures(token_in_target=False, upsert=True)


@dataclass(frozen=True, slots=True)
class ${cls}Options:
    """The options of the sink in a stream file. A password is one with `setting(…, secret=True)`."""

    path: str = setting(REQUIRED, "The directory of the tables, relative to the project; created if absent.")


class ${cls}Sink:
    """Fills one table. One task uses it at a time; `view` is called by any thread."""

    features = FEATURES

    def __init__(self, directory: Path, shape: TableShape) -> None:
        self.shape = shape
        self._file = directory / f"{shape.name}.json"
        self._is_open = False

    async def open(self) -> str | None:
        """Connect, and create what is needed. Returns the position of the last batch, if the target stores it."""
        await asyncio.to_thread(self._file.parent.mkdir, parents=True, exist_ok=True)
        self._is_open = True
        return None

    def check(self, delivery: Delivery) -> None:
        """Raise EventMalformed if the event can never be written."""
        row_of(self.shape, delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        """Write all of them, durably. Raises SinkUnavailable if that can be tried again, and WriteIncomplete, which
        names the events that were rejected, after the others were written."""
        rows, rejected = latest_rows(self.shape, deliveries)
        await asyncio.to_thread(self._write, rows)
        if rejected:
            raise WriteIncomplete(rejected=rejected)

    async def close(self) -> None:
        """Release everything; idempotent."""
        self._is_open = False

    def view(self, rows_max: int, order: str = "") -> TableView:
        """Up to `rows_max` rows, for people."""
        rows = list(self._load().values())
        return sorted_view(self.shape, rows, len(rows), rows_max, order)

    def _write(self, rows: Sequence[Row]) -> None:
        present = self._load()
        for _, values in rows:
            key = self._key(values, len(present))
            if key not in present or is_newer(self.shape, values, present[key]):
                present[key] = values
        saved = [dict(zip(self.shape.column_names, values, strict=True)) for values in present.values()]
        scratch = self._file.with_suffix(".new")
        try:
            with scratch.open("w", encoding="utf-8") as file:
                json.dump(saved, file)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._file)
        except OSError as error:
            raise SinkUnavailable(f"The file {self._file} cannot be written: {error}.") from error

    def _load(self) -> dict[Any, tuple[Any, ...]]:
        if not self._is_open:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        try:
            saved = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else []
        except (OSError, ValueError) as error:
            raise SinkUnavailable(f"The file {self._file} cannot be read: {error}.") from error
        rows = [tuple(row.get(name) for name in self.shape.column_names) for row in saved]
        return {self._key(row, number): row for number, row in enumerate(rows)}

    def _key(self, values: tuple[Any, ...], number: int) -> Any:
        """What tells rows apart: the key or, without one, a number of its own."""
        names = self.shape.column_names
        return tuple(values[names.index(name)] for name in self.shape.key) or number


SPEC = SinkSpec(
    name="$name",
    summary="Rows of a table in a file of JSON.",
    options=${cls}Options,
    make=lambda options, shape, directory: ${cls}Sink(directory / options.path, shape),
    features=FEATURES,
    example="path: var/$name",
)
'''

TESTS = '''\
"""The $name sink keeps what the contract of a Sink promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from headwater.connectors.spec import SinkSpec
from headwater.testing.suites.sink import SinkSuite
from headwater.testing.suites.sink_filling import NewSink

from $package.sink import SPEC, ${cls}Options, ${cls}Sink


class Test${cls}Sink(SinkSuite):
    implementations = (${cls}Sink,)

    @pytest.fixture
    def new_sink(self, tmp_path: Path) -> NewSink:
        """Makes a closed sink for a shape, always on the same storage."""
        return lambda shape: ${cls}Sink(tmp_path / "tables", shape)


def test_the_entry_point_names_its_spec() -> None:
    assert isinstance(SPEC, SinkSpec)
    assert SPEC.name == "$name"
    assert SPEC.options is ${cls}Options
'''
