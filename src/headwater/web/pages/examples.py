"""One valid and one invalid example event for each stream, for the input box of the page."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.errors import HeadwaterError
from headwater.schemas.schema import Schema
from headwater.schemas.validation.validator import Validator
from headwater.streams.stream import Stream

EXAMPLES_MAX = 40


def example_events(streams: Sequence[Stream], validator: Validator, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """`{stream name: {valid, invalid}}` for streams whose schema has an example; `schemas` is keyed by title."""
    examples: dict[str, Any] = {}
    for stream in streams[: EXAMPLES_MAX * 4]:
        schema = schemas.get(stream.schema_title or "")
        valid = valid_example(stream.name, schema) if schema else None
        if schema is None or valid is None:
            continue
        invalid = invalid_example(valid, schema, validator)
        examples[stream.name] = {"valid": valid, "invalid": invalid}
        if len(examples) >= EXAMPLES_MAX:
            break
    return examples


def valid_example(stream_name: str, schema: Schema) -> dict[str, Any] | None:
    """The schema's first example, addressed to the stream and without `meta.id`, which may be stored already."""
    given = schema.document.get("examples")
    if not isinstance(given, list) or not given or not isinstance(given[0], dict):
        return None
    event: dict[str, Any] = copy.deepcopy(given[0])
    meta = {k: v for k, v in (event.get("meta") or {}).items() if k not in {"id", "dt"}}
    return {**event, "$schema": schema.uri, "meta": {**meta, "stream": stream_name}}


def invalid_example(valid: Mapping[str, Any], schema: Schema, validator: Validator) -> dict[str, Any]:
    """The example with numbers and flags turned into words and a required field removed: typical mistakes."""
    properties = schema.document.get("properties") or {}
    event = copy.deepcopy(dict(valid))
    typed = [n for n in event if (properties.get(n) or {}).get("type") in {"integer", "number", "boolean"}]
    for name in typed[:1]:
        event[name] = "many"
    required = [n for n in schema.document.get("required") or () if n in event and n not in {"$schema", "meta", *typed}]
    if required:
        del event[required[-1]]
    return event if not _is_valid(event, schema, validator) else {**event, "meta": {**event["meta"], "dt": "yesterday"}}


def _is_valid(event: Mapping[str, Any], schema: Schema, validator: Validator) -> bool:
    try:
        return validator.compile(schema.uri).is_valid(event)
    except HeadwaterError:
        return False
