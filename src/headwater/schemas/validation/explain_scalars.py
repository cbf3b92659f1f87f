"""The violations of a number or a string, by keyword in the order and words of the legacy validator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from headwater.schemas.json_value import is_multiple
from headwater.schemas.validation.formats import FORMAT_FUNCTIONS, FORMAT_PATTERNS
from headwater.schemas.violation import number_text

Wrong = tuple[str, dict[str, Any], str]


def explain_number(schema: dict[str, Any], value: float) -> Iterator[Wrong]:
    """(keyword, params, message) of each keyword about numbers that the value breaks."""
    yield from _bound(schema, value, "maximum", "exclusiveMaximum")
    yield from _bound(schema, value, "minimum", "exclusiveMinimum")
    divisor = schema.get("multipleOf")
    if divisor is not None and not is_multiple(value, divisor):
        yield "multipleOf", {"multipleOf": divisor}, f"should be multiple of {number_text(divisor)}"


def _bound(schema: dict[str, Any], value: float, keyword: str, exclusive_keyword: str) -> Iterator[Wrong]:
    limit, exclusive_limit = schema.get(keyword), schema.get(exclusive_keyword)
    is_maximum = keyword == "maximum"
    exclusive = exclusive_limit is True
    if isinstance(exclusive_limit, int | float) and not isinstance(exclusive_limit, bool):
        tighter = limit is None or (exclusive_limit <= limit if is_maximum else exclusive_limit >= limit)
        exclusive, limit = tighter, exclusive_limit if tighter else limit
    if limit is None:
        return
    beyond = value > limit if is_maximum else value < limit
    if beyond or (exclusive and value == limit):
        comparison = ("<" if is_maximum else ">") + ("" if exclusive else "=")
        params = {"comparison": comparison, "limit": limit, "exclusive": exclusive}
        yield (exclusive_keyword if exclusive else keyword), params, f"should be {comparison} {number_text(limit)}"


def explain_string(schema: dict[str, Any], value: str, matches: Callable[[str, str], bool]) -> Iterator[Wrong]:
    """(keyword, params, message) of each keyword about strings that the value breaks."""
    longest, shortest = schema.get("maxLength"), schema.get("minLength")
    if longest is not None and len(value) > longest:
        yield "maxLength", {"limit": longest}, f"should NOT be longer than {number_text(longest)} characters"
    if shortest is not None and len(value) < shortest:
        yield "minLength", {"limit": shortest}, f"should NOT be shorter than {number_text(shortest)} characters"
    pattern = schema.get("pattern")
    if pattern is not None and not matches(pattern, value):
        yield "pattern", {"pattern": pattern}, f'should match pattern "{pattern}"'
    name = schema.get("format")
    if name is not None and not _has_format(name, value, matches):
        yield "format", {"format": name}, f'should match format "{name}"'


def _has_format(name: str, value: str, matches: Callable[[str, str], bool]) -> bool:
    if name in FORMAT_PATTERNS:
        return matches(FORMAT_PATTERNS[name], value)
    function = FORMAT_FUNCTIONS.get(name)
    return function is None or function(value)
