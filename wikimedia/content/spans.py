"""Since when and until when things have been so, of events that say what was added and what was removed.

How this works: of each thing that an entity has, a row keeps since when. What is added begins a span, what is removed
or gets another value ends it; a span that ends is passed on again, with a greater version. An event that does not fit
to what is known is an inconsistency: it is counted, and what is known is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NAME_BYTES_MAX = 500


@dataclass(frozen=True)
class Facts:
    """What an event says of an entity about things of one kind.

    `added`: name → value, "" for a thing without one. `is_whole`: the names in `added` are all that there are.
    `replaces`: a thing that is there already may get another value.
    """

    kind: str
    added: Mapping[str, str] = field(default_factory=dict)
    removed: Sequence[str] = ()
    is_whole: bool = False
    replaces: bool = False


@dataclass(frozen=True)
class Moment:
    """When it was: the time, and the revision or another number that orders events of an entity; 0 without one."""

    dt: str
    number: int


def applied(
    facts: Facts, at: Moment, rows: MutableMapping[str, Any], inconsistent: list[str]
) -> Iterator[dict[str, Any]]:
    """The spans that begin and end. `rows`: what is known of the entity. `inconsistent` gets what does not fit."""
    removed = set(facts.removed) - facts.added.keys()
    if facts.is_whole:
        known = {row["name"] for row in rows.values() if row["kind"] == facts.kind}
        removed |= known - facts.added.keys()
    for name in sorted(removed):
        row = rows.pop(_key(facts.kind, name), None)
        if row is None:
            inconsistent.append("removed_unknown")
        else:
            yield _span(row, at)
    for name, value in sorted(facts.added.items()):
        key = _key(facts.kind, name)
        before = rows.get(key)
        if before is not None:
            if before["value"] == value or not facts.replaces:
                if not facts.is_whole and not facts.replaces:
                    inconsistent.append("added_twice")
                continue
            yield _span(before, at)
        row = {"kind": facts.kind, "name": name, "value": value, "since": [at.dt, at.number]}
        rows[key] = row
        yield _span(row, None)


def _key(kind: str, name: str) -> str:
    """The name of a row; the digest of a long one."""
    whole = f"{kind} {name}"
    encoded = whole.encode("utf-8", "surrogatepass")
    return whole if len(encoded) <= NAME_BYTES_MAX and "\0" not in whole else hashlib.sha256(encoded).hexdigest()


def _span(row: Mapping[str, Any], until: Moment | None) -> dict[str, Any]:
    made = {
        "kind": row["kind"],
        "name": row["name"],
        **({"value": row["value"]} if row["value"] else {}),
        "valid_from": row["since"][0],
        "from_number": row["since"][1],
        "version": 1,
    }
    return made if until is None else {**made, "valid_to": until.dt, "to_number": until.number, "version": 2}
