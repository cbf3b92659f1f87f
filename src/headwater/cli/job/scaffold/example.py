"""A valid event of a stream, for the tests of a new job: an example of its schema with the fields of the envelope."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from headwater.checking.fields import field_at
from headwater.declaration import nearest
from headwater.errors import ConfigInvalid, SchemaNotFound
from headwater.event import get_path, json_bytes
from headwater.schemas.validation.validator import Validator
from headwater.streams.stream import Stream

TIME = "2026-01-31T12:00:00Z"
ID = "11111111-2222-4333-8444-555555555555"
FIELDS_LISTED_MAX = 12


def schema_of(validator: Validator, stream: Stream) -> Mapping[str, Any]:
    """The newest version of the schema of a stream. Raises ConfigInvalid."""
    if stream.schema_title is None:
        raise ConfigInvalid(
            f"{stream.name} has no schema_title, so its events are not known.", hint="Name one in its stream file."
        )
    try:
        document = validator.repository.get(f"/{stream.schema_title}/latest").document
    except SchemaNotFound as error:
        raise ConfigInvalid(error.message, hint=error.hint) from None
    return document if isinstance(document, Mapping) else {}


def example_of(validator: Validator, stream: Stream, document: Mapping[str, Any]) -> dict[str, Any]:
    """A valid event of the stream. Raises ConfigInvalid if no example of its schema leads to one."""
    uri = str(document.get("$id", f"/{stream.schema_title}/latest"))
    reason: Any = None
    for event in _candidates(stream, document, uri):
        violations = validator.compile(str(event["$schema"])).violations(event)
        if not violations:
            plain: dict[str, Any] = json.loads(json_bytes(event))
            return plain
        reason = reason or violations[0]
    raise ConfigInvalid(
        f"The schema {stream.schema_title} has no example from which a test could be made: {reason}.",
        hint="Add one to `examples` in its current.yaml, and materialize it.",
    )


def _candidates(stream: Stream, document: Mapping[str, Any], uri: str) -> Iterator[dict[str, Any]]:
    """Examples with what every event has, and each with as little of it as its schema may allow."""
    examples = [one for one in document.get("examples", ()) if isinstance(one, dict)] or [{}]
    for example in examples:
        meta = example.get("meta") if isinstance(example.get("meta"), dict) else {}
        own = example.get("$schema") if isinstance(example.get("$schema"), str) else uri
        for added in ({"id": ID, "dt": TIME}, {"id": ID}, {}):
            for more in ({"dt": TIME}, {}) if field_at(document, "dt") is not None else ({},):
                made = copy.deepcopy({**more, **example, "$schema": own})
                times = {"dt": made["dt"]} if "dt" in added and isinstance(made.get("dt"), str) else {}
                yield {**made, "meta": {**added, **times, **(meta or {}), "stream": stream.name, **_id(added)}}


def _id(added: Mapping[str, Any]) -> dict[str, Any]:
    # That of an example may be no id.
    return {"id": added["id"]} if "id" in added else {}


def time_path(stream: Stream, example: Mapping[str, Any]) -> str | None:
    """The path of the event's time, if it is a text; None: only the runner knows it."""
    paths = (stream.event_time_field, "dt", "meta.dt")
    return next((path for path in paths if path and isinstance(get_path(example, path), str)), None)


def require_fields(paths: tuple[str, ...], stream: Stream, example: Mapping[str, Any]) -> None:
    """Raises ConfigInvalid, with the nearest field, for a field that the example does not have."""
    known = [path for path, _ in _leaves(example, "") if path != "$schema"]
    for path in paths:
        if get_path(example, path) is None:
            near = nearest(path, known)
            some = ", ".join(known[:FIELDS_LISTED_MAX]) + (", …" if len(known) > FIELDS_LISTED_MAX else "")
            raise ConfigInvalid(
                f"The example of {stream.schema_title} has no {path}, which is to be the key.",
                hint=f'Did you mean "{near}"?' if near else f"It has: {some}.",
            )


def _leaves(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, part in value.items():
        if isinstance(part, dict):
            yield from _leaves(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", part
