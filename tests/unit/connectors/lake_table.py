"""A table of the lake for tests: its events, the sink that ingests them, and what any tool sees in its directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyarrow import parquet

from headwater.connectors.contract import Delivery, EventShape
from headwater.connectors.lake.commits import Manifest, TableDirectory
from headwater.connectors.lake.event_rows import lake_columns
from headwater.connectors.lake.file_system import Entry, FileSystem
from headwater.connectors.lake.ingestion import LakeSink
from headwater.connectors.lake.local_files import LocalFiles
from headwater.connectors.lake.options import LakeOptions
from headwater.schemas.types.read import read_types

STREAM = "shop.order"
TOPIC = f"eqiad.{STREAM}"
OTHER_TOPIC = f"codfw.{STREAM}"
TABLE = "shop_order"
SCHEMA = {
    "title": "shop/order",
    "$id": "/shop/order/1.0.0",
    "type": "object",
    "properties": {
        "$schema": {"type": "string"},
        "meta": {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "dt": {"type": "string", "format": "date-time"},
                "stream": {"type": "string"},
                "domain": {"type": "string"},
            },
        },
        "customer": {"type": "string"},
        "count": {"type": "integer"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}},
    },
}


def order(number: int, dt: str, **more: Any) -> dict[str, Any]:
    """An event with the id of its number."""
    meta = {"id": f"order-{number}", "dt": dt, "stream": STREAM}
    return {"$schema": "/shop/order/1.0.0", "meta": meta, "customer": "Ada", "count": number, **more}


def canary(dt: str) -> dict[str, Any]:
    return {"$schema": "/shop/order/1.0.0", "meta": {"id": f"canary-{dt}", "dt": dt, "domain": "canary"}}


def delivered(*events: dict[str, Any], partition: str = f"{TOPIC}/0") -> list[Delivery]:
    return [Delivery(event, event.get("meta", {}).get("id"), STREAM, 0, partition) for event in events]


def token(offset: int, *, partitions: int = 1) -> str:
    return f"hw1;{TOPIC}:" + ",".join(f"{partition}={offset}" for partition in range(partitions))


def lake_sink(directory: Path, files: FileSystem | None = None, schema: Any = None, **options: Any) -> LakeSink:
    """A closed sink, always on the same storage."""
    columns = lake_columns(read_types(schema or SCHEMA))
    datacenters = {TOPIC: "eqiad", OTHER_TOPIC: "codfw"}
    made = LakeOptions(location="lake", table=TABLE, state="state", columns=columns, datacenters=datacenters, **options)
    return LakeSink(EventShape("lake_shop_order"), made, directory, files=files)


def table_in(directory: Path) -> TableDirectory:
    return TableDirectory(LocalFiles(directory / "lake"), TABLE)


def manifests(directory: Path) -> dict[str, Manifest]:
    table = table_in(directory)
    return {place: table.manifest(place) for place in table.places()}


def seen_by_tools(directory: Path) -> list[dict[str, Any]]:
    """The rows in the files that a tool finds which knows nothing of manifests."""
    rows = []
    for file in sorted((directory / "lake" / TABLE).rglob("*.parquet")):
        if not any(part.startswith((".", "_")) for part in file.relative_to(directory / "lake").parts):
            rows += parquet.ParquetFile(file).read().to_pylist()
    return rows


def ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return sorted(row["meta"]["id"] for row in rows)


class Killed(BaseException):
    """The process ended here."""


class KilledFiles:
    """Files of which one operation, counted from 1, never ends: the process is killed before or after it is done.

    `operations` counts those that change something.
    """

    def __init__(self, files: FileSystem, kill_at: int = 0, *, after: bool = False) -> None:
        self._files = files
        self._kill_at = kill_at
        self._after = after
        self.operations = 0
        self.creates_exclusively = files.creates_exclusively
        self.directory = files.directory

    def probe(self, directory: str) -> None:
        self._files.probe(directory)

    def write(self, path: str, content: bytes) -> None:
        self._counted(lambda: self._files.write(path, content))

    def create(self, path: str, content: bytes) -> bool:
        return bool(self._counted(lambda: self._files.create(path, content)))

    def read(self, path: str, *, bytes_max: int = 2**31) -> bytes | None:
        return self._files.read(path, bytes_max=bytes_max)

    def rename(self, path: str, to: str) -> None:
        self._counted(lambda: self._files.rename(path, to))

    def rename_directory(self, path: str, to: str) -> None:
        self._counted(lambda: self._files.rename_directory(path, to))

    def entries(self, path: str) -> Sequence[Entry]:
        return self._files.entries(path)

    def delete(self, path: str) -> None:
        self._counted(lambda: self._files.delete(path))

    def close(self) -> None:
        self._files.close()

    def _counted(self, done: Any) -> Any:
        self.operations += 1
        if self.operations == self._kill_at and not self._after:
            raise Killed
        result = done()
        if self.operations == self._kill_at:
            raise Killed
        return result
