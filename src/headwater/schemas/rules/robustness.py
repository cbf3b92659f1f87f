"""The rules of jsonschema-tools about one document, under the names that its skip lists know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headwater.schemas.dialect import DRAFT_07, enum_breach, metaschema_breach, spelt_dialect
from headwater.schemas.rules.rule import Breach, Breaches, Steps, Subject, mapping, places, pointer_of, texts
from headwater.schemas.security import insecurities
from headwater.schemas.validation.formats import FORMAT_FUNCTIONS, FORMAT_PATTERNS

NAME = re.compile(r"[$a-z]+[a-z0-9_]*")


def of_version(subject: Subject, bounds: tuple[float, float] | None, *, as_original: bool = False) -> Breaches:
    """The rules that apply to versions only; for examples see `examples`."""
    document = subject.document
    yield from valid_schema(document, as_original=as_original)
    yield from deterministic_types(document)
    yield from required_exist(document)
    if bounds is not None:
        yield from numeric_bounds(document, bounds)


def of_any(subject: Subject) -> Breaches:
    """The rules that apply to versions and to the current file."""
    for pointer, sentence in insecurities(subject.document):
        hint = "Bound the length, so that the cost of validating an event is proportional to its size."
        yield Breach("schema-is-secure", pointer, f"{sentence}.", hint)
    yield from snake_case(subject.document)


def valid_schema(document: Mapping[str, Any], *, as_original: bool = False) -> Breaches:
    """The metaschema of the dialect the document names, draft-07 for an unknown one.

    `as_original`: that of draft-07 whatever it names, in the edition that forbids repeated values of an `enum`.
    """
    dialect = DRAFT_07 if as_original else spelt_dialect(document) or DRAFT_07
    found = metaschema_breach(document, dialect) or (enum_breach(document) if as_original else None)
    if found is not None:
        pointer, reason = found
        yield Breach("schema-is-valid", pointer, f"This is not a valid schema: {reason}.")


def snake_case(document: Any, steps: Steps = ()) -> Breaches:
    """As in the original: names below `properties` and `allOf`; names below arrays and maps have their own rule."""
    for name, child in mapping(mapping(document).get("properties")).items():
        below = (*steps, "properties", name)
        if not NAME.fullmatch(name) and isinstance(child, Mapping):
            message = f'The name "{name}" is not in snake_case.'
            yield Breach("schema-snake-case-properties", pointer_of(below), message, name_hint(name))
        yield from snake_case(child, below)
    branches = mapping(document).get("allOf")
    for index, child in enumerate(branches if isinstance(branches, list) else ()):
        yield from snake_case(child, (*steps, "allOf", str(index)))


def name_hint(name: str) -> str:
    """A suggestion for a name that is refused."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return f'Write "{re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_") or "a_name"}": SQL ignores case.'


def deterministic_types(document: Mapping[str, Any]) -> Breaches:
    for name, child in mapping(document.get("properties")).items():
        yield from _deterministic(child, ("properties", name))


def _deterministic(schema: Any, steps: Steps) -> Breaches:
    def breach(message: str, hint: str) -> Breach:
        return Breach("schema-deterministic-types", pointer_of(steps), message, hint)

    if not isinstance(schema, Mapping):
        yield breach("A field without a type cannot be a column.", "Give it one `type`.")
        return
    branches = schema.get("oneOf")
    if isinstance(branches, list):
        yield from _one_of(branches, steps)
    kind = schema.get("type")
    if isinstance(schema.get("enum"), list) and None in schema["enum"]:
        yield breach("The `enum` contains null.", "Leave an optional field out instead of setting it to null.")
    if not isinstance(kind, str):
        if kind is None and isinstance(branches, list):
            return
        what = "no type" if kind is None else "several types"
        yield breach(f"The field has {what}, so it cannot be a column of one type.", "Give it one `type`.")
    elif kind == "array":
        items = schema.get("items")
        if not isinstance(items, Mapping) or "type" not in items:
            yield breach("The array does not declare its items.", "Add `items` with a `type`.")
        else:
            yield from _deterministic(items, (*steps, "items"))
    elif kind == "object":
        yield from _object(schema, steps, breach)


def _object(schema: Mapping[str, Any], steps: Steps, breach: Any) -> Breaches:
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    if isinstance(properties, Mapping):
        for name, child in properties.items():
            yield from _deterministic(child, (*steps, "properties", name))
    elif "oneOf" in schema or "allOf" in schema:
        return
    elif isinstance(others, Mapping):
        yield from _deterministic(others, (*steps, "additionalProperties"))
    elif not others:
        hint = "Declare its `properties`, or make it a map with `additionalProperties: {type: …}`."
        yield breach("The object does not declare its properties.", hint)


def _one_of(branches: list[Any], steps: Steps) -> Breaches:
    kinds = {str(mapping(branch).get("type")) for branch in branches if "type" in mapping(branch)}
    required = {tuple(sorted(texts(mapping(branch).get("required")))) for branch in branches}
    message = None
    if len(kinds) > 1:
        message = f"The branches of `oneOf` have different types: {', '.join(sorted(kinds))}."
    elif kinds == {"object"} and len(required) > 1:
        message = "The branches of `oneOf` require different fields."
    if message:
        hint = "Use separate fields for what differs."
        yield Breach("schema-deterministic-types", pointer_of((*steps, "oneOf")), message, hint)


def required_exist(schema: Any, steps: Steps = ()) -> Breaches:
    """As in the original: not below arrays and maps, which have their own rule."""
    properties = mapping(mapping(schema).get("properties"))
    yield from missing_required(schema, steps, "schema-required-properties-exist")
    for name, child in properties.items():
        yield from required_exist(child, (*steps, "properties", name))


def missing_required(schema: Any, steps: Steps, rule: str) -> Breaches:
    properties = mapping(mapping(schema).get("properties"))
    for name in texts(mapping(schema).get("required")):
        if name not in properties:
            message = f'"{name}" is required, but not declared.'
            yield Breach(rule, pointer_of((*steps, "required")), message, "Declare it, or do not require it.")


def numeric_bounds(document: Mapping[str, Any], bounds: tuple[float, float]) -> Breaches:
    low, high = bounds
    for place in places(document):
        kind = place.schema.get("type")
        if kind not in ("integer", "number"):
            continue
        least, most = place.schema.get("minimum"), place.schema.get("maximum")
        if not _within(least, most, low, high):
            message = f"The {kind} has no minimum and maximum within {low} and {high}."
            hint = "Larger numbers are not exact in JavaScript. Materializing adds missing bounds."
            yield Breach("schema-enforced-numeric-bounds", place.pointer, message, hint)


def _within(least: Any, most: Any, low: float, high: float) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (least, most))
    return numbers and least >= low and most <= high


def examples_are_judged(document: Mapping[str, Any]) -> Breaches:
    """jsonschema-tools fails if its validator cannot be made: another dialect than draft-07, an unknown format."""
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        return
    if spelt_dialect(document) != DRAFT_07:
        message = f"jsonschema-tools cannot check examples by {document.get('$schema')!r}."
        yield Breach("schema-examples-are-valid", "/$schema", message, f"Name {DRAFT_07}, or leave out the examples.")
    for place in places(document):
        name = place.schema.get("format")
        if isinstance(name, str) and name not in FORMAT_PATTERNS and name not in FORMAT_FUNCTIONS:
            pointer = f"{place.pointer}/format"
            yield Breach("schema-examples-are-valid", pointer, f"There is no format {name!r}.", "Correct or remove it.")


def example_schemas(document: Mapping[str, Any]) -> Breaches:
    """`$schema` of every example is the document's `$id`, if events have a `$schema`."""
    if "$schema" not in mapping(document.get("properties")):
        return
    for index, example in enumerate(document.get("examples") or ()):
        if mapping(example).get("$schema") != document.get("$id"):
            message = f"The example's `$schema` is {mapping(example).get('$schema')!r}, not {document.get('$id')!r}."
            yield Breach(
                "schema-examples-$schema-matches-schema-$id",
                f"/examples/{index}",
                message,
                "Write `$schema: { $ref: '#/$id' }` in the current file.",
            )
