"""Inspecting a log from outside: the reports it can give about its storage, and the log that a URL names.

Implementations are named in the table below and imported on demand.
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


def log_at(url: str, *, create: bool = False, options: Mapping[str, Any] | None = None) -> InspectableLog:
    """The log at `sqlite:///PATH`, which must exist unless `create`, or at `kafka://HOST:PORT`; not yet open.

    Without `create` it is opened for reading, also on a read-only file system.
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
                # A write-ahead log without its file is not an empty log.
                importlib.import_module("headwater.log.sqlite.wal").check_wal(path, ordered=False)
                raise ConfigInvalid(f"There is no log at {path}.", hint="The first `headwater up` creates it.")
            return cast("InspectableLog", getattr(importlib.import_module(module), name)(path, only_read=not create))
    raise ConfigInvalid(f"{url!r} is not the URL of a log.", hint="Use sqlite:///PATH or kafka://HOST:PORT.")
