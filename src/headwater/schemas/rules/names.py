"""Rules about names: of fields at any depth, as SQL reads them, and as Wikimedia decided them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from headwater.finding import Severity
from headwater.schemas.rules.robustness import NAME, name_hint
from headwater.schemas.rules.rule import Breach, Breaches, Place, mapping, pointer_of, types_of
from headwater.schemas.types.words import RESERVED

_VERSION_IN_TITLE = re.compile(r"(?:^|[./_-])v[0-9]+$|(?:^|/)(?:v?[0-9]+(?:\.[0-9]+)*|rc[0-9]+|dev[0-9]+)(?=/|$)")
_PEOPLE = frozenset(("user", "performer", "actor", "editor"))

# entity ("page") → (the title that declares it, its fields)
Entities = Mapping[str, tuple[str, frozenset[str]]]


def check(found: Sequence[Place]) -> Breaches:
    """The rules of this family that need only the current file."""
    for place in found:
        if place.is_nested:
            yield from _nested_names(place)
        yield from _reserved(place)
        yield from _user_types(place)
        yield from _date_times(place)


def collisions(found: Sequence[Place]) -> Breaches:
    """Names in one object that become the same column; applied to the whole schema, fragments included."""
    for place in found:
        columns: dict[str, str] = {}
        for name in place.properties():
            column = re.sub(r"[^a-z0-9_]", "_", name.lower())
            first = columns.setdefault(column, name)
            if first != name:
                message = f'"{first}" and "{name}" would be the same column, "{column}".'
                pointer = pointer_of((*place.steps, "properties", name))
                yield Breach("names-collide", pointer, message, "Rename one of the two.")


def title_without_version(title: str) -> Breaches:
    if _VERSION_IN_TITLE.search(title):
        message = f'The title "{title}" contains a version (decision #009).'
        hint = (
            "The version of a schema is in `$id`; the major version of a stream is at the end of its name, as in `.v1`."
        )
        yield Breach("title-without-version", "/title", message, hint)


def flat_copies(found: Sequence[Place], entities: Entities, *, is_new: bool) -> Breaches:
    """Fields that flatten an entity for which there is a fragment: `page_title` instead of `page: {page_title}`."""
    root = found[0]
    for place in found:
        if place.is_nested or place.name is not None or (place is not root and place.steps[0] != "allOf"):
            continue
        for name in place.properties():
            entity = name.partition("_")[0]
            title, fields = entities.get(entity, ("", frozenset()))
            if "_" in name and (name in fields or name.removeprefix(f"{entity}_") in fields):
                message = f'"{name}" copies a field of the entity "{entity}" into the event itself (decision #005).'
                hint = f"Nest the entity: `{entity}: {{$ref: /{title}/…}}`."
                pointer = pointer_of((*place.steps, "properties", name))
                severity = None if is_new else Severity.NOTE
                yield Breach("entities-stay-nested", pointer, message, hint, severity=severity)


def _nested_names(place: Place) -> Breaches:
    for name, child in place.properties().items():
        if not NAME.fullmatch(name) and isinstance(child, Mapping):
            message = f'The name "{name}" (inside an array or a map) is not in snake_case.'
            pointer = pointer_of((*place.steps, "properties", name))
            yield Breach("nested-snake-case-properties", pointer, message, name_hint(name))


def _reserved(place: Place) -> Breaches:
    for name in place.properties():
        if name.upper() in RESERVED:
            message = f'"{name}" is a reserved word of SQL: every query must quote it.'
            yield Breach("name-reserved-in-sql", pointer_of((*place.steps, "properties", name)), message)


def _user_types(place: Place) -> Breaches:
    around = place.name or ""
    for name, child in place.properties().items():
        of_person = around in _PEOPLE and name in ("types", "type")
        if name in ("user_types", "user_type") or (of_person and "array" in types_of(mapping(child))):
            message = f'"{name}" lists kinds of users (decision #010).'
            hint = "Declare a boolean for each: `is_bot`, `is_system`, `is_temp`."
            yield Breach("user-kinds-are-booleans", pointer_of((*place.steps, "properties", name)), message, hint)


def _date_times(place: Place) -> Breaches:
    name = place.name
    if place.schema.get("format") == "date-time" and name and name != "dt" and not name.endswith("_dt"):
        message = f'"{name}" is a time, but not named as one.'
        yield Breach("date-time-name", place.pointer, message, f'Write "{name.split("_")[0]}_dt", or "dt".')
