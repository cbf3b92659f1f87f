"""What the ingestion of one stream into the lake needs to know; jobs are made of it without a log or a driver."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from headwater.connectors.contract import EventShape, Sink, SinkFeatures
from headwater.connectors.lake.storage import StorageOptions
from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.schemas.types.tree import Struct
from headwater.settings import REQUIRED, setting

LOOK_BACK_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known after a commit to a table of the lake.

    `complete_ms`: datacenter → the end of its last complete hour (epoch milliseconds), None before the first one.
    `undeclared`: path → how often such a field, which has no column, was left out by this commit. `duplicates`: how
    many events it left out that are stored already.
    """

    complete_ms: Mapping[str, int | None]
    undeclared: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0


OnStored = Callable[[Stored], None]


@runtime_checkable
class ReportsStored(Protocol):
    """A sink that calls `on_stored` when it is open, and after each commit; from any thread."""

    on_stored: OnStored


FEATURES = SinkFeatures(token_in_target=True, upsert=False, reads_back=False, recognises_repeats=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeOptions(StorageOptions):
    """What the ingestion of one stream needs. `datacenters`: topic → datacenter; `state` is a directory."""

    location: str = setting(REQUIRED, "Where the lake is.")
    table: str = setting(REQUIRED, "The directory of the table in it.")
    state: str = setting(REQUIRED, "The directory of this machine for the ids seen lately.")
    columns: Struct = setting(REQUIRED, "The columns, from the newest schema.")  # noqa: RUF009 - `setting` makes a field
    datacenters: Mapping[str, str] = setting({}, "The datacenter of each topic.")
    legacy: bool = setting(False, "Whether events are stored by `dt`.")
    look_back_seconds: float = setting(LOOK_BACK_SECONDS, "How long ids are remembered.")


def _sink(options: LakeOptions, shape: EventShape, directory: Path) -> Sink:
    sink: Sink = importlib.import_module("headwater.connectors.lake.ingestion").LakeSink(shape, options, directory)
    return sink


SPEC = SinkSpec(
    name="lake",
    summary="Hourly partitions of Parquet files, for every stream whose declaration enables it.",
    options=LakeOptions,
    make=_sink,
    features=FEATURES,
    extra="parquet",
    form="events",
    batch=BatchDefaults(rows_max=100_000, bytes_max=67_108_864, seconds_max=60.0),
)
