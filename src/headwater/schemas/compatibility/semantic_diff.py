"""What a new version of a schema changes, in terms of schemas: fields, types and bounds, not lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.schemas.json_value import identity_key, is_number
from headwater.schemas.violation import pointer_step

ANNOTATIONS = frozenset(
    (
        *("$id", "$schema", "$comment", "title", "description", "examples", "default"),
        *("readOnly", "writeOnly", "deprecated", "contentEncoding", "contentMediaType"),
    )
)
_RULES = frozenset(
    (
        *("type", "enum", "const", "format", "pattern", "required", "properties", "patternProperties", "items"),
        *("additionalProperties", "additionalItems", "prefixItems", "contains", "minContains", "maxContains"),
        *("propertyNames", "minProperties", "maxProperties", "minItems", "maxItems", "uniqueItems", "minLength"),
        *("maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "dependencies"),
        *("dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "allOf", "anyOf"),
        *("oneOf", "not", "if", "then", "else", "$ref", "$defs", "definitions", "$anchor", "$dynamicRef"),
    )
)
_SCHEMAS = (
    *("items", "additionalProperties", "additionalItems", "contains", "propertyNames", "unevaluatedProperties"),
    *("unevaluatedItems", "not", "if", "then", "else"),
)
_MAPS = ("patternProperties", "definitions", "$defs", "dependencies", "dependentSchemas", "dependentRequired")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_TEXT_MAX = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    `pointer` is the field in the data ("" is the whole event, `-` any element, `*` any member), `schema_pointer` the
    place in the schema, `kind` what happened (`field added`, `field removed`, `type changed`, …). `is_annotation` says
    that it documents and does not constrain. `old` and `new` are None on the side that has nothing there.
    """

    kind: str
    pointer: str
    schema_pointer: str
    sentence: str
    old: Any = None
    new: Any = None
    is_annotation: bool = False

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Every difference between two schema documents, fields first, annotations last. References are not followed."""
    found = list(_schema(old, new, "", ""))
    return sorted(found, key=lambda change: change.is_annotation)


def _schema(old: Any, new: Any, at: str, schema_at: str) -> Iterator[Change]:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if not _same(old, new):
            yield Change("rule changed", at, schema_at, f"{_field(at)}: {_text(old)} became {_text(new)}.", old, new)
        return
    yield from _fields(old, new, at, schema_at)
    for word in dict.fromkeys((*old, *new)):
        if word != "properties" and not _same(old.get(word), new.get(word)):
            before, after = old.get(word), new.get(word)
            if word == "required":
                # Whether an added field is required, or a removed one was, is reported with the field.
                before, after = _without(before, old, new), _without(after, new, old)
            yield from _keyword(word, before, after, at, schema_at + pointer_step(word))


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], at: str, schema_at: str) -> Iterator[Change]:
    before, after = (_mapping(side.get("properties")) for side in (old, new))
    needed = new.get("required")
    for name in after:
        below, schema_below = at + pointer_step(name), f"{schema_at}/properties{pointer_step(name)}"
        if name not in before:
            how = "required" if isinstance(needed, list) and name in needed else "optional"
            what = f"The {how} field {below} was added{_typed(after[name])}."
            yield Change("field added", below, schema_below, what, None, after[name])
        else:
            yield from _schema(before[name], after[name], below, schema_below)
    for name in before:
        if name not in after:
            below, schema_below = at + pointer_step(name), f"{schema_at}/properties{pointer_step(name)}"
            yield Change("field removed", below, schema_below, f"The field {below} was removed.", before[name], None)


def _keyword(word: str, old: Any, new: Any, at: str, schema_at: str) -> Iterator[Change]:
    # Definitions have no effect by themselves; the references to them show what changes.
    unused = word in ("definitions", "$defs") and (old is None or new is None)
    if word in ANNOTATIONS or word not in _RULES or unused:
        verb = "added" if old is None else "removed" if new is None else "changed"
        sentence = f"{_field(at)}: `{word}` was {verb}."
        yield Change("annotation changed", at, schema_at, sentence, old, new, is_annotation=True)
    elif word in ("required", "type", "enum"):
        yield from _set(word, old, new, at, schema_at)
    elif word in _SCHEMAS and isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _schema(old, new, at + _STEPS.get(word, ""), schema_at)
    elif word in _MAPS and isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _named(old, new, at, schema_at)
    elif word in _LISTS and isinstance(old, list) and isinstance(new, list):
        yield from _listed(word, old, new, at, schema_at)
    else:
        yield Change(_kind(word, old, new), at, schema_at, f"{_field(at)}: {_became(word, old, new)}.", old, new)


_STEPS = {"items": "/-", "additionalItems": "/-", "contains": "/-", "additionalProperties": "/*"}


def _set(word: str, old: Any, new: Any, at: str, schema_at: str) -> Iterator[Change]:
    """Keywords whose value is a set: what was added to it and what was removed."""
    before, after = (side if isinstance(side, list) else [] if side is None else [side] for side in (old, new))
    keys_before, keys_after = ({identity_key(one) for one in side} for side in (before, after))
    gone = [one for one in before if identity_key(one) not in keys_after]
    come = [one for one in after if identity_key(one) not in keys_before]
    if not gone and not come:
        return
    if word == "required":
        for names, what in ((come, "is now required"), (gone, "is no longer required")):
            for name in names:
                kind = "field required" if names is come else "field made optional"
                yield Change(kind, at + pointer_step(str(name)), schema_at, f"{at}/{name} {what}.", old, new)
        return
    if word == "type" or old is None or new is None:
        yield Change(_kind(word, old, new), at, schema_at, f"{_field(at)}: {_became(word, old, new)}.", old, new)
        return
    parts = [f"gained {', '.join(map(_text, come))}"] if come else []
    parts += [f"lost {', '.join(map(_text, gone))}"] if gone else []
    yield Change("values changed", at, schema_at, f"{_field(at)}: the list of values {' and '.join(parts)}.", old, new)


def _named(old: Mapping[str, Any], new: Mapping[str, Any], at: str, schema_at: str) -> Iterator[Change]:
    for name in dict.fromkeys((*old, *new)):
        below = schema_at + pointer_step(name)
        if name in old and name in new:
            yield from _schema(old[name], new[name], at, below)
        else:
            verb = "added" if name in new else "removed"
            sentence = f"{_field(at)}: {below.rsplit('/', 2)[1]} {name!r} was {verb}."
            yield Change(f"rule {verb}", at, below, sentence, old.get(name), new.get(name))


def _listed(word: str, old: Sequence[Any], new: Sequence[Any], at: str, schema_at: str) -> Iterator[Change]:
    if word in ("allOf", "anyOf", "oneOf"):
        # The order of branches has no meaning: branches on both sides are removed first.
        same = {identity_key(one) for one in old} & {identity_key(one) for one in new}
        old, new = ([one for one in side if identity_key(one) not in same] for side in (old, new))
    for index in range(max(len(old), len(new))):
        below = f"{schema_at}/{index}"
        if index < len(old) and index < len(new):
            yield from _schema(old[index], new[index], at if word.endswith("Of") else f"{at}/{index}", below)
        else:
            verb = "added" if index < len(new) else "removed"
            one = (new if index < len(new) else old)[index]
            sentence = f"{_field(at)}: a part of `{word}` was {verb}."
            yield Change(f"rule {verb}", at, below, sentence, *((None, one) if verb == "added" else (one, None)))


def _kind(word: str, old: Any, new: Any) -> str:
    verb = "added" if old is None else "removed" if new is None else "changed"
    return f"{'type' if word == 'type' else 'rule'} {verb}"


def _became(word: str, old: Any, new: Any) -> str:
    if old is None:
        return f"`{word}` was added: {_text(new)}"
    if new is None:
        return f"`{word}` was removed (it was {_text(old)})"
    if is_number(old) and is_number(new):
        return f"`{word}` was {'raised' if new > old else 'lowered'} from {_text(old)} to {_text(new)}"
    return f"`{word}` changed from {_text(old)} to {_text(new)}"


def _same(old: Any, new: Any) -> bool:
    return (old is None) == (new is None) and identity_key(old) == identity_key(new)


def _without(names: Any, own: Mapping[str, Any], other: Mapping[str, Any]) -> Any:
    """Names of a `required` list without those that only this side declares."""
    own_fields, other_fields = _mapping(own.get("properties")), _mapping(other.get("properties"))
    if not isinstance(names, list):
        return names
    return [name for name in names if name in other_fields or name not in own_fields]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _field(at: str) -> str:
    return at or "The event"


def _typed(schema: Any) -> str:
    types = schema.get("type") if isinstance(schema, Mapping) else None
    named = ", ".join(types) if isinstance(types, list) else types
    return f" ({named})" if isinstance(named, str) else ""


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
