"""The checks of a project's jobs: anything that would prevent one from starting, or fail its first event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headwater.checking.fields import field_in_any, nearest_field
from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.errors import HeadwaterError, JobInvalid, SchemaInvalid, SchemaUnavailable, StreamUnknown
from headwater.jobs.flow import in_order_of_flow
from headwater.jobs.job import Job
from headwater.jobs.output_schema import late_wrapper_uri, output_schema_uri
from headwater.streams.stream import Stream

ERROR_TITLE = "error"


def streams_are_declared(project: Project) -> Iterator[Problem]:
    """Every stream a job reads, writes or sends late events to is declared."""
    streams = project.streams
    if streams is None:
        return
    for job in project.writers:
        for name in dict.fromkeys((*job.reads(), *job.writes().results)):
            try:
                streams.get(name)
            except StreamUnknown as error:
                if name not in project.unread_streams and not is_error_stream(project, name):
                    yield about_job(job, error.message, error.hint)


def outputs_have_a_schema(project: Project) -> Iterator[Problem]:
    """The schema of each output of a job exists, in the version that the job names."""
    if project.streams is None or not project.schemas:
        return
    outputs = [(job, output) for job in project.writers for output in job.writes().outputs]
    for job, output in outputs:
        try:
            uri = output_schema_uri(job, output, project.streams, project.validator.repository)
            if uri is not None:
                project.validator.compile(uri)
        except (StreamUnknown, SchemaInvalid, SchemaUnavailable):
            # Found by other checks, or currently unknown.
            continue
        except HeadwaterError as error:
            yield about_job(job, getattr(error, "detail", error.message), error.hint)


def outputs_are_taken(project: Project) -> Iterator[Problem]:
    """The streams that a job writes accept events."""
    for job in project.writers:
        for name in job.writes().results:
            stream = stream_named(project, name)
            if stream is not None and not stream.enabled:
                message = f'it writes "{name}", whose producers are disabled (produce.enabled).'
                yield about_job(job, message, "Enable the stream, or let the job write to another one.")


def late_events_fit_their_stream(project: Project) -> Iterator[Problem]:
    """Late events are forwarded unchanged, so their stream has the schema of the source, or one to wrap them in."""
    for job in project.jobs:
        into = job.writes().late
        late = stream_named(project, into) if into else None
        if late is not None and _wraps_late_events(project, job):
            continue
        for name in job.reads() if late is not None and late.schema_title else ():
            source = stream_named(project, name)
            if source is not None and late is not None and source.schema_title not in (None, late.schema_title):
                message = (
                    f'late events of "{name}" ({source.schema_title}) do not fit into "{late.name}", whose schema'
                    f" title is {late.schema_title}."
                )
                hint = (
                    "Give the stream of late events the schema title of the source or, for several sources, a schema"
                    " with the fields `stream` and `event`."
                )
                yield about_job(job, message, hint)


def _wraps_late_events(project: Project, job: Job) -> bool:
    if project.streams is None or not project.schemas:
        return False
    try:
        return late_wrapper_uri(job, project.streams, project.validator) is not None
    except HeadwaterError:
        # Found by other checks, or currently unknown.
        return False


def error_streams_take_errors(project: Project) -> Iterator[Problem]:
    """A declared stream of error events has the schema of error events."""
    names = {project.config.intake.error_stream_name: "the intake"}
    names |= {job.writes().errors: f"the job {job.name}" for job in project.jobs}
    for name, whose in names.items():
        stream = stream_named(project, name)
        if stream is not None and stream.schema_title not in (None, ERROR_TITLE):
            message = (
                f'"{name}" is the stream of errors of {whose}; its schema title is "{ERROR_TITLE}", not'
                f' "{stream.schema_title}".'
            )
            yield project.at_stream(stream, [("schema_title",)], message, f'Set "schema_title: {ERROR_TITLE}".')


def fields_read_are_declared(project: Project) -> Iterator[Problem]:
    """The fields of a job's key and window are declared by a schema of its sources."""
    for job in project.jobs:
        for path in job.fields_read:
            yield from undeclared(project, job, path, f"it reads {path}")
        for stream, path in job.fields_of_streams:
            yield from undeclared(project, job, path, f"it reads {path} of {stream}", (stream,))


def fields_added_up_can_be(project: Project) -> Iterator[Problem]:
    """The fields that a job's window sums are numbers."""
    for job in project.jobs:
        documents = documents_of(project, job)
        for path, takes in job.fields_added_up:
            field = field_in_any(documents, path)
            if field is not None and field.values and not field.values & takes:
                hint = "Correct the path, or count the events."
                yield about_job(job, f"its window sums {path}, which is {field.words}.", hint)


def names_differ(project: Project) -> Iterator[Problem]:
    """The names of two jobs do not differ only in case: files are named after them."""
    first: dict[str, Job] = {}
    for job in project.jobs:
        if job.writes().target is not None:
            continue
        other = first.setdefault(job.name.lower(), job)
        if other is not job:
            message = f"its name differs from {other.label} only in case."
            yield about_job(
                job, message, "Rename one: on a case-insensitive file system their states would be one file."
            )


def no_circle(project: Project) -> Iterator[Problem]:
    """No job reads, even indirectly, what it writes."""
    try:
        in_order_of_flow(project.jobs)
    except JobInvalid as error:
        yield Problem(
            error.detail, error.file, error.line, "Break the cycle, or every event would circulate endlessly."
        )


def undeclared(
    project: Project, job: Job, path: str, what: str, streams: Sequence[str] | None = None
) -> Iterator[Problem]:
    """A problem if no version of any schema of `streams`, by default all sources, declares the field."""
    names = job.reads() if streams is None else streams
    sources = [source for name in names if (source := stream_named(project, name)) is not None]
    schemas = [(source, project.schemas_of(source)) for source in sources]
    if len(schemas) < len(names) or not all(found for _, found in schemas):
        # Part of a source is unknown: the field may exist.
        return
    documents = [schema.document for _, found in schemas for schema in found]
    if field_in_any(documents, path) is not None:
        return
    titles = ", ".join(sorted({source.schema_title or "" for source in sources}))
    near = nearest_field(documents, path)
    hint = f"Did you mean {near}?" if near else "Correct the path, or declare the field."
    yield about_job(job, f"{what}, which no version of {titles} declares.", hint)


def documents_of(project: Project, job: Job) -> list[Any]:
    """The schemas of a job's sources, in all known versions."""
    sources = [source for name in job.reads() if (source := stream_named(project, name)) is not None]
    return [schema.document for source in sources for schema in project.schemas_of(source)]


def stream_named(project: Project, name: str) -> Stream | None:
    """The stream a job names; None if it is unknown."""
    try:
        return None if project.streams is None else project.streams.get(name)
    except StreamUnknown:
        return None


def about_job(job: Job, message: str, hint: str | None = None) -> Problem:
    """A problem at the location of a job."""
    file, line = job.place or (None, None)
    return Problem(f"the job {job.name}: {message}", file, line, hint)


def is_error_stream(project: Project, name: str) -> bool:
    """Error streams, which need no declaration."""
    return name == project.config.intake.error_stream_name or any(name == job.writes().errors for job in project.jobs)
