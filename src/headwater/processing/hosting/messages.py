"""What a platform and a process that runs its jobs send each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headwater.config import Config
from headwater.connectors.tables import TableView
from headwater.jobs.job import Job
from headwater.jobs.tables.materialized import MaterializedTable
from headwater.processing.flight_recorder import Suspicion
from headwater.processing.status import JobReport
from headwater.streams.layers import Scope, StreamLayers
from headwater.streams.registry import StreamRegistry
from headwater.streams.visibility import Access
from headwater.telemetry import Family

# From the process to the platform.
FAILED = "jobs.failed"
REPORTS = "jobs.reports"
# From the platform to the process.
LOOK = "jobs.look"
METRICS = "jobs.metrics"
STOP = "jobs.stop"
VIEWS = "jobs.views"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one process is to run; pickled, so that it has exactly what the platform has read.

    `number` is counted from 1. `jobs`: name → what the platform knows of the job (`outline`). `shares`: whether it
    runs its share of the partitions of those jobs that processes can share. `materialized`: the tables that jobs of
    the project keep, also in other processes. `paths`: where modules are imported from, as in the platform.
    `recorder`: the file of the memory in which it records what is in flight; `suspicions`: what processes before it
    have left there, by job.
    """

    number: int
    config: Config
    layers: StreamLayers
    scope: Scope
    access: Access | None
    jobs: Mapping[str, str]
    shares: bool
    materialized: Mapping[str, MaterializedTable]
    paths: Sequence[str]
    recorder: int = -1
    suspicions: Mapping[str, Suspicion] = field(default_factory=dict)

    @property
    def streams(self) -> StreamRegistry:
        return StreamRegistry(layers=self.layers, scope=self.scope, access=self.access)


def outline(job: Job) -> str:
    """What a job reads and writes, and the names of its steps: what others than its process rely on."""
    writes = job.writes()
    steps = [step.name for step in job.steps]
    # Columns that follow from a schema may change while the platform runs.
    follows = writes.sink is not None and writes.sink.schema_title is not None
    target = writes.target.name if follows and writes.target is not None else writes.target
    tables = target, writes.materialized, job.tables
    return repr((job.reads(), writes.output, writes.late, writes.errors, writes.outputs, *tables, steps))


class Reports(msgspec.Struct, frozen=True):
    """The reports that have changed, by job. One without reports says that the process responds."""

    jobs: dict[str, JobReport]


class View(msgspec.Struct, frozen=True):
    """A `TableView`; values are those of JSON, or bytes."""

    name: str
    columns: list[str]
    rows: list[list[Any]]
    rows_total: int


_reports = msgspec.msgpack.Decoder(Reports)
_views = msgspec.msgpack.Decoder(list[View])
_families = msgspec.msgpack.Decoder(list[Family])


def encode(value: Any) -> bytes:
    """Any of the messages as MessagePack."""
    return msgspec.msgpack.encode(value)


def decode_reports(data: bytes) -> Mapping[str, JobReport]:
    return _reports.decode(data).jobs


def decode_families(data: bytes) -> list[Family]:
    return _families.decode(data)


def encode_views(views: Sequence[TableView]) -> bytes:
    return encode([View(one.name, list(one.columns), [list(row) for row in one.rows], one.rows_total) for one in views])


def decode_views(data: bytes) -> list[TableView]:
    found = _views.decode(data)
    return [TableView(one.name, tuple(one.columns), [tuple(row) for row in one.rows], one.rows_total) for one in found]


def decode_rows_max(data: bytes) -> int:
    return msgspec.msgpack.decode(data, type=int)
