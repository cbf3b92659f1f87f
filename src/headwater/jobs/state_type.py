"""The type of a job's state: what its values are stored as in JSON, and how they are read back.

How this works: a dataclass is compiled once into a function that makes JSON of a value and one that reads it, by the
types of its fields, down to those that JSON has. A type that could not be read back as it was is refused when the job
is loaded. Any other callable, such as `int` or `dict`, gives a first value that is JSON itself.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple, Union

from headwater.errors import EventMalformed, JobInvalid
from headwater.event import encode_kept
from headwater.times import day_of, moment_of, utc_of

_AS_THEY_ARE = (type(None), bool, int, float, str)
_LISTS = (list, Sequence)
_SETS = (set, frozenset)
_ORIGINS = (*_LISTS, *_SETS, tuple)
_MAPPINGS = (dict, Mapping)


class Form(NamedTuple):
    """How values of a type are stored and read; None for a function means: unchanged."""

    encode: Callable[[Any], Any] | None = None
    decode: Callable[[Any], Any] | None = None


class StateType(NamedTuple):
    """The state of a key: its first value, the class of that, and its form in JSON."""

    first: Callable[[], Any]
    kind: type[Any]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def is_json_value(value: Any) -> bool:
    """Whether the value is made of what JSON has, and nothing else."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json_value(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_json_value(item) for item in value)
    if not isinstance(value, _AS_THEY_ARE) or (isinstance(value, float) and not math.isfinite(value)):
        return False
    try:
        encode_kept(value)
    except (TypeError, ValueError, EventMalformed):
        return False
    return True


def state_type(first: Callable[[], Any]) -> StateType:
    """The type of the state that `first`, a dataclass or another callable, begins with; it is called once.

    Raises JobInvalid for a field of a dataclass that JSON has no form for, naming the field, and for a first value that
    is not JSON; whatever `first` raises.
    """
    value = first()
    kind = type(value)
    if not dataclasses.is_dataclass(kind):
        _check(value, _name_of(first))
        return StateType(first, kind, _plain, _same)
    form = Forms().of_dataclass(kind, kind.__qualname__)
    made = StateType(first, kind, form.encode or _same, form.decode or _same)
    _check(made.encode(value), _name_of(first))
    return made


def _name_of(first: Callable[[], Any]) -> str:
    return getattr(first, "__qualname__", None) or repr(first)


def _check(encoded: Any, name: str) -> None:
    if not is_json_value(encoded):
        raise JobInvalid(
            f"the state that {name} begins with, {str(encoded)[:60]}, is not made of what JSON has.",
            hint="Use a dataclass, or dicts with text as keys, lists, text, numbers, True, False and None.",
        )


def _same(value: Any) -> Any:
    return value


def _plain(value: Any) -> Any:
    """A state without a declared type; a dataclass becomes an object."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


class Forms:
    """Makes the forms of types, each dataclass once, also if it contains itself."""

    def __init__(self) -> None:
        self._made: dict[type[Any], Form] = {}

    def of(self, kind: Any, where: str) -> Form:
        """The form of values of the type `kind`, which `where` names. Raises JobInvalid if there is none."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind is Any or kind in _AS_THEY_ARE or kind is None or kind in (list, dict) or origin is Literal:
            return Form()
        if origin is typing.Annotated:
            return self.of(arguments[0], where)
        if origin in (Union, types.UnionType):
            return self._of_union(arguments, where)
        if origin in _ORIGINS or kind in _SETS or kind is tuple:
            return self._of_items(origin or kind, arguments, where)
        if origin in _MAPPINGS:
            return self._of_mapping(arguments, where)
        if isinstance(kind, type):
            return self._of_class(kind, where)
        raise _no_form(kind, where)

    def _of_class(self, kind: type[Any], where: str) -> Form:
        if dataclasses.is_dataclass(kind):
            return self.of_dataclass(kind, where)
        if issubclass(kind, enum.Enum):
            if not all(isinstance(one.value, _AS_THEY_ARE) for one in kind):
                raise _no_form(kind, where)
            return Form(lambda value: value.value, kind)
        if kind is datetime:
            return Form(utc_of, moment_of)
        if kind is date:
            return Form(str, day_of)
        if kind is timedelta:
            return Form(lambda value: value // timedelta(microseconds=1), lambda stored: timedelta(microseconds=stored))
        raise _no_form(kind, where)

    def of_dataclass(self, kind: type[Any], where: str) -> Form:
        """The form of a dataclass: an object with its fields."""
        made = self._made
        if kind in made:
            return Form(lambda value: _encoded(made[kind], value), lambda stored: _decoded(made[kind], stored))
        made[kind] = Form()
        try:
            hints = typing.get_type_hints(kind, include_extras=True)
        except (NameError, TypeError) as error:
            raise JobInvalid(f"the types of the fields of {where} cannot be read: {error}.") from None
        forms = []
        for one in dataclasses.fields(kind):
            if not one.init:
                raise JobInvalid(f"{where}.{one.name} cannot be state: with init=False it could not be read back.")
            forms.append((one.name, self.of(hints[one.name], f"{where}.{one.name}")))
        made[kind] = Form(_encoder(kind, forms), _decoder(kind, forms))
        return made[kind]

    def _of_union(self, kinds: Sequence[Any], where: str) -> Form:
        forms = [self.of(kind, where) for kind in kinds if kind not in (None, type(None))]
        special = [form for form in forms if form != Form()]
        if not special:
            return Form()
        if len(forms) > 1:
            shown = " | ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
            raise JobInvalid(
                f"{where} cannot be state: of {shown}, what is stored would not show which it is.",
                hint="Use one of them, or one of them or None.",
            )
        (form,) = special
        return Form(
            lambda value: None if value is None else _encoded(form, value),
            lambda stored: None if stored is None else _decoded(form, stored),
        )

    def _of_items(self, kind: Any, kinds: Sequence[Any], where: str) -> Form:
        if kind is tuple and kinds and not (len(kinds) == 2 and kinds[1] is Ellipsis):
            forms = [self.of(one, f"{where}[{index}]") for index, one in enumerate(kinds)]
            return Form(
                lambda values: [_encoded(form, value) for form, value in zip(forms, values, strict=True)],
                lambda stored: tuple(_decoded(form, value) for form, value in zip(forms, stored, strict=True)),
            )
        item = self.of(kinds[0], f"{where}[…]") if kinds else Form()
        if kind in _LISTS:
            return (
                item
                if item == Form()
                else Form(
                    lambda values: [_encoded(item, value) for value in values],
                    lambda stored: [_decoded(item, one) for one in stored],
                )
            )
        # A set in one order, so that a state that is the same is stored the same.
        in_order = _sorted if kind in _SETS else list
        return Form(
            lambda values: in_order([_encoded(item, value) for value in values]),
            lambda stored: kind(_decoded(item, one) for one in stored),
        )

    def _of_mapping(self, kinds: Sequence[Any], where: str) -> Form:
        if kinds[0] is not str:
            shown = getattr(kinds[0], "__name__", str(kinds[0]))
            raise JobInvalid(f"{where} cannot be state: its keys are {shown}, and those of a JSON object are text.")
        form = self.of(kinds[1], f"{where}[…]")
        if form == Form():
            return form
        return Form(
            lambda values: {key: _encoded(form, value) for key, value in values.items()},
            lambda stored: {key: _decoded(form, value) for key, value in stored.items()},
        )


def _encoder(kind: type[Any], forms: Sequence[tuple[str, Form]]) -> Callable[[Any], Any]:
    def encode(value: Any) -> Any:
        if type(value) is not kind:
            if value is None:
                return None
            raise JobInvalid(f"The state is of type {type(value).__name__}, where {kind.__name__} is expected.")
        return {
            name: getattr(value, name) if form.encode is None else form.encode(getattr(value, name))
            for name, form in forms
        }

    return encode


def _decoder(kind: type[Any], forms: Sequence[tuple[str, Form]]) -> Callable[[Any], Any]:
    decoders = {name: form.decode for name, form in forms if form.decode is not None}
    known = frozenset(name for name, _ in forms)

    def decode(stored: Any) -> Any:
        if not isinstance(stored, dict) or not known.issuperset(stored):
            raise JobInvalid(
                f"The stored state does not fit {kind.__name__}: {_difference(stored, known)}.",
                hint="Give the job state_version= and migrate=, a function of the old value and its version.",
            )
        values = dict(stored)
        for name, read in decoders.items():
            if name in values:
                values[name] = read(values[name])
        return kind(**values)

    return decode


def _difference(stored: Any, known: frozenset[str]) -> str:
    if not isinstance(stored, dict):
        return f"it is {type(stored).__name__}"
    return f"it has the field {min(stored.keys() - known)}"


def _encoded(form: Form, value: Any) -> Any:
    return value if form.encode is None else form.encode(value)


def _decoded(form: Form, stored: Any) -> Any:
    return stored if form.decode is None else form.decode(stored)


def _sorted(values: list[Any]) -> list[Any]:
    return sorted(values, key=lambda one: (type(one).__name__, encode_kept(one)))


def _no_form(kind: Any, where: str) -> JobInvalid:
    shown = getattr(kind, "__qualname__", None) or str(kind)
    return JobInvalid(
        f"{where} cannot be state: JSON has no form for {shown}.",
        hint="State may have dataclasses, dicts with text as keys, lists, tuples, sets, enums, datetime, date,"
        " timedelta, text, numbers, True, False and None.",
    )
