"""Typed tables of streams for programs that are written with PyFlink.

`table` gives a stream as a table, with the types of its schema, an event time and a watermark; `sink` writes rows as
validated events. Both need the environment of Flink: `make flink`, or headwater[flink] in an environment of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from headwater.errors import ExtraMissing
from headwater.jobs.job import OnError
from headwater.processing.flink.sql.read_settings import ReadSettings

if TYPE_CHECKING:
    from pyflink.table import StreamTableEnvironment, Table

    from headwater.processing.flink.tables import Guarantee

__all__ = ["sink", "table"]


def table(
    env: StreamTableEnvironment, stream: str, *, name: str, project: Path | str = ".", **settings: Unpack[ReadSettings]
) -> Table:
    """A stream of a project, `stream` or `stream:1.0.0`, as a table: the fields of that version of its schema, or of
    the newest, the place of each event, and `_event_time`, on which windows go.

    `name` is that of the program: its position is that of the consumer group `job.NAME`, and a record that is no such
    event becomes an event of the stream `NAME.error`, unless `on_error` is `stop` or `skip`.

    Raises ExtraMissing without PyFlink; ConfigInvalid, JobInvalid, StreamUnknown, SchemaNotFound, LogUnavailable.
    """
    made: Table = _programs().table(env, stream, name=name, project=project, settings=settings)
    return made


def sink(
    rows: Table,
    stream: str,
    *,
    name: str,
    project: Path | str = ".",
    id_columns: Sequence[str] = (),
    on_error: OnError = "error_event",
    guarantee: Guarantee | None = None,
) -> None:
    """Write the rows of a table as events of a stream, `stream` or `stream:1.0.0`, once the environment is executed.

    The columns are fields of the event; NULL leaves one out. `$schema`, `meta.stream`, `meta.dt` and `meta.id` are set,
    each event is validated, and becomes a record as the platform writes it: key, headers, timestamp. The id is derived
    from the program's name and the row, so that a row that is written again has the same. `id_columns`: columns that
    are no fields, and only distinguish rows that are otherwise equal. `on_error`: as of `table`. `guarantee`:
    `at-least-once` or `exactly-once`; None: as the project says.

    Raises ExtraMissing without PyFlink; ConfigInvalid, JobInvalid, StreamUnknown, SchemaNotFound, LogUnavailable.
    """
    _programs().sink(
        rows, stream, name=name, project=project, id_columns=id_columns, on_error=on_error, guarantee=guarantee
    )


def _programs() -> Any:
    try:
        return importlib.import_module("headwater.processing.flink.sql.programs")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pyflink", "py4j"):
            raise
        raise ExtraMissing(
            "Tables of Flink need PyFlink, which is not installed here.",
            hint="Install headwater[flink] into an environment of Python 3.11 or 3.12, or run `make flink`, and start"
            " the program with its Python.",
        ) from None
