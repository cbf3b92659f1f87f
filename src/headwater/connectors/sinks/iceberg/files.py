"""The data files of an Iceberg table: written by partition, read one at a time."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import ArrowScan, bin_pack_arrow_table, schema_to_pyarrow, write_file
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table, WriteTask
from pyiceberg.table.metadata import TableMetadata

from headwater.connectors.sinks.iceberg.columns import plain_values

_log = logging.getLogger("headwater.connectors.iceberg")


class DataFiles:
    """Writes the rows that it is given into data files of about `bytes_max` bytes in memory.

    `metadata` is that of the table as the files will be part of it. As a context manager it deletes them on an error.
    """

    def __init__(self, io: FileIO, metadata: TableMetadata, bytes_max: int) -> None:
        self.written: list[DataFile] = []
        self._io = io
        self._metadata = metadata
        self._bytes_max = bytes_max
        self._waiting: list[pyarrow.Table] = []
        self._id = uuid.uuid4()
        self._tasks = 0

    def __enter__(self) -> DataFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.discard()

    def add(self, rows: pyarrow.Table) -> None:
        """Write these rows, at the latest when `finish` is called."""
        if rows.num_rows:
            self._waiting.append(rows)
        if sum(one.nbytes for one in self._waiting) >= self._bytes_max:
            self._write()

    def finish(self) -> list[DataFile]:
        """Write what is left; all files."""
        self._write()
        return self.written

    def discard(self) -> None:
        """Delete the files: they are part of no table."""
        delete_files(self._io, [one.file_path for one in self.written])
        self.written.clear()

    def _write(self) -> None:
        if not self._waiting:
            return
        rows = pyarrow.concat_tables(self._waiting)
        self._waiting.clear()
        self.written += write_file(self._io, self._metadata, iter(list(self._write_tasks(rows))))

    def _write_tasks(self, rows: pyarrow.Table) -> Iterator[WriteTask]:
        schema = self._metadata.schema()
        for key, some in self._partitions(rows):
            for batches in bin_pack_arrow_table(some, self._bytes_max):
                self._tasks += 1
                yield WriteTask(self._id, self._tasks, schema, batches, partition_key=key)

    def _partitions(self, rows: pyarrow.Table) -> Iterator[tuple[PartitionKey | None, pyarrow.Table]]:
        spec, schema = self._metadata.spec(), self._metadata.schema()
        if spec.is_unpartitioned():
            yield None, rows
            return
        # PyIceberg computes the partitions of Arrow tables only with an extension, which is not required here.
        columns = []
        for field in spec.fields:
            source = schema.find_field(field.source_id)
            transform = field.transform.transform(source.field_type)
            columns.append([transform(value) for value in plain_values(rows.column(source.name))])
        places: dict[tuple[Any, ...], list[int]] = {}
        for at, values in enumerate(zip(*columns, strict=True)):
            places.setdefault(values, []).append(at)
        for values, indices in places.items():
            fields = [PartitionFieldValue(field, value) for field, value in zip(spec.fields, values, strict=True)]
            yield PartitionKey(fields, spec, schema), rows.take(pyarrow.array(indices))


def read_file(table: Table, task: FileScanTask, schema: Schema) -> pyarrow.Table:
    """The rows of one data file, without those that delete files delete, with the columns of the schema, in order."""
    rows = ArrowScan(table.metadata, table.io, schema, AlwaysTrue()).to_table([task])
    return as_schema(rows, schema)


def as_schema(rows: pyarrow.Table, schema: Schema) -> pyarrow.Table:
    """The same rows with exactly the types of the schema, so that tables of several files are one."""
    wanted = schema_to_pyarrow(schema, include_field_ids=False)
    return rows.select(wanted.names).cast(wanted)


def delete_files(io: FileIO, paths: Iterable[str]) -> None:
    """Delete files that nothing refers to; one that cannot be deleted stays, and is reported."""
    for path in paths:
        try:
            with contextlib.suppress(FileNotFoundError):
                io.delete(path)
        except Exception as error:  # of any file system
            _log.warning("An unreferenced file cannot be deleted: %s: %s", path, error)


def planned(table: Table, branch: str, row_filter: Any = None) -> Sequence[FileScanTask]:
    """The data files of a branch that may have rows for which the filter holds; none if there is no such branch."""
    snapshot = table.metadata.snapshot_by_name(branch)
    if snapshot is None:
        return ()
    scan = table.scan(row_filter=AlwaysTrue() if row_filter is None else row_filter, snapshot_id=snapshot.snapshot_id)
    return list(scan.plan_files())


def by_partition(tasks: Iterable[FileScanTask]) -> Mapping[Any, list[FileScanTask]]:
    """The data files by their partition."""
    found: dict[Any, list[FileScanTask]] = {}
    for task in tasks:
        found.setdefault((task.file.spec_id, task.file.partition), []).append(task)
    return found
