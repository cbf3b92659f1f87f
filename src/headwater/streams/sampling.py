"""Which events of a sampled stream are sent: the legacy 32-bit rule, bit for bit, and our 64-bit rule.

How this works: a *unit* (a session, a page view, a device) has an id; the rule turns it into a number, and the unit is
in the sample if that number is below the rate. The legacy rule takes the first eight hexadecimal digits of the id
itself, so that every stream samples the same units, and has two quirks that its clients rely on: rate 0 is an invalid
configuration, and the id `ffffffff…` is excluded even at rate 1. The 64-bit rule hashes salt, stream and id, so that
streams with different salts are sampled independently; rate 0 selects no unit and rate 1 every unit, by construction.
`clients/js` has the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Algorithm = Literal["legacy32", "hash64"]

BROWSER_UNITS = frozenset({"pageview", "session"})
ALGORITHMS: tuple[Algorithm, ...] = ("legacy32", "hash64")

_LEGACY_MAX = 0xFFFFFFFF
_MASK = 0xFFFFFFFFFFFFFFFF
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


@dataclass(frozen=True, slots=True)
class Sampled:
    """The result of a rule: whether the unit is in the sample, and what is recorded in the event as `meta.sample`."""

    included: bool
    applied: Mapping[str, Any] | None


def decide(stream: str, sample: Mapping[str, Any] | None, ids: Mapping[str, str]) -> Sampled:
    """Apply a stream's `sample` setting (`unit`, `rate`, `algorithm`, `salt`), None being all; `ids` is {unit: id}.

    A unit without an id is excluded, and so is every unit if the setting is invalid.
    """
    if sample is None:
        return Sampled(True, None)
    unit, algorithm = sample.get("unit"), sample.get("algorithm", "legacy32")
    rate = _rate(sample.get("rate"), lenient=algorithm == "legacy32")
    unit_id = ids.get(unit) if isinstance(unit, str) else None
    if unit_id is None or rate is None or algorithm not in ALGORITHMS:
        return Sampled(False, None)
    if algorithm == "hash64":
        included = in_sample_hash64(str(sample.get("salt", "")), stream, unit_id, rate)
    else:
        included = in_sample_legacy32(unit_id, rate)
    return Sampled(included, {"unit": unit, "rate": rate, "algorithm": algorithm})


def in_sample_legacy32(unit_id: str, rate: float) -> bool:
    """Whether uint32(first 8 hexadecimal digits) / (2^32 - 1) < rate; rate 0 and ids without digits are excluded."""
    value = legacy32_value(unit_id)
    return value is not None and 0 < rate <= 1 and value < rate


def legacy32_value(unit_id: str) -> float | None:
    """The number in [0, 1] that the legacy rule compares with the rate; None if the id has no such digits."""
    head = _leading_hex(unit_id[:8])
    return int(head, 16) / _LEGACY_MAX if head else None


def in_sample_one_in(unit_id: str, population: int) -> bool:
    """The oldest rule: uint32(first 8 hexadecimal digits) is divisible by `population`; 0 means never."""
    head = _leading_hex(unit_id[:8])
    return population > 0 and bool(head) and int(head, 16) % population == 0


def in_sample_hash64(salt: str, stream: str, unit_id: str, rate: float) -> bool:
    """Whether hash64(salt, stream, id) / 2^64 < rate."""
    return hash64(salt, stream, unit_id) < int(rate * 2.0**64)


def hash64(salt: str, stream: str, unit_id: str) -> int:
    """FNV-1a over the three texts in UTF-8, separated by zero bytes, then the 64-bit finaliser of MurmurHash3."""
    value = _FNV_OFFSET
    for byte in "\0".join((salt, stream, unit_id)).encode():
        value = ((value ^ byte) * _FNV_PRIME) & _MASK
    # FNV alone leaves the upper bits of short, similar texts similar.
    value ^= value >> 33
    value = (value * 0xFF51AFD7ED558CCD) & _MASK
    value ^= value >> 33
    value = (value * 0xC4CEB9FE1A85EC53) & _MASK
    return value ^ (value >> 33)


def _rate(given: Any, *, lenient: bool) -> float | None:
    """A rate in [0, 1], or None. `lenient`: accept what JavaScript would compare as a number."""
    if lenient and isinstance(given, (str, bool)):
        try:
            given = float(given)
        except ValueError:
            return None
    return given if isinstance(given, (int, float)) and given is not True and 0 <= given <= 1 else None


def _leading_hex(text: str) -> str:
    """The hexadecimal digits a text begins with, as JavaScript's parseInt reads them."""
    for index, character in enumerate(text):
        if character not in "0123456789abcdefABCDEF":
            return text[:index]
    return text
