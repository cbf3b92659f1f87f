"""Looks for damage in what a project keeps beside its log: tables, and the state of jobs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from headwater.config import Config
from headwater.connectors.registry import look_into_tables
from headwater.errors import HeadwaterError, LogCorrupt
from headwater.log.contract import Log
from headwater.log.inspection import FileLook, LooksForDamage

# At a start; half of it for the log.
START_SECONDS_MAX = 2.0
WAL_SUFFIX = "-wal"
HINT = (
    "Nothing is written into it, and its jobs stand. Stop the server and bring back a copy, or move the file away with"
    " what is beside it, such as its -wal: tables are then filled anew from what the log still has. `headwater log"
    " verify` looks at all of it."
)

_log = logging.getLogger(__name__)


def files_of(config: Config) -> Iterator[Path]:
    """The files that a project's jobs keep tables and state in, where they, or their write-ahead logs, are there."""
    tables, state = config.path(config.jobs.tables_path), config.path(config.jobs.state_path)
    if tables.is_file() or _wal(tables).is_file():
        yield tables
    if state.is_dir():
        found = {one for one in state.glob("*.db") if one.is_file()}
        left = {one.with_name(one.name.removesuffix(WAL_SUFFIX)) for one in state.glob(f"*.db{WAL_SUFFIX}")}
        yield from sorted(found | {one for one in left if not one.exists()})


def look_into_files(config: Config, seconds_max: float | None = None) -> Iterator[FileLook]:
    """What is damaged in each of them; `seconds_max` for all together. Reads them: call it in a thread."""
    deadline = None if seconds_max is None else time.monotonic() + seconds_max
    for path in files_of(config):
        left = None if deadline is None else max(0.05, deadline - time.monotonic())
        try:
            yield look_into_tables(path, left)
        except HeadwaterError as error:
            yield FileLook(path, unseen=error.message)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + WAL_SUFFIX)


async def damaged_at_start(config: Config, log: Log) -> Mapping[Path, LogCorrupt]:
    """Look at the log and the files for a moment and say what is found; the files that are to be left alone."""
    began = time.monotonic()
    unseen: list[str] = []
    if isinstance(log, LooksForDamage) and not await log.look(START_SECONDS_MAX / 2):
        unseen.append("the log")
    damaged: dict[Path, LogCorrupt] = {}
    for look in await asyncio.to_thread(lambda: list(look_into_files(config, START_SECONDS_MAX / 2))):
        if look.damages:
            more = f", and {len(look.damages) - 1} more" if len(look.damages) > 1 else ""
            error = LogCorrupt(f"{look.path} is damaged: {look.damages[0].reason.rstrip('.')}{more}.", hint=HINT)
            _log.error("%s %s", error.message, HINT)
            damaged[look.path] = error
        elif look.unseen:
            unseen.append(look.path.name)
    if unseen:
        _log.info(
            "Looked for damage for %.1f s; not all was seen of %s: `headwater log verify` looks at everything.",
            time.monotonic() - began,
            ", ".join(unseen),
        )
    return damaged
