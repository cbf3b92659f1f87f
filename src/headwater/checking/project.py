"""A project as read for checks: everything that can be read of it, and the problems of the rest.

How this works: a file that cannot be read does not affect the others. Its problem is recorded, the rest is read, and
the names it may declare are known, so that no other check reports them as missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.checking.problem import Problem, problem_of
from headwater.config import CONFIG_FILE, Config
from headwater.declaration import Declaration, read_declaration
from headwater.errors import ConfigInvalid, HeadwaterError, JobInvalid, SchemaInvalid
from headwater.jobs.loader import load_jobs
from headwater.jobs.settings import with_settings
from headwater.processing.declared_connectors import project_sinks, pushed_jobs, source_jobs
from headwater.schemas.configured import project_schemas
from headwater.schemas.validation.validator import Validator
from headwater.served_tables.declared import ServedTable, project_tables
from headwater.streams.files import read_layers
from headwater.streams.layers import Scope, StreamLayers
from headwater.streams.registry import StreamRegistry

if TYPE_CHECKING:
    from headwater.jobs.job import Job
    from headwater.schemas.schema import Schema
    from headwater.streams.merge import Path as KeyPath
    from headwater.streams.stream import Stream

# For a progress display: called with all URIs, yields each before it is compiled.
Watch = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Project:
    """What was read of a project; `unread` are the problems of the rest. `pushed`: sources that are posted to.
    `served`: tables that are served over HTTP.

    `streams` None: none could be read at all. `schemas`: title → schemas, latest version last; empty for a title whose
    schemas are invalid. `unread_streams`: names that an unreadable file may declare.
    """

    config: Config
    streams: StreamRegistry | None
    jobs: Sequence[Job]
    validator: Validator
    schemas: Mapping[str, Sequence[Schema]] = field(default_factory=dict)
    schemas_count: int = 0
    unread: Sequence[Problem] = ()
    unread_streams: frozenset[str] = frozenset()
    settings: Declaration = field(default_factory=lambda: Declaration(CONFIG_FILE, {}))
    pushed: Sequence[Job] = ()
    served: Sequence[ServedTable] = ()

    @property
    def writers(self) -> Sequence[Job]:
        """All that writes streams: the jobs, and the sources that are posted to."""
        return (*self.jobs, *self.pushed)

    def at_setting(self, section: str, key: str, message: str, hint: str | None = None) -> Problem:
        """A problem with a setting, at its line in headwater.yaml, if it is there."""
        return Problem(message, CONFIG_FILE, self.settings.line((section, key)), hint)

    def declared_streams(self) -> Iterator[Stream]:
        """The declared streams and families; empty if none can be read."""
        return iter(()) if self.streams is None else iter(self.streams.entries())

    def at_stream(self, stream: Stream, paths: Sequence[KeyPath], message: str, hint: str | None = None) -> Problem:
        """A problem with a stream, at the line of the first of these keys that is set, else of the stream."""
        assert self.streams is not None
        for path in paths:
            layer = self.streams.layers.setter(stream.name, path, self.streams.scope)
            if layer is not None:
                return Problem(message, layer.file or stream.file, layer.line_of(path) or stream.line, hint)
        return Problem(message, stream.file, stream.line, hint)

    def schemas_of(self, stream: Stream) -> Sequence[Schema]:
        """The versions of a stream's schema, latest last; empty if they are unknown."""
        return self.schemas.get(stream.schema_title or "", ())

    def file_of_schema(self, title: str) -> str | None:
        """The file of the latest version of a title, if it is a file."""
        found = self.schemas.get(title)
        return _schema_file(self.config, found[-1].uri) if found else None

    def says(self, section: str, key: str) -> bool:
        """Whether headwater.yaml has this setting, in its section or in the section's short form."""
        tree = self.settings.value if isinstance(self.settings.value, dict) else {}
        written = tree.get(section)
        return key in written if isinstance(written, dict) else written is not None


def read_project(config: Config, watch: Watch = iter) -> Project:
    """Read everything. Raises no errors about the project: what cannot be read is among its `unread` problems."""
    unread: list[Problem] = []
    streams, unread_streams = _streams(config, unread)
    validator = schemas_of(config)
    schemas, count = _schemas(config, validator, watch, unread)
    jobs = _jobs(config, streams, unread)
    file = config.project_dir / CONFIG_FILE
    settings = read_declaration(file) if file.exists() else Declaration(CONFIG_FILE, {})
    # Files that are invalid are among the problems already.
    pushed = tuple(pushed_jobs(config, lambda error: None))
    served = _served(config, jobs, unread)
    return Project(config, streams, jobs, validator, schemas, count, unread, unread_streams, settings, pushed, served)


def _served(config: Config, jobs: Sequence[Job], unread: list[Problem]) -> tuple[ServedTable, ...]:
    # Where jobs could not be loaded, a table may be that of one of them.
    is_whole = not any(problem.rule == "job-file-invalid" for problem in unread)

    def refused(error: ConfigInvalid) -> None:
        if is_whole:
            unread.append(problem_of(error, "served-table-invalid"))

    return tuple(project_tables(config, jobs, refused))


def schemas_of(config: Config) -> Validator:
    """The schemas of these settings, none of them compiled yet."""
    return Validator(project_schemas(config))


def _streams(config: Config, unread: list[Problem]) -> tuple[StreamRegistry | None, frozenset[str]]:
    """The streams of readable files, as the project's site sees them, and the names of the others."""
    refused: list[ConfigInvalid] = []
    path = config.path(config.streams.path)
    scope = Scope(site=config.streams.site, realm=config.streams.realm)
    if not path.exists():
        # Its absence is a check of its own.
        return None, frozenset()
    try:
        layers = _makeable(read_layers(path, refused=refused.append), (scope, Scope()), refused.append)
        streams = StreamRegistry(layers=layers, scope=scope)
    except ConfigInvalid as error:
        unread.append(problem_of(error, "stream-file-invalid"))
        return None, frozenset()
    unread += [problem_of(error, "stream-file-invalid") for error in refused]
    return streams, frozenset(Path(error.file).stem for error in refused if error.file)


def _makeable(layers: StreamLayers, scopes: Iterable[Scope], refused: Callable[[ConfigInvalid], None]) -> StreamLayers:
    """The layers without the streams that are invalid."""
    entries = dict(layers.entries)
    for name in layers.entries:
        try:
            for scope in scopes:
                layers.stream(name, scope)
        except ConfigInvalid as error:
            refused(error)
            del entries[name]
    return dataclasses.replace(layers, entries=entries)


def _schemas(
    config: Config, validator: Validator, watch: Watch, unread: list[Problem]
) -> tuple[dict[str, list[Schema]], int]:
    """Compile every schema that can be listed; title → schemas."""
    found: dict[str, list[Schema]] = {}
    uris = sorted(validator.repository.uris(), key=_version)
    for uri in watch(uris):
        try:
            schema = validator.compile(uri).schema
            if schema.title:
                found.setdefault(schema.title, []).append(schema)
        except HeadwaterError as error:
            # The title exists, although its schema must be repaired.
            found.setdefault(uri.rpartition("/")[0].strip("/"), [])
            unread.append(_unusable(config, uri, error))
    return found, len(uris)


def _unusable(config: Config, uri: str, error: HeadwaterError) -> Problem:
    """The problem with a schema, at its location in the file, which may be one that it refers to."""
    if isinstance(error, SchemaInvalid) and error.file and error.line:
        file = next((file for base in config.schema_base_uris if (file := Path(base + error.file)).is_file()), None)
        if file is not None:
            return Problem(error.detail, str(file), error.line, error.hint, "schema-invalid")
    return Problem(error.message, _schema_file(config, uri), 1, error.hint, "schema-invalid")


def _version(uri: str) -> tuple[str, tuple[int, ...]]:
    parent, _, name = uri.rpartition("/")
    return parent, tuple(int(part) if part.isdecimal() else -1 for part in name.split("."))


def _schema_file(config: Config, uri: str) -> str:
    for base in config.schema_base_uris:
        for extension in (config.schemas.file_extension or "", ""):
            path = Path(base + uri + extension)
            if path.is_file():
                return str(path)
    return uri


def _jobs(config: Config, streams: StreamRegistry | None, unread: list[Problem]) -> list[Job]:
    def refused(error: ConfigInvalid) -> None:
        unread.append(problem_of(error, "job-file-invalid" if isinstance(error, JobInvalid) else "sink-invalid"))

    def refused_source(error: ConfigInvalid) -> None:
        unread.append(problem_of(error, "source-invalid"))

    sinks = project_sinks(config, streams or StreamRegistry(), refused)
    sources = source_jobs(config, refused_source)
    left = len(unread)
    jobs = load_jobs(config.path(config.jobs.path), config.project_dir, refused, others=chain(sinks, sources))
    if len(unread) > left:
        # The job that a setting is for may be one that could not be loaded.
        return jobs
    file = config.project_dir / CONFIG_FILE
    source = read_declaration(file) if file.exists() else Declaration(str(file), None)
    return with_settings(
        jobs,
        config.jobs.settings,
        lambda error: unread.append(problem_of(error, "job-settings-invalid")),
        source=source,
    )
