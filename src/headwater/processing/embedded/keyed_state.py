"""The keyed state of one step: cells are read from the store when needed, kept in memory, changed there, committed.

How this works: a cell (state and timers of one key) is in the job's store under the namespace `job/NAME/STEP/cells`. To
find due timers without reading every key, `…/timers` has an entry for each, sorted by time: 1 byte for its kind, 8
bytes time, the timer's name, a zero byte, the key. The cells used last stay in memory, up to a number of bytes; as long
as none of the step's had to leave it, a key that is not there is new, and is not looked for in the store. Nothing is
changed in the store before the runner commits; after a failed commit a new KeyedState starts from what the store has.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from headwater.jobs.cells import NO_CELL, Cell
from headwater.jobs.steps import NO_WATERMARK, Timer
from headwater.log.contract import StateChange
from headwater.processing.stores.contract import JobStore

PAGE_ROWS = 1000
# How many cells are read at the start, and how many bytes of them.
FIRST_CELLS_MAX = 1000
FIRST_BYTES_MAX = 4_194_304
FIRST_PAGE_ROWS = 32
CACHED_BYTES_MAX = 33_554_432
# What a cached cell costs besides its state.
CELL_BYTES = 400
# Times before 1970 are negative; shifted they sort as bytes.
_SHIFT = 2**63
_NEVER = 2**62
_NO_ENTRIES: frozenset[bytes] = frozenset()


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
    """The cells of one `PerKey` step. Belongs to one run of one runner."""

    def __init__(self, store: JobStore, job: str, step: str, *, cached_bytes_max: int = CACHED_BYTES_MAX) -> None:
        self._store = store
        self._cells_name = f"job/{job}/{step}/cells"
        self._timers_name = f"job/{job}/{step}/timers"
        self._cached_bytes_max = cached_bytes_max
        # Committed cells in order of use, those used last at the end.
        self._cached: dict[bytes, Cell] = {}
        self._cached_bytes = 0
        # Whether all cells in the store are cached; None until the first look.
        self._is_whole: bool | None = None
        # The cells used since the last commit, as they are in the store and as they are now.
        self._before: dict[bytes, Cell] = {}
        self._now: dict[bytes, Cell] = {}
        # The changes of the timer index: of all changed keys but the stale ones.
        self._removed: set[bytes] = set()
        self._added: set[bytes] = set()
        self._stale: set[bytes] = set()
        # By changed key, the entries that the sets above were made for.
        self._indexed: dict[bytes, frozenset[bytes]] = {}
        # By how much the next commit changes the number of keys, and their bytes.
        self.size_change = (0, 0)
        # No stored timer of the kind is due before this; unknown until the first look.
        self._earliest = {kind.value: NO_WATERMARK for kind in TimerKind}

    async def load(self, keys: Iterable[bytes]) -> None:
        """Load the cells of `keys` into memory."""
        wanted = []
        for key in dict.fromkeys(keys):
            if key in self._before:
                continue
            cell = self._cached.pop(key, None)
            if cell is None:
                wanted.append(key)
            else:
                self._cached_bytes -= _bytes_of(key, cell)
                self._before[key] = cell
        if not wanted:
            return
        if self._is_whole is None:
            await self._load_first()
            await self.load(wanted)
            return
        found = {} if self._is_whole else await self._store.state_get(self._cells_name, wanted)
        for key in wanted:
            self._before[key] = Cell.decode(found.get(key))

    def get(self, key: bytes) -> Cell:
        """The cell of a loaded key, with the changes so far."""
        found = self._now.get(key)
        return self._before[key] if found is None else found

    def put(self, key: bytes, cell: Cell) -> None:
        """Change the cell of a loaded key."""
        if (before := self.get(key)) is cell:
            return
        self._now[key] = cell
        if cell.timers is not before.timers:
            self._stale.add(key)

    async def due(self, until_ms: int, kind: TimerKind, *, timers_max: int) -> list[DueTimer]:
        """Timers of one kind due up to `until_ms`, oldest first, including changes that are not committed yet."""
        found = []
        prefix = kind.value
        self._index_stale()
        if self._earliest[prefix] <= until_ms:
            found = await self._stored_timers(prefix, until_ms, timers_max)
        end = prefix + _encoded_time(until_ms + 1)
        found += [_timer_of(entry) for entry in self._added if prefix <= entry < end]
        found = sorted(found)[:timers_max]
        await self.load([timer.key for timer in found])
        return found

    def changes(self) -> list[StateChange]:
        """The state changes for the next commit."""
        self._index_stale()
        timers, cells_name, cells = self._timers_name, self._cells_name, []
        keys = size = 0
        for key, cell in self._now.items():
            before = self._before[key]
            if cell != before:
                encoded = cell.encode()
                cells.append(StateChange(cells_name, key, encoded))
                # Most were read or stored, so that it is known.
                before_bytes = before.encoded_bytes
                if before_bytes is None:
                    before_bytes = before.stored_bytes
                if encoded is None:
                    keys -= before_bytes > 0
                    size -= before_bytes
                else:
                    keys += before_bytes == 0
                    size += len(encoded) - before_bytes
        self.size_change = (keys, size)
        return [
            *cells,
            *[StateChange(timers, entry, None) for entry in self._removed],
            *[StateChange(timers, entry, b"1") for entry in self._added],
        ]

    def committed(self) -> None:
        """The changes were committed."""
        self._index_stale()
        for prefix, earliest in self._earliest.items():
            first = min((entry for entry in self._added if entry.startswith(prefix)), default=None)
            if first is not None:
                self._earliest[prefix] = min(earliest, _timer_of(first).at_ms)
        for key, cell in (self._before | self._now).items():
            if cell == NO_CELL:
                # It is not in the store: if all that are there are cached, that is known.
                continue
            self._cached[key] = cell
            self._cached_bytes += _bytes_of(key, cell)
        for changed in (self._before, self._now, self._added, self._removed, self._indexed):
            changed.clear()
        while self._cached_bytes > self._cached_bytes_max:
            self._is_whole = False
            oldest = next(iter(self._cached))
            self._cached_bytes -= _bytes_of(oldest, self._cached.pop(oldest))

    async def _load_first(self) -> None:
        """Read the cells page by page: if there are few, it is known from then on which keys are new."""
        after, size = b"", 0
        while len(self._cached) < FIRST_CELLS_MAX and size < FIRST_BYTES_MAX:
            page = await self._store.state_scan(self._cells_name, after=after, rows_max=FIRST_PAGE_ROWS)
            for key, encoded in page:
                cell = self._cached[key] = Cell.decode(encoded)
                size += _bytes_of(key, cell)
            if len(page) < FIRST_PAGE_ROWS:
                self._is_whole = True
                break
            after = page[-1][0]
        else:
            self._is_whole = False
        self._cached_bytes += size

    async def _stored_timers(self, prefix: bytes, until_ms: int, timers_max: int) -> list[DueTimer]:
        found: list[DueTimer] = []
        after, first_ms = prefix, _NEVER
        while len(found) < timers_max:
            page = await self._store.state_scan(self._timers_name, after=after, rows_max=PAGE_ROWS)
            for entry, _ in page:
                if not entry.startswith(prefix):
                    break
                timer = _timer_of(entry)
                first_ms = min(first_ms, timer.at_ms)
                if timer.at_ms > until_ms:
                    break
                # One that was removed may be set again before the commit.
                if entry not in self._removed:
                    found.append(timer)
                after = entry
            else:
                if len(page) == PAGE_ROWS:
                    continue
            break
        if not found:
            self._earliest[prefix] = first_ms
        return found

    def _index_stale(self) -> None:
        """Bring the changes of the timer index up to date."""
        for key in self._stale:
            before = _entries(key, self._before[key])
            if (indexed := self._indexed.get(key)) is not None:
                self._removed -= before - indexed
                self._added -= indexed - before
            now = self._indexed[key] = _entries(key, self._now[key])
            self._removed |= before - now
            self._added |= now - before
        self._stale.clear()


def _bytes_of(key: bytes, cell: Cell) -> int:
    return len(key) + cell.size_bytes + CELL_BYTES


def _entries(key: bytes, cell: Cell) -> frozenset[bytes]:
    """The entries of the timers of a cell in the index."""
    if not cell.timers:
        return _NO_ENTRIES
    if cell.entries is None:
        cell.entries = frozenset([_entry(key, name, timer) for name, timer in cell.timers.items()])
    return cell.entries


def timer_entries(key: bytes, cell: Cell) -> list[bytes]:
    """The keys by which the timers of a cell are found in the store, under `…/timers`."""
    return sorted(_entries(key, cell))


def _entry(key: bytes, name: str, timer: Timer) -> bytes:
    return b"".join((kind_of(timer).value, _encoded_time(timer.at_ms), name.encode(), b"\0", key))


def _encoded_time(at_ms: int) -> bytes:
    return (at_ms + _SHIFT).to_bytes(8, "big")


def timers_of(key: bytes, cell: Cell, kind: TimerKind) -> list[DueTimer]:
    """The timers of one kind that a cell has."""
    return [DueTimer(timer.at_ms, key, name) for name, timer in cell.timers.items() if kind_of(timer) is kind]


def kind_of(timer: Timer) -> TimerKind:
    """What fires the timer."""
    _, fires_when_idle, clock = timer
    if clock == "wall":
        return TimerKind.WALL
    return TimerKind.EVENT_OR_IDLE if fires_when_idle else TimerKind.EVENT


def _timer_of(entry: bytes) -> DueTimer:
    name, _, key = entry[9:].partition(b"\0")
    return DueTimer(int.from_bytes(entry[1:9], "big") - _SHIFT, key, name.decode())
