"""What a log reports about its storage: damage that was found, sizes and counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from headwater.log.contract import Log


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged place. Offsets are None if the damage has none."""

    where: str
    reason: str
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None


@dataclass(frozen=True, slots=True)
class FileLook:
    """The result of checking one file other than the log. `rows`: in all its tables, None if they were not counted.

    `unseen`: why not all of it was checked.
    """

    path: Path
    damages: tuple[Damage, ...] = ()
    rows: int | None = None
    unseen: str | None = None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found; sound if `damages` is empty. `batches` is None if the log does not expose them."""

    batches: int | None
    records: int
    damages: tuple[Damage, ...] = field(default=())
    files: tuple[FileLook, ...] = field(default=())

    @property
    def sound(self) -> bool:
        return not self.damages

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        files = [
            {"path": str(one.path), "rows": one.rows, "damages": len(one.damages), "unseen": one.unseen}
            for one in self.files
        ]
        return {"sound": self.sound, **asdict(self), "files": files}


@dataclass(frozen=True, slots=True)
class LogStats:
    """Sizes in bytes; `free_bytes` of the file are unused, `wal_bytes` are in its write-ahead log.

    None: this kind of log does not have it, or it is unknown.
    """

    topics: int
    partitions: int
    batches: int | None
    file_bytes: int | None
    free_bytes: int | None
    wal_bytes: int | None
    queued_bytes: int
    positions: int
    state_rows: int | None


class InspectableLog(Log, Protocol):
    """A log whose storage can be inspected."""

    async def verify(self, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Check everything that is stored. `progress(batches_done, batches_estimated)` may come from a thread."""
        ...

    async def stats(self) -> LogStats:
        """Sizes and counts, for display and for metrics."""
        ...
