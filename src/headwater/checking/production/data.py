"""What production needs of streams and schemas: owners, audiences, retention, canaries, and versions that fit."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.checking.problem import Problem
from headwater.checking.production.statements import Asked
from headwater.checking.project import Project
from headwater.errors import HeadwaterError
from headwater.schemas.compatibility import check_evolution
from headwater.schemas.uri import version_of
from headwater.streams.stream import PRIVACY_CLASS_UNSPECIFIED


def streams_have_owners(asked: Asked) -> Iterator[Problem]:
    """Every stream says what it is, and who is responsible for it."""
    for stream in asked.project.declared_streams():
        for key, value, what in (
            ("owner", stream.owner, "who is responsible for it"),
            ("summary", stream.summary, "what it is"),
        ):
            if not value:
                message = f'"{stream.name}" does not say {what} (docs.{key}).'
                yield asked.project.at_stream(
                    stream, [("docs", key), ("docs",)], message, f"Write `docs: {{{key}: …}}` into its file."
                )


def streams_have_audiences(asked: Asked) -> Iterator[Problem]:
    """Every stream says who may see it."""
    for stream in asked.project.declared_streams():
        if stream.privacy_class == PRIVACY_CLASS_UNSPECIFIED:
            message = f'"{stream.name}" does not say who may see it (privacy.class).'
            hint = "Write `privacy: {class: public}`, or internal, private, restricted, confidential."
            yield asked.project.at_stream(stream, [("privacy", "class"), ("privacy",)], message, hint)


def streams_declare_retention(asked: Asked) -> Iterator[Problem]:
    """Every stream says how long it keeps events."""
    for stream in asked.project.declared_streams():
        if stream.retention_seconds is None and stream.retention_bytes is None and not stream.compact:
            message = f'"{stream.name}" does not say how long it keeps events (transport.retention).'
            hint = "Write `transport: {retention: 30d}` into its file, or into streams/defaults.yaml."
            yield asked.project.at_stream(stream, [("transport", "retention"), ("transport",)], message, hint)


def canaries_cover_what_comes_in(asked: Asked) -> Iterator[Problem]:
    """Each stream that takes events of producers has canaries."""
    written = {name for job in asked.project.jobs for name in job.writes().streams}
    for stream in asked.project.declared_streams():
        is_input = stream.enabled and stream.external is not False and not stream.is_family
        # What a job writes, and the error streams, no producer sends.
        if is_input and stream.name not in written | _error_streams(asked.project) and not stream.canary_events_enabled:
            message = f'"{stream.name}" takes events of producers, and has no canaries (monitor.canary).'
            hint = "Write `monitor: {canary: {enabled: true}}`; the newest schema needs an example."
            yield asked.project.at_stream(stream, [("monitor", "canary", "enabled"), ("monitor",)], message, hint)


def error_streams_are_declared(asked: Asked) -> Iterator[Problem]:
    """Each error stream is declared, and so has an owner, an audience and a retention."""
    streams = asked.project.streams
    if streams is None:
        return
    for name in sorted(_error_streams(asked.project)):
        found = streams.find(name)
        if found is None or streams.layers.entries[found.family or name].implied:
            hint = (
                f"Add streams/{name}.yaml with `schema_title: error`, or one family, `/^.+\\.error(\\.validation)?$/`."
            )
            yield Problem(f'The error stream "{name}" is not declared.', asked.project.config.streams.path, None, hint)


def _error_streams(project: Project) -> frozenset[str]:
    return frozenset({project.config.intake.error_stream_name, *(job.writes().errors for job in project.jobs)})


def versions_fit_each_other(asked: Asked) -> Iterator[Problem]:
    """Each version of a schema accepts the events of earlier versions, and fits into their tables."""
    project = asked.project
    of_streams = {stream.schema_title for stream in project.declared_streams()}
    for title, schemas in project.schemas.items():
        versions = [(one.uri.rpartition("/")[2], one) for one in schemas]
        numbered = [(text, one) for text, one in versions if version_of(text) is not None]
        if title not in of_streams or len(numbered) < 2:
            continue
        hint = "Release a new major version for it, and a stream of its own (`.v2`)."
        try:
            found = check_evolution(numbered, repository=project.validator.repository)
        except HeadwaterError as error:
            yield Problem(f"{title}: {error.message}", project.file_of_schema(title), None, error.hint)
            continue
        for one in found:
            yield Problem(f"{title}: {one.message}", project.file_of_schema(title), None, hint)
