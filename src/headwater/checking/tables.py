"""The checks of a project's tables: whether their rows can be derived from their source events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headwater.checking.fields import Field, field_in_any
from headwater.checking.jobs import about_job, documents_of, undeclared
from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.connectors.contract import Column, ColumnType, TableShape
from headwater.jobs.job import Job
from headwater.processing.embedded.partitioned import can_share

# The JSON types that each column type can hold; `json` can hold all.
ACCEPTED: Mapping[ColumnType, frozenset[str]] = {
    "text": frozenset({"string"}),
    "timestamp": frozenset({"string"}),
    "integer": frozenset({"integer"}),
    "real": frozenset({"integer", "number"}),
    "boolean": frozenset({"boolean"}),
}
# Names that a database reserves.
RESERVED_PREFIXES = ("sqlite_", "duckdb_", "headwater_")


def columns_are_declared(project: Project) -> Iterator[Problem]:
    """Each column is filled from a field that a schema of the source declares."""
    for job, shape in _tables(project):
        for column in shape.columns if _rows_are_events(job) else ():
            yield from undeclared(project, job, column.path, f"column {column.name} is filled from {column.path}")


def columns_have_a_fitting_type(project: Project) -> Iterator[Problem]:
    """No column has a type that cannot hold any of its field's values."""
    for job, column, field in _typed(project):
        if field.values and not field.values & ACCEPTED[column.type]:
            message = f"column {column.name} is {column.type}, and {column.path} is {field.words}."
            yield about_job(job, message, f"Use {_fitting(field.values)}, or correct the path.")


def columns_take_all_values(project: Project) -> Iterator[Problem]:
    """Each column can hold every value that the schema allows for its field."""
    for job, column, field in _typed(project):
        values = field.values
        if values & ACCEPTED[column.type] and values - ACCEPTED[column.type]:
            message = (
                f"column {column.name} is {column.type}, and {column.path} may be {field.words}: events with other"
                f" values go to {job.writes().errors}."
            )
            yield about_job(job, message, f"Use {_fitting(values)}, or restrict the schema.")


def names_differ(project: Project) -> Iterator[Problem]:
    """Two tables, or two columns of one, do not differ only in case: databases treat them as the same."""
    first: dict[str, tuple[Job, str]] = {}
    for job, shape in _tables(project):
        other, name = first.setdefault(shape.name.lower(), (job, shape.name))
        if other is not job:
            message = f"its table {shape.name} and the table {name} of {other.label} differ only in case."
            yield about_job(job, message, "Rename one of the two.")
        columns: dict[str, str] = {}
        for column in shape.columns:
            known = columns.setdefault(column.name.lower(), column.name)
            if known != column.name:
                message = f"the columns {known} and {column.name} of the table {shape.name} differ only in case."
                yield about_job(job, message, "Rename one of the two.")


def names_are_free(project: Project) -> Iterator[Problem]:
    """No table has a name that the database or Headwater reserves."""
    for job, shape in _tables(project):
        if shape.name.lower().startswith(RESERVED_PREFIXES):
            message = f"the name {shape.name} is reserved: tables must not begin with {', '.join(RESERVED_PREFIXES)}."
            yield about_job(job, message, "Rename the table.")


def tables_are_where_they_are_read(project: Project) -> Iterator[Problem]:
    """No job that machines share reads a table, which is on the machine that runs the table's job."""
    if not (project.config.log.is_kafka and project.config.jobs.shared):
        return
    for job in project.jobs:
        if job.tables and can_share(job):
            names = ", ".join(job.tables)
            message = (
                f"it reads the table {names}, which on Kafka is only on the machine that runs the job of that name, and"
                " jobs.shared lets other machines process its events: there they fail (state_unavailable)."
            )
            hint = "Run all processes of the project on one machine, or read the stream by join=… instead."
            yield about_job(job, message, hint)


def _tables(project: Project) -> Iterator[tuple[Job, TableShape]]:
    for job in project.jobs:
        if (table := job.writes().table) is not None:
            yield job, table


def _typed(project: Project) -> Iterator[tuple[Job, Column, Field]]:
    """Each column whose field is known, with its declaration in the schemas of all sources."""
    for job, shape in _tables(project):
        documents = documents_of(project, job)
        for column in shape.columns if _rows_are_events(job) and documents else ():
            field = field_in_any(documents, column.path)
            if column.type in ACCEPTED and field is not None:
                yield job, column, field


def _rows_are_events(job: Job) -> bool:
    """Whether the rows come directly from the source's events, with at most a filter."""
    return all(step.name == "where" for step in job.steps)


def _fitting(types: frozenset[str]) -> str:
    """The narrowest column type that can hold these."""
    return next((f'"{name}"' for name, accepted in ACCEPTED.items() if types <= accepted), '"json"')
