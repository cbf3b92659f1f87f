"""The token of the PostgreSQL source: a place in the write-ahead log, and during the snapshot a row of a table."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from headwater.errors import TokenInvalid

PREFIX = "pg1."
_LSN = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})")


def lsn_text(lsn: int) -> str:
    """`0/16B3748`, as PostgreSQL writes a place in its log."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def read_lsn(text: str) -> int:
    """Raises ValueError."""
    found = _LSN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a place in a write-ahead log")
    return int(found[1], 16) << 32 | int(found[2], 16)


@dataclass(frozen=True, slots=True)
class SnapshotPlace:
    """How far the snapshot was read: the rows of `table` up to the key `after`, and all tables before it.

    `seen` is what PostgreSQL calls a snapshot: which transactions were committed when it was taken. `file` is that of
    a table without a key, whose rows are found by their place in it.
    """

    seen: str
    table: str
    after: tuple[str, ...] | None = None
    file: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where to resume: after `number` changes of the transaction that commits at `lsn`, or with 0 at `lsn`.

    `first_lsn` is where the stream begins, at the snapshot. `system` identifies the database cluster.
    """

    system: str
    first_lsn: int
    lsn: int
    number: int = 0
    snapshot: SnapshotPlace | None = None

    @property
    def is_snapshot(self) -> bool:
        return self.snapshot is not None

    def after_snapshot(self) -> Place:
        return replace(self, snapshot=None)

    def token(self) -> str:
        written: dict[str, Any] = {"at": lsn_text(self.lsn), "from": lsn_text(self.first_lsn), "system": self.system}
        if self.number:
            written["number"] = self.number
        if (snapshot := self.snapshot) is not None:
            written["snapshot"] = {"seen": snapshot.seen, "table": snapshot.table}
            if snapshot.after is not None:
                written["snapshot"]["after"] = list(snapshot.after)
            if snapshot.file:
                written["snapshot"]["file"] = snapshot.file
        return PREFIX + json.dumps(written, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, token: str) -> Place:
        """Raises TokenInvalid."""
        try:
            if not token.startswith(PREFIX):
                raise ValueError
            written = json.loads(token.removeprefix(PREFIX))
            snapshot = written.get("snapshot")
            return cls(
                str(written["system"]),
                read_lsn(written["from"]),
                read_lsn(written["at"]),
                int(written.get("number", 0)),
                None if snapshot is None else _snapshot(snapshot),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TokenInvalid(f"{token[:200]!r} is not a token of a PostgreSQL source.") from None


def _snapshot(written: dict[str, Any]) -> SnapshotPlace:
    after = written.get("after")
    if after is not None and not all(isinstance(value, str) for value in after):
        raise ValueError
    return SnapshotPlace(
        str(written["seen"]),
        str(written["table"]),
        None if after is None else tuple(after),
        int(written.get("file", 0)),
    )
