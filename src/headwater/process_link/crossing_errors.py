"""How errors cross from one process of a platform to another, and are raised there as what they were."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from headwater import errors
from headwater.errors import DamagedOffsets, HeadwaterError, Violation

# Values of errors that are not plain, by the name under which they cross.
_VALUES = {"DamagedOffsets": DamagedOffsets, "Violation": Violation}
_KIND = "~kind"
_CLASSES: dict[str, type[HeadwaterError]] = {
    one.__name__: one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, HeadwaterError)
}


def encode_error(error: BaseException) -> bytes:
    """The error with its message, its hint and its other attributes; one outside the family as "internal"."""
    return msgspec.msgpack.encode(_plain(error))


def decode_error(data: bytes) -> HeadwaterError:
    """The error of the same class and with the same attributes, or of the nearest class known here."""
    error = _value(msgspec.msgpack.decode(data))
    return error if isinstance(error, HeadwaterError) else HeadwaterError(str(error))


def _plain(value: Any) -> Any:
    """Made of what MessagePack has."""
    plain: Any
    match value:
        case HeadwaterError():
            names = [one.__name__ for one in type(value).__mro__]
            plain = {_KIND: "error", "classes": names, "fields": {k: _plain(v) for k, v in vars(value).items()}}
        case BaseException():
            plain = _plain(HeadwaterError(f"{type(value).__name__}: {value}"))
        case str():
            # Names of files may have what UTF-8 has not.
            plain = value.encode("utf-8", "backslashreplace").decode()
        case int():
            plain = value if -(1 << 63) <= value < 1 << 64 else str(value)
        case bytes() | float() | None:
            plain = value
        case Violation():
            fields = (value.pointer, value.keyword, value.message, value.schema_pointer)
            plain = {_KIND: "Violation", "fields": fields}
        case DamagedOffsets():
            plain = {_KIND: "DamagedOffsets", "fields": list(value)}
        case Mapping():
            plain = {_KIND: "mapping", "items": [[_plain(k), _plain(v)] for k, v in value.items()]}
        case Collection():
            kind = "tuple" if isinstance(value, tuple) else "list"
            plain = {_KIND: kind, "items": [_plain(one) for one in value]}
        case _:
            plain = str(value)
    return plain


def _value(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    match plain.get(_KIND):
        case "error":
            return _error(plain["classes"], {name: _value(one) for name, one in plain["fields"].items()})
        case "mapping":
            return {_value(key): _value(value) for key, value in plain["items"]}
        case "tuple":
            return tuple(_value(one) for one in plain["items"])
        case "list":
            return [_value(one) for one in plain["items"]]
        case kind:
            return _VALUES[str(kind)](*plain["fields"])


def _error(names: list[str], fields: dict[str, Any]) -> HeadwaterError:
    found = next((_CLASSES[name] for name in names if name in _CLASSES), HeadwaterError)
    # Constructors compose messages from their arguments; here they are composed already.
    error = found.__new__(found)
    Exception.__init__(error, fields.get("message", ""))
    vars(error).update(fields)
    return error
