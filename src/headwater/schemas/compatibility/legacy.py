"""The compatibility rule of jsonschema-tools, verdict for verdict (contracts/schemas.md §4.1).

It allows additions and forbids every other change, which is neither backward compatibility nor forward compatibility;
it is here so that a repository can keep the rule it has used so far, crashes included: if the original stops with an
error, the verdict is "not compatible".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from headwater.schemas.compatibility.answer import Reason
from headwater.schemas.json_value import is_number
from headwater.schemas.violation import pointer_step

Release = Literal["1.2.0", "1.3.0"]

_FREE = {
    "1.2.0": frozenset(("$id", "description", "examples")),
    "1.3.0": frozenset(("$id", "description", "examples", "maxLength")),
}


class _Refused(Exception):
    def __init__(self, pointer: str, what: str) -> None:
        super().__init__(what)
        self.pointer = pointer
        self.what = what


def legacy_refusal(old: Any, new: Any, release: Release = "1.3.0") -> Reason | None:
    """Why the legacy rule refuses `new` after `old`; None if it allows it. Both are plain JSON documents."""
    try:
        _compare(new, old, "", _FREE[release])
    except _Refused as refused:
        where = refused.pointer or "/"
        return Reason(
            refused.pointer,
            "legacy",
            f"At {where}: {refused.what}.",
            "The LEGACY rule allows additions only; the EVENT mode checks the effect on data instead.",
            refused.pointer,
        )
    return None


def _compare(new: Any, old: Any, pointer: str, free: frozenset[str]) -> None:
    if _kind(new) != _kind(old) or isinstance(new, list) != isinstance(old, list):
        raise _Refused(pointer, "the type of the value changed")
    if old is None:
        raise _Refused(pointer, "the original stops here, at a null")
    if not isinstance(old, dict | list):
        if not _same(new, old):
            raise _Refused(pointer, f"{old!r} became {new!r}")
        return
    for key, value in _entries(old):
        below = pointer + pointer_step(key)
        if key in free:
            continue
        if key == "required" and isinstance(old, dict):
            _compare_required(new, value, below)
        elif key == "enum" and isinstance(old, dict):
            _compare_enum(new, value, below)
        else:
            has, other = _entry(new, key)
            if not has:
                raise _Refused(below, "it was removed")
            _compare(other, value, below, free)


def _compare_required(new: Any, old: Any, pointer: str) -> None:
    has, other = _entry(new, "required")
    if not has:
        raise _Refused(pointer, "the list of required fields was removed")
    if not isinstance(old, list) or not isinstance(other, list):
        raise _Refused(pointer, "the original stops here, at a `required` that is not a list")
    if sorted(map(str, old)) != sorted(map(str, other)):
        raise _Refused(pointer, "the list of required fields changed")


def _compare_enum(new: Any, old: Any, pointer: str) -> None:
    has, other = _entry(new, "enum")
    if not has:
        raise _Refused(pointer, "the list of values was removed")
    if not isinstance(old, list) or not isinstance(other, list):
        raise _Refused(pointer, "the original stops here, at an `enum` that is not a list")
    for value in old:
        # The original compares by identity, so an object or list in an `enum` never equals another one.
        if isinstance(value, dict | list) or not any(_same(value, one) for one in other):
            raise _Refused(pointer, f"the value {value!r} was removed")


def _kind(value: Any) -> str:
    """JavaScript's `typeof`: lists and null are objects."""
    if isinstance(value, bool):
        return "boolean"
    if is_number(value):
        return "number"
    return "string" if isinstance(value, str) else "object"


def _same(left: Any, right: Any) -> bool:
    return _kind(left) == _kind(right) and not isinstance(left, dict | list) and bool(left == right)


def _entries(value: Mapping[str, Any] | list[Any]) -> list[tuple[str, Any]]:
    if isinstance(value, list):
        return [(str(index), one) for index, one in enumerate(value)]
    return list(value.items())


def _entry(value: Any, key: str) -> tuple[bool, Any]:
    if isinstance(value, dict) and key in value:
        return True, value[key]
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return True, value[int(key)]
    return False, None
