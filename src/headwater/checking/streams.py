"""The checks of a project's streams beyond each file: the lint, event times, names and privacy."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.checking.family_overlap import name_in_both
from headwater.checking.fields import Field, field_in_any, nearest_field
from headwater.checking.problem import Problem, problem_of
from headwater.checking.project import Project
from headwater.errors import ConfigInvalid
from headwater.jobs.flow import origins
from headwater.jobs.job import Job
from headwater.streams.files import OWNERS_FILE, SERVICES_FILE, read_names
from headwater.streams.lint import Surroundings, lint
from headwater.streams.stream import PRIVACY_CLASS_UNSPECIFIED, Stream


def lint_rules(project: Project) -> Iterator[Problem]:
    """The findings of the stream lint in a project with these schemas and settings."""
    if project.streams is None:
        return
    directory = project.config.path(project.config.streams.path)
    try:
        around = Surroundings(
            schemas=project.schemas or None,
            services=read_names(directory / SERVICES_FILE),
            owners=read_names(directory / OWNERS_FILE),
            readable=_readable(project),
            opened=_opened(project),
            name_in_both=name_in_both,
        )
        found = lint(project.streams.layers, around)
    except ConfigInvalid as error:
        yield problem_of(error, "stream-file-invalid")
        return
    for one in found:
        yield Problem(one.message, one.file, one.line, one.hint, one.rule.id, one.severity)


def event_times_are_declared(project: Project) -> Iterator[Problem]:
    """The field of the event time is declared by some version of the stream's schema."""
    for stream, path in _event_times(project):
        documents = [schema.document for schema in project.schemas_of(stream)]
        if documents and field_in_any(documents, path) is None:
            near = nearest_field(documents, path)
            title = stream.schema_title
            message = f'the event time of "{stream.name}" is {path}, which no version of {title} declares.'
            hint = f"Did you mean {near}?" if near else "Correct event_time, or declare the field."
            yield project.at_stream(stream, [("event_time",)], message, hint)


def event_times_can_be_times(project: Project) -> Iterator[Problem]:
    """The field of the event time can be a text, as date-times are."""
    for stream, path, field in _event_time_fields(project):
        if field.types is not None and "string" not in field.types:
            message = f'the event time of "{stream.name}" is {path}, which is {field.words}, not a date-time.'
            hint = "Use a field with the type string and the format date-time."
            yield project.at_stream(stream, [("event_time",)], message, hint)


def event_times_are_date_times(project: Project) -> Iterator[Problem]:
    """The field of the event time is declared as a date-time."""
    for stream, path, field in _event_time_fields(project):
        # The intake itself sets that one, whatever the schema declares.
        if path == "meta.dt" or field.types is None or "string" not in field.types:
            continue
        if "date-time" not in field.formats:
            message = (
                f'the event time of "{stream.name}" is {path}, which no version of {stream.schema_title}'
                " declares as a date-time."
            )
            hint = "Declare `format: date-time`: events with an invalid time count at their time of receipt."
            yield project.at_stream(stream, [("event_time",)], message, hint)


def _event_times(project: Project) -> Iterator[tuple[Stream, str]]:
    """Each stream that declares the field of its event time."""
    for stream in project.declared_streams():
        if "event_time" in stream.declared:
            yield stream, stream.event_time_field


def _event_time_fields(project: Project) -> Iterator[tuple[Stream, str, Field]]:
    for stream, path in _event_times(project):
        field = field_in_any([schema.document for schema in project.schemas_of(stream)], path)
        if field is not None:
            yield stream, path, field


def titles_differ(project: Project) -> Iterator[Problem]:
    """The titles of two schemas do not differ only in case: their directories would be one."""
    first: dict[str, str] = {}
    for title in project.schemas:
        other = first.setdefault(title.lower(), title)
        if other != title:
            message = f"the schema titles {other} and {title} are one directory on a case-insensitive file system."
            yield Problem(message, project.file_of_schema(title), 1, "Rename one of the two.")


def _readable(project: Project) -> frozenset[str]:
    """The streams that are readable over HTTP by name: not private ones, unless an alias is listed."""
    assert project.streams is not None
    allowed = project.config.consumption.allowed_streams
    aliases = project.config.consumption.stream_aliases
    if allowed is None:
        return frozenset(stream.name for stream in project.streams.entries() if not stream.is_private)
    return frozenset(aliases.get(name, name) for name in allowed) - _opened(project)


def _opened(project: Project) -> frozenset[str]:
    """The private streams that the settings make public."""
    assert project.streams is not None
    allowed = project.config.consumption.allowed_streams or ()
    found = [project.streams.find(name) for name in allowed]
    return frozenset(stream.name for stream in found if stream is not None and stream.is_private)


def late_events_stay_private(project: Project) -> Iterator[Problem]:
    """Late events are copied completely: if a job reads a private stream, their stream must not be public."""
    for job in project.jobs:
        yield from _made_public(project, job, job.writes().late, "receives late events of")


def outputs_stay_private(project: Project) -> Iterator[Problem]:
    """The output of a job with a private source is public if its stream is declared public: this may be unintended."""
    for job in project.jobs:
        for name in job.writes().outputs:
            yield from _made_public(project, job, name, "is filled from")


def _made_public(project: Project, job: Job, name: str | None, how: str) -> Iterator[Problem]:
    """A finding if the stream `name`, which `job` writes, is declared public and a source of the job is private."""
    if project.streams is None or name is None:
        return
    written = project.streams.find(name)
    private = [one for one in origins(job, project.jobs) if (found := project.streams.find(one)) and found.is_private]
    if written is None or not private or written.is_private or written.privacy_class == PRIVACY_CLASS_UNSPECIFIED:
        return
    message = f'"{written.name}" is {written.privacy_class}, and {how} the private stream "{private[0]}"'
    hint = f"Give {written.name} the privacy class of {private[0]}, or remove it: then the job's applies."
    yield Problem(f"{message}, through the job {job.name}.", written.file, written.line, hint)
