"""One table of an Iceberg catalog: found or created, with the columns that are wanted, and its errors in our words."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchNamespaceError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.table import Table

from headwater.connectors.contract import PresentTable, TableShape
from headwater.connectors.sinks.iceberg.columns import (
    FROZEN_PAUSE_SECONDS,
    complete,
    partitions_of,
    present_columns,
    schema_of,
)
from headwater.connectors.sinks.iceberg.options import IcebergOptions, catalog_file, open_catalog
from headwater.errors import HeadwaterError, SinkFrozen, SinkUnavailable

# How often a commit is made again because of those of others, before the batch waits.
COMMITS_MAX = 5
# The packages whose errors mean that a catalog or a store does not answer as it should.
DRIVERS = frozenset(
    (
        *("pyiceberg", "sqlalchemy", "sqlite3", "requests", "urllib3", "botocore", "thrift", "google", "azure"),
        *("psycopg", "psycopg2", "pymysql", "adlfs", "s3fs", "gcsfs", "aiohttp", "hive_metastore", "tenacity"),
        # Of answers that are no answers of a catalog.
        "pydantic_core",
    )
)
# What PyIceberg writes, and what it says of tables that it cannot read.
FORMAT_VERSION_MAX = 2
EQUALITY_DELETES = "equality deletes"
# Of tables that are created: old metadata files are deleted, and manifests merged, by each commit.
PROPERTIES = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.manifest-merge.enabled": "true",
}

_T = TypeVar("_T")


class CatalogTable:
    """The table for `shape`; blocks. `translated` is around everything that is called here."""

    def __init__(self, options: IcebergOptions, shape: TableShape, directory: Path) -> None:
        """Raises ConfigInvalid if the table cannot be partitioned as the options say."""
        self._options = options
        self._shape = shape
        self._directory = directory
        self._schema = schema_of(shape)
        self._partitions = partitions_of(shape, self._schema, options.partition_column, options.partition_by)
        self._name = (*options.namespace.split("."), shape.name)
        self._catalog: Catalog | None = None
        self._closing = threading.Lock()

    def open(self) -> Table:
        """Connect; the table, created where it is absent, with all columns. Raises SinkFrozen as `complete`."""
        self.close()
        self._catalog = open_catalog(self._options, self._directory)
        try:
            # Who may only write to the table need not be allowed to create anything.
            if not self._catalog.table_exists(self._name):
                self._catalog.create_namespace_if_not_exists(self._name[:-1])
                # Another process may have created it since.
                with suppress(TableAlreadyExistsError):
                    self._create(self._catalog, self._options.location)
            return self.again(self._completed)
        except BaseException:
            self.close()
            raise

    def _completed(self, table: Table) -> Table:
        if table.format_version > FORMAT_VERSION_MAX:
            raise self._frozen(
                f"it has version {table.format_version} of the format, and {FORMAT_VERSION_MAX} is written"
            )
        return table.refresh() if complete(table, self._shape) else table

    def load(self) -> Table:
        """The table as it is now. Raises SinkUnavailable if it is not open."""
        return self._opened().load_table(self._name)

    def again(self, work: Callable[[Table], _T]) -> _T:
        """Do it on the table as it is, again after commits of others. Raises SinkUnavailable if there are too many."""
        for _ in range(COMMITS_MAX):
            try:
                return work(self.load())
            except CommitFailedException:
                continue
        raise SinkUnavailable(f"{self._what} is committed to by others all the time, and a batch must wait.")

    def move(self, table: Table, other: str) -> None:
        """Give the table this name, and create an empty one in its place."""
        catalog = self._opened()
        catalog.rename_table(self._name, (*self._name[:-1], other))
        # Its files are in a directory of their own, so that clean-ups of one table do not find the other's.
        parent = table.location().rpartition("/")[0]
        self._create(catalog, f"{parent}/{self._shape.name}-{uuid.uuid4().hex[:12]}")

    def describe(self) -> PresentTable | None:
        """The columns that the table has; None if there is no table. Changes nothing, and need not be open."""
        file = catalog_file(self._options, self._directory)
        if file is not None and not file.exists():
            return None
        with self.translated():
            catalog = open_catalog(self._options, self._directory)
            try:
                return present_columns(catalog.load_table(self._name))
            except (NoSuchTableError, NoSuchNamespaceError):
                return None
            finally:
                catalog.close()

    def close(self) -> None:
        with self._closing:
            catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise SinkUnavailable for errors of catalogs and stores, SinkFrozen for tables that cannot be changed."""
        try:
            yield
        except HeadwaterError:
            raise
        except Exception as error:
            if isinstance(error, NotImplementedError) or EQUALITY_DELETES in str(error):
                raise self._frozen(f"{error}") from error
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in DRIVERS:
                raise
            said = " ".join(str(error).split()) or type(error).__name__
            raise SinkUnavailable(f"{self._what} answered: {said[:500].rstrip('.')}.") from error

    def _create(self, catalog: Catalog, location: str | None) -> None:
        properties = {**PROPERTIES, "write.target-file-size-bytes": str(self._options.file_bytes_max)}
        properties |= {name: str(value) for name, value in self._options.properties.items()}
        catalog.create_table(self._name, self._schema, location, self._partitions, properties=properties)

    def _frozen(self, reason: str) -> SinkFrozen:
        return SinkFrozen(
            f"{self._what} cannot be written by PyIceberg: {' '.join(reason.split())[:500].rstrip('.')}.",
            hint="Let another engine rewrite its data files, or choose another `table`.",
            back_off_seconds=FROZEN_PAUSE_SECONDS,
        )

    def _opened(self) -> Catalog:
        if self._catalog is None:
            raise SinkUnavailable(f"{self._what} is not open.")
        return self._catalog

    @property
    def _what(self) -> str:
        return f"The table {self._shape.name} in {self._options.place}"
