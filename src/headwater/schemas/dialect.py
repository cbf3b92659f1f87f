"""Which JSON Schema dialects are understood, and which of their keywords hold further schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from headwater.errors import SchemaInvalid
from headwater.schemas.json_value import identity_key

DRAFT_04 = "http://json-schema.org/draft-04/schema#"
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"

# draft-04 has no https spelling and draft-07 has both: so it is in the validator we are compatible with.
_SPELLINGS = {
    "http://json-schema.org/draft-04/schema": DRAFT_04,
    "http://json-schema.org/draft-07/schema": DRAFT_07,
    "https://json-schema.org/draft-07/schema": DRAFT_07,
    "https://json-schema.org/draft/2020-12/schema": DRAFT_2020_12,
    "http://json-schema.org/draft/2020-12/schema": DRAFT_2020_12,
}

# JSON text of a schema in which a dialect is named as only some readers know it.
_MISSPELT_IN_TEXT = re.compile(r'("\$schema"\s*:\s*)"(https?://json-schema\.org/draft[-/][0-9-]+/schema#?)"')

TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")

# Keywords whose schema judges the same value (a `$ref` does too), against those that descend into its parts.
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


def dialect_of(document: Mapping[str, Any], where: str) -> str:
    """The canonical URI of the document's dialect; draft-07 where it names none. Raises SchemaInvalid."""
    named = document.get("$schema", DRAFT_07)
    dialect = _SPELLINGS.get(named.removesuffix("#")) if isinstance(named, str) else None
    if dialect is None:
        raise SchemaInvalid(
            f"The schema at {where} is written in {named!r}, which is not understood.",
            hint=f"Use {DRAFT_07} or {DRAFT_2020_12}.",
        )
    return dialect


def proper_name(named: Any) -> str | None:
    """The name a specification gives the dialect that is meant; None where it is named so, or not understood.

    Other readers know a dialect by this name alone: ajv refuses draft-07 under `https://`, and others take the newest.
    """
    dialect = _SPELLINGS.get(named.removesuffix("#")) if isinstance(named, str) else None
    return dialect if dialect is not None and named.removesuffix("#") != dialect.removesuffix("#") else None


def with_proper_names(text: str) -> str:
    """JSON text of a schema, with dialects under the names that every reader knows."""
    return _MISSPELT_IN_TEXT.sub(lambda found: f'{found[1]}"{proper_name(found[2]) or found[2]}"', text)


def check_against_metaschema(document: Mapping[str, Any], dialect: str, where: str) -> None:
    """Raises SchemaInvalid where the document is not a schema of its dialect."""
    try:
        jsonschema_rs.meta.validate({**document, "$schema": dialect})
    except (jsonschema_rs.ValidationError, ValueError) as error:
        path = getattr(error, "instance_path", ())
        pointer = "/".join(str(part) for part in path)
        reason = getattr(error, "message", str(error)).strip()
        if path and path[-1] == "type" and "anyOf" in reason:
            # Said by the metaschema as a choice between alternatives, of which nobody has heard.
            reason = f"`type` is one of {', '.join(TYPES)}, or a list of some of them"
        raise SchemaInvalid(f"The schema at {where} is not a valid schema: at /{pointer}: {reason}.") from None
    if dialect == DRAFT_04:
        check_enums(document, where)


def enum_fault(values: Any) -> str | None:
    """What is wrong with the values of an `enum`: draft-04 forbids it, later drafts advise against it."""
    if isinstance(values, list) and not values:
        return "is empty, so that no value is allowed"
    if isinstance(values, list) and len({identity_key(value) for value in values}) < len(values):
        return "repeats a value"
    return None


def check_enums(schema: Any, where: str) -> None:
    """Raises SchemaInvalid where an `enum` is empty or repeats a value.

    draft-04 forbids it, as does ajv's copy of draft-07; the engine's copies do not.
    """
    if not isinstance(schema, Mapping):
        return
    fault = enum_fault(schema.get("enum"))
    if fault is not None:
        raise SchemaInvalid(f"The schema at {where} is not a valid schema: an `enum` {fault}.")
    for _, child in subschemas(schema, definitions=True):
        check_enums(child, where)


def subschemas(schema: Mapping[str, Any], *, definitions: bool) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each schema directly inside this one, with the path to it; also the unused ones under definitions if asked."""
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
