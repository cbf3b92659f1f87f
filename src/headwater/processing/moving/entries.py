"""What a job keeps, entry by entry, the same whichever runner has kept it: cells, rows and parked events.

How this works: an entry is one line of JSON. State is kept as the text that the runner stores, so that nothing is read
and written again on the way. Indexes of timers are not among the entries: the timers are in the cells. The sum of the
entries of a step does not depend on their order, since runners have different ones.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import msgspec
import orjson

from headwater.errors import StateMismatch
from headwater.jobs.cells import Cell

Kind = Literal["cell", "row", "parked"]
# Of parked events, which belong to no step alone.
NO_STEP = ""
DIGEST_BYTES = 16
_MODULUS = 1 << (8 * DIGEST_BYTES)
_ZERO = b"\0"

_encode = msgspec.msgpack.Encoder().encode


class Entry(NamedTuple):
    """One thing that a job keeps. `key`: of the step, encoded as JSON, or the number of a parked event; `name`: of a
    row.
    """

    step: str
    kind: Kind
    key: bytes
    name: str
    value: bytes

    def line(self) -> bytes:
        """As a line of JSON, with its end."""
        if self.kind == "parked":
            written: dict[str, Any] = {"parked": int.from_bytes(self.key, "big"), "event": _base64(self.value)}
        else:
            written = {"step": self.step, "key": self.key.decode()}
            if self.kind == "row":
                written["row"] = self.name
            written |= _content(self.value)
        return orjson.dumps(written, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def of_line(cls, line: bytes | str) -> Entry:
        """The entry of which `line` was made. Raises StateMismatch for anything else."""
        try:
            read = orjson.loads(line)
            if "parked" in read:
                return cls(NO_STEP, "parked", read["parked"].to_bytes(8, "big"), "", base64.b64decode(read["event"]))
            content = base64.b64decode(read["base64"]) if "base64" in read else read["value"].encode()
            kind: Kind = "row" if "row" in read else "cell"
            return cls(read["step"], kind, read["key"].encode(), read.get("row", ""), content)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise StateMismatch(f"A line of exported state is not one of state: {line[:80]!r}: {error}") from error

    def digest(self) -> int:
        """A number that another entry does not have."""
        content = _encode((self.step, self.kind, self.key, self.name, self.value))
        return int.from_bytes(blake2b(content, digest_size=DIGEST_BYTES).digest(), "big")


@dataclass(slots=True)
class StepSum:
    """How much a step keeps: keys, timers of keys, and rows; and the checksum of all, whatever their order."""

    keys: int = 0
    timers: int = 0
    rows: int = 0
    total: int = 0

    def add(self, entry: Entry) -> None:
        """Count an entry, which is there once."""
        timers = len(Cell.decode(entry.value).timers) if entry.kind == "cell" else 0
        self.count(entry.kind, timers, entry.digest())

    def count(self, kind: Kind, timers: int, digest: int) -> None:
        """Count an entry of this kind, with so many timers and this digest."""
        if kind == "row":
            self.rows += 1
        else:
            self.keys += 1
            self.timers += timers
        self.total = (self.total + digest) % _MODULUS

    @property
    def entries(self) -> int:
        return self.keys + self.rows

    @property
    def digest(self) -> str:
        """The checksum as hexadecimal text."""
        return f"{self.total:0{2 * DIGEST_BYTES}x}"

    def as_json(self) -> dict[str, Any]:
        return {"keys": self.keys, "timers": self.timers, "rows": self.rows, "digest": self.digest}

    @classmethod
    def of_json(cls, written: Mapping[str, Any]) -> StepSum:
        """Raises KeyError, TypeError, ValueError for another form."""
        return cls(int(written["keys"]), int(written["timers"]), int(written["rows"]), int(written["digest"], 16))


def entry_of(prefix: str, namespace: str, key: bytes, value: bytes) -> Entry | None:
    """The entry that is stored in a namespace of a job's store, which begins with `prefix`; None for what can be made
    of the others: indexes, and the progress of the runner.
    """
    step, _, part = namespace.removeprefix(prefix).rpartition("/")
    match part:
        case "cells":
            return Entry(step, "cell", key, "", value)
        case "rows":
            of, _, name = key.partition(_ZERO)
            return Entry(step, "row", of, name.decode(), value)
        case "park" if not step:
            return Entry(NO_STEP, "parked", key, "", value)
    return None


def stored_in(prefix: str, entry: Entry) -> tuple[str, bytes]:
    """The namespace and the key by which a job's store has an entry."""
    match entry.kind:
        case "cell":
            return f"{prefix}{entry.step}/cells", entry.key
        case "row":
            return f"{prefix}{entry.step}/rows", entry.key + _ZERO + entry.name.encode()
        case "parked":
            return f"{prefix}park", entry.key


def _content(value: bytes) -> dict[str, str]:
    """State is text, unless a text of it is not Unicode."""
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": _base64(value)}


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
