"""What is asked of the sources of a project: whether their streams accept what they bring."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.checking.jobs import ERROR_TITLE, about_job, is_error_stream, stream_named, undeclared
from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.errors import HeadwaterError
from headwater.jobs.job import Job
from headwater.streams.stream import Stream


def streams_accept_events(project: Project) -> Iterator[Problem]:
    """No source writes a stream that jobs write, that holds errors, or that is closed to events from outside."""
    written: dict[str, Job] = {}
    for job in project.jobs:
        if job.input is None:
            written |= dict.fromkeys(job.writes().streams, job)
    hint = "Let it write to another stream, or set `producers: {external: true}` in the stream file."
    for job in project.writers:
        for name in job.writes().outputs if job.input is not None else ():
            stream = stream_named(project, name)
            if is_error_stream(project, name) and (stream is None or stream.external is None):
                yield about_job(job, f'"{name}" holds error events.', "Let it write to another stream.")
            elif stream is not None and (why := _why_closed(stream, written.get(name))):
                yield about_job(job, f'"{stream.name}" accepts no events from outside: {why}.', hint)


def _why_closed(stream: Stream, writer: Job | None) -> str | None:
    if stream.external is False:
        return "its stream file has `producers: {external: false}`"
    if stream.external is None and writer is not None:
        return f"the job {writer.name} writes it"
    if stream.external is None and stream.schema_title == ERROR_TITLE:
        return "it holds error events"
    return None


def fields_filled_are_declared(project: Project) -> Iterator[Problem]:
    """The fields that a source is to fill are declared by a schema of their stream."""
    for job in project.writers:
        for stream, path in () if job.input is None else job.input.spec.fields(job.input.options):
            yield from undeclared(project, job, path, f"it fills {path} of {stream}", (stream,))


def schemas_are_those_of_streams(project: Project) -> Iterator[Problem]:
    """The schema that a source sets exists, and has the title of its stream."""
    if not project.schemas:
        return
    for job, stream in _outputs(project):
        uri = None if job.input is None else job.input.schema
        if uri is None:
            continue
        try:
            title = project.validator.compile(uri).schema.title
        except HeadwaterError as error:
            yield about_job(job, error.message, error.hint)
            continue
        if project.config.streams.enforce and stream.schema_title not in (None, title):
            message = f'its schema {uri} has the title {title}, and "{stream.name}" takes {stream.schema_title}.'
            yield about_job(job, message, "Correct `schema` or `stream`.")


def _outputs(project: Project) -> Iterator[tuple[Job, Stream]]:
    for job in project.writers:
        for name in job.writes().outputs if job.input is not None else ():
            if (stream := stream_named(project, name)) is not None:
                yield job, stream
