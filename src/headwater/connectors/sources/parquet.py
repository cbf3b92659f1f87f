"""Reads events from Parquet files that are added to a directory: `connector: parquet`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any, Literal

import pyarrow
from pyarrow import parquet

from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.connectors.source_spec import SourceContext, SourceSpec
from headwater.connectors.sources.watched_files import (
    FILES_MAX,
    Mark,
    Marks,
    WatchedFile,
    known_of,
    look,
    mark_of,
    parsed,
    token_of,
)
from headwater.errors import SourceUnavailable
from headwater.event import get_path
from headwater.settings import REQUIRED, setting

ROWS_MAX = 2_000
# Of a row group, which may be much larger.
DECODED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ParquetOptions:
    """Which files are read."""

    path: str = setting(
        REQUIRED, "A file, a directory, or a path whose last part has wildcards (`in/*.parquet`), in the project."
    )
    pattern: str = setting("*.parquet", "Which files of a directory are read.")
    start: Literal["oldest", "newest"] = setting(
        "oldest", "Where to begin: `oldest` reads the files that exist, `newest` those that are added from now on."
    )
    on_truncated: Literal["stop", "restart"] = setting(
        "stop",
        "What happens when a file was rewritten after rows of it were read: `stop` stops the source, `restart` reads"
        " the file from its beginning.",
    )
    poll_seconds: float = setting(5.0, "How often files are looked at.", at_least=0.01, at_most=3600)


@dataclass(slots=True)
class _Found:
    """What one read gave: deliveries, and the marks after each of them and after all."""

    deliveries: list[Delivery] = field(default_factory=list)
    marks: list[tuple[int, Mark]] = field(default_factory=list)
    after: dict[int, Mark] = field(default_factory=dict)


class _Rows:
    """The rows of one file from `at` on. Its calls block; one thread at a time uses it."""

    def __init__(self, file: WatchedFile, opened: parquet.ParquetFile) -> None:
        self.state = _state(file)
        self.at = file.at
        self._file = file
        self._opened = opened
        self._values = self._decoded()

    def next(self) -> Mapping[str, Any] | None:
        """The next row; None after the last one. Raises SourceUnavailable."""
        try:
            found = next(self._values, None)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise SourceUnavailable(f"{self._file.path} cannot be read: {error}.") from None
        self.at += found is not None
        return found

    def close(self) -> None:
        self._values.close()
        self._opened.close()

    def _decoded(self) -> Generator[Mapping[str, Any]]:
        opened, skipped = self._opened, self._file.at
        groups = list(range(opened.num_row_groups))
        while groups and (rows := opened.metadata.row_group(groups[0]).num_rows) <= skipped:
            skipped -= rows
            groups.pop(0)
        for batch in opened.iter_batches(DECODED_AT_ONCE, row_groups=groups) if groups else ():
            if skipped < batch.num_rows:
                yield from map(_json, batch.slice(skipped).to_pylist())
            skipped = max(0, skipped - batch.num_rows)


class ParquetSource:
    """Rows of files; a token has how many of each file were read. A file that has no end yet is being written."""

    features = SourceFeatures()

    def __init__(self, options: ParquetOptions, context: SourceContext) -> None:
        self._path = context.directory / options.path
        self._options = options
        self._marks: Marks | None = None
        # A file that was read in part, so that the next read need not search its place. What takes it out uses it.
        self._begun: dict[int, _Rows] = {}
        # Files that were read to their end, as they were then, with the number of their rows.
        self._read_to_end: dict[int, tuple[tuple[int, int], int]] = {}

    async def partitions(self) -> Sequence[str]:
        return ("",)

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Raises TokenInvalid, PositionLost, SourceUnavailable."""
        marks = {} if token is None else parsed(token)
        files = await asyncio.to_thread(self._look, marks)
        if token is None and self._options.start == "newest":
            marks = {file.number: mark_of(file, _rows_of(file)) for file in files}
        self._marks = marks

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """Raises PositionLost, SourceUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            before = self._opened()
            found = await asyncio.to_thread(self._read, before, min(deliveries_max, ROWS_MAX))
            left = deadline - loop.time()
            if found.deliveries or left <= 0:
                break
            await asyncio.sleep(min(left, self._options.poll_seconds))
        self._marks = found.after

        def token_after(count: int) -> str:
            if not 0 <= count <= len(found.deliveries):
                raise ValueError(f"The batch has {len(found.deliveries)} deliveries, not {count}.")
            whole = count == len(found.deliveries)
            return token_of(found.after if whole else {**before, **dict(found.marks[:count])})

        return SourceBatch(found.deliveries, token_after)

    async def confirm(self, token: str) -> None:
        """Does nothing: the files are deleted by their owner."""

    async def close(self) -> None:
        self._marks = None
        while self._begun:
            self._begun.popitem()[1].close()
        self._read_to_end.clear()

    def _opened(self) -> Marks:
        if self._marks is None:
            raise SourceUnavailable("The source is not open.")
        return self._marks

    def _look(self, marks: Marks) -> list[WatchedFile]:
        return look(self._path, self._options.pattern, marks, self._options.on_truncated, lambda path: True)

    def _read(self, marks: Marks, deliveries_max: int) -> _Found:
        """The next rows, of several files if these are small. Its result may not be taken: they are then read again."""
        files = self._look(marks)
        found = _Found(after=known_of(marks, files))
        if len(self._read_to_end) > FILES_MAX:
            numbers = {file.number for file in files}
            self._read_to_end = {number: end for number, end in self._read_to_end.items() if number in numbers}
        for file in files:
            if self._read_to_end.get(file.number) != (_state(file), file.at):
                self._read_file(file, found, deliveries_max)
            if len(found.deliveries) >= deliveries_max:
                break
        return found

    def _read_file(self, file: WatchedFile, found: _Found, deliveries_max: int) -> None:
        rows = self._rows(file)
        if rows is None:
            return
        try:
            while len(found.deliveries) < deliveries_max:
                at, value = rows.at, rows.next()
                if value is None:
                    self._read_to_end[file.number] = rows.state, rows.at
                    rows.close()
                    return
                mark = found.after[file.number] = mark_of(file, rows.at)
                event_id = get_path(value, "meta.id")
                # The head of a whole file does not change, so that the id is the same whenever it is read.
                identity = event_id if isinstance(event_id, str) else f"{file.number:x}:{mark.head:x}:{at}"
                found.deliveries.append(Delivery(value, identity, None, file.changed_ns // 1_000_000))
                found.marks.append((file.number, mark))
        except BaseException:
            rows.close()
            raise
        while self._begun:
            # Of another file, which is gone or was changed.
            self._begun.popitem()[1].close()
        self._begun[file.number] = rows

    def _rows(self, file: WatchedFile) -> _Rows | None:
        """Those of a file from its place on; None if it is gone, or still being written. Raises SourceUnavailable."""
        rows = self._begun.pop(file.number, None)
        if rows is not None and (rows.state, rows.at) == (_state(file), file.at):
            return rows
        if rows is not None:
            rows.close()
        try:
            return _Rows(file, parquet.ParquetFile(file.path))
        except FileNotFoundError:
            return None
        except pyarrow.ArrowInvalid as error:
            if "magic bytes" in str(error) or "footer" in str(error) or file.size < 12:
                return None  # it is still being written
            raise SourceUnavailable(f"{file.path} is no Parquet file: {error}.") from None
        except OSError as error:
            raise SourceUnavailable(f"{file.path} cannot be read: {error}.") from None


def _state(file: WatchedFile) -> tuple[int, int]:
    return file.size, file.changed_ns


def _rows_of(file: WatchedFile) -> int:
    try:
        return int(parquet.read_metadata(file.path).num_rows)
    except (OSError, pyarrow.ArrowInvalid):
        return 0


def _json(value: Any) -> Any:
    """A value of a row as JSON has it: without members that are null, times in UTC, bytes in base 64."""
    match value:
        case dict():
            return {str(name): _json(one) for name, one in value.items() if one is not None}
        case list() | tuple():
            return [_json(one) for one in value]
        case datetime():
            moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            return str(moment.astimezone(UTC)).replace(" ", "T").replace("+00:00", "Z")
        case date() | time_of_day():
            return str(value)
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value


SPEC = SourceSpec(
    name="parquet",
    summary="Reads the rows of Parquet files, also of those that are added to a directory.",
    options=ParquetOptions,
    make=ParquetSource,
    features=ParquetSource.features,
    extra="parquet",
    example="""\
connector: parquet
path: in
stream: demo.edit
""",
)
