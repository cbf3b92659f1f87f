"""The files of sources as jobs without steps: each reads another system and writes what it finds to streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headwater.connectors.source_spec import ConfiguredSource, SourceSpec
from headwater.declaration import Declaration, KeyPath, nearest, read_declaration
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.jobs.job import Job, ToStream
from headwater.jobs.place import Place, relative_file
from headwater.options import fields_of, read_section
from headwater.settings import REQUIRED, setting

CONNECTOR = "connector"
# What precedes the name of a source in that of its job.
JOB_PREFIX = "source."
FILES = ("*.yaml", "*.yml")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,79}")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What every source takes, besides the options of its connector."""

    connector: str = setting(REQUIRED, "The name of its connector.")
    source: str | None = setting(None, "Its name; null: that of the file. Anything else than that is refused.")
    stream: str | None = setting(
        None, "The stream that the events go to. Required, unless the connector routes them to several."
    )
    schema: str | None = setting(
        None,
        "The `$schema` of the events, such as `/wiki/edit/1.0.0`; null: events without one get the newest of their"
        " stream, and others keep theirs.",
        starts_with=("/", "http://", "https://"),
    )
    canaries: bool = setting(False, "Store canaries of the upstream, too, which are left out otherwise.")
    on_error: Literal["error_event", "stop", "skip"] = setting(
        "error_event",
        "What becomes of an event that is refused: `error_event` writes it to `source.NAME.error` and continues, `stop`"
        " stops in front of it, `skip` only counts it.",
    )


# What has no meaning for what is posted to the platform: its sender learns what becomes of each event.
_OF_READING = ("canaries", "on_error")

FindSource = Callable[[str], SourceSpec]
Refused = Callable[[ConfigInvalid], None]


@dataclass(frozen=True, slots=True)
class DeclaredSource:
    """A source of a project: what its file says. `streams`: those it writes."""

    configured: ConfiguredSource
    options: SourceOptions
    streams: tuple[str, ...]
    place: Place

    @property
    def name(self) -> str:
        return self.configured.name

    @property
    def job_name(self) -> str:
        return f"{JOB_PREFIX}{self.name}"


def declared_sources(
    directory: Path, find_source: FindSource, project: Path, refused: Refused | None = None
) -> Iterator[DeclaredSource]:
    """The sources in `directory`, by file; none without the directory. `find_source` finds a connector by name.

    Raises ConfigInvalid with file and line; if `refused` is given, it is called with each of these errors instead, and
    the invalid sources are left out.
    """
    seen: dict[str, Path] = {}
    for path in sorted(path for pattern in FILES for path in directory.glob(pattern)):
        try:
            file = relative_file(path, project)
            if (other := seen.setdefault(path.stem.lower(), path)) is not path:
                raise ConfigInvalid(f"There is another source of this name, in {other.name}.", file=file, line=1)
            yield _declared(path.stem, read_declaration(path, file=file), find_source)
        except ConfigInvalid as error:
            if refused is None:
                raise
            refused(error)


def job_of(source: DeclaredSource, project: Path) -> Job:
    """The job that reads a source."""
    only, *others = source.streams
    routed = source.options.stream is None
    return Job(
        name=source.job_name,
        sources=(),
        input=source.configured,
        output=None if routed else ToStream(only),
        outputs=tuple(ToStream(one) for one in ((only, *others) if routed else others)),
        canaries=source.options.canaries,
        on_error=source.options.on_error,
        summary=f"Reads {source.name} by the connector {source.configured.spec.name}.",
        place=source.place,
        project=project,
    )


def _declared(name: str, source: Declaration, find_source: FindSource) -> DeclaredSource:
    written = source.value
    if not isinstance(written, Mapping):
        raise ConfigInvalid("must be a mapping.", file=source.file, line=1, hint="Such as `connector: sse`.")
    if not _NAME.fullmatch(name):
        raise ConfigInvalid(
            f"{name!r} cannot name a source.", file=source.file, line=1, hint="Use letters, digits, '_' and '-'."
        )
    if CONNECTOR not in written:
        near = nearest(CONNECTOR, map(str, written))
        hint = f'Is "{near}" meant to be "{CONNECTOR}"?' if near else "Such as `connector: sse`."
        raise source.refusal((near,) if near else (), "it needs a connector.", hint=hint)
    spec = _spec(source, written[CONNECTOR], find_source)
    common, own = fields_of(SourceOptions), fields_of(spec.options)
    source.refuse_unknown_keys((), written, (*common, *own))
    options = read_section(SourceOptions, _only(written, common), source, ())
    if options.source not in (None, name):
        raise source.refusal(("source",), f"the file {name} declares the source {options.source}: rename one of them.")
    for key in _OF_READING if spec.pushed else ():
        if key in written:
            raise source.refusal((key,), f"{key} is for sources that are read: a request is answered at once.")
    connector = spec.read(_only(written, own), source, ())
    streams = _streams(spec, options, connector, source)
    place = Place(source.file, source.line((CONNECTOR,)) or 1)
    configured = ConfiguredSource(name, spec, connector, str(place), options.schema)
    return DeclaredSource(configured, options, streams, place)


def _streams(spec: SourceSpec, options: SourceOptions, connector: Any, source: Declaration) -> tuple[str, ...]:
    routed = () if spec.streams is None else tuple(dict.fromkeys(spec.streams(connector)))
    if not options.stream and not routed:
        raise source.refusal((), "it needs a stream.", hint="Such as `stream: wiki.edit`.")
    return tuple(dict.fromkeys((*([options.stream] if options.stream else ()), *routed)))


def _spec(source: Declaration, name: Any, find_source: FindSource) -> SourceSpec:
    path: KeyPath = (CONNECTOR,)
    try:
        return find_source(str(name))
    except ConfigInvalid as error:
        raise source.refusal(path, error.detail, hint=error.hint) from None
    except ExtraMissing as error:
        raise source.refusal(path, error.message, hint=error.hint) from None


def _only(written: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in written.items() if key in known}
