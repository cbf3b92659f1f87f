"""What a schema declares for one field, given by a dotted path: whether it can exist, and its types and formats.

How this works: the walk follows every part of a schema that may describe the field (properties, patterns, branches,
references within the document) and is conservative. Parts that it cannot evaluate — a reference to another document, an
object that declares nothing — may contain anything, so that there are no false errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.declaration import nearest
from headwater.patterns import compiled

TYPES = frozenset({"string", "integer", "number", "boolean", "object", "array", "null"})
BRANCHES = ("allOf", "anyOf", "oneOf")
STEPS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Field:
    """The declaration of a field. `types` has "integer" wherever it has "number"; None: any type is possible."""

    types: frozenset[str] | None
    formats: frozenset[str] = frozenset()

    @property
    def values(self) -> frozenset[str]:
        """The possible types of its values, except null; empty if any type is possible."""
        return (self.types or frozenset()) - {"null"}

    @property
    def words(self) -> str:
        """The types for people: `text or number`."""
        names = sorted(self.values - ({"integer"} if "number" in self.values else set()))
        return " or ".join({"string": "text"}.get(name, name) for name in names) or "null"


ANYTHING = Field(None)


def field_at(document: Any, path: str) -> Field | None:
    """The field at a dotted path such as `meta.dt`; None if the schema does not declare it."""
    walk = _Walk(document)
    parts = list(walk.reached(document, path.split(".")))
    if not parts:
        return None
    return _either(walk.field(part) for part in parts)


def field_in_any(documents: Sequence[Any], path: str) -> Field | None:
    """The field in those of these schemas that declare it; None if none does."""
    found = [field for document in documents if (field := field_at(document, path)) is not None]
    return _either(found) if found else None


def nearest_field(documents: Iterable[Any], path: str) -> str | None:
    """The path of the declared field with the most similar last step."""
    parent, _, name = path.rpartition(".")
    found = nearest(name, {known for document in documents for known in _names_below(document, parent)})
    return None if found is None else f"{parent}.{found}" if parent else found


def _names_below(document: Any, path: str) -> list[str]:
    """The names of the members that the object at a dotted path declares; "" is the event itself."""
    walk = _Walk(document)
    parts = walk.reached(document, path.split(".") if path else [])
    # A branch of the event itself describes it, too.
    return sorted({name for part in parts for name in walk.members(part)})


def _either(fields: Iterable[Field]) -> Field:
    """The declaration of a value that is in one of these fields."""
    types: frozenset[str] | None = frozenset()
    formats: frozenset[str] = frozenset()
    for field in fields:
        types = None if types is None or field.types is None else types | field.types
        formats |= field.formats
    return Field(types, formats)


class _Walk:
    """One walk through one document; after STEPS_MAX steps it gives up and assumes that anything is possible."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0

    def reached(self, node: Any, steps: Sequence[str]) -> Iterator[Any]:
        """Every part of the schema that describes the value at `steps` below `node`."""
        self._steps += 1
        if node is True or self._steps > STEPS_MAX:
            yield True
        if not isinstance(node, Mapping) or self._steps > STEPS_MAX:
            return
        if "$ref" in node:
            target = self._target(node["$ref"])
            yield from (True,) if target is None else self.reached(target, steps)
        if not steps:
            yield node
            return
        for part in _parts(node.get("allOf")):
            yield from self.reached(part, steps)
        for parts in _alternatives(node):
            yield from self._reached_in_one(parts, steps)
        for child in _children(node, steps[0]):
            yield from self.reached(child, steps[1:])

    def _reached_in_one(self, parts: Sequence[Any], steps: Sequence[str]) -> Iterator[Any]:
        """The parts that describe the value where one of the alternatives holds.

        One that does not declare what another declares lets anything be there, unless it is closed.
        """
        found = [list(self.reached(part, steps)) for part in parts]
        for reached in found:
            yield from reached
        if any(found) and any(not reached and _is_silent(part) for part, reached in zip(parts, found, strict=True)):
            yield True

    def members(self, node: Any) -> Iterator[str]:
        """The names of the members that a part of the schema declares, its branches among them."""
        self._steps += 1
        if not isinstance(node, Mapping) or self._steps > STEPS_MAX:
            return
        declared = node.get("properties")
        yield from declared if isinstance(declared, Mapping) else ()
        for branch in BRANCHES:
            for part in _parts(node.get(branch)):
                yield from self.members(part)

    def field(self, node: Any) -> Field:
        """The declaration of a value by one part of the schema."""
        self._steps += 1
        if not isinstance(node, Mapping) or self._steps > STEPS_MAX:
            return ANYTHING
        if "$ref" in node:
            # Older drafts ignore its siblings, so these are not considered.
            target = self._target(node["$ref"])
            return ANYTHING if target is None else self.field(target)
        said = [_own(node)]
        said += [self.field(part) for part in _parts(node.get("allOf"))]
        said += [_either(self.field(part) for part in _parts(node[name])) for name in BRANCHES[1:] if node.get(name)]
        types: frozenset[str] | None = None
        for field in said:
            if field.types is not None:
                types = field.types if types is None else types & field.types
        return Field(types, frozenset().union(*(field.formats for field in said)))

    def _target(self, reference: Any) -> Any:
        """The target of a reference within the document; None if it is external or circular."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        node = self._root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            elif isinstance(node, Mapping) and name in node:
                node = node[name]
            else:
                return None
        return node


def _alternatives(node: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """The groups of schemas of a node of which one or several hold, but maybe not all."""
    yield from (_parts(node.get(name)) for name in BRANCHES[1:])
    if "if" in node:
        # Without it, these two mean nothing.
        yield node.get("then", {}), node.get("else", {})


def _is_silent(node: Any) -> bool:
    """Whether what a part of the schema does not declare may be there."""
    return node is not False and not (isinstance(node, Mapping) and node.get("additionalProperties") is False)


def _children(node: Mapping[str, Any], name: str) -> Iterator[Any]:
    """The parts of `node` that describe its member of this name."""
    properties, patterns = node.get("properties"), node.get("patternProperties")
    found = False
    if isinstance(properties, Mapping) and name in properties:
        found = True
        yield properties[name]
    for pattern, part in patterns.items() if isinstance(patterns, Mapping) else ():
        if _matches(pattern, name):
            found = True
            yield part
    rest = node.get("additionalProperties")
    if found or rest is False:
        return
    if isinstance(rest, Mapping):
        yield rest
    elif _is_open(node):
        yield True


def _is_open(node: Mapping[str, Any]) -> bool:
    """Whether an object declares nothing at all, so that anything may be in it."""
    listing = ("properties", "patternProperties", "$ref", *BRANCHES)
    return not any(node.get(name) for name in listing) and "object" in node.get("type", "object")


def _own(node: Mapping[str, Any]) -> Field:
    declared = node.get("type")
    types: frozenset[str] | None = None
    if isinstance(declared, str):
        types = frozenset({declared}) & TYPES
    elif isinstance(declared, list):
        types = frozenset(one for one in declared if isinstance(one, str)) & TYPES
    elif isinstance(node.get("enum"), list):
        types = frozenset(_type_of(value) for value in node["enum"])
    elif "const" in node:
        types = frozenset({_type_of(node["const"])})
    if types is not None and "number" in types:
        types |= {"integer"}
    given = node.get("format")
    return Field(types, frozenset({given}) if isinstance(given, str) else frozenset())


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if float(value).is_integer() else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _parts(value: Any) -> Sequence[Any]:
    """The schemas of `allOf`, `anyOf` or `oneOf`, or the one of `then`."""
    return value if isinstance(value, list) else () if value is None else (value,)


def _matches(pattern: Any, name: str) -> bool:
    try:
        return compiled(str(pattern)).search(name) is not None
    except re.error:
        # ECMAScript has expressions that Python does not support: it may match.
        return True
