"""Reads JSON Schema as a field tree: `$ref` and `allOf` are followed; what has no single type is kept with the reason.

How this works: a place in an event may be described by several schemas at once (a `$ref` with siblings, the branches of
an `allOf`). `_linear` turns them into a list of plain ones, the enclosing schema first, and `_Reader.type_of` reads the
list as one. `oneOf` and `anyOf` are read by adding each branch to that list and uniting the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from headwater.errors import HeadwaterError, TypeUnmappable
from headwater.schemas.json_value import is_number
from headwater.schemas.types.tree import (
    WHOLE,
    Choice,
    DataType,
    Field,
    ListOf,
    MapOf,
    Nullable,
    Scalar,
    Struct,
    TypedSchema,
    Untyped,
    describe,
    same_type,
)
from headwater.schemas.uri import version_of

FIELDS_MAX = 20_000
DEPTH_MAX = 64

# The document at an absolute path of the repositories (`/fragment/common/2.0.0`), without a fragment.
FindDocument = Callable[[str], Mapping[str, Any]]

_CHOICES = ("oneOf", "anyOf")
_PLAIN: dict[str, Scalar] = {
    "boolean": Scalar("boolean"),
    "number": Scalar("number"),
    "string": Scalar("string"),
    "null": Scalar("null"),
}


@dataclass(frozen=True, slots=True)
class _Located:
    """A schema, the document of its local references, and the references followed to get here."""

    schema: Any
    document: Mapping[str, Any]
    followed: frozenset[str] = frozenset()


class _ContainsItselfError(Exception):
    """A reference led back to a schema it is part of."""


def read_types(document: Mapping[str, Any], find_document: FindDocument | None = None) -> TypedSchema:
    """The field tree of a schema document. `find_document` returns the documents that `$ref`s name.

    Raises TypeUnmappable if the document declares no fields or too many, or a reference does not resolve.
    """
    title = document.get("title")
    name = title if isinstance(title, str) else None
    reader = _Reader(name or "the schema", find_document)
    root = reader.root(document)
    version = str(document.get("$id", "")).rsplit("/", 1)[-1]
    description = document.get("description")
    return TypedSchema(
        name,
        version if version_of(version) else None,
        root,
        description if isinstance(description, str) else None,
    )


class _Reader:
    def __init__(self, name: str, find_document: FindDocument | None) -> None:
        self._name = name
        self._find = find_document
        self._fields = 0

    def root(self, document: Mapping[str, Any]) -> DataType:
        """The root is a table: only its properties count, whatever else an event may contain."""
        try:
            parts = self._linear([_Located(document, document)])
            base = _without_choices(parts)
            own = united = self._object_fields(base, "")
            for branches in _choices(parts):
                for branch in branches:
                    united = _more_fields(united, self._object_fields(self._linear([*base, branch]), ""))
        except _ContainsItselfError:
            raise TypeUnmappable(f"{self._name} contains itself through its references.") from None
        if not united.fields:
            return Struct((self._whole(document),))
        return own if own == united else Choice(own, united)

    def _whole(self, document: Mapping[str, Any]) -> Field:
        """A schema that is not an object of fields, such as a fragment that describes a map: one column for all of
        it.
        """
        kind = self.type_of([_Located(document, document)], "")
        if isinstance(kind, Untyped):
            raise TypeUnmappable(
                f"{self._name} {kind.why}, so it has no columns.", hint="Declare the fields of the events."
            )
        name = self._name.rsplit("/", 1)[-1] if "/" in self._name else "value"
        description = document.get("description")
        words = " ".join(description.split()) if isinstance(description, str) else None
        return Field(name, WHOLE, kind, required=True, nullable=False, path="", description=words)

    def type_of(self, places: Sequence[_Located], path: str) -> DataType:
        """What one place in an event may hold."""
        if path.count(".") + path.count("[") + path.count("{") > DEPTH_MAX:
            return Untyped(f"is nested deeper than {DEPTH_MAX} levels")
        try:
            parts = self._linear(places)
        except _ContainsItselfError:
            return Untyped("contains itself")
        base = _without_choices(parts)
        own = self._own_type(base, path)
        united = own
        for branches in _choices(parts):
            try:
                kinds = [self._own_or_nested(self._linear([*base, branch]), path) for branch in branches]
            except _ContainsItselfError:
                return Untyped("contains itself")
            both = _unite(kinds)
            # Several such keywords apply together: each may add fields.
            united = both if united is own else _unite([united, both])
        return united if united == own else Choice(_own_of(own), united)

    def _own_or_nested(self, parts: Sequence[_Located], path: str) -> DataType:
        return self.type_of(parts, path) if _choices(parts) else self._own_type(parts, path)

    def _own_type(self, parts: Sequence[_Located], path: str) -> DataType:
        types = _first(parts, "type")
        if isinstance(types, str):
            return self._named_type(types, parts, path)
        if not isinstance(types, list):
            guess = _type_without_name(parts)
            unnamed = Untyped("has no `type`")
            return unnamed if guess is None else Choice(unnamed, self._named_type(guess, parts, path))
        own = Untyped(f"has a list of types ({', '.join(map(str, types))}), and `type` must be text")
        others = [name for name in types if name != "null"]
        if len(others) != 1:
            return Untyped(f"has several types ({', '.join(map(str, types))})") if others else Scalar("null")
        kind = self._named_type(others[0], parts, path)
        united = kind if len(types) == 1 else Nullable(kind)
        return Untyped(kind.why) if isinstance(kind, Untyped) else Choice(own, united)

    def _named_type(self, name: Any, parts: Sequence[_Located], path: str) -> DataType:
        if name == "string" and _first(parts, "format") == "date-time":
            return Scalar("timestamp")
        if name == "integer":
            return Scalar("integer", _digits(parts))
        if name in _PLAIN:
            return _PLAIN[name]
        if name == "array":
            return self._array(parts, path)
        if name == "object":
            return self._object(parts, path)
        return Untyped(f"has the type {name!r}, which JSON Schema does not have")

    def _array(self, parts: Sequence[_Located], path: str) -> DataType:
        if any("prefixItems" in part.schema or isinstance(part.schema.get("items"), list) for part in parts):
            return Untyped("is a tuple, whose items each have their own type")
        items = [replace(part, schema=part.schema["items"]) for part in parts if _says(part.schema.get("items"))]
        if not items:
            return Untyped("is an array that does not declare its items")
        kind = self.type_of(items, path + "[]")
        return ListOf(kind.type, True) if isinstance(kind, Nullable) else ListOf(kind)

    def _object(self, parts: Sequence[_Located], path: str) -> DataType:
        fields = self._object_fields(parts, path).fields
        keyword = "additionalProperties"
        values = [replace(part, schema=part.schema[keyword]) for part in parts if _says(part.schema.get(keyword))]
        if any(part.schema.get(keyword) is False for part in parts):
            values = []
        if values:
            kind = self.type_of(values, path + "{}")
            if isinstance(kind, Nullable):
                return MapOf(kind.type, True, fields)
            return MapOf(kind, False, fields)
        if fields:
            return Struct(fields)
        return Untyped("is an object that declares neither its properties nor the type of its values")

    def _object_fields(self, parts: Sequence[_Located], path: str) -> Struct:
        properties: dict[str, list[_Located]] = {}
        required: set[str] = set()
        for part in parts:
            listed = part.schema.get("properties")
            for name, schema in listed.items() if isinstance(listed, Mapping) else ():
                properties.setdefault(str(name), []).append(replace(part, schema=schema))
            names = part.schema.get("required")
            required.update(name for name in names if isinstance(name, str)) if isinstance(names, list) else None
        return Struct(tuple(self._field(name, places, name in required, path) for name, places in properties.items()))

    def _field(self, name: str, places: Sequence[_Located], required: bool, above: str) -> Field:
        self._fields += 1
        if self._fields > FIELDS_MAX:
            raise TypeUnmappable(f"{self._name} has more than {FIELDS_MAX} fields once its references are followed.")
        path = f"{above}.{name}" if above else name
        kind = self.type_of(places, path)
        try:
            parts = self._linear(places)
        except _ContainsItselfError:
            parts = []
        description, default = _first(parts, "description"), _first(parts, "default")
        # Draft 3 wrote `required: true` on the field itself, and some old schemas still do.
        required = required or _first(parts, "required") is True
        return Field(
            name=name,
            source=name,
            type=kind,
            required=required,
            nullable=not required,
            path=path,
            description=" ".join(description.split()) if isinstance(description, str) else None,
            default=default,
        )

    def _linear(self, places: Iterable[_Located]) -> list[_Located]:
        """The plain schemas that together describe a place: no `$ref`, no `allOf`, the enclosing one first."""
        plain: list[_Located] = []
        for place in places:
            schema = place.schema
            if not isinstance(schema, Mapping):
                continue
            reference = schema.get("$ref")
            if isinstance(reference, str) and reference:
                target = self._target(reference, place)
                siblings = {word: value for word, value in schema.items() if word != "$ref"}
                plain += self._linear([replace(target, schema=siblings, document=place.document), target])
                continue
            plain.append(replace(place, schema={word: value for word, value in schema.items() if word != "allOf"}))
            branches = schema.get("allOf")
            if isinstance(branches, list):
                plain += self._linear(replace(place, schema=branch) for branch in branches)
        return plain

    def _target(self, reference: str, place: _Located) -> _Located:
        path, _, pointer = reference.partition("#")
        document = place.document
        schema: Any = document
        if path not in ("", "./"):
            schema = document = self._other_document(path, reference)
        key = f"{id(document)}#{pointer}"
        if key in place.followed:
            raise _ContainsItselfError
        for coded in pointer.split("/")[1:]:
            step = unquote(coded).replace("~1", "/").replace("~0", "~")
            below: Any = None
            if isinstance(schema, Mapping):
                below = schema.get(step)
            elif isinstance(schema, list) and step.isdigit() and int(step) < len(schema):
                below = schema[int(step)]
            if below is None:
                raise TypeUnmappable(f"{self._name} refers to {reference!r}, which does not exist.")
            schema = below
        return _Located(schema, document, place.followed | {key})

    def _other_document(self, path: str, reference: str) -> Mapping[str, Any]:
        if self._find is None or not path.startswith("/"):
            raise TypeUnmappable(
                f"{self._name} refers to {reference!r}, which is outside it.",
                hint="Give the repository that has it with --repository, or use a materialized version.",
            )
        try:
            return self._find(path)
        except HeadwaterError as error:
            raise TypeUnmappable(f"{self._name} refers to {reference!r}: {error.message}", hint=error.hint) from None


def _says(schema: Any) -> bool:
    """Whether a schema restricts anything: `true`, `{}` and absence do not."""
    return isinstance(schema, Mapping) and bool(schema)


def _first(parts: Sequence[_Located], keyword: str) -> Any:
    return next((part.schema[keyword] for part in parts if keyword in part.schema), None)


def _choices(parts: Sequence[_Located]) -> list[list[_Located]]:
    return [
        [replace(part, schema=branch) for branch in part.schema[keyword]]
        for part in parts
        for keyword in _CHOICES
        if isinstance(part.schema.get(keyword), list) and part.schema[keyword]
    ]


def _without_choices(parts: Sequence[_Located]) -> list[_Located]:
    return [
        replace(part, schema={word: value for word, value in part.schema.items() if word not in _CHOICES})
        for part in parts
    ]


def _type_without_name(parts: Sequence[_Located]) -> str | None:
    """The type of a schema without `type` that is clear nevertheless: it lists properties, items or values of one
    type.
    """
    if any(_says(part.schema.get("properties")) for part in parts):
        return "object"
    if any(_says(part.schema.get("items")) for part in parts):
        return "array"
    values: list[Any] = []
    for part in parts:
        values += part.schema["enum"] if isinstance(part.schema.get("enum"), list) else ()
        values += [part.schema["const"]] if "const" in part.schema else ()
    kinds = {type(value) for value in values}
    return (
        {bool: "boolean", int: "integer", float: "number", str: "string"}.get(kinds.pop()) if len(kinds) == 1 else None
    )


def _digits(parts: Sequence[_Located]) -> int:
    """How many digits an integer may have if its bounds, values or default are beyond 64 bits; else 0."""
    above, below, filled = [], [], []
    for part in parts:
        schema = part.schema
        above += [_whole(schema.get("maximum"), math.floor), _whole(schema.get("exclusiveMaximum"), math.ceil, -1)]
        below += [_whole(schema.get("minimum"), math.ceil), _whole(schema.get("exclusiveMinimum"), math.floor, 1)]
        values = schema.get("enum") if isinstance(schema.get("enum"), list) else None
        values = [schema["const"]] if "const" in schema else values
        if values is not None and all(map(is_number, values)):
            above.append(_whole(max(values), math.floor))
            below.append(_whole(min(values), math.ceil))
        # Events without the field get the default, whatever the bounds are.
        filled.append(_whole(schema.get("default"), math.floor))
    ends = [min((one for one in above if one is not None), default=0)]
    ends.append(max((one for one in below if one is not None), default=0))
    ends += [one for one in filled if one is not None]
    return max((len(str(abs(end))) for end in ends if not -(2**63) <= end < 2**63), default=0)


def _whole(value: Any, rounded: Callable[[float], int], further: int = 0) -> int | None:
    return rounded(value) + further if is_number(value) else None


def _own_of(kind: DataType) -> DataType:
    return kind.own if isinstance(kind, Choice) else kind


def _unite(kinds: Sequence[DataType]) -> DataType:
    """One type for alternatives: equal ones are one, objects combine their fields, null makes it nullable."""
    seen = [kind.united if isinstance(kind, Choice) else kind for kind in kinds]
    nullable = any(isinstance(kind, Nullable) or kind == Scalar("null") for kind in seen)
    plain = [kind.type if isinstance(kind, Nullable) else kind for kind in seen if kind != Scalar("null")]
    if not plain:
        return Scalar("null")
    one = plain[0]
    for other in plain[1:]:
        if isinstance(one, Struct) and isinstance(other, Struct):
            one = _more_fields(one, other, alternatives=True)
        elif isinstance(one, Scalar) and isinstance(other, Scalar) and one.kind == other.kind == "integer":
            one = max(one, other, key=lambda scalar: scalar.digits)
        elif not same_type(one, other):
            return Untyped(f"may be {describe(one)} or {describe(other)}")
    return Nullable(one) if nullable and not isinstance(one, Untyped) else one


def _more_fields(one: Struct, other: Struct, *, alternatives: bool = False) -> Struct:
    """The fields of both; a common field must have one type. A field that an alternative lacks is not required."""
    fields = {field.source: field for field in one.fields}
    for field in other.fields:
        known = fields.get(field.source)
        if known is None:
            fields[field.source] = replace(field, required=False, nullable=True)
        else:
            required = known.required and field.required
            kind = known.type if known.type == field.type else _unite([known.type, field.type])
            fields[field.source] = replace(known, type=kind, required=required, nullable=not required)
    if alternatives:
        there = {field.source for field in other.fields}
        fields = {
            name: field if name in there else replace(field, required=False, nullable=True)
            for name, field in fields.items()
        }
    return Struct(tuple(fields.values()))
