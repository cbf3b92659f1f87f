"""What a job writes, by purpose: the only source for runners, checks, plans, access and pages."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.connectors.contract import TableShape
from headwater.connectors.spec import ConfiguredSink
from headwater.jobs.tables.materialized import MaterializedTable


@dataclass(frozen=True, slots=True)
class Writes:
    """The outputs of a job. `errors`: the stream of the events it could not process; every job has one.

    `emitted`: the streams that its functions emit to, besides `output`. `sink`: the one that fills `table`; None means
    the database of the project's tables. `materialized`: the table that its state is.
    """

    errors: str
    output: str | None = None
    late: str | None = None
    table: TableShape | None = None
    sink: ConfiguredSink | None = None
    emitted: tuple[str, ...] = ()
    materialized: MaterializedTable | None = None

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
