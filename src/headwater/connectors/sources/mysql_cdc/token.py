"""The token of the MariaDB source: a set of global transaction ids, and during the snapshot a row of a table."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from headwater.errors import TokenInvalid

PREFIX = "my1."
# Changes of one transaction that have a version of their own; further ones have that of the last.
NUMBERS = 2**20
_GTID = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})")

Gtids = dict[int, tuple[int, int]]


def read_gtids(text: str) -> Gtids:
    """Domain → server and sequence number, of `0-1-6,1-2-9`; empty of an empty text. Raises ValueError."""
    found: Gtids = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        matched = _GTID.fullmatch(part)
        if matched is None:
            raise ValueError(f"{part!r} is not a global transaction id")
        found[int(matched[1])] = (int(matched[2]), int(matched[3]))
    return found


def gtids_text(gtids: Gtids) -> str:
    return ",".join(f"{domain}-{server}-{number}" for domain, (server, number) in sorted(gtids.items()))


def version_of(gtids: Gtids, number: int = NUMBERS - 1) -> int:
    """A number that grows with every change in the order of the binary log."""
    return sum(sequence for _, sequence in gtids.values()) * NUMBERS + min(number, NUMBERS - 1)


@dataclass(frozen=True, slots=True)
class SnapshotPlace:
    """How far the snapshot was read: the rows of `table` up to the key `after`, and all tables before it."""

    table: str
    after: tuple[str | int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where to resume: after the transactions `gtids`, and after `number` changes of the one that follows, `within`."""

    gtids: str
    number: int = 0
    within: str = ""
    snapshot: SnapshotPlace | None = None

    @property
    def is_snapshot(self) -> bool:
        return self.snapshot is not None

    def after_snapshot(self) -> Place:
        return replace(self, snapshot=None)

    def token(self) -> str:
        written: dict[str, Any] = {"gtid": self.gtids}
        if self.number:
            written |= {"number": self.number, "within": self.within}
        if self.snapshot is not None:
            written["table"] = self.snapshot.table
            if self.snapshot.after is not None:
                written["after"] = list(self.snapshot.after)
        return PREFIX + json.dumps(written, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, token: str) -> Place:
        """Raises TokenInvalid."""
        try:
            if not token.startswith(PREFIX):
                raise ValueError
            written = json.loads(token.removeprefix(PREFIX))
            gtids = gtids_text(read_gtids(written["gtid"]))
            after = written.get("after")
            if after is not None and not all(type(value) in (str, int) for value in after):
                raise ValueError
            table = written.get("table")
            snapshot = None if table is None else SnapshotPlace(str(table), None if after is None else tuple(after))
            return cls(gtids, int(written.get("number", 0)), str(written.get("within", "")), snapshot)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TokenInvalid(f"{token[:200]!r} is not a token of a MariaDB source.") from None
