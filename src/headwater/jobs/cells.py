"""What a keyed step keeps of one key: its state and timers, and how they are stored.

How this works: a cell is stored as `{"s": STATE, "t": {NAME: [TIME, STRICT]}}`, with `"r": 1` if the key has rows. In
memory the state stays encoded, so that each function gets a copy of its own, and the timers are decoded: a cell that is
used again is not read again, and timers that an event does not change are neither encoded nor compared with the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from headwater.errors import JobInvalid
from headwater.event import decode_kept, encode_kept
from headwater.jobs.steps import TIMER_MS_MAX, Timer

Timers = Mapping[str, Timer]

_NO_TIMERS: Timers = {}
# The parts of a stored cell. Quotes within JSON text are escaped, so that the last separator is the real one.
_START, _TIMERS, _ROWS, _END = b'{"s":', b',"t":', b',"r":1', b"}"
_TIMERS_START = _TIMERS + b"{"
_EMPTY = b"{}"
_NULL = b"null"
# At the start of JSON some of whose numbers are read exactly; see `encode_kept`.
_EXACT = b" "


class Cell:
    """State and timers of one key at one moment, never changed; `has_rows`: whether the key has rows.

    `encoded_state` and `encoded_timers` are JSON, as `encode_kept` writes it. `entries`: those of the timers in the
    index of a runner, which notes them here once it has made them. `encoded_bytes`: how long it is stored, once that is
    known.
    """

    __slots__ = ("encoded_bytes", "encoded_state", "encoded_timers", "entries", "has_rows", "timers")

    def __init__(self, encoded_state: bytes, timers: Timers, encoded_timers: bytes, has_rows: bool) -> None:
        self.encoded_state = encoded_state
        self.timers = timers
        self.encoded_timers = encoded_timers
        self.has_rows = has_rows
        self.entries: frozenset[bytes] | None = None
        self.encoded_bytes: int | None = None

    @classmethod
    def of(cls, state: Any = None, timers: Timers = _NO_TIMERS, *, has_rows: bool = False) -> Cell:
        """The cell with this state and these timers. Raises JobInvalid for an invalid timer."""
        return NO_CELL.changed(state, timers, has_rows=has_rows)

    @classmethod
    def decode(cls, encoded: bytes | None) -> Cell:
        """The cell that `encode` gave these bytes of."""
        if encoded is None:
            return NO_CELL
        mark = _EXACT if encoded[:1] == _EXACT else b""
        at = encoded.rfind(_TIMERS_START)
        state = mark + encoded[len(mark) + len(_START) : at]
        tail = encoded[at + len(_TIMERS) : -len(_END)]
        has_rows = tail.endswith(_ROWS)
        timers = tail[: -len(_ROWS)] if has_rows else tail
        if timers == _EMPTY:
            cell = cls(state, _NO_TIMERS, _EMPTY, has_rows)
        else:
            read = {name: _timer_of(*stored) for name, stored in orjson.loads(timers).items()}
            cell = cls(state, read, mark + timers, has_rows)
        cell.encoded_bytes = len(encoded)
        return cell

    def encode(self) -> bytes | None:
        """As bytes, or None if there is nothing to keep."""
        state, timers = self.encoded_state, self.encoded_timers
        if not self.has_rows and not self.timers and state == _NULL:
            self.encoded_bytes = 0
            return None
        mark = b""
        if state[:1] == _EXACT or timers[:1] == _EXACT:
            mark, state, timers = _EXACT, state.lstrip(_EXACT), timers.lstrip(_EXACT)
        rows = _ROWS if self.has_rows else b""
        encoded = b"".join((mark, _START, state, _TIMERS, timers, rows, _END))
        self.encoded_bytes = len(encoded)
        return encoded

    @property
    def stored_bytes(self) -> int:
        """How many bytes `encode` gives; 0 if there is nothing to keep."""
        found = self.encoded_bytes
        return len(self.encode() or b"") if found is None else found

    @property
    def state(self) -> Any:
        """A copy of the state, as a JSON value; None without one."""
        return decode_kept(self.encoded_state)

    @property
    def size_bytes(self) -> int:
        """About how long it is, encoded."""
        return len(self.encoded_state) + len(self.encoded_timers) + 11

    def changed(self, state: Any, timers: Timers, *, has_rows: bool) -> Cell:
        """The cell with another state, and other timers; this one if both are the same. Raises as `of` does."""
        encoded = encode_kept(state)
        if timers == self.timers:
            if encoded == self.encoded_state and has_rows == self.has_rows:
                return self
            cell = Cell(encoded, self.timers, self.encoded_timers, has_rows)
            cell.entries = self.entries
            return cell
        return Cell(encoded, *_kept(timers), has_rows)

    def without_timer(self, name: str) -> Cell:
        """The cell without this timer."""
        left = {other: timer for other, timer in self.timers.items() if other != name}
        if not left:
            return Cell(self.encoded_state, _NO_TIMERS, _EMPTY, self.has_rows)
        return Cell(self.encoded_state, *_kept(left), self.has_rows)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Cell)
            and self.encoded_state == other.encoded_state
            and self.timers == other.timers
            and self.has_rows == other.has_rows
        )

    def __hash__(self) -> int:
        return hash(self.encoded_state)

    def __repr__(self) -> str:
        return f"Cell({self.encode()!r})"


def _kept(timers: Timers) -> tuple[Timers, bytes]:
    """A copy of the timers, and their JSON. Raises JobInvalid for an invalid one."""
    kept, stored = {}, {}
    # For each event with a timer, so it avoids calls.
    for name, (at_ms, fires_when_idle, clock) in timers.items():
        if type(at_ms) is not int or not -TIMER_MS_MAX <= at_ms <= TIMER_MS_MAX or "\0" in name:
            raise JobInvalid(f"The timer {name!r} is at {at_ms!r}, which is not a time in whole milliseconds.")
        kept[name] = tuple.__new__(Timer, (at_ms, bool(fires_when_idle), clock))
        # The stored flag has the opposite meaning: it is older than the name.
        stored[name] = [at_ms, not fires_when_idle] if clock == "event" else [at_ms, not fires_when_idle, clock]
    return kept, encode_kept(stored)


def _timer_of(at_ms: int, strict: bool, clock: str = "event") -> Timer:
    # For each event with timers, so it avoids calls.
    return tuple.__new__(Timer, (at_ms, not strict, clock))


NO_CELL = Cell(_NULL, _NO_TIMERS, _EMPTY, False)
