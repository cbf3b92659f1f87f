"""A quick proof for the most common changes: a version that adds optional fields, values or keywords, or requires less.

What it proves, the engine also proves, at a hundred times the cost; what it does not prove may still be compatible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.schemas.compatibility.semantic_diff import ANNOTATIONS
from headwater.schemas.json_value import identity_key, json_equal

_DEFINITIONS = frozenset(("definitions", "$defs"))
# Below these keywords a schema may grow while data of the old one stay valid; below all others it must be equal.
_GROWS_ONE = frozenset(("items", "additionalProperties"))


def only_adds(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether `new` allows what `old` allows and keeps its columns, if writers send only declared names."""
    if _refers(old) or _refers(new):
        return _grows(old, new)
    # Without references, definitions do not apply.
    return _grows(*({word: part for word, part in one.items() if word not in _DEFINITIONS} for one in (old, new)))


def _refers(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "$ref" in value or "$dynamicRef" in value or any(map(_refers, value.values()))
    return isinstance(value, list) and any(map(_refers, value))


def _grows(old: Any, new: Any) -> bool:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return json_equal(old, new)
    if isinstance(old.get("$ref"), str):
        return json_equal(old, new)
    words = (old.keys() | new.keys()) - ANNOTATIONS
    if "required" not in new:
        words -= {"required"}
    return all(_keeps(word, old, new) for word in words)


def _keeps(word: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if word not in old or word not in new:
        return False
    before, after = old[word], new[word]
    if word == "properties" and isinstance(before, Mapping) and isinstance(after, Mapping):
        return _fields(old, new, before, after)
    if word == "required" and isinstance(before, list) and isinstance(after, list):
        return {identity_key(one) for one in after} <= {identity_key(one) for one in before}
    if word == "enum" and isinstance(before, list) and isinstance(after, list):
        return {identity_key(one) for one in before} <= {identity_key(one) for one in after}
    if word in _GROWS_ONE and isinstance(before, Mapping) and isinstance(after, Mapping):
        return _grows(before, after)
    return json_equal(before, after)


def _fields(
    old: Mapping[str, Any], new: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> bool:
    if not all(name in after and _grows(child, after[name]) for name, child in before.items()):
        return False
    if before.keys() == after.keys():
        return True
    # A field that a map or a pattern already covered is not a new name; its type may differ.
    covered = isinstance(old.get("additionalProperties"), Mapping) or "patternProperties" in old
    plain = old.get("type") == "object" and not any(word in new for word in ("minProperties", "maxProperties"))
    return plain and not covered
