"""The file of API keys, which may have been edited by hand: the valid entries, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from headwater.times import time_ms

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. `expires` and `created` are ISO 8601 texts."""

    name: str
    hash: str
    scopes: tuple[str, ...]
    created: str
    expires: str | None = None


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The keys by name, and (sentence, 1-based line) for each invalid entry, which is ignored."""

    keys: Mapping[str, ApiKey] = field(default_factory=dict)
    faults: Sequence[tuple[str, int]] = ()
    # The hash of each invalid entry, None if that is invalid too: then it is unknown which key it is.
    damaged: Sequence[str | None] = ()
    # The invalid entries unchanged, so that they can be repaired.
    entries: Sequence[Any] = ()

    def entries_but(self, name: str) -> list[Any]:
        """The invalid entries, without those of this name."""
        return [one for one in self.entries if not (isinstance(one, dict) and one.get("name") == name)]


def read_keys(data: bytes) -> KeyFile:
    """The keys in the bytes of a file. Raises ValueError where they are no list at all."""
    entries = orjson.loads(data)
    if not isinstance(entries, list):
        raise ValueError("it is no list")
    keys: dict[str, ApiKey] = {}
    faults = []
    damaged: list[str | None] = []
    left: list[Any] = []
    for number, entry in enumerate(entries, start=1):
        fault = _fault(entry, keys)
        if fault is None:
            keys[entry["name"]] = ApiKey(**(entry | {"scopes": tuple(entry["scopes"])}))
        else:
            name = entry.get("name") if isinstance(entry, dict) else None
            who = f"the key {name!r}" if isinstance(name, str) else f"entry {number}"
            faults.append((f"{who} {fault}", _line(data, name)))
            left.append(entry)
            written = entry.get("hash") if isinstance(entry, dict) else None
            damaged.append(written if isinstance(written, str) and _HASH.fullmatch(written) else None)
    return KeyFile(keys, faults, damaged, left)


def _fault(entry: Any, known: Mapping[str, ApiKey]) -> str | None:
    if not isinstance(entry, dict):
        return "is no object."
    names = {"name", "hash", "scopes", "created", "expires"}
    if odd := sorted(set(entry) - names):
        return f"has the unknown member {odd[0]!r}."
    texts = {name: entry.get(name) for name in ("name", "hash", "created")}
    for name, value in texts.items():
        if not isinstance(value, str) or (name == "name" and not value):
            return f"has no text in {name!r}."
    if texts["name"] in known:
        return "is there twice; the first one counts."
    if not _HASH.fullmatch(str(texts["hash"])):
        return "has a hash that is not the SHA-256 of a key, 64 hexadecimal digits."
    scopes = entry.get("scopes")
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return "has no list of texts in 'scopes'."
    expires = entry.get("expires")
    if expires is not None and (not isinstance(expires, str) or time_ms(expires) is None):
        return f"expires at {expires!r}, which is no date-time such as 2026-12-31T00:00:00Z."
    return None


def _line(data: bytes, name: Any) -> int:
    """The line of the name, the first line if it is not found."""
    place = data.find(orjson.dumps(name)) if isinstance(name, str) and name else -1
    return data.count(b"\n", 0, max(place, 0)) + 1
