"""Looking into a log from outside: what it can say about itself, and the log that a URL names.

Implementations are named in the table below and imported when they are asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from headwater.errors import ConfigInvalid
from headwater.log.contract import Log
from headwater.log.urls import require_client

KAFKA = "kafka://"
INSPECTABLE = {
    "sqlite:///": ("headwater.log.sqlite.log", "SqliteLog"),
    KAFKA: ("headwater.log.kafka.log", "KafkaLog"),
}


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged place. Offsets are None where the damage has none."""

    where: str
    reason: str
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None


@dataclass(frozen=True, slots=True)
class FileLook:
    """What a look into one file beside the log found. `rows`: of all its tables, None where they were not counted.

    `unseen`: why not all of it was looked at.
    """

    path: Path
    damages: tuple[Damage, ...] = ()
    rows: int | None = None
    unseen: str | None = None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found; sound when `damages` is empty. `batches` is None where the log does not show them."""

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
    """Sizes in bytes; `free_bytes` of the file are not in use, `wal_bytes` are in the write-ahead log beside it.

    None is what this kind of log does not have, or cannot tell.
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
    """A log whose storage can be looked at."""

    async def verify(self, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Check everything that is stored. `progress(batches_done, batches_estimated)` may come from a thread."""
        ...

    async def stats(self) -> LogStats:
        """Sizes and counts, for people and for metrics."""
        ...


def log_at(url: str, *, create: bool = False, options: Mapping[str, Any] | None = None) -> InspectableLog:
    """The log at `sqlite:///PATH`, which must be there unless `create`, or `kafka://HOST:PORT`; not yet open.

    Without `create` it is for reading, also where nothing can be written.
    `options` are for the Kafka client. Raises ConfigInvalid, ExtraMissing.
    """
    for prefix, (module, name) in INSPECTABLE.items():
        if url.startswith(prefix):
            if prefix == KAFKA:
                require_client()
                make = getattr(importlib.import_module(module), name)
                return cast("InspectableLog", make(url, options=options))
            path = Path(url.removeprefix(prefix))
            if not create and not path.is_file():
                # Its write-ahead log alone is no empty log.
                importlib.import_module("headwater.log.sqlite.wal").check_wal(path, ordered=False)
                raise ConfigInvalid(f"There is no log at {path}.", hint="It is made by the first `headwater up`.")
            return cast("InspectableLog", getattr(importlib.import_module(module), name)(path, only_read=not create))
    raise ConfigInvalid(
        f"{url!r} is not a log that can be looked into.", hint="Give sqlite:///PATH or kafka://HOST:PORT."
    )
