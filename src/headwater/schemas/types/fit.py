"""Fits a field tree to one target: what the target cannot hold is refused with every reason, names are adapted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from headwater.errors import TypeUnmappable
from headwater.schemas.types.tree import (
    WHOLE,
    Choice,
    DataType,
    Field,
    ListOf,
    MapOf,
    Note,
    Nullable,
    Scalar,
    Struct,
    TypedSchema,
    Untyped,
    describe,
    same_type,
)
from headwater.schemas.types.words import RESERVED

REFUSALS_SHOWN_MAX = 12


@dataclass(frozen=True, slots=True)
class NameRules:
    """How a target names columns. `sanitise` returns an allowed name; None: any name, quoted.

    `lower_top`: top-level names are lower-cased. `ignores_case`: two names that differ only in case are the same.
    `nested`: the rules apply to names inside columns, too (not if a nested column is JSON). `length_max` counts
    `length_unit`; 0 is no limit. `quotes`: there are reserved words.
    """

    sanitise: Callable[[str], str] | None = None
    lower_top: bool = False
    ignores_case: bool = False
    nested: bool = True
    length_max: int = 0
    length_unit: Literal["bytes", "characters"] = "characters"
    quotes: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """What a target does where JSON Schema is richer than tables (contracts/schemas.md §5).

    `map_with_properties`: an object with named properties and typed values becomes a `map` whatever the properties are,
    a `struct` without the values, or a map if they all `agree` (else it is refused). `unites`: type lists with null,
    oneOf and anyOf are evaluated; otherwise only `type` counts. `holds_null`: there is a type of null alone.
    `dates_as_text`: a date-time is a string. `all_nullable`: no column is ever required. `digits_max`: the most digits
    of a whole number in a decimal type.
    """

    target: str
    map_with_properties: Literal["map", "struct", "agree"] = "agree"
    unites: bool = True
    holds_null: bool = True
    dates_as_text: bool = False
    all_nullable: bool = False
    digits_max: int = 38
    names: NameRules = NameRules()


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What the user may choose: free-form places as JSON text instead of refusing them, dates as text, no NOT NULL, and
    whether descriptions become comments.
    """

    json_columns: bool = False
    dates_as_text: bool | None = None
    all_nullable: bool = False
    comments: bool = True


@dataclass(frozen=True, slots=True)
class Fitted:
    """A plain tree for one target, and notes about it."""

    target: str
    schema: TypedSchema
    root: Struct
    notes: tuple[Note, ...]


def fit(schema: TypedSchema, policy: Policy, options: FitOptions | None = None) -> Fitted:
    """The tree as `policy`'s target can hold it. Raises TypeUnmappable with every field that it cannot hold."""
    options = options or FitOptions()
    if options.dates_as_text is not None:
        policy = replace(policy, dates_as_text=options.dates_as_text)
    if options.all_nullable:
        policy = replace(policy, all_nullable=True)
    fitter = _Fitter(policy, options)
    root = fitter.root(schema.root)
    if fitter.refusals:
        raise _refused(schema, policy, fitter.refusals, options.json_columns)
    if not options.comments:
        schema = replace(schema, description=None)
    return Fitted(policy.target, schema, root, tuple(fitter.notes))


def _holds(value: DataType, other: DataType) -> bool:
    """Whether an integer column can hold the integers of another one."""
    both = isinstance(value, Scalar) and isinstance(other, Scalar) and value.kind == other.kind == "integer"
    return both and value.digits >= other.digits  # type: ignore[union-attr]


def plain_name(name: str) -> str:
    """A leading non-letter and everything but letters, digits and `_` become `_` (contracts/schemas.md §5)."""
    return re.sub(r"^[^A-Za-z]|[^A-Za-z0-9_]", "_", name)


class _Fitter:
    def __init__(self, policy: Policy, options: FitOptions) -> None:
        self._policy = policy
        self._json_columns = options.json_columns
        self._comments = options.comments
        self.refusals: list[tuple[str, str]] = []
        self.notes: list[Note] = []

    def root(self, kind: DataType) -> Struct:
        if isinstance(kind, Choice):
            kind = kind.united if self._policy.unites else kind.own
        assert isinstance(kind, Struct)
        if not kind.fields:
            self.refusals.append(("", "lists no properties outside its alternatives"))
        return self._struct(kind.fields, top=True)

    def _type(self, kind: DataType, path: str) -> tuple[DataType, bool]:
        """The plain type and whether it may be null."""
        if isinstance(kind, Choice):
            own = kind.own
            # With JSON text allowed for what has no type, alternatives are united as well.
            use_united = self._policy.unites or (self._json_columns and isinstance(own, Untyped))
            return self._type(kind.united if use_united else own, path)
        if isinstance(kind, Nullable):
            return self._type(kind.type, path)[0], True
        if isinstance(kind, Untyped):
            return self._untyped(kind.why, path), False
        if isinstance(kind, Scalar):
            return self._scalar(kind, path)
        if isinstance(kind, ListOf):
            item, nullable = self._type(kind.item, path + "[]")
            return ListOf(item, kind.item_nullable or nullable), False
        if isinstance(kind, MapOf):
            return self._map(kind, path), False
        return self._struct(kind.fields), False

    def _scalar(self, kind: Scalar, path: str) -> tuple[DataType, bool]:
        if kind.kind == "timestamp" and self._policy.dates_as_text:
            return Scalar("string"), False
        if kind.kind == "null":
            if not self._policy.holds_null:
                return self._untyped("is always null", path), True
            return kind, True
        if kind.digits > self._policy.digits_max:
            limit = f"{self._policy.target} holds at most {self._policy.digits_max}"
            return self._untyped(f"is an integer of up to {kind.digits} digits, and {limit}", path), False
        if kind.digits:
            self.notes.append(Note(path, f"may be beyond 64 bits, so it is a decimal of {kind.digits} digits"))
        return kind, False

    def _untyped(self, why: str, path: str) -> DataType:
        if self._json_columns:
            self.notes.append(Note(path, f"{why}; it is stored as JSON text"))
        else:
            self.refusals.append((path, why))
        return Scalar("json")

    def _map(self, kind: MapOf, path: str) -> DataType:
        listed = ", ".join(field.source for field in kind.listed)
        if kind.listed and self._policy.map_with_properties == "struct":
            self.notes.append(
                Note(path, f"is a map with properties: only {listed} become fields, other keys are left out")
            )
            return self._struct(kind.listed)
        value, nullable = self._type(kind.value, path + "{}")
        if kind.listed and self._policy.map_with_properties == "map":
            self.notes.append(Note(path, f"is a map: the properties it lists ({listed}) are keys like any other"))
        elif kind.listed:
            for field in kind.listed:
                other, _ = self._type(field.type, field.path)
                if not same_type(other, value) and not _holds(value, other):
                    why = f"is a map of {describe(value)}, but lists {field.source} as {describe(other)}"
                    return self._untyped(why, path)
        return MapOf(value, kind.value_nullable or nullable)

    def _struct(self, fields: Sequence[Field], *, top: bool = False) -> Struct:
        fitted = []
        for field in fields:
            kind, nullable = self._type(field.type, field.path)
            required = field.required and not self._policy.all_nullable
            name = self._name(field, top)
            description = field.description if self._comments else None
            may_be_null = nullable or not required
            fitted.append(
                replace(field, type=kind, required=required, nullable=may_be_null, name=name, description=description)
            )
        if top or self._policy.names.nested:
            self._check_names(fitted)
        return Struct(tuple(fitted))

    def _name(self, field: Field, top: bool) -> str:
        rules = self._policy.names
        source = field.source if field.source != WHOLE else field.name
        name = rules.sanitise(source) if rules.sanitise and (top or rules.nested) else source
        return name.lower() if rules.lower_top and top else name

    def _check_names(self, fields: Iterable[Field]) -> None:
        rules = self._policy.names
        taken: dict[str, Field] = {}
        folded: dict[str, Field] = {}
        for field in fields:
            self._check_name(field)
            clash = taken.get(field.name) or (folded.get(field.name.lower()) if rules.ignores_case else None)
            twin = folded.get(field.name.lower())
            if clash is not None:
                same = "the same column" if clash.name == field.name else "one column, since case is ignored"
                self.refusals.append((field.path, f"would be {same} as {clash.source}"))
            elif twin is not None:
                self.notes.append(Note(field.path, f"differs from {twin.source} only in case"))
            taken[field.name] = field
            folded.setdefault(field.name.lower(), field)

    def _check_name(self, field: Field) -> None:
        rules, name = self._policy.names, field.name
        length = len(name.encode()) if rules.length_unit == "bytes" else len(name)
        if not name or "\x00" in name:
            self.refusals.append((field.path, "has a name that no column can have"))
        elif rules.length_max and length > rules.length_max:
            limit = f"{rules.length_max} {rules.length_unit}"
            self.refusals.append((field.path, f"has a name longer than {limit}, the limit of {self._policy.target}"))
        if field.source == WHOLE:
            self.notes.append(Note(field.path, f"is {describe(field.type)}, not an object of fields: it is one column"))
        elif name != field.source:
            self.notes.append(Note(field.path, f"is named {name} in {self._policy.target}"))
        elif "." in name:
            self.notes.append(Note(field.path, "has a dot in its name: quote it in queries, or it is read as a path"))
        elif rules.quotes and name.upper() in RESERVED:
            self.notes.append(Note(field.path, "is a reserved word: quote it in queries"))


def _refused(
    schema: TypedSchema, policy: Policy, refusals: Sequence[tuple[str, str]], json_columns: bool
) -> TypeUnmappable:
    name = schema.title or "The schema"
    shown = [f"{path or 'the event'} {why}" for path, why in refusals[:REFUSALS_SHOWN_MAX]]
    more = len(refusals) - len(shown)
    sentence = "; ".join(shown) + (f"; and {more} more" if more else "")
    names_only = all("name" in why or "column" in why for _, why in refusals)
    hint = (
        "Rename the fields, in a new major version."
        if json_columns or names_only
        else "Give each one type in the schema, or store them as JSON text with --json-columns."
    )
    return TypeUnmappable(f"{name} does not fit {policy.target}: {sentence}.", hint=hint, refusals=refusals)
