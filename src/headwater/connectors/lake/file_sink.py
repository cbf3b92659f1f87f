"""Stores rows or events in files that are never changed, one for each batch: what the sinks parquet and jsonl share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headwater.connectors.contract import Delivery, Shape, SinkFeatures
from headwater.connectors.lake.commits import Head, TableDirectory
from headwater.connectors.lake.file_system import FileSystem
from headwater.connectors.lake.formats import UNFIT, Format
from headwater.connectors.lake.layout import day_place, time_at
from headwater.connectors.lake.storage import StorageOptions, check_location, file_system
from headwater.connectors.lake.writer import Commit, TableWriter
from headwater.connectors.rows import CHECKED_MAX
from headwater.connectors.spec import BatchDefaults
from headwater.errors import ConfigInvalid, EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.settings import REQUIRED, setting

FEATURES = SinkFeatures(token_in_target=True, upsert=False, reads_back=False)
BATCH = BatchDefaults(rows_max=100_000, bytes_max=67_108_864, seconds_max=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions(StorageOptions):
    """The options of the sinks that store files."""

    location: str = setting(
        REQUIRED,
        "The directory, relative to the project, or `s3://BUCKET/PREFIX` or `hdfs://HOST:PORT/PATH`; the files are in "
        "a directory of it with the name of the sink.",
    )
    partition: Literal["none", "day", "hour"] = setting(
        "none",
        "Whether files are in directories `year=…/month=…/day=…`, also `/hour=…`, by the time in the event (UTC).",
    )
    time: str = setting("meta.dt", "The dotted path of that time.")


def newest_commit(name: str, options: FileOptions, directory: Path) -> Head | None:
    """The last commit of the files of a sink; None if there are none. Blocks. Raises SinkUnavailable."""
    files = file_system(options.location, options, directory)
    try:
        return TableDirectory(files, name).newest()
    finally:
        files.close()


def check_files(options: FileOptions, shape: Shape) -> None:
    """Raise ConfigInvalid for a location where no files can be."""
    why = check_location(options.location) if options.location else "It is empty: name a directory, such as var/files."
    if why is not None:
        raise ConfigInvalid(f"The location {options.location!r} of {shape.name} cannot be.", hint=why)


def times_of(options: FileOptions) -> Sequence[str]:
    """The field of events by whose time files are divided."""
    return () if options.partition == "none" else (options.time,)


@dataclass(frozen=True, slots=True)
class FileForm:
    """What a file holds: the row of an event, and the format and facts for a table whose last commit is known.

    `row` raises EventMalformed; `opened` raises TableConflict.
    """

    row: Callable[[Delivery], Mapping[str, Any]]
    opened: Callable[[Head | None], tuple[Format, dict[str, Any]]]


class FileSink:
    """Appends to the files in the directory `name` of the location."""

    features = FEATURES

    def __init__(
        self, name: str, options: FileOptions, form: FileForm, directory: Path, *, files: FileSystem | None = None
    ) -> None:
        """`files`: instead of those that the options name."""
        self._name = name
        self._options = options
        self._form = form
        self._directory = directory
        self._files = files
        self._writer: TableWriter | None = None
        self._format: Format | None = None
        self._facts: dict[str, Any] = {}
        # What was checked is mostly written next. By the identity of the delivery, which is kept with it.
        self._checked: dict[int, tuple[Delivery, str, Mapping[str, Any]]] = {}

    async def open(self) -> str | None:
        return await asyncio.to_thread(self._open)

    def check(self, delivery: Delivery) -> None:
        found = self._read(delivery)
        if len(self._checked) < CHECKED_MAX:
            self._checked[id(delivery)] = found

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        await asyncio.to_thread(self._write, deliveries, token)

    async def set_aside(self) -> str | None:
        return await asyncio.to_thread(self._opened().set_aside)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _open(self) -> str | None:
        self._close()
        files = self._files or file_system(self._options.location, self._options, self._directory)
        table = TableDirectory(files, self._name)
        self._format, self._facts = self._form.opened(table.newest())
        self._writer = TableWriter(table, self._format)
        head = self._writer.open()
        return None if head is None else head.token

    def _write(self, deliveries: Sequence[Delivery], token: str) -> None:
        writer = self._opened()
        head = writer.begin(token)
        if head is not None and head.token == token:
            return
        checked, self._checked = self._checked, {}
        rows: dict[str, list[Mapping[str, Any]]] = {}
        rejected: dict[int, Exception] = {}
        for index, delivery in enumerate(deliveries):
            try:
                _, place, row = checked.get(id(delivery)) or self._read(delivery)
                rows.setdefault(place, []).append(row)
            except EventMalformed as error:
                rejected[index] = error
        if rejected:
            raise WriteIncomplete(rejected=rejected)
        try:
            writer.commit(Commit(token, rows, self._facts))
        except UNFIT:
            rejected = self._unfit(deliveries)
            if not rejected:
                raise
            raise WriteIncomplete(rejected=rejected) from None

    def _read(self, delivery: Delivery) -> tuple[Delivery, str, Mapping[str, Any]]:
        """An event, its partition and its row. Raises EventMalformed."""
        return delivery, self._place(delivery), self._form.row(delivery)

    def _unfit(self, deliveries: Sequence[Delivery]) -> dict[int, Exception]:
        """The events that the format does not take, by their index."""
        assert self._format is not None
        found: dict[int, Exception] = {}
        for index, delivery in enumerate(deliveries):
            try:
                self._format.encoded([self._form.row(delivery)])
            except UNFIT as error:
                found[index] = EventMalformed(f"The event does not fit the files of {self._name}: {error}")
        return found

    def _place(self, delivery: Delivery) -> str:
        if self._options.partition == "none":
            return ""
        at_ms = time_at(delivery.value, self._options.time)
        if at_ms is None:
            raise EventMalformed(f"The event has no time at {self._options.time}, which says where it is stored.")
        return day_place(at_ms, with_hour=self._options.partition == "hour")

    def _opened(self) -> TableWriter:
        if self._writer is None:
            raise SinkUnavailable(f"The files of {self._name} are not open.")
        return self._writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
