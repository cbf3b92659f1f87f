"""The connectors by name, imported late, so that an optional driver costs only its users.

Another package adds one with an entry point: group `headwater.sinks` or `headwater.sources`, the connector's name,
`module:SPEC`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple, TypeVar

from headwater.connectors.contract import TableShape
from headwater.connectors.source_spec import SourceSpec
from headwater.connectors.spec import SinkSpec, TableSink
from headwater.declaration import suggestion
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.log.diagnostics import FileLook

SINK, SOURCE = "sink", "source"
# The groups of entry points.
ENTRY_POINTS = {SINK: "headwater.sinks", SOURCE: "headwater.sources"}
_Spec = TypeVar("_Spec")


class Connector(NamedTuple):
    """The module of an implementation, and the extra that installs its driver (None: nothing to install)."""

    module: str
    name: str = "SPEC"
    extra: str | None = None


SINKS: Mapping[str, Connector] = {
    "sqlite": Connector("headwater.connectors.sinks.sqlite"),
    "duckdb": Connector("headwater.connectors.sinks.duckdb", extra="duckdb"),
    "postgres": Connector("headwater.connectors.sinks.postgres", extra="postgres"),
    "mysql": Connector("headwater.connectors.sinks.mysql", extra="mysql"),
    "cassandra": Connector("headwater.connectors.sinks.cassandra", extra="cassandra"),
    "clickhouse": Connector("headwater.connectors.sinks.clickhouse"),
    "http": Connector("headwater.connectors.sinks.http.sink"),
    "iceberg": Connector("headwater.connectors.sinks.iceberg.sink", extra="iceberg"),
    "kafka": Connector("headwater.connectors.sinks.kafka", extra="kafka"),
    "opensearch": Connector("headwater.connectors.sinks.opensearch", extra="opensearch"),
    "parquet": Connector("headwater.connectors.sinks.parquet", extra="parquet"),
    "jsonl": Connector("headwater.connectors.sinks.jsonl"),
    "redis": Connector("headwater.connectors.sinks.redis.sink", extra="redis"),
}
SOURCES: Mapping[str, Connector] = {
    "http_poll": Connector("headwater.connectors.sources.http_poll"),
    "jsonl": Connector("headwater.connectors.sources.jsonl"),
    "kafka": Connector("headwater.connectors.sources.kafka.spec", extra="kafka"),
    "parquet": Connector("headwater.connectors.sources.parquet", extra="parquet"),
    "sse": Connector("headwater.connectors.sources.sse"),
    "webhook": Connector("headwater.connectors.sources.webhook"),
    "mysql_cdc": Connector("headwater.connectors.sources.mysql_cdc.spec", extra="mysql"),
    "postgres_cdc": Connector("headwater.connectors.sources.postgres_cdc.spec", extra="postgres"),
}
# The extension of a table's file selects the database.
SUFFIXES: Mapping[str, str] = {".db": "sqlite", ".sqlite": "sqlite", ".duckdb": "duckdb"}


# The module that checks the files of each kind for damage.
LOOKS: Mapping[str, Connector] = {
    "sqlite": Connector("headwater.log.sqlite.files", "look_into"),
    "duckdb": Connector("headwater.connectors.sinks.duckdb_blocks", "look_into", extra="duckdb"),
}


def look_into_tables(path: Path, seconds_max: float | None = None) -> FileLook:
    """The damage in the database file at `path`; with `seconds_max` a quick check, which may end early."""
    connector = LOOKS.get(SUFFIXES.get(path.suffix, ""))
    try:
        module = None if connector is None else importlib.import_module(connector.module)
    except ImportError:
        module = None
    if connector is None or module is None:
        return FileLook(path, unseen="its driver is not installed")
    look: FileLook = getattr(module, connector.name)(path, seconds_max)
    return look


def sink_names() -> list[str]:
    """The names of all sinks: our own, and those of installed packages."""
    return sorted({*SINKS, *_added(SINK)})


def source_names() -> list[str]:
    """The names of all sources: our own, and those of installed packages."""
    return sorted({*SOURCES, *_added(SOURCE)})


def sink_spec(name: str) -> SinkSpec:
    """The sink of that name.

    Raises ConfigInvalid for an unknown one, with the nearest name, and for an entry point that is not a sink;
    ExtraMissing if its driver is not installed.
    """
    return _spec(SINK, name, SINKS, SinkSpec)


def source_spec(name: str) -> SourceSpec:
    """The source of that name. Raises as `sink_spec`."""
    return _spec(SOURCE, name, SOURCES, SourceSpec)


def table_sink(path: Path, shape: TableShape) -> TableSink:
    """The sink that fills `shape` in the database file at `path`; opening it is left to the caller.

    Raises ConfigInvalid for an unknown kind of file, ExtraMissing if its driver is not installed.
    """
    kind = SUFFIXES.get(path.suffix)
    if kind is None:
        raise ConfigInvalid(
            f"The extension of {path.name!r} does not select a database.",
            hint=f"Use the extension {' or '.join(SUFFIXES)}.",
        )
    spec = sink_spec(kind)
    sink = spec.make(spec.options(path=str(path)), shape, Path())
    assert isinstance(sink, TableSink)
    return sink


def _spec(kind: str, name: str, ours: Mapping[str, Connector], wanted: type[_Spec]) -> _Spec:
    connector = ours.get(name)
    if connector is not None:
        spec = _imported(kind, name, connector)
    elif (added := _added(kind).get(name)) is not None:
        try:
            spec = added.load()
        except (ImportError, AttributeError) as error:
            raise ConfigInvalid(f"The {kind} {name} of {added.value} cannot be loaded: {error}.") from error
    else:
        names = sorted({*ours, *_added(kind)})
        hint = suggestion(name, names) or f"Known: {', '.join(names)}."
        raise ConfigInvalid(f"Unknown {kind} {name!r}.", hint=hint)
    if not isinstance(spec, wanted):
        hint = "Its module or entry point must define one."
        raise ConfigInvalid(f"The {kind} {name} has no {wanted.__name__}.", hint=hint)
    return spec


def _added(kind: str) -> dict[str, EntryPoint]:
    return {one.name: one for one in entry_points(group=ENTRY_POINTS[kind])}


def _imported(kind: str, name: str, connector: Connector) -> object:
    try:
        return getattr(importlib.import_module(connector.module), connector.name)
    except ImportError as error:
        if connector.extra is None:
            raise
        raise ExtraMissing(
            f"The {name} {kind} needs {error.name or 'a driver'}, which is not installed.",
            hint=f"Install headwater[{connector.extra}].",
        ) from None
