"""Makes one plain schema of a schema and its `allOf`, at every level (contracts/schemas.md §2.4).

How this works: a schema is flattened into the list [itself without `allOf`, its branches depth first]; then one rule
for each keyword merges its distinct values along that list. The rules are those of json-schema-merge-allof with
`ignoreAdditionalProperties`: a closed fragment merged with extra fields gives a closed schema that allows the extra
fields. The input is not changed.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from headwater.errors import SchemaInvalid
from headwater.schemas.json_value import json_equal
from headwater.schemas.violation import pointer_step

_COMBINATIONS_MAX = 10_000

_FIRST = ("title", "description", "$id", "$schema", "$ref", "default", "examples")
_LEAST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_GREATEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_ABOUT_PROPERTIES = ("properties", "patternProperties", "additionalProperties")
_ABOUT_ITEMS = ("items", "additionalItems")
_ONE_SCHEMA = ("contains", "propertyNames")


def merge_all_of(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The schema without `allOf`. Raises SchemaInvalid, with the JSON pointer, if branches contradict each other."""
    merged = _Merger(where).schemas([schema], "")
    if not isinstance(merged, dict):
        raise SchemaInvalid(f"The schema at {where} is not an object once its `allOf` is merged.")
    return merged


class _Unmergeable(SchemaInvalid):
    """Two values of one keyword that cannot be merged into one."""


class _Merger:
    def __init__(self, where: str) -> None:
        self._where = where
        self._combinations = 0

    def schemas(self, schemas: Sequence[Any], pointer: str) -> Any:
        """The merged result of all `schemas`; None if there are none."""
        parts = [part for schema in schemas for part in _flattened(schema)]
        if not parts:
            return None
        if any(part is False for part in parts):
            return False
        if all(part is True for part in parts):
            return True
        objects = [part for part in parts if isinstance(part, dict)]
        merged: dict[str, Any] = {}
        about_properties = about_items = False
        for keyword in dict.fromkeys(keyword for part in objects for keyword in part if keyword != "allOf"):
            if keyword in _ABOUT_PROPERTIES:
                about_properties = True
            elif keyword in _ABOUT_ITEMS:
                about_items = True
            else:
                values = _distinct(part[keyword] for part in objects if keyword in part)
                self._keyword(merged, keyword, values, pointer + pointer_step(keyword))
        if about_properties:
            self._properties(merged, objects, pointer)
        if about_items:
            self._items(merged, objects, pointer)
        return merged

    def _keyword(self, merged: dict[str, Any], keyword: str, values: list[Any], pointer: str) -> None:
        if keyword == "not":
            merged[keyword] = {"anyOf": values}
        elif keyword in ("anyOf", "oneOf"):
            merged[keyword] = self._alternatives(keyword, values, pointer)
        elif keyword in _ONE_SCHEMA:
            merged[keyword] = self.schemas(values, pointer)
        elif keyword in ("definitions", "dependencies") and all(isinstance(value, dict) for value in values):
            join = self._dependency if keyword == "dependencies" else self.schemas
            merged[keyword] = self._by_name(values, pointer, join)
        elif len(values) == 1 or keyword in _FIRST:
            merged[keyword] = values[0]
        elif keyword == "pattern":
            merged.setdefault("allOf", []).extend({"pattern": value} for value in values)
        else:
            result = _joined(keyword, values)
            if result is None:
                raise self._contradiction(keyword, values, pointer)
            merged[keyword] = result

    def _properties(self, merged: dict[str, Any], parts: list[dict[str, Any]], pointer: str) -> None:
        additional = self._of(parts, "additionalProperties", pointer)
        if additional is not None and additional != {}:
            merged["additionalProperties"] = additional
        for keyword in ("patternProperties", "properties"):
            groups = [part[keyword] for part in parts if isinstance(part.get(keyword), dict)]
            named = self._by_name(groups, pointer + pointer_step(keyword), self.schemas)
            if named:
                merged[keyword] = named

    def _items(self, merged: dict[str, Any], parts: list[dict[str, Any]], pointer: str) -> None:
        values = _distinct(part["items"] for part in parts if "items" in part)
        if not any(isinstance(value, list) for value in values):
            items = self.schemas(values, pointer + "/items")
        else:
            items = [
                self.schemas(
                    [_item(part, place) for part in parts if _item(part, place) is not None], pointer + "/items"
                )
                for place in range(max(len(value) for value in values if isinstance(value, list)))
            ]
        additional = self._of(parts, "additionalItems", pointer)
        about_items = {"items": items, "additionalItems": additional}
        merged.update((keyword, value) for keyword, value in about_items.items() if value is not None and value != {})

    def _of(self, parts: list[dict[str, Any]], keyword: str, pointer: str) -> Any:
        values = _distinct(part[keyword] for part in parts if keyword in part)
        return self.schemas(values, pointer + pointer_step(keyword)) if values else None

    def _by_name(
        self, groups: Sequence[Mapping[str, Any]], pointer: str, join: Callable[[Sequence[Any], str], Any]
    ) -> dict[str, Any]:
        names = dict.fromkeys(name for group in groups for name in group)
        return {
            name: join(_distinct(group[name] for group in groups if name in group), pointer + pointer_step(name))
            for name in names
        }

    def _dependency(self, values: Sequence[Any], pointer: str) -> Any:
        if len(values) == 1 and isinstance(values[0], list):
            return values[0]
        if all(isinstance(value, list) for value in values):
            return sorted({name for value in values for name in value})
        return self.schemas([{"required": value} if isinstance(value, list) else value for value in values], pointer)

    def _alternatives(self, keyword: str, values: list[Any], pointer: str) -> list[Any]:
        if not all(isinstance(value, list) for value in values):
            raise self._contradiction(keyword, values, pointer)
        if len(values) == 1:
            return [self.schemas([branch], f"{pointer}/{place}") for place, branch in enumerate(values[0])]
        self._combinations += math.prod(len(value) for value in values)
        if self._combinations > _COMBINATIONS_MAX:
            raise SchemaInvalid(
                f"The schema at {self._where} merges lists of `{keyword}` at {pointer} into more than "
                f"{_COMBINATIONS_MAX} branches.",
                hint="Keep one list of branches, or fewer of them.",
            )
        merged = []
        for branches in itertools.product(*values):
            try:
                merged.append(self.schemas(branches, pointer))
            except _Unmergeable:
                continue
        if not merged:
            raise self._contradiction(keyword, values, pointer)
        return _distinct(merged)

    def _contradiction(self, keyword: str, values: Sequence[Any], pointer: str) -> SchemaInvalid:
        shown = " and ".join(f"{str(value)[:80]!r}" for value in values[:3])
        return _Unmergeable(
            f"The schema at {self._where} merges values of `{keyword}` at {pointer} that exclude each other: {shown}.",
            hint="Change one of the `allOf` branches, so that they agree.",
        )


def _joined(keyword: str, values: list[Any]) -> Any:
    """The merged value of several; None if there is none, as for values of the wrong type."""
    rule = _RULES.get(keyword)
    try:
        return rule(values) if rule else None
    except (TypeError, ValueError, ArithmeticError):
        return None


def _flattened(schema: Any) -> Iterator[Any]:
    """A schema without its `allOf`, then each branch of it, depth first."""
    if not isinstance(schema, dict) or not isinstance(schema.get("allOf"), list):
        yield schema
        return
    yield {keyword: value for keyword, value in schema.items() if keyword != "allOf"}
    for branch in schema["allOf"]:
        yield from _flattened(branch)


def _item(part: Mapping[str, Any], place: int) -> Any:
    """The schema of one branch for the item at `place`; None if it has none."""
    items = part.get("items")
    if not isinstance(items, list):
        return items
    return items[place] if place < len(items) else part.get("additionalItems")


def _distinct(values: Iterator[Any] | Sequence[Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if not any(value is one or json_equal(value, one) for one in kept):
            kept.append(value)
    return kept


def _types(values: Sequence[Any]) -> Any:
    if not any(isinstance(value, list) for value in values):
        return None
    lists = [value if isinstance(value, list) else [value] for value in values]
    shared = [name for name in dict.fromkeys(lists[0]) if all(name in other for other in lists[1:])]
    return shared[0] if len(shared) == 1 else shared or None


def _enumerated(values: Sequence[Any]) -> Any:
    shared = [one for one in values[0] if all(any(json_equal(one, two) for two in other) for other in values[1:])]
    return (
        sorted(_distinct(shared), key=lambda one: (str(type(one)), one) if isinstance(one, str) else ("", str(one)))
        or None
    )


def _least_common_multiple(values: Sequence[Any]) -> Any:
    fractions = [Fraction(str(value)) for value in values]
    scale = math.lcm(*(fraction.denominator for fraction in fractions))
    multiple = Fraction(functools.reduce(math.lcm, (int(fraction * scale) for fraction in fractions)), scale)
    return multiple.numerator if multiple.denominator == 1 else float(multiple)


_RULES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "type": _types,
    "required": lambda values: sorted({name for value in values for name in value}),
    "enum": _enumerated,
    "multipleOf": _least_common_multiple,
    "uniqueItems": any,
    **dict.fromkeys(_LEAST, min),
    **dict.fromkeys(_GREATEST, max),
}
