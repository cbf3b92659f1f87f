"""What is asked of the sources of a project: whether their streams accept what they bring."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.checking.jobs import ERROR_TITLE, about_job, stream_named
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
    for job, stream in _outputs(project):
        why, hint = "", "Let it write to another stream, or set `producers: {external: true}` in the stream file."
        if stream.external is False:
            why = "its stream file has `producers: {external: false}`"
        elif stream.external is None and stream.name in written:
            why = f"the job {written[stream.name].name} writes it"
        elif stream.external is None and stream.schema_title == ERROR_TITLE:
            why = "it holds error events"
        if why:
            yield about_job(job, f'"{stream.name}" accepts no events from outside: {why}.', hint)


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
