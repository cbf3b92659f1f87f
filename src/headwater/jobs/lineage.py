"""What a job writes, by purpose: the only source for runners, checks, plans, access and pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from headwater.connectors.contract import EventShape, Shape, TableShape
from headwater.connectors.spec import BatchDefaults, ConfiguredSink
from headwater.jobs.tables.materialized import MaterializedTable


@dataclass(frozen=True, slots=True)
class Writes:
    """The outputs of a job. `errors`: the stream of the events it could not process; every job has one.

    `emitted`: the streams that its functions emit to, besides `output`. `target`: what it writes by a sink, rows of a
    table or events. `sink`: that sink; None means the database of the project's tables. `batch`: what is written at
    once, and `attempts_max`: how often an event is. `materialized`: the table that its state is.
    """

    errors: str
    output: str | None = None
    late: str | None = None
    target: Shape | None = None
    sink: ConfiguredSink | None = None
    batch: BatchDefaults | None = None
    attempts_max: int = 10
    emitted: tuple[str, ...] = ()
    materialized: MaterializedTable | None = None

    @property
    def table(self) -> TableShape | None:
        """The table that its sink fills."""
        match self.target:
            case TableShape() as shape:
                return shape
            case EventShape() | None:
                return None
            case _:
                assert_never(self.target)

    @property
    def events(self) -> EventShape | None:
        """The events that its sink is given, if that takes no rows."""
        match self.target:
            case EventShape() as shape:
                return shape
            case TableShape() | None:
                return None
            case _:
                assert_never(self.target)

    @property
    def table_name(self) -> str | None:
        """The name of the table it fills or keeps."""
        if self.materialized is not None:
            return self.materialized.name
        return None if self.table is None else self.table.name

    @property
    def outputs(self) -> tuple[str, ...]:
        """The streams of its output, those it emits to included."""
        return self.emitted if self.output is None else (self.output, *self.emitted)

    @property
    def results(self) -> tuple[str, ...]:
        """The streams of its output and of late events: those that a project declares."""
        return tuple(dict.fromkeys(name for name in (*self.outputs, self.late) if name))

    @property
    def streams(self) -> tuple[str, ...]:
        """All streams it writes, each once; the error stream is the last, unless it is one of the others as well."""
        return tuple(dict.fromkeys((*self.results, self.errors)))
