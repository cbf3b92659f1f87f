"""Makes an example event from a schema alone: the same on every machine and every day (contracts/schemas.md §2.5)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from importlib import import_module
from typing import Any

from headwater.errors import SchemaInvalid

# The values are those of the generator the original uses, with its random source fixed at 0.15.
_PORTION = 0.15
_WORD = "dolor"
_MAP_KEY = "dolorb"
_WORD_CHARS_MAX = 10_000
_TEXT_CHARS_USUAL = 140
_ITEMS_MAX = 100
_VALUES_MAX = 10_000
_UNBOUNDED_REPEATS = 10

_BY_FORMAT: dict[str, str] = {
    "date-time": "2021-01-01T00:00:00.0Z",
    # The original takes it from the clock, so that its results differ each day.
    "date": "2021-01-01",
    "time": "00:00:00.0Z",
    "uri-reference": "http://example.org",
    "uri": "http://hhhhh.ddhjhj",
    "uuid": "22222222-2222-2222-2222-222222222222",
    "email": "dolor@example.org",
    "hostname": "example.org",
    "ipv4": "38.38.38.38",
    "ipv6": "2001:db8::1",
}
_CLASSES: dict[str, str] = {
    "CATEGORY_DIGIT": "0123456789",
    "CATEGORY_WORD": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "CATEGORY_NOT_WORD": "-",
    "CATEGORY_NOT_SPACE": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
}


def example_event(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An event with every property the schema lists, `$schema` set to its `$id`. The schema has no `$ref`.

    Raises SchemaInvalid if none can be made: a keyword has a value of the wrong kind, or it would be too large.
    """
    try:
        value = _value(schema, _Budget())
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise SchemaInvalid(
            f"No example can be made of the schema {schema.get('$id', '')}: {error}.",
            hint="Correct the keyword that has a value of the wrong kind, or write an example.",
        ) from None
    event = value if isinstance(value, dict) else {}
    properties = schema.get("properties")
    if isinstance(properties, dict) and "$schema" in properties and isinstance(schema.get("$id"), str):
        event["$schema"] = schema["$id"]
    return event


class _Budget:
    """How many values one example may still get: nested arrays with `minItems` multiply."""

    def __init__(self) -> None:
        self._left = _VALUES_MAX

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise SchemaInvalid(
                f"An example would have more than {_VALUES_MAX} values.", hint="Write one under `examples`."
            )


def _value(schema: Any, budget: _Budget) -> Any:
    budget.spend()
    if not isinstance(schema, dict):
        return {}
    for keyword in ("const", "default"):
        if keyword in schema:
            # A copy, because a shared object would be printed as an alias.
            return deepcopy(schema[keyword])
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return deepcopy(_pick(choices))
    for keyword in ("oneOf", "anyOf"):
        branches = schema.get(keyword)
        if isinstance(branches, list) and branches and isinstance(branch := _pick(branches), dict):
            return _value({**{name: value for name, value in schema.items() if name != keyword}, **branch}, budget)
    return _of_type(schema, budget)


def _of_type(schema: Mapping[str, Any], budget: _Budget) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = _pick(kind)
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else None
    if kind == "array":
        return _array(schema, budget)
    if kind == "object":
        return _object(schema, budget)
    if kind is None:
        return {}
    make = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    return make(schema) if make else None


def _pick(choices: list[Any]) -> Any:
    return choices[math.floor(_PORTION * len(choices))]


def _string(schema: Mapping[str, Any]) -> str:
    pattern, named = schema.get("pattern"), schema.get("format")
    if isinstance(pattern, str) and (made := _matching(pattern)) is not None:
        return made
    if isinstance(named, str) and named in _BY_FORMAT:
        return _BY_FORMAT[named]
    least = schema.get("minLength", 0)
    text = _WORD
    while len(text) < least and len(text) < _WORD_CHARS_MAX:
        text += _WORD
    # The original first draws a length between the two, and cuts the text there.
    return text[: _drawn(least, max(least, schema.get("maxLength", _TEXT_CHARS_USUAL)))]


def _drawn(least: float, most: float) -> int:
    return math.floor(least + _PORTION * (float(most) - least + 1))


def _integer(schema: Mapping[str, Any]) -> int:
    least, most = _range(schema, -9_007_199_254_740_991, 9_007_199_254_740_991)
    value = _drawn(least, most)
    step = schema.get("multipleOf")
    return value - value % step if isinstance(step, int) and not isinstance(step, bool) and step > 0 else value


def _number(schema: Mapping[str, Any]) -> float:
    least, most = _range(schema, -9_007_199_254_740_991, 9_007_199_254_740_991)
    return least + _PORTION * (float(most) - least)


def _range(schema: Mapping[str, Any], least: float, most: float) -> tuple[float, float]:
    low, high = schema.get("minimum", least), schema.get("maximum", most)
    return (low, high) if low <= high else (low, low)


def _array(schema: Mapping[str, Any], budget: _Budget) -> list[Any]:
    items = schema.get("items")
    if isinstance(items, list):
        return [_value(item, budget) for item in items]
    if not isinstance(items, dict):
        return []
    count = min(max(1, schema.get("minItems", 1)), schema.get("maxItems", _ITEMS_MAX), _ITEMS_MAX)
    return [_value(items, budget) for _ in range(count)]


def _object(schema: Mapping[str, Any], budget: _Budget) -> dict[str, Any]:
    properties = schema.get("properties")
    if isinstance(properties, dict) and properties:
        return {name: _value(child, budget) for name, child in properties.items() if child is not False}
    values = schema.get("additionalProperties")
    return {_MAP_KEY: _value(values, budget)} if isinstance(values, dict) else {}


_BY_TYPE: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda schema: False,
    "null": lambda schema: None,
}


def _matching(pattern: str) -> str | None:
    """A text that matches the expression; None if the expression cannot be read or no text is found."""
    try:
        # Not matched against the expression: a hostile one could make that take for ever.
        return _made(import_module("re._parser").parse(pattern))
    except (re.error, ValueError, KeyError, OverflowError, RecursionError):
        return None


def _made(parts: Any) -> str:
    text = ""
    for operation, argument in parts:
        text += _made_of(str(operation), argument)
        if len(text) > _WORD_CHARS_MAX:
            raise ValueError("the text would be too long")
    return text


def _made_of(operation: str, argument: Any) -> str:
    match operation:
        case "LITERAL":
            return chr(int(argument))
        case "ANY":
            return _WORD[0]
        case "IN":
            return str(_pick(list(_members(argument))))
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, part = argument
            most = min(most, max(least, _UNBOUNDED_REPEATS))
            count = least + math.floor(_PORTION * (most - least + 1))
            text = _made(part)
            if len(text) * count > _WORD_CHARS_MAX:
                raise ValueError("the text would be too long")
            return text * int(count)
        case "SUBPATTERN":
            return _made(argument[-1])
        case "BRANCH":
            return _made(_pick(argument[1]))
        case "AT":
            return ""
    raise ValueError(f"{operation} is not supported")


def _members(ranges: Any) -> str:
    """The characters of a class, in order of their codes."""
    if str(ranges[0][0]) == "NEGATE":
        excluded = set(_members(ranges[1:]))
        return "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in excluded)
    found: set[str] = set()
    for operation, argument in ranges:
        match str(operation):
            case "LITERAL":
                found.add(chr(argument))
            case "RANGE":
                found.update(chr(code) for code in range(argument[0], min(argument[1], argument[0] + 0x100) + 1))
            case "CATEGORY":
                found.update(_CLASSES[str(argument)])
    return "".join(sorted(found))
