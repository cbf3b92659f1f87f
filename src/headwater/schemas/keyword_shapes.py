"""Checks that the keywords of a schema have values of the right form, before the schema is used.

How this works: one table gives the form of each keyword; `misshapen` walks the schemas of a document with it. The
metaschema of the dialect checks the same, but only after references are resolved; a file that its author edits may have
a `$ref` in place of any value, and its author needs all faults at once, in words, with their places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.schemas.dialect import DRAFT_04, DRAFT_07, DRAFT_2020_12, TYPES, metaschema_breach, spelt_dialect
from headwater.schemas.json_value import identity_key, is_number
from headwater.schemas.violation import pointer_step

_SHOWN_CHARACTERS_MAX = 60
# YAML 1.1 reads these words as booleans, and many authors expect that; YAML 1.2 reads them as text.
_BOOLEAN_WORDS = {
    **dict.fromkeys(("no", "off", "n", "false"), "false"),
    **dict.fromkeys(("yes", "on", "y", "true"), "true"),
}


@dataclass(frozen=True, slots=True)
class Misshape:
    """A value of the wrong form at `pointer`, a JSON pointer into the document."""

    pointer: str
    message: str
    hint: str | None = None


def misshapen(document: Any, *, references: bool = True) -> Iterator[Misshape]:
    """Every value in a document that does not have the form its keyword requires.

    `references`: an object with a `$ref` may replace any value, as in files that are not dereferenced yet.
    """
    if not isinstance(document, Mapping):
        yield Misshape("", f"A schema is a mapping of keywords, not {_kind(document)}.")
        return
    dialect = spelt_dialect(document) or ""
    yield from _Walk(dialect, references).schema(document, "")


def metaschema_misshape(document: Mapping[str, Any]) -> Misshape | None:
    """The first fault according to the metaschema of the document's dialect (draft-07 for an unknown one)."""
    found = metaschema_breach(document, spelt_dialect(document) or DRAFT_07)
    if found is None:
        return None
    pointer, reason = found
    return Misshape(pointer, f"This is not a valid schema: {reason}.")


class _Walk:
    def __init__(self, dialect: str, references: bool) -> None:
        self._dialect = dialect
        self._references = references
        # An alias makes several places one object; the first place is enough.
        self._seen: set[int] = set()

    def schema(self, value: Any, pointer: str, keyword: str = "") -> Iterator[Misshape]:
        if isinstance(value, bool) and (self._dialect != DRAFT_04 or keyword in _OPEN_OR_CLOSED):
            return
        if not isinstance(value, Mapping):
            yield _no_schema(value, pointer, keyword)
            return
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        for name, child in value.items():
            form = _FORMS.get(name)
            if form is None or name in _UNKNOWN_IN.get(self._dialect, ()):
                continue
            if form is not _schema and self._stands_for_another(child):
                continue
            yield from form(self, child, pointer + pointer_step(name), name)

    def _stands_for_another(self, value: Any) -> bool:
        return self._references and isinstance(value, Mapping) and isinstance(value.get("$ref"), str)

    def schemas(self, values: list[Any], pointer: str, keyword: str) -> Iterator[Misshape]:
        for index, value in enumerate(values):
            yield from self.schema(value, f"{pointer}/{index}", keyword)

    def named(self, values: Mapping[str, Any], pointer: str, keyword: str) -> Iterator[Misshape]:
        for name, value in values.items():
            if name == "$ref" and isinstance(value, str) and self._references:
                continue
            yield from self.schema(value, pointer + pointer_step(name), keyword)

    @property
    def is_2020_12(self) -> bool:
        return self._dialect == DRAFT_2020_12

    @property
    def is_draft_04(self) -> bool:
        return self._dialect == DRAFT_04


_Form = Callable[[_Walk, Any, str, str], Iterator[Misshape]]


def _schema(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    yield from walk.schema(value, pointer, keyword)


def _items(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if isinstance(value, list) and not walk.is_2020_12:
        yield from walk.schemas(value, pointer, keyword)
    else:
        yield from walk.schema(value, pointer, keyword)


def _schema_list(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not isinstance(value, list) or not value:
        yield _wrong(value, pointer, keyword, "a list of at least one schema")
        return
    yield from walk.schemas(value, pointer, keyword)


def _schema_map(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not isinstance(value, Mapping):
        yield _wrong(value, pointer, keyword, "a mapping of names to schemas")
        return
    yield from walk.named(value, pointer, keyword)


def _dependencies(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not isinstance(value, Mapping):
        yield _wrong(value, pointer, keyword, "a mapping of names to lists of names, or to schemas")
        return
    for name, child in value.items():
        at = pointer + pointer_step(name)
        if isinstance(child, list) and keyword != "dependentSchemas":
            yield from _names(walk, child, at, keyword)
        elif keyword == "dependentRequired":
            yield _wrong(child, at, keyword, "a list of names for each name")
        else:
            yield from walk.schema(child, at, keyword)


def _names(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not isinstance(value, list):
        hint = f"Write `{keyword}: [{value}]`." if isinstance(value, str) else None
        yield _wrong(value, pointer, keyword, "a list of names", hint)
        return
    if not value and walk.is_draft_04 and keyword == "required":
        yield Misshape(pointer, "`required` is an empty list, which draft-04 does not allow.", "Leave it out.")
    seen: set[str] = set()
    for index, name in enumerate(value):
        if walk._stands_for_another(name):
            continue
        if not isinstance(name, str):
            yield _wrong(name, f"{pointer}/{index}", keyword, "a list of names, which are text")
        elif name in seen:
            yield Misshape(f"{pointer}/{index}", f'`{keyword}` names "{name}" twice.', "Remove one of the two.")
        else:
            seen.add(name)


def _type(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    names = value if isinstance(value, list) else [value]
    wanted = f"one of {', '.join(TYPES)}, or a list of some of them"
    if not names:
        yield _wrong(value, pointer, keyword, wanted)
    if len({identity_key(name) for name in names}) < len(names):
        yield Misshape(pointer, "`type` names a type twice.", "Remove one of the two.")
    for index, name in enumerate(names):
        if name not in TYPES or not isinstance(name, str):
            yield _wrong(name, f"{pointer}/{index}" if isinstance(value, list) else pointer, keyword, wanted)


def _text(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not isinstance(value, str):
        yield _wrong(value, pointer, keyword, "text", "Put it in quotes.")


def _boolean(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not isinstance(value, bool):
        yield _wrong(value, pointer, keyword, "true or false", _boolean_hint(value, keyword))


def _number(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not is_number(value):
        yield _wrong(value, pointer, keyword, "a number")
    elif keyword == "multipleOf" and value <= 0:
        yield _wrong(value, pointer, keyword, "a number above 0")


def _exclusive_bound(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    yield from (_boolean if walk.is_draft_04 else _number)(walk, value, pointer, keyword)


def _count(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not is_number(value) or value < 0 or value != int(value):
        yield _wrong(value, pointer, keyword, "a whole number, 0 or more")


def _list(walk: _Walk, value: Any, pointer: str, keyword: str) -> Iterator[Misshape]:
    if not isinstance(value, list):
        yield _wrong(value, pointer, keyword, "a list of values")


def _no_schema(value: Any, pointer: str, keyword: str) -> Misshape:
    what = f"`{keyword}` has {_shown(value)} where a schema is required"
    if isinstance(value, str) and value.lower() in _BOOLEAN_WORDS:
        return Misshape(
            pointer,
            f"{what}: neither true, false nor a schema.",
            f"Write `{_BOOLEAN_WORDS[value.lower()]}`: YAML reads `{value}` as text here.",
        )
    hint = "A schema is a mapping of keywords, or true or false."
    if isinstance(value, str):
        hint = f"Write `{{type: {value}}}`." if value in TYPES else hint
    elif isinstance(value, bool):
        hint = "draft-04 has no schemas that are true or false: write `{}`, or `{not: {}}`."
    return Misshape(pointer, f"{what}.", hint)


def _wrong(value: Any, pointer: str, keyword: str, wanted: str, hint: str | None = None) -> Misshape:
    return Misshape(pointer, f"`{keyword}` is {wanted}, not {_shown(value)}.", hint)


def _boolean_hint(value: Any, keyword: str) -> str | None:
    if isinstance(value, str) and value.lower() in _BOOLEAN_WORDS:
        return f"Write `{keyword}: {_BOOLEAN_WORDS[value.lower()]}`: YAML reads `{value}` as text here."
    return None


def _shown(value: Any) -> str:
    """The value as a message shows it: small values as they are, others by their kind."""
    kind = _kind(value)
    if isinstance(value, Mapping | list) or value is None or isinstance(value, bool):
        return kind
    text = f"{value!r}" if isinstance(value, str) else str(value)
    return f"{kind} {text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + '…'}"


def _kind(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "the text"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else "the number"


_OPEN_OR_CLOSED = frozenset(("additionalProperties", "additionalItems"))
# Annotations that a dialect does not know mean whatever their author wants. Keywords that hold schemas in other
# dialects do not: such a schema must not be ignored here.
_LATER_THAN_DRAFT_07 = ("$anchor", "deprecated", "minContains", "maxContains")
_UNKNOWN_IN = {
    DRAFT_04: frozenset((*_LATER_THAN_DRAFT_07, "$comment", "examples", "readOnly", "writeOnly", "contentEncoding")),
    DRAFT_07: frozenset(_LATER_THAN_DRAFT_07),
    DRAFT_2020_12: frozenset(("additionalItems",)),
}
_FORMS: dict[str, _Form] = {
    **dict.fromkeys(("additionalProperties", "additionalItems", "propertyNames", "contains"), _schema),
    **dict.fromkeys(("not", "if", "then", "else", "contentSchema"), _schema),
    **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems"), _schema),
    "items": _items,
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _schema_list),
    **dict.fromkeys(("properties", "patternProperties", "definitions", "$defs"), _schema_map),
    **dict.fromkeys(("dependencies", "dependentSchemas", "dependentRequired"), _dependencies),
    "required": _names,
    "type": _type,
    **dict.fromkeys(("enum", "examples"), _list),
    **dict.fromkeys(("title", "description", "$comment", "$id", "$schema", "$ref", "$anchor"), _text),
    **dict.fromkeys(("pattern", "format", "contentEncoding", "contentMediaType"), _text),
    **dict.fromkeys(("uniqueItems", "readOnly", "writeOnly", "deprecated"), _boolean),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), _number),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), _exclusive_bound),
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), _count),
    **dict.fromkeys(("minContains", "maxContains"), _count),
}
