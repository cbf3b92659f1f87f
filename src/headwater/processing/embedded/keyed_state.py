"""The keyed state of one step between two commits: cells are read from the store, changed in memory, then committed.

How this works: a cell (state and timers of one key) is in the job's store under the namespace `job/NAME/STEP/cells`. To
find due timers without reading every key, `…/timers` has an entry for each, sorted by time: 1 byte whether it is strict
(does not fire when idle), 8 bytes time, the timer's name, a zero byte, the key. Nothing is changed in the store before
the runner commits; after a failed commit a new KeyedState starts from the content of the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from headwater.jobs.steps import NO_WATERMARK, KeyEntry, Timer
from headwater.log.contract import StateChange
from headwater.processing.stores.contract import JobStore

PAGE_ROWS = 1000
# Times before 1970 are negative; shifted they sort as bytes.
_SHIFT = 2**63
_NEVER = 2**62


class DueTimer(NamedTuple):
    """A timer that is due."""

    at_ms: int
    strict: bool
    key: bytes
    name: str


class KeyedState:
    """The cells of one `PerKey` step. Belongs to one runner."""

    def __init__(self, store: JobStore, job: str, step: str) -> None:
        self._store = store
        self._cells_name = f"job/{job}/{step}/cells"
        self._timers_name = f"job/{job}/{step}/timers"
        self._changed_timers: tuple[set[bytes], set[bytes]] | None = None
        self._before: dict[bytes, bytes | None] = {}
        self._now: dict[bytes, bytes | None] = {}
        # No stored timer of the kind is due before this; unknown until the first look.
        self._earliest = {False: NO_WATERMARK, True: NO_WATERMARK}

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
            self._changed_timers = None

    async def due(self, until_ms: int, *, strict: bool, timers_max: int) -> list[DueTimer]:
        """Timers of one kind due up to `until_ms`, oldest first, including changes that are not committed yet."""
        found = []
        prefix = b"\1" if strict else b"\0"
        removed, added = self._timer_changes()
        if self._earliest[strict] <= until_ms:
            found = await self._stored_timers(prefix, until_ms, removed, timers_max)
        fresh = (_timer_of(entry) for entry in added if entry.startswith(prefix))
        found += [timer for timer in fresh if timer.at_ms <= until_ms]
        for timer in found:
            await self.load([timer.key])
        return sorted(found)[:timers_max]

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
            timer = _timer_of(entry)
            self._earliest[timer.strict] = min(self._earliest[timer.strict], timer.at_ms)
        self._before.clear()
        self._now.clear()
        self._changed_timers = None

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
                        self._earliest[prefix == b"\1"] = _NEVER if timer is None else timer.at_ms
                    return found
                if entry not in removed:
                    found.append(timer)
                after = entry
            if len(page) < PAGE_ROWS:
                if not found:
                    self._earliest[prefix == b"\1"] = _NEVER
                break
        return found

    def _timer_changes(self) -> tuple[set[bytes], set[bytes]]:
        """The entries to remove from the timer index, and those to add."""
        if self._changed_timers is not None:
            return self._changed_timers
        removed: set[bytes] = set()
        added: set[bytes] = set()
        for key, cell in self._now.items():
            before = {_entry(key, name, timer) for name, timer in KeyEntry.decode(self._before[key]).timers.items()}
            now = {_entry(key, name, timer) for name, timer in KeyEntry.decode(cell).timers.items()}
            removed |= before - now
            added |= now - before
        self._changed_timers = (removed, added)
        return removed, added


def _entry(key: bytes, name: str, timer: Timer) -> bytes:
    time = (timer.at_ms + _SHIFT).to_bytes(8, "big")
    return (b"\0" if timer.fires_when_idle else b"\1") + time + name.encode() + b"\0" + key


def _timer_of(entry: bytes) -> DueTimer:
    name, _, key = entry[9:].partition(b"\0")
    return DueTimer(int.from_bytes(entry[1:9], "big") - _SHIFT, entry[:1] == b"\1", key, name.decode())
