"""Searches for damage in the files next to a project's log: tables, and the state of jobs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from headwater.config import Config
from headwater.connectors.registry import look_into_tables
from headwater.errors import ConfigInvalid, HeadwaterError, LogCorrupt
from headwater.jobs.job import Job
from headwater.log.contract import Log
from headwater.log.diagnostics import FileLook
from headwater.processing.declared_connectors import project_sinks
from headwater.streams.layers import Scope
from headwater.streams.registry import StreamRegistry

# At a start; half of it for the log.
START_SECONDS_MAX = 2.0
WAL_SUFFIX = "-wal"
HINT = (
    "Nothing is written into it, and its jobs do not run. Stop the server and restore a backup, or move the file away"
    " together with its companions, such as its -wal: tables are then filled again from the events that are still in"
    " the log. `headwater log verify` checks all of it."
)

_log = logging.getLogger(__name__)


def files_of(config: Config, jobs: Iterable[Job] = ()) -> Iterator[Path]:
    """The files of tables and state of a project's jobs, if they, or their write-ahead logs, exist.

    `jobs`: those whose sinks may fill files of their own.
    """
    tables, state = config.path(config.jobs.tables_path), config.path(config.jobs.state_path)
    for path in dict.fromkeys((tables, *sink_files(config, jobs))):
        if path.is_file() or _wal(path).is_file():
            yield path
    if state.is_dir():
        found = {one for one in state.glob("*.db") if one.is_file()}
        left = {one.with_name(one.name.removesuffix(WAL_SUFFIX)) for one in state.glob(f"*.db{WAL_SUFFIX}")}
        yield from sorted(found | {one for one in left if not one.exists()})


def sink_files(config: Config, jobs: Iterable[Job]) -> Iterator[Path]:
    """The files of this machine that sinks of stream files fill."""
    for job in jobs:
        sink = job.writes().sink
        if sink is not None and (path := sink.file(config.project_dir)) is not None:
            yield path


def declared_sinks(config: Config) -> Sequence[Job]:
    """The jobs of the sinks in stream files, without those that cannot be read; no code of the project is run."""
    path = config.path(config.streams.path)
    if not path.exists():
        return ()
    scope = Scope(site=config.streams.site, realm=config.streams.realm)
    try:
        streams = StreamRegistry.load(path, scope=scope)
    except ConfigInvalid:
        return ()
    return tuple(project_sinks(config, streams, refused=lambda error: None))


def look_into_files(config: Config, seconds_max: float | None = None, jobs: Iterable[Job] = ()) -> Iterator[FileLook]:
    """The damage in each of them; `seconds_max` for all together. Reads the files: call it in a thread."""
    deadline = None if seconds_max is None else time.monotonic() + seconds_max
    for path in files_of(config, jobs):
        left = None if deadline is None else max(0.05, deadline - time.monotonic())
        try:
            yield look_into_tables(path, left)
        except HeadwaterError as error:
            yield FileLook(path, unseen=error.message)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + WAL_SUFFIX)


async def damaged_at_start(config: Config, log: Log, jobs: Sequence[Job] = ()) -> Mapping[Path, LogCorrupt]:
    """Check the log and the files briefly and report damage; returns the files that must not be used."""
    began = time.monotonic()
    unseen: list[str] = []
    if log.features.finds_damage and not await log.look(START_SECONDS_MAX / 2):
        unseen.append("the log")
    damaged: dict[Path, LogCorrupt] = {}
    for look in await asyncio.to_thread(lambda: list(look_into_files(config, START_SECONDS_MAX / 2, jobs))):
        if look.damages:
            more = f", and {len(look.damages) - 1} more" if len(look.damages) > 1 else ""
            error = LogCorrupt(f"{look.path} is damaged: {look.damages[0].reason.rstrip('.')}{more}.", hint=HINT)
            _log.error("%s %s", error.message, HINT)
            damaged[look.path] = error
        elif look.unseen:
            unseen.append(look.path.name)
    if unseen:
        _log.info(
            "Searched for damage for %.1f s, but did not finish %s: `headwater log verify` checks everything.",
            time.monotonic() - began,
            ", ".join(unseen),
        )
    return damaged
