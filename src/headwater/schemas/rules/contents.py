"""Rules about what every event schema should have: dialect, meta, time, examples, descriptions, closed types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headwater.errors import HeadwaterError
from headwater.schemas.dialect import dialect_of, proper_name
from headwater.schemas.rules.rule import Breach, Breaches, Place, mapping, pointer_of, texts

_NAMED_MAX = 5
# Read only if something is missing: (URI, whole document) of the latest version of each fragment.
Fragments = Callable[[], Iterable[tuple[str, Mapping[str, Any]]]]


def is_fragment(title: str) -> bool:
    """Whether schemas of this title are included by others rather than used for a stream."""
    return "fragment" in title.split("/")


def of_current(current: Mapping[str, Any], title: str) -> Breaches:
    """What the author's file should have."""
    if "$schema" not in current:
        hint = "Write `$schema: http://json-schema.org/draft-07/schema#`."
        yield Breach("dialect-declared", "", "The schema does not declare its JSON Schema dialect.", hint)
    else:
        try:
            dialect_of(current, title)
        except HeadwaterError as error:
            yield Breach("dialect-declared", "/$schema", error.message, error.hint)
        name = proper_name(current["$schema"])
        if name is not None:
            message = f"{current['$schema']} is not the name of a dialect, so other readers may not know it."
            yield Breach("dialect-name", "/$schema", message, f"Write `$schema: {name}`, which is its name.")
    if not current.get("description"):
        hint = "Describe what an event means, and when it is sent."
        yield Breach("description-present", "", "The schema has no description.", hint)
    if not is_fragment(title) and not current.get("examples"):
        hint = "Write a whole event under `examples`: canaries and the first tests are made from it."
        yield Breach("examples-present", "", "The schema has no example of its own.", hint)


def of_event(made: Mapping[str, Any], fragments: Fragments) -> Breaches:
    """What an event schema should have once its fragments are merged. `fragments`: those it might include."""
    properties = mapping(made.get("properties"))
    required = texts(made.get("required"))
    if "$schema" not in properties or "$schema" not in required:
        message = "Events need not have a `$schema`, but are refused without it."
        yield Breach("event-schema-present", "/required", message, _declare("$schema", fragments))
    meta = mapping(properties.get("meta"))
    if not meta or "meta" not in required:
        message = f"Events {'need not have' if meta else 'have no'} `meta`."
        pointer = "/required" if meta else "/properties"
        yield Breach("meta-present", pointer, message, _declare("meta", fragments))
    elif "stream" not in mapping(meta.get("properties")) or "stream" not in texts(meta.get("required")):
        message = "`meta.stream` is not declared and required, so events need not name their stream."
        yield Breach("meta-present", "/properties/meta", message, _declare("meta", fragments))
    if "dt" not in properties:
        message = "Events have no `dt`, the event time (`meta.dt` is the time of receipt)."
        yield Breach("dt-present", "/properties", message, "Declare `dt`: a string with the format date-time.")
    elif mapping(properties["dt"]).get("format") != "date-time":
        yield Breach("dt-present", "/properties/dt", "`dt` is not a date-time.", "Give it `format: date-time`.")


def _declare(name: str, fragments: Fragments) -> str:
    """A hint about a property that every event needs: include the fragment that declares it, or declare it."""
    for uri, document in fragments():
        properties = mapping(document.get("properties"))
        meta = mapping(properties.get("meta"))
        if name not in properties or name not in texts(document.get("required")):
            continue
        named = "stream" in mapping(meta.get("properties")) and "stream" in texts(meta.get("required"))
        if name == "meta" and not named:
            continue
        return f"Include the fragment that declares it: `allOf: [{{$ref: {uri}#}}]`."
    declared = "`meta`, an object with a required `stream`," if name == "meta" else f"`{name}`, a string,"
    return f"Declare {declared} and name it under `required`; `headwater schema new` writes a schema that has it."


def types(found: Sequence[Place]) -> Breaches:
    """What the original's rule on types misses, and fields without a description."""
    undescribed = []
    for place in found:
        schema = place.schema
        if schema.get("type") == "null":
            yield Breach("type-null", place.pointer, "A field that is always null has no information.", "Leave it out.")
        if schema.get("additionalProperties") is True or schema.get("additionalProperties") == {}:
            message = "`additionalProperties` allows any value, which no column can hold."
            hint = "Remove it, set it to false, or give the type of the values: `additionalProperties: {type: …}`."
            yield Breach("free-form-object", pointer_of((*place.steps, "additionalProperties")), message, hint)
        if place.name is not None and not schema.get("description") and "$ref" not in schema:
            undescribed.append(place)
    if undescribed:
        names = ", ".join(str(place.name) for place in undescribed[:_NAMED_MAX])
        more = f" and {len(undescribed) - _NAMED_MAX} more" if len(undescribed) > _NAMED_MAX else ""
        message = f"Fields without a description: {names}{more}."
        yield Breach("fields-described", undescribed[0].pointer, message)


def meta_not_deprecated(found: Sequence[Place]) -> Breaches:
    """Decision #006."""
    for place in found:
        inside = place.steps[:3] if place.steps[:1] == ("properties",) else ()
        if len(inside) < 2 or inside[1] != "meta" or place.name is None:
            continue
        described = str(place.schema.get("description", "")).lstrip("[( ").lower()
        if place.schema.get("deprecated") is True or described.startswith("deprecated"):
            message = f'"meta.{place.name}" is declared deprecated; fields of meta stay (decision #006).'
            yield Breach("meta-is-kept", place.pointer, message, "Keep it as it is.")
