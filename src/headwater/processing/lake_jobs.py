"""The ingestion of streams into the lake as jobs without steps: one for each stream whose declaration enables it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.config import CONFIG_FILE, LakeConfig
from headwater.connectors.contract import EventShape
from headwater.connectors.lake.event_rows import lake_columns
from headwater.connectors.lake.layout import datacenter_of, is_legacy, table_name
from headwater.connectors.lake.options import SPEC, LakeOptions
from headwater.connectors.lake.storage import StorageOptions, check_location
from headwater.connectors.spec import ConfiguredSink
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, HeadwaterError, JobInvalid
from headwater.jobs.job import Job, ToTable
from headwater.jobs.place import Place, relative_file
from headwater.jobs.sink_delivery import SinkDelivery, read_delivery
from headwater.options import REFERENCE, fields_of, read_section
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.schema import Schema
from headwater.schemas.types.read import read_types
from headwater.schemas.types.tree import Struct
from headwater.schemas.uri import version_of
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

LAKE = "lake"
NAME_CHARS_MAX = 63
# In the settings of the consumer: the major version of the schema that gives the columns.
SCHEMA_MAJOR = "schema_major"

Refused = Callable[[ConfigInvalid], None]


def ingested(streams: StreamRegistry, lake: LakeConfig) -> Iterator[tuple[Stream, Mapping[str, Any]]]:
    """The streams that are ingested, each with the settings of the consumer that enables it."""
    for stream in streams.all():
        consumers = stream.declared.get("consume") or {}
        for name in lake.consumers:
            settings = consumers.get(name)
            if isinstance(settings, Mapping) and settings.get("enabled") is True:
                yield stream, settings
                break


def lake_jobs(
    streams: StreamRegistry,
    lake: LakeConfig,
    project: Path,
    open_repository: Callable[[], SchemaRepository],
    refused: Refused | None = None,
) -> Iterator[Job]:
    """A job for each ingested stream; none without a location. `open_repository` opens that of the schemas.

    Raises ConfigInvalid; if `refused` is given, it is called with each of these errors instead, and the stream is left
    out.
    """
    if lake.location is None:
        return
    storage = _storage(lake)
    repository: SchemaRepository | None = None
    tables: dict[str, str] = {}
    try:
        for stream, settings in ingested(streams, lake):
            try:
                repository = repository or open_repository()
                name = table_name(stream.name)
                other = tables.setdefault(name, stream.name)
                if other != stream.name:
                    message = f"would be ingested into the table {name}, as {other} is."
                    raise _refusal(stream, message, "Disable one of them.")
                options = LakeOptions(
                    **{key: getattr(storage, key) for key in fields_of(StorageOptions)},
                    location=lake.location,
                    table=name,
                    state=lake.state_path,
                    columns=_columns(stream, settings, repository),
                    datacenters={
                        one: datacenter_of(one, stream.name, lake.datacenter_default) for one in stream.topics
                    },
                    legacy=is_legacy(stream.name, stream.schema_title),
                    look_back_seconds=lake.look_back_seconds,
                )
                yield _job(stream, options, _delivery(stream, settings), project)
            except ConfigInvalid as error:
                if refused is None:
                    raise
                refused(error)
    finally:
        if repository is not None:
            repository.close()


def _storage(lake: LakeConfig) -> StorageOptions:
    source = Declaration(CONFIG_FILE, {"lake": {"storage": lake.storage}})
    if (wrong := check_location(lake.location or "")) is not None:
        raise ConfigInvalid(f"lake.location: {wrong}", file=CONFIG_FILE)
    for key, (field, _) in fields_of(StorageOptions).items():
        value = lake.storage.get(key)
        if not field.repr and value is not None and not (isinstance(value, str) and REFERENCE.fullmatch(value)):
            raise ConfigInvalid(
                f"lake.storage.{key} is a secret and must be a reference.",
                file=CONFIG_FILE,
                hint="Write `${env:NAME}` or `${file:PATH}`.",
            )
    return read_section(StorageOptions, lake.storage, source, ("lake", "storage"))


def _delivery(stream: Stream, settings: Mapping[str, Any]) -> SinkDelivery:
    """The consumer's `batch`, `attempts_max` and `on_error`, as every sink has them."""
    return read_delivery(settings, SPEC, Declaration(stream.file or stream.name, settings), ())


def _job(stream: Stream, options: LakeOptions, delivery: SinkDelivery, project: Path) -> Job:
    place = Place(relative_file(Path(stream.file or CONFIG_FILE), project), stream.line or 1)
    try:
        return Job(
            name=f"{LAKE}.{options.table}",
            sources=(stream.name,),
            output=ToTable(
                EventShape(_sink_name(options.table)),
                ConfiguredSink(SPEC, options, str(place)),
                delivery.batch,
                delivery.attempts_max,
            ),
            canaries=True,
            on_error=delivery.on_error,
            summary=f"Ingests its events into the table {options.table} of the lake.",
            place=place,
            project=project,
        )
    except JobInvalid as error:
        raise _refusal(stream, f"cannot be ingested: {error.message}", error.hint) from None


def _columns(stream: Stream, settings: Mapping[str, Any], repository: SchemaRepository) -> Struct:
    if stream.schema_title is None:
        raise _refusal(stream, "is to be ingested and has no `schema_title`, which gives the columns.", "Add it.")
    try:
        schema = _newest(stream.schema_title, settings.get(SCHEMA_MAJOR), repository)
        return lake_columns(read_types(schema.document, lambda path: repository.get(path).document))
    except ConfigInvalid:
        raise
    except HeadwaterError as error:
        raise _refusal(stream, f"cannot be ingested: {error.message}", error.hint) from None


def _sink_name(table: str) -> str:
    """The name of the sink: tables of the project may be called as those of the lake are."""
    name = f"{LAKE}_{table}"
    if len(name) <= NAME_CHARS_MAX:
        return name
    return f"{name[: NAME_CHARS_MAX - 9]}_{hashlib.sha256(table.encode()).hexdigest()[:8]}"


def _newest(title: str, major: Any, repository: SchemaRepository) -> Schema:
    """The newest version of a schema, or of one major version of it."""
    if major is None:
        return repository.get(f"/{title}/latest")
    found = {}
    for uri in repository.uris():
        above, _, last = uri.rpartition("/")
        version = version_of(last)
        if above == f"/{title}" and version is not None and version[0] == major:
            found[version] = uri
    if not found:
        raise ConfigInvalid(f"{title} has no version {major}.x.")
    return repository.get(found[max(found)])


def _refusal(stream: Stream, message: str, hint: str | None) -> ConfigInvalid:
    return ConfigInvalid(f"{stream.name} {message}", file=stream.file, line=stream.line, hint=hint)
