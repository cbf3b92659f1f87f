"""Reads events from Parquet files that are added to a directory: `connector: parquet`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
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


class ParquetSource:
    """Rows of files; a token has how many of each file were read. A file that has no end yet is being written."""

    features = SourceFeatures()

    def __init__(self, options: ParquetOptions, context: SourceContext) -> None:
        self._path = context.directory / options.path
        self._options = options
        self._marks: Marks | None = None

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

    def _opened(self) -> Marks:
        if self._marks is None:
            raise SourceUnavailable("The source is not open.")
        return self._marks

    def _look(self, marks: Marks) -> list[WatchedFile]:
        return look(self._path, self._options.pattern, marks, self._options.on_truncated, lambda path: True)

    def _read(self, marks: Marks, deliveries_max: int) -> _Found:
        """The next rows of the first file that has any. Changes nothing, since its result may not be taken."""
        files = self._look(marks)
        found = _Found(after=known_of(marks, files))
        for file in files:
            for at, value in _values(file, deliveries_max):
                mark = found.after[file.number] = mark_of(file, at + 1)
                event_id = get_path(value, "meta.id")
                # The head of a whole file does not change, so that the id is the same whenever it is read.
                identity = event_id if isinstance(event_id, str) else f"{file.number:x}:{mark.head:x}:{at}"
                found.deliveries.append(Delivery(value, identity, None, file.changed_ns // 1_000_000))
                found.marks.append((file.number, mark))
            if found.deliveries:
                break
        return found


def _values(file: WatchedFile, rows_max: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The number and the value of each next row. Raises SourceUnavailable."""
    try:
        with parquet.ParquetFile(file.path) as opened:
            first = 0
            for group in range(opened.num_row_groups):
                rows = opened.metadata.row_group(group).num_rows
                if first + rows > file.at:
                    skipped = max(0, file.at - first)
                    table = opened.read_row_group(group).slice(skipped, rows_max)
                    yield from ((first + skipped + at, _json(row)) for at, row in enumerate(table.to_pylist()))
                    return
                first += rows
    except FileNotFoundError:
        return
    except pyarrow.ArrowInvalid as error:
        if "magic bytes" in str(error) or "footer" in str(error) or file.size < 12:
            return  # it is still being written
        raise SourceUnavailable(f"{file.path} is no Parquet file: {error}.") from None
    except OSError as error:
        raise SourceUnavailable(f"{file.path} cannot be read: {error}.") from None


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
