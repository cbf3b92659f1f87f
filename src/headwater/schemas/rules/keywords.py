"""Rules about keywords: unknown ones, unsatisfiable ones, and those that never apply."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.schemas.dialect import TYPES, enum_fault
from headwater.schemas.json_value import is_number
from headwater.schemas.rules.robustness import missing_required
from headwater.schemas.rules.rule import Breach, Breaches, Place, pointer_of, types_of

_OF_TYPE = {
    "string": ("maxLength", "minLength", "pattern", "format", "contentEncoding", "contentMediaType"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": (
        *("items", "additionalItems", "prefixItems", "minItems", "maxItems", "uniqueItems"),
        *("contains", "minContains", "maxContains", "unevaluatedItems"),
    ),
    "object": (
        *("properties", "patternProperties", "additionalProperties", "propertyNames", "required", "minProperties"),
        *("maxProperties", "dependencies", "dependentRequired", "dependentSchemas", "unevaluatedProperties"),
    ),
}
_TYPE_OF = {keyword: kind for kind, keywords in _OF_TYPE.items() for keyword in keywords}
_OF_ANY = (
    *("$id", "id", "$schema", "$ref", "$comment", "$anchor", "$defs", "$vocabulary", "$dynamicRef", "$dynamicAnchor"),
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "definitions"),
    *("type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "contentSchema"),
)
KEYWORDS = frozenset((*_OF_ANY, *_TYPE_OF))
_TYPE_HINT = f"Correct the `type`: JSON Schema has {', '.join(TYPES)}."
_PAIRS = (
    *(("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")),
    *(("minProperties", "maxProperties"), ("minContains", "maxContains")),
)
_STRICT_PAIRS = (
    *(("exclusiveMinimum", "maximum"), ("minimum", "exclusiveMaximum"), ("exclusiveMinimum", "exclusiveMaximum")),
)


def check(found: Sequence[Place]) -> Breaches:
    """All rules of this family, applied to every schema of a current file."""
    for place in found:
        yield from _unknown(place)
        yield from _without_effect(place)
        yield from _bounds(place)
        yield from _values(place)
        yield from _enum(place)
        if place.is_nested:
            yield from missing_required(place.schema, place.steps, "nested-required-properties-exist")


def _unknown(place: Place) -> Breaches:
    for keyword in place.schema:
        # Other tools mark keywords of their own with `x-`.
        if keyword in KEYWORDS or keyword.startswith("x-"):
            continue
        near = _nearest(keyword)
        rule = "keyword-misspelt" if near else "keyword-unknown"
        hint = f'Did you mean "{near}"?' if near else 'Remove it, or begin the name of your own keyword with "x-".'
        message = f'"{keyword}" is not a keyword of JSON Schema, so it has no effect.'
        yield Breach(rule, pointer_of((*place.steps, keyword)), message, hint)


def _nearest(word: str) -> str | None:
    """The keyword that was meant. A word that is only somewhat similar may be another tool's own."""
    folded = {keyword.lower(): keyword for keyword in sorted(KEYWORDS)}
    found = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.75)
    return folded[found[0]] if found else None


def _without_effect(place: Place) -> Breaches:
    types = set(types_of(place.schema))
    if not types:
        return
    if "integer" in types:
        types.add("number")
    for keyword in place.schema:
        kind = _TYPE_OF.get(keyword)
        if kind is not None and kind not in types:
            message = f"`{keyword}` applies to values of type {kind}, and this is {' or '.join(sorted(types))}."
            pointer = pointer_of((*place.steps, keyword))
            hint = "Remove it, or correct the `type`." if types.issubset(TYPES) else _TYPE_HINT
            yield Breach("keyword-without-effect", pointer, message, hint)


def _bounds(place: Place) -> Breaches:
    for pairs, is_strict in ((_PAIRS, False), (_STRICT_PAIRS, True)):
        for lower, upper in pairs:
            least: Any = place.schema.get(lower)
            most: Any = place.schema.get(upper)
            if is_number(least) and is_number(most) and (least > most or (is_strict and least == most)):
                message = f"No value satisfies `{lower}` {least} and `{upper}` {most}."
                yield Breach("bounds-contradict", pointer_of((*place.steps, lower)), message, "Swap or correct them.")


def _values(place: Place) -> Breaches:
    types = types_of(place.schema)
    if not types:
        return
    values = place.schema.get("enum")
    for index, value in enumerate(values if isinstance(values, list) else ()):
        if not any(_is_of(value, kind) for kind in types) and not _is_reference(value):
            message = f"{value!r} in `enum` is not of type {' or '.join(types)}, so it is never allowed."
            pointer = pointer_of((*place.steps, "enum", str(index)))
            yield Breach("value-of-other-type", pointer, message, "Quote it, remove it, or correct the `type`.")
    for keyword in ("const", "default"):
        value = place.schema.get(keyword)
        if keyword in place.schema and not any(_is_of(value, kind) for kind in types) and not _is_reference(value):
            message = f"`{keyword}` is {value!r}, which is not of type {' or '.join(types)}."
            pointer = pointer_of((*place.steps, keyword))
            yield Breach("value-of-other-type", pointer, message, "Correct the value, or the `type`.")


def _enum(place: Place) -> Breaches:
    fault = enum_fault(place.schema.get("enum"))
    if fault is not None:
        hint = "List each value once." if place.schema["enum"] else "List the values, or remove the keyword."
        yield Breach("enum-values-distinct", pointer_of((*place.steps, "enum")), f"`enum` {fault}.", hint)


def _is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("$ref"), str)


def _is_of(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, Mapping)
        case "integer":
            return is_number(value) and float(value).is_integer()
        case "number":
            return is_number(value)
    return True
