"""Which JSON Schema dialects are understood, and which of their keywords hold further schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from headwater.errors import SchemaInvalid
from headwater.schemas.json_value import identity_key
from headwater.schemas.violation import pointer_step

DRAFT_04 = "http://json-schema.org/draft-04/schema#"
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"

# draft-04 has no https spelling and draft-07 has both, as in the validator we are compatible with.
_SPELLINGS = {
    "http://json-schema.org/draft-04/schema": DRAFT_04,
    "http://json-schema.org/draft-07/schema": DRAFT_07,
    "https://json-schema.org/draft-07/schema": DRAFT_07,
    "https://json-schema.org/draft/2020-12/schema": DRAFT_2020_12,
    "http://json-schema.org/draft/2020-12/schema": DRAFT_2020_12,
}

# Matches JSON text of a schema that names a dialect in a spelling that only some readers know.
_MISSPELT_IN_TEXT = re.compile(r'("\$schema"\s*:\s*)"(https?://json-schema\.org/draft[-/][0-9-]+/schema#?)"')

TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")

# Keywords whose schema applies to the same value (as a `$ref` does), as opposed to those that apply to its parts.
IN_PLACE = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependencies", "dependentSchemas"))
_HOLDS_SCHEMA = (
    *("additionalProperties", "propertyNames", "unevaluatedProperties"),
    *("items", "additionalItems", "contains", "unevaluatedItems"),
    *("not", "if", "then", "else"),
)
_HOLDS_MAP = ("properties", "patternProperties", "dependencies", "dependentSchemas")
_HOLDS_LIST = ("items", "prefixItems", "allOf", "anyOf", "oneOf")
_DEFINITIONS = ("definitions", "$defs")
_HOLDING = frozenset((*_HOLDS_SCHEMA, *_HOLDS_MAP, *_HOLDS_LIST, *_DEFINITIONS))


def spelt_dialect(document: Mapping[str, Any]) -> str | None:
    """The canonical URI of the document's dialect; draft-07 if it names none, None for an unknown one."""
    named = document.get("$schema", DRAFT_07)
    return _SPELLINGS.get(named.removesuffix("#")) if isinstance(named, str) else None


def dialect_of(document: Mapping[str, Any], where: str) -> str:
    """The canonical URI of the document's dialect; draft-07 if it names none. Raises SchemaInvalid."""
    dialect = spelt_dialect(document)
    if dialect is None:
        raise SchemaInvalid(
            f"The schema at {where} is written in {document['$schema']!r}, which is not supported.",
            hint=f"Use {DRAFT_07} or {DRAFT_2020_12}.",
        )
    return dialect


def proper_name(named: Any) -> str | None:
    """The name that the specification gives the dialect that is meant; None if that is used, or the dialect is unknown.

    Other readers know a dialect by this name alone: ajv refuses draft-07 under `https://`, and others take the newest.
    """
    dialect = _SPELLINGS.get(named.removesuffix("#")) if isinstance(named, str) else None
    return dialect if dialect is not None and named.removesuffix("#") != dialect.removesuffix("#") else None


def with_proper_names(text: str) -> str:
    """JSON text of a schema, with dialects under the names that every reader knows."""
    return _MISSPELT_IN_TEXT.sub(lambda found: f'{found[1]}"{proper_name(found[2]) or found[2]}"', text)


def check_against_metaschema(document: Mapping[str, Any], dialect: str, where: str) -> None:
    """Raises SchemaInvalid if the document is not a schema of its dialect."""
    found = metaschema_breach(document, dialect)
    if found is not None:
        pointer, reason = found
        raise SchemaInvalid(f"The schema at {where} is not a valid schema: at {pointer or '/'}: {reason}.")


def metaschema_breach(document: Mapping[str, Any], dialect: str) -> tuple[str, str] | None:
    """The first place (JSON pointer) at which the document is not a schema of its dialect, and why; None for a
    schema.
    """
    try:
        jsonschema_rs.meta.validate({**document, "$schema": dialect})
    except (jsonschema_rs.ValidationError, ValueError) as error:
        path = getattr(error, "instance_path", ())
        reason = getattr(error, "message", str(error)).strip().removesuffix(".")
        if path and path[-1] == "type" and "anyOf" in reason:
            # The metaschema reports this as a failed `anyOf`, which does not help an author.
            reason = f"`type` is one of {', '.join(TYPES)}, or a list of some of them"
        return "".join(pointer_step(str(part)) for part in path), reason
    return enum_breach(document) if dialect == DRAFT_04 else None


def enum_fault(values: Any) -> str | None:
    """What is wrong with the values of an `enum`: draft-04 forbids this, later drafts advise against it."""
    if isinstance(values, list) and not values:
        return "is empty, so that no value is allowed"
    if isinstance(values, list) and len({identity_key(value) for value in values}) < len(values):
        return "repeats a value"
    return None


def enum_breach(schema: Any, pointer: str = "") -> tuple[str, str] | None:
    """The first place (JSON pointer) at which an `enum` is empty or repeats a value, and which of the two.

    draft-04 forbids it, as does ajv's copy of draft-07; the engine's copies do not.
    """
    if not isinstance(schema, Mapping):
        return None
    fault = enum_fault(schema.get("enum"))
    if fault is not None:
        return f"{pointer}/enum", f"an `enum` {fault}"
    inside = (
        enum_breach(child, pointer + "".join(map(pointer_step, path)))
        for path, child in subschemas(schema, definitions=True)
    )
    return next((found for found in inside if found is not None), None)


def subschemas(schema: Mapping[str, Any], *, definitions: bool) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each schema directly inside this one, with the path to it; with unused definitions on request."""
    if _HOLDING.isdisjoint(schema):
        # Most schemas are those of plain fields.
        return
    for keyword in _HOLDS_SCHEMA:
        value = schema.get(keyword)
        if isinstance(value, dict | bool):
            yield (keyword,), value
    for keyword in _HOLDS_MAP + (_DEFINITIONS if definitions else ()):
        value = schema.get(keyword)
        if isinstance(value, dict):
            yield from (((keyword, name), child) for name, child in value.items() if isinstance(child, dict | bool))
    for keyword in _HOLDS_LIST:
        value = schema.get(keyword)
        if isinstance(value, list):
            yield from (((keyword, str(i)), child) for i, child in enumerate(value) if isinstance(child, dict | bool))
