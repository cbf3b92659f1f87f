"""The schema of the events that a job writes, for the check of a project and the start of a job."""

from __future__ import annotations

import re

from headwater.declaration import nearest
from headwater.errors import SchemaNotFound
from headwater.jobs.job import Job
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.uri import check_producer_uri
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry

_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
VERSIONS_NAMED_MAX = 5


def output_schema_uri(job: Job, output: str, streams: StreamRegistry, repository: SchemaRepository) -> str | None:
    """The `$schema` of a job's events for `output`, one of `job.writes().outputs`; None if it has no schema title.

    May read a directory. Raises StreamUnknown, JobInvalid (a version of no title), SchemaNotFound, and SchemaUriRefused
    for anything but a version, such as `latest`.
    """
    stream, version = streams.get(output), job.output_version(output)
    title = stream.schema_title
    if title is None:
        if version is not None:
            raise job.invalid(f"{stream.name} has no schema_title, which version {version} could be of.")
        return None
    versions = []
    # A repository that cannot list its schemas may have versions that are not in this list.
    for uri in repository.uris():
        parent, _, name = uri.rpartition("/")
        if parent == f"/{title}" and (found := _VERSION.fullmatch(name)):
            versions.append(tuple(int(part) for part in found.groups()))
    known = [".".join(map(str, one)) for one in sorted(versions, reverse=True)]
    if version is None:
        if not known:
            hint = f"The job {job.name} writes events of it to {stream.name}."
            raise SchemaNotFound(f"There is no schema /{title}.", hint=hint)
        return f"/{title}/{known[0]}"
    check_producer_uri(f"/{title}/{version}")
    if version not in known:
        try:
            repository.get(f"/{title}/{version}")
        except SchemaNotFound as error:
            raise SchemaNotFound(error.message, hint=_hint(version, known)) from None
    return f"/{title}/{version}"


def late_wrapper_uri(job: Job, streams: StreamRegistry, validator: Validator) -> str | None:
    """The schema that late events are wrapped in, if those of several sources go to one stream: one that declares
    `stream` and `event`; None if the schema of the late stream does not.

    May read a directory. Raises StreamUnknown, and what compiling a schema raises.
    """
    late = job.writes().late
    uri = None if late is None else output_schema_uri(job, late, streams, validator.repository)
    if uri is None:
        return None
    schema = validator.compile(uri).schema
    return uri if schema.declares("event") and schema.declares("stream") else None


def _hint(version: str, known: list[str]) -> str:
    near = nearest(version, known)
    if near:
        return f"Did you mean {near}? Without a version it is {known[0]}."
    shown = ", ".join(known[:VERSIONS_NAMED_MAX])
    return f"Known versions: {shown}." if known else "There is no version of it at all."
