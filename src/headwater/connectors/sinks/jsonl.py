"""The JSONL sink: whole events as compressed lines of JSON in files, each of them once."""

from __future__ import annotations

from pathlib import Path

from headwater.connectors.contract import EventShape
from headwater.connectors.lake.file_sink import (
    BATCH,
    FEATURES,
    FileForm,
    FileOptions,
    FileSink,
    check_files,
    newest_commit,
    times_of,
)
from headwater.connectors.lake.formats import json_lines
from headwater.connectors.spec import SinkSpec
from headwater.connectors.tables import TargetState


def _made(options: FileOptions, shape: EventShape, directory: Path) -> FileSink:
    form = FileForm(lambda delivery: delivery.value, lambda head: (json_lines(), {}))
    return FileSink(shape.name, options, form, directory)


def _state(options: FileOptions, shape: EventShape, directory: Path) -> TargetState:
    head = newest_commit(shape.name, options, directory)
    found = "the first batch makes them" if head is None else f"{head.number:,} batches have been stored"
    return TargetState(f"files in {options.location.rstrip('/')}/{shape.name}: {found}")


SPEC = SinkSpec(
    name="jsonl",
    summary="Whole events as lines of JSON in files compressed with gzip, on local disk, in S3 or in HDFS.",
    options=FileOptions,
    make=_made,
    features=FEATURES,
    target=_state,
    form="events",
    example="location: var/files",
    batch=BATCH,
    check=check_files,
    fields=times_of,
)
