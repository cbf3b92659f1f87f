"""The canary event of a stream: its schema's first example, marked, with a new id and the current time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from headwater.errors import HeadwaterError, SchemaInvalid
from headwater.event import CANARY_DOMAIN, is_canary  # noqa: F401 - both sides of the mark are found here
from headwater.intake.gate import new_event_id
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.schema import Schema
from headwater.schemas.uri import LATEST, version_of
from headwater.streams.stream import Stream
from headwater.times import utc_milliseconds


def canary_event(
    stream: Stream, schema: Schema, now_ms: int, new_id: Callable[[], str] = new_event_id
) -> dict[str, Any]:
    """A canary of `stream`, from the first of the schema's `examples`. Raises SchemaInvalid if there is none.

    `meta.domain`, `meta.stream`, `meta.id`, `meta.dt` and the stream's event time are set if the schema declares them;
    the rest is as in the example.
    """
    missing = missing_example(schema)
    if missing is not None:
        raise SchemaInvalid(missing)
    event: dict[str, Any] = copy.deepcopy(schema.document["examples"][0])
    now = utc_milliseconds(now_ms)
    event["$schema"] = schema.uri
    meta = event.get("meta")
    meta = event["meta"] = dict(meta) if isinstance(meta, dict) else {}
    meta.update(domain=CANARY_DOMAIN, stream=stream.name)
    # The example's own id and times are those of an old event.
    for name, value in (("id", new_id()), ("dt", now)):
        if name in meta or schema.declares(f"meta.{name}"):
            meta[name] = value
    _set_time(event, stream.event_time_field, now, schema)
    return event


def missing_example(schema: Schema) -> str | None:
    """The error of a schema without an example for canaries; None if it has one."""
    examples = schema.document.get("examples")
    if isinstance(examples, list) and examples and isinstance(examples[0], dict):
        return None
    return f"The schema {schema.uri} has no example, which canaries need. Add a complete event to `examples`."


def newest_by_title(repository: SchemaRepository) -> dict[str, str]:
    """Title → URI of its latest version, for all schemas that the repository lists. Blocks on disk."""
    newest: dict[str, tuple[Any, str]] = {}
    for uri in repository.uris():
        directory, _, name = uri.rpartition("/")
        version = version_of(name.removesuffix(".yaml").removesuffix(".json"))
        if version and (directory not in newest or version > newest[directory][0]):
            newest[directory] = (version, uri)
    titles: dict[str, str] = {}
    for _, uri in newest.values():
        try:
            title = repository.get(uri).title
        except HeadwaterError:
            continue
        if title:
            titles[title] = uri
    return titles


def newest_schema(repository: SchemaRepository, titles: Mapping[str, str], title: str) -> Schema:
    """The latest version of a title. Raises SchemaNotFound, SchemaInvalid, SchemaUnavailable. Blocks."""
    found = repository.get(titles.get(title) or f"/{title}/{LATEST}")
    own = found.document.get("$id")
    if found.uri.endswith(f"/{LATEST}") and isinstance(own, str):
        return repository.get(own)
    return found


def _set_time(event: dict[str, Any], path: str, now: str, schema: Schema) -> None:
    *parents, name = path.split(".")
    at: Any = event
    for parent in parents:
        at = at.get(parent) if isinstance(at, dict) else None
    if isinstance(at, dict) and (name in at or (not parents and _lists(schema, name))):
        at[name] = now


def _lists(schema: Schema, name: str) -> bool:
    properties = schema.document.get("properties")
    return isinstance(properties, dict) and name in properties
