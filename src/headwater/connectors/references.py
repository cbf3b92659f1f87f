"""The options of a connector as written in a file: secrets are references, never the values themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.declaration import Declaration, KeyPath, dotted
from headwater.options import REFERENCE, fields_of, read_section


def secret_options(options: type[Any]) -> tuple[str, ...]:
    """The options that may hold passwords."""
    return tuple(key for key, (field, _) in fields_of(options).items() if not field.repr)


def read_options(options: type[Any], written: Any, source: Declaration, path: KeyPath) -> Any:
    """The options written at `path`; secrets are the references to them, also those in a mapping.

    Raises ConfigInvalid.
    """
    found = read_section(options, written, source, path)
    secrets = secret_options(options)
    for key, value in written.items():
        if key not in secrets:
            _refuse_references(value, source, (*path, key))
    for key in secrets:
        value = getattr(found, key)
        values = {(*path, key): value} if not isinstance(value, Mapping) else _entries(value, (*path, key))
        for at, one in values.items():
            if one is not None and not (isinstance(one, str) and REFERENCE.fullmatch(one)):
                hint = "Write `${env:NAME}` or `${file:PATH}`: these files are shown to others."
                raise source.refusal(at, f"{dotted(at)} is a secret and must be a reference.", hint=hint)
    return found


def _refuse_references(value: Any, source: Declaration, path: KeyPath) -> None:
    """Raise ConfigInvalid for a reference in what is no secret: it would be taken as it is written."""
    if isinstance(value, str) and REFERENCE.search(value):
        hint = "Write the value itself; only secrets are references."
        raise source.refusal(path, f"{dotted(path)} takes no reference, and has {value[:60]!r}.", hint=hint)
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        _refuse_references(one, source, (*path, key))


def _entries(value: Mapping[str, Any], path: KeyPath) -> dict[KeyPath, Any]:
    return {(*path, key): one for key, one in value.items()}
