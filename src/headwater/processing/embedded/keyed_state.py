"""The keyed state of one step between two commits: cells are read from the store, changed in memory, then committed.

How this works: a cell (state and timers of one key) is in the job's store under the namespace `job/NAME/STEP/cells`. To
find due timers without reading every key, `…/timers` has an entry for each, sorted by time: 1 byte for its kind, 8
bytes time, the timer's name, a zero byte, the key. Nothing is changed in the store before the runner commits; after a
failed commit a new KeyedState starts from the content of the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from headwater.jobs.steps import NO_WATERMARK, KeyEntry, Timer
from headwater.log.contract import StateChange
from headwater.processing.stores.contract import JobStore

PAGE_ROWS = 1000
# Times before 1970 are negative; shifted they sort as bytes.
_SHIFT = 2**63
_NEVER = 2**62
# How the cell of a key without timers and rows ends: most have none, and need not be decoded to see it.
NO_TIMERS_END = b'"t":{}}'


class TimerKind(Enum):
    """What fires a timer; the value is the first byte of its entry."""

    EVENT_OR_IDLE = b"\0"
    EVENT = b"\1"
    WALL = b"\2"


class DueTimer(NamedTuple):
    """A timer that is due."""

    at_ms: int
    key: bytes
    name: str


class KeyedState:
    """The cells of one `PerKey` step. Belongs to one runner."""

    def __init__(self, store: JobStore, job: str, step: str) -> None:
        self._store = store
        self._cells_name = f"job/{job}/{step}/cells"
        self._timers_name = f"job/{job}/{step}/timers"
        # The entries that each changed key removes from the timer index, and those that it adds.
        self._changed_timers: dict[bytes, tuple[set[bytes], set[bytes]]] = {}
        self._stale: set[bytes] = set()
        self._before: dict[bytes, bytes | None] = {}
        self._now: dict[bytes, bytes | None] = {}
        # No stored timer of the kind is due before this; unknown until the first look.
        self._earliest = {kind.value: NO_WATERMARK for kind in TimerKind}

    async def load(self, keys: Iterable[bytes]) -> None:
        """Load the cells of `keys` into memory."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._before]
        if wanted:
            found = await self._store.state_get(self._cells_name, wanted)
            for key in wanted:
                self._before[key] = found.get(key)

    def get(self, key: bytes) -> bytes | None:
        """The cell of a loaded key, with the changes so far."""
        return self._now[key] if key in self._now else self._before[key]

    def put(self, key: bytes, cell: bytes | None) -> None:
        """Change the cell of a loaded key."""
        if cell != self.get(key):
            self._now[key] = cell
            self._stale.add(key)

    async def due(self, until_ms: int, kind: TimerKind, *, timers_max: int) -> list[DueTimer]:
        """Timers of one kind due up to `until_ms`, oldest first, including changes that are not committed yet."""
        found = []
        prefix = kind.value
        removed, added = self._timer_changes()
        if self._earliest[prefix] <= until_ms:
            found = await self._stored_timers(prefix, until_ms, removed, timers_max)
        fresh = (_timer_of(entry) for entry in added if entry.startswith(prefix))
        found += [timer for timer in fresh if timer.at_ms <= until_ms]
        found = sorted(found)[:timers_max]
        await self.load(timer.key for timer in found)
        return found

    def changes(self) -> list[StateChange]:
        """The state changes for the next commit."""
        removed, added = self._timer_changes()
        return [
            *(StateChange(self._cells_name, key, cell) for key, cell in self._now.items() if cell != self._before[key]),
            *(StateChange(self._timers_name, entry, None) for entry in removed),
            *(StateChange(self._timers_name, entry, b"1") for entry in added),
        ]

    def committed(self) -> None:
        """The changes were committed."""
        for entry in self._timer_changes()[1]:
            kind = entry[:1]
            self._earliest[kind] = min(self._earliest[kind], _timer_of(entry).at_ms)
        self._before.clear()
        self._now.clear()
        self._changed_timers.clear()

    async def _stored_timers(
        self, prefix: bytes, until_ms: int, removed: set[bytes], timers_max: int
    ) -> list[DueTimer]:
        found: list[DueTimer] = []
        after = prefix
        while len(found) < timers_max:
            page = await self._store.state_scan(self._timers_name, after=after, rows_max=PAGE_ROWS)
            for entry, _ in page:
                timer = _timer_of(entry) if entry.startswith(prefix) else None
                if timer is None or timer.at_ms > until_ms:
                    if not found:
                        self._earliest[prefix] = _NEVER if timer is None else timer.at_ms
                    return found
                if entry not in removed:
                    found.append(timer)
                after = entry
            if len(page) < PAGE_ROWS:
                if not found:
                    self._earliest[prefix] = _NEVER
                break
        return found

    def _timer_changes(self) -> tuple[set[bytes], set[bytes]]:
        """The entries to remove from the timer index, and those to add."""
        for key in self._stale:
            before, now = _entries(key, self._before[key]), _entries(key, self._now[key])
            self._changed_timers[key] = (before - now, now - before)
        self._stale.clear()
        changed = self._changed_timers.values()
        return set().union(*(removed for removed, _ in changed)), set().union(*(added for _, added in changed))


def _entries(key: bytes, cell: bytes | None) -> set[bytes]:
    if cell is None or cell.endswith(NO_TIMERS_END):
        return set()
    return {_entry(key, name, timer) for name, timer in KeyEntry.decode(cell).timers.items()}


def _entry(key: bytes, name: str, timer: Timer) -> bytes:
    time = (timer.at_ms + _SHIFT).to_bytes(8, "big")
    return kind_of(timer).value + time + name.encode() + b"\0" + key


def timers_of(key: bytes, cell: bytes | None, kind: TimerKind) -> list[DueTimer]:
    """The timers of one kind that a cell has."""
    if cell is None or cell.endswith(NO_TIMERS_END):
        return []
    found = KeyEntry.decode(cell).timers.items()
    return [DueTimer(timer.at_ms, key, name) for name, timer in found if kind_of(timer) is kind]


def kind_of(timer: Timer) -> TimerKind:
    """What fires the timer."""
    if timer.clock == "wall":
        return TimerKind.WALL
    return TimerKind.EVENT_OR_IDLE if timer.fires_when_idle else TimerKind.EVENT


def _timer_of(entry: bytes) -> DueTimer:
    name, _, key = entry[9:].partition(b"\0")
    return DueTimer(int.from_bytes(entry[1:9], "big") - _SHIFT, key, name.decode())
