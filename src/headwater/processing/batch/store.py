"""The files that a run over history writes, with its state and position, as a `JobStore`.

How this works: results are appended to *parts*, files next to the state that are not yet a result. A commit writes
them, and then stores the state, the position and the length of each part in the state file, in one transaction. A run
that was killed finds its parts cut to these lengths and resumes. At the end each part is made durable and renamed: a
result file is whole, or it is not there.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson

from headwater.connectors.contract import Delivery, TableShape
from headwater.event import encode_json
from headwater.jobs.tables.materialized import MaterializedTable
from headwater.jobs.tables.reader import TableReader
from headwater.log.contract import LogWriter, Record, StateChange
from headwater.processing.batch.parquet import SUFFIX as PARQUET
from headwater.processing.batch.parquet import write_parquet
from headwater.processing.batch.table import TableRows
from headwater.processing.stores.contract import RowTarget
from headwater.processing.stores.state_file import StateFile

NAMESPACE = "headwater.history"
PARTS = b"parts"
COUNTS = b"counts"
STANDARD_OUTPUT = "-"
COPIED_BYTES = 1_048_576
LINES_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class ResultFile:
    """Where the events of some topics go, or the rows of the job's table. `path` None: they are only counted; `-`:
    standard output."""

    name: str
    topics: frozenset[str]
    path: Path | None
    is_table: bool = False
    # Whether its events go into the log at the end.
    into_log: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether it has a part."""
        return self.into_log or (self.path is not None and not self.is_standard_output)

    @property
    def is_standard_output(self) -> bool:
        return self.path is not None and str(self.path) == STANDARD_OUTPUT


class _Part:
    """The part of one result file."""

    def __init__(self, result: ResultFile, directory: Path) -> None:
        self.result = result
        self.path = directory / f"{result.name}.part"
        self.lines = 0
        self._file: IO[bytes] | None = None
        if result.is_standard_output:
            self._file = sys.stdout.buffer
        self.length = 0

    def open(self, length: int, lines: int) -> None:
        self.lines, self.length = lines, length
        if not self.result.is_kept:
            return
        self.close()
        self._file = self.path.open("ab")
        self._file.truncate(length)
        self._file.seek(length)

    def is_at_least(self, length: int) -> bool:
        """Whether nothing is missing of what was committed, as it may be after a power failure."""
        if not self.result.is_kept:
            return length == 0
        return (self.path.stat().st_size if self.path.exists() else 0) >= length

    def append(self, values: Sequence[bytes]) -> None:
        self.lines += len(values)
        if self._file is not None and values:
            data = b"\n".join(values) + b"\n"
            self._file.write(data)
            if not self.result.is_standard_output:
                self.length += len(data)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None and not self.result.is_standard_output:
            self._file.close()
            self._file = None

    def publish(self) -> None:
        """Make the part the result file; it stays, so that this can be repeated."""
        target = self.result.path
        if target is None or self.result.is_standard_output:
            return
        self.close()
        # Renaming is atomic only within one directory on every file system.
        whole = target.with_name(f".{target.name}.whole")
        whole.unlink(missing_ok=True)
        if target.suffix == PARQUET:
            write_parquet(self.path, whole)
        elif target.suffix == ".gz" or not _linked(self.path, whole):
            _copy(self.path, whole, compress=target.suffix == ".gz")
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.replace(target)


def _linked(path: Path, other: Path) -> bool:
    """Whether `other` could be made another name of the file at `path`."""
    try:
        other.hardlink_to(path)
    except OSError:
        return False
    return True


def _copy(path: Path, other: Path, *, compress: bool) -> None:
    with path.open("rb") as source, other.open("wb") as file:
        if compress:
            # Without a name and a time, equal contents are equal files.
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
                shutil.copyfileobj(source, packed, COPIED_BYTES)
        else:
            shutil.copyfileobj(source, file, COPIED_BYTES)


class FilesStore:
    """Commits to files in `directory`. Has the shape of a `JobStore`; nothing is in a log."""

    takes_events = True
    keeps_state = True

    def __init__(
        self,
        directory: Path,
        results: Sequence[ResultFile],
        table: TableShape | None = None,
        materialized: MaterializedTable | None = None,
    ) -> None:
        """`table`, `materialized`: what the job fills or keeps, whose rows are a result at the end."""
        self._table = None if table is None else TableRows(table)
        self._materialized = materialized
        self.rows: RowTarget | None = self._table
        self.refuses: LogWriter | None = None
        self._directory = directory
        self._parts = [_Part(result, directory) for result in results]
        self._by_topic = {topic: part for part in self._parts for topic in part.result.topics}
        self._state: StateFile | None = None

    async def open(self) -> str | None:
        """The committed position. Raises StateUnavailable if another process runs the same, StateMismatch."""
        await self.close()
        self._state = StateFile(self._directory / "state.sqlite", durability="os")
        found = self._state.get(NAMESPACE, [PARTS])
        lengths: dict[str, list[int]] = orjson.loads(found[PARTS]) if found else {}
        for part in self._parts:
            length, lines = lengths.get(part.result.name, [0, 0])
            part.open(length, lines)
        return self._state.token

    async def counts(self) -> Mapping[str, Any]:
        """What the runs before this one have counted."""
        await self.open()
        found = self._opened().get(NAMESPACE, [COUNTS])
        return dict(orjson.loads(found[COUNTS])) if found else {}

    def is_whole(self) -> bool:
        """Whether the parts have everything that was committed; blocks on disk."""
        path = self._directory / "state.sqlite"
        if not path.exists():
            return True
        state = StateFile(path, durability="os")
        try:
            found = state.get(NAMESPACE, [PARTS])
        finally:
            state.close()
        lengths: dict[str, list[int]] = orjson.loads(found[PARTS]) if found else {}
        return all(part.is_at_least(lengths.get(part.result.name, [0, 0])[0]) for part in self._parts)

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return self._opened().get(namespace, keys)

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        return self._opened().scan(namespace, after, rows_max)

    async def commit(
        self, records: Sequence[Record], token: str, changes: Sequence[StateChange], rows: Sequence[Delivery] = ()
    ) -> None:
        state = self._opened()
        values: dict[int, list[bytes]] = {}
        for record in records:
            part = self._by_topic.get(record.topic)
            if part is not None:
                values.setdefault(id(part), []).append(record.value)
        kept, lines = ([], []) if self._table is None else self._table.written(rows, state.get)
        for part in self._parts:
            part.append(lines if part.result.is_table else values.get(id(part), ()))
            part.flush()
        lengths = {part.result.name: [part.length, part.lines] for part in self._parts}
        note = StateChange(NAMESPACE, PARTS, orjson.dumps(lengths))
        state.commit([], token, [*changes, *kept, note], arrived=state.number)

    async def flush(self) -> None:
        """Nothing to wait for."""

    async def close(self) -> None:
        if self._state is not None:
            self._state.close()
            self._state = None
        for part in self._parts:
            part.close()

    async def publish(self) -> None:
        """Make the parts the result files, with the rows of a table. Raises OSError. Blocks on disk."""
        if self._table is not None or self._materialized is not None:
            await self.open()
            lines = self._table_lines(self._opened())
            for part in (one for one in self._parts if one.result.is_table):
                while some := list(islice(lines, LINES_AT_ONCE)):
                    part.append(some)
            await self.close()
        for part in self._parts:
            part.publish()

    def _table_lines(self, state: StateFile) -> Iterator[bytes]:
        if self._table is not None:
            return self._table.lines(state.scan)
        table = self._materialized
        assert table is not None
        return (encode_json(table.flat(row)) for row in TableReader(table, state.get, state.scan))

    def for_log(self) -> Iterator[bytes]:
        """The events that go into the log. Blocks on disk."""
        for part in self._parts:
            if part.result.into_log and part.path.exists():
                with part.path.open("rb") as file:
                    yield from (line.rstrip(b"\n") for line in file)

    async def state_of(self, job: str) -> list[StateChange]:
        """All state that the job has, as changes that make it."""
        await self.open()
        state = self._opened()
        found = []
        for namespace in state.namespaces():
            after = b""
            while namespace.startswith(f"job/{job}/") and (page := state.scan(namespace, after, LINES_AT_ONCE)):
                found += [StateChange(namespace, key, value) for key, value in page]
                after = page[-1][0]
        await self.close()
        return found

    def lines(self) -> Mapping[str, int]:
        """How many lines each result has, by its name."""
        return {part.result.name: part.lines for part in self._parts}

    def _opened(self) -> StateFile:
        assert self._state is not None
        return self._state
