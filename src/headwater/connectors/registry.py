"""Which file holds which connector: names, imported late, so that an optional driver costs only its users."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from headwater.connectors.contract import Readable, Sink, TableShape
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.log.inspection import FileLook


class Connector(NamedTuple):
    """Where an implementation is, and the extra that installs its driver (None: nothing to install)."""

    module: str
    name: str
    extra: str | None = None


class TableSink(Sink, Readable, Protocol):
    """A sink that fills a table which can be read."""


TABLE_SINKS: Mapping[str, Connector] = {
    "sqlite": Connector("headwater.connectors.sinks.sqlite", "SqliteSink"),
    "duckdb": Connector("headwater.connectors.sinks.duckdb", "DuckdbSink", extra="duckdb"),
}
# The file of a table says which database it is.
SUFFIXES: Mapping[str, str] = {".db": "sqlite", ".sqlite": "sqlite", ".duckdb": "duckdb"}


# Where it is looked for damage in the files of each kind.
LOOKS: Mapping[str, Connector] = {
    "sqlite": Connector("headwater.log.sqlite.files", "look_into"),
    "duckdb": Connector("headwater.connectors.sinks.duckdb_blocks", "look_into", extra="duckdb"),
}


def look_into_tables(path: Path, seconds_max: float | None = None) -> FileLook:
    """What is damaged in the database file at `path`; with `seconds_max` a quick look, which may end early."""
    connector = LOOKS.get(SUFFIXES.get(path.suffix, ""))
    try:
        module = None if connector is None else importlib.import_module(connector.module)
    except ImportError:
        module = None
    if connector is None or module is None:
        return FileLook(path, unseen="its driver is not installed")
    look: FileLook = getattr(module, connector.name)(path, seconds_max)
    return look


def table_sink(path: Path, shape: TableShape) -> TableSink:
    """The sink that fills `shape` in the database file at `path`; opening it is left to the caller.

    Raises ConfigInvalid for an unknown kind of file, ExtraMissing where its driver is not installed.
    """
    kind = SUFFIXES.get(path.suffix)
    if kind is None:
        raise ConfigInvalid(
            f"{path.name!r} does not say which database it is.", hint=f"End it in {' or '.join(SUFFIXES)}."
        )
    connector = TABLE_SINKS[kind]
    try:
        module = importlib.import_module(connector.module)
    except ImportError as error:
        if connector.extra is None:
            raise
        raise ExtraMissing(
            f"The {kind} sink needs {error.name or 'a driver'}, which is not installed.",
            hint=f"Install headwater[{connector.extra}].",
        ) from None
    sink: TableSink = getattr(module, connector.name)(path, shape)
    return sink
