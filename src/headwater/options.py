"""Reads written values as a typed section: each valid, or one error that says what, where and why.

A section is a dataclass whose fields are made by `settings.setting`. The configuration consists of sections, and so do
the options of connectors.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from headwater.declaration import Declaration, KeyPath, dotted, nearest
from headwater.errors import ConfigInvalid

REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")
_S = TypeVar("_S")
_MEMBERS = {str: "texts", int: "whole numbers", Any: "values"}


def read_section(section: type[_S], written: Any, source: Declaration, path: KeyPath) -> _S:
    """The values written at `path` as a section; absent keys have their defaults.

    Raises ConfigInvalid for an unknown key, naming the nearest, for a missing key, and for a value of another type or
    out of range.
    """
    known = fields_of(section)
    if not isinstance(written, Mapping):
        raise source.refusal(path, f"{dotted(path) or 'it'} must be a mapping.", hint=f"Its keys: {', '.join(known)}.")
    source.refuse_unknown_keys(path, written, known)
    values = {key: accept(section, key, value, source, (*path, key)) for key, value in written.items()}
    missing = [key for key, (field, _) in known.items() if is_required(field) and key not in values]
    if missing:
        raise source.refusal(path, f"{dotted(path) or 'it'} needs {' and '.join(missing)}.")
    try:
        return section(**values)
    except ConfigInvalid as error:
        raise source.refusal(path, f"{dotted(path)}: {error.detail}", hint=error.hint) from None


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether the field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def dereferenced(value: Any, where: str, environment: Mapping[str, str], directory: Path) -> Any:
    """The value that `${env:NAME}` or `${file:PATH}` refers to, a relative path starting in `directory`; any other
    value as it is.

    Raises ConfigInvalid, which begins with `where`, if it is absent. The result may be a secret.
    """
    found = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    kind, target = found.groups()
    if kind == "env":
        place, text = f"the environment variable {target}", environment.get(target)
        hint = f"Set {target} where the command is run."
        if text is None:
            raise ConfigInvalid(f"{where} is read from {place}, which is not set.", hint=hint)
    else:
        place, hint = str(directory / target), "Write the value into this file, or name another."
        try:
            text = (directory / target).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigInvalid(f"{where} is read from {place}, which cannot be read: {why}.", hint=hint) from None
    if not text.strip():
        raise ConfigInvalid(f"{where} is read from {place}, which is empty.", hint=hint)
    # The end of the line that editors and `echo` write is not meant.
    return text.strip() if kind == "file" else text.rstrip("\r\n")


def fields_of(section: type[Any]) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(section)
    return {field.name: (field, hints[field.name]) for field in dataclasses.fields(section)}


def inner_section(field: dataclasses.Field[Any]) -> type[Any] | None:
    """The section that a field holds, whose keys are written below its name; None for a setting."""
    kind: type[Any] | None = field.metadata.get("section")
    return kind


def alternatives(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def accept(section: type[Any], key: str, value: Any, source: Declaration, path: KeyPath, *, name: str = "") -> Any:
    """The value as the section's field stores it; `name` is what errors call the setting, by default its path.

    Raises ConfigInvalid if it has another type or is out of range.
    """
    field, kind = fields_of(section)[key]
    for option in alternatives(kind):
        try:
            accepted = _of_type(value, option)
        except TypeError:
            continue
        _check_range(accepted, field, source, path)
        return accepted
    _refuse_members(value, kind, source, path, name)
    wanted = " or ".join(in_words(option) for option in alternatives(kind))
    hint = None
    if (
        isinstance(value, str)
        and typing.get_origin(kind) is Literal
        and (near := nearest(value, typing.get_args(kind)))
    ):
        hint = f'Did you mean "{near}"?'
    raise source.refusal(path, f"{name or dotted(path)} must be {wanted}, not {_shown(value)}.", hint=hint)


def _refuse_members(value: Any, kind: Any, source: Declaration, path: KeyPath, name: str) -> None:
    """Raise ConfigInvalid about the first member of a mapping that has another type."""
    for option in alternatives(kind):
        origin = typing.get_origin(option)
        if not (isinstance(value, Mapping) and isinstance(origin, type) and issubclass(origin, Mapping)):
            continue
        member = typing.get_args(option)[1]
        for key, item in value.items():
            try:
                _of_type(item, member)
            except TypeError:
                at, wanted = (*path, key), in_words(member)
                where = f"{name}.{key}" if name else dotted(at)
                raise source.refusal(at, f"{where} must be {wanted}, not {_shown(item)}.") from None


def _of_type(value: Any, kind: Any) -> Any:
    """`value` in the form the field stores (lists as tuples, whole numbers as float for a field of floats).

    Raises TypeError if the value is of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        # A single name is the common case in a list of names: accept it without brackets.
        items = [value] if isinstance(value, str) and arguments[0] is str else value
        if not isinstance(items, (list, tuple)):
            raise TypeError
        return tuple(_of_type(item, arguments[0]) for item in items)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise TypeError
        return {str(key): _of_type(item, arguments[1]) for key, item in value.items()}
    if kind is Any or (origin is Literal and value in arguments):
        return value
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise TypeError


def _check_range(value: Any, field: dataclasses.Field[Any], source: Declaration, path: KeyPath) -> None:
    allowed = field.metadata
    name = dotted(path)
    if any("\0" in text for text in ([value] if isinstance(value, str) else value if _is_texts(value) else [])):
        raise source.refusal(path, f"{name} contains a NUL character.", hint="Write it without `\\0`.")
    if isinstance(value, (int, float)):
        if allowed["at_least"] is not None and value < allowed["at_least"]:
            raise source.refusal(path, f"{name} must be at least {allowed['at_least']}, not {value}.")
        if allowed["at_most"] is not None and value > allowed["at_most"]:
            raise source.refusal(path, f"{name} must be at most {allowed['at_most']}, not {value}.")
    if isinstance(value, str) and allowed["starts_with"] and not value.startswith(allowed["starts_with"]):
        starts = " or ".join(f'"{start}"' for start in allowed["starts_with"])
        raise source.refusal(path, f'{name} must start with {starts}, not "{value}".')


def _is_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


def in_words(kind: Any) -> str:
    """What a value of this type is called: `text`, `a whole number`, `a list of texts`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(f'"{choice}"' for choice in arguments)
    if origin is tuple:
        return f"a list of {_MEMBERS.get(arguments[0], 'mappings')}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    return words[kind]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{value[:60]}"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list of other values"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)
