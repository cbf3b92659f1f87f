"""Migrates jobs from one log to another, after the records were copied: position and state together, or neither.

How this works: before the records are copied, a snapshot of every job is taken, and the job is stopped if possible;
afterwards it is migrated if it has not changed in between, so that its output and its state belong together. The
position is translated like that of any reader. A job that has already run further in the target is not changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from headwater.errors import HeadwaterError, LogUnavailable, StateMismatch, StateUnavailable, TokenInvalid
from headwater.jobs.job import Job
from headwater.log.contract import Log, Position
from headwater.migration.job_state import UNFINISHED, FileJobState, JobSnapshot, JobState, LogJobState
from headwater.migration.positions import (
    FURTHER,
    MOVING,
    NO_OFFSETS,
    CarriedGroup,
    CarriedState,
    PositionMigration,
    groups_of,
    is_further,
    namespaces_of,
)
from headwater.processing.control import CONTROL_GROUP, carry_request
from headwater.processing.stores.outbox import parse_published, state_file

GROUP_PREFIX = "job."
PROGRESS = "/progress"
VISIBLE_SECONDS = 0.5
# Brokers end what a killed process has left open after twice `log.delivery_seconds_max`, and look every ten seconds.
OPEN_SECONDS_MAX = 180.0
OPEN_PAUSE_SECONDS = 1.0
HALF_HERE = "the copy that brought it to the source was not finished: do that first"
NO_PROJECT = "its state is kept in a file of a project: run this in the project's directory, or name it with --project"


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The directories in which the jobs of source and target keep their files."""

    source: Path
    target: Path


@dataclass(slots=True)
class _Held:
    """One job on both sides. `began`: where it was before the records were copied; `refused`: why it stays there."""

    source: JobState
    target: JobState
    began: JobSnapshot | None = None
    refused: str = ""


def is_job(group: str) -> bool:
    """Whether a job's position is kept under this name."""
    return group.startswith(GROUP_PREFIX)


class JobMigration:
    """Moves the jobs of one log to another; both are open. First `begin`, then the records, then `carry`; `close`."""

    def __init__(
        self,
        source: Log,
        target: Log,
        files: StateFiles | None,
        jobs: Collection[Job] = (),
        *,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`files` and `jobs`: those of the project; None and none if it is unknown. `on_progress` is called while
        waiting.
        """
        self._source = source
        self._target = target
        self._files = files
        self._on_progress = on_progress
        self._stateful = {job.name for job in jobs if job.keeps_state and job.writes().target is None}
        self._held: dict[str, _Held] = {}
        self._takes_all = True

    async def begin(self, groups: Iterable[str] | None = None) -> None:
        """Look where the jobs are: all of the source, or those of these groups. Raises LogUnavailable."""
        self._takes_all = groups is None
        if groups is None:
            names = {_name_of(group) for group in await groups_of(self._source) if is_job(group)}
            # A job that was killed before anything of it arrived in the log is only in its file.
            names |= await self._in_files_only()
        else:
            names = {_name_of(group) for group in groups if is_job(group)}
        for name in sorted(names):
            self._held[name] = await self._hold(name)
        # Together: what one job has left open keeps the positions of all from being read.
        await asyncio.gather(*(self._look(held) for held in self._held.values()))
        if self._held and not self._source.features.offsets_without_gaps:
            # A transaction becomes readable in one partition a moment before the other.
            await asyncio.sleep(VISIBLE_SECONDS)

    async def carry(self, positions: PositionMigration) -> list[CarriedGroup]:
        """Migrate what has not changed since `begin`. Raises LogUnavailable, CopyRefused."""
        carried = []
        for name, held in self._held.items():
            group = GROUP_PREFIX + name
            try:
                one = await self._carry(group, held, positions)
            except (StateUnavailable, StateMismatch) as error:
                one = CarriedGroup(group, None, f"in the target: {_described(error)}")
            finally:
                await held.target.close()
            carried += [] if one is None else [one]
        await self._carry_requests({one.group for one in carried if one.token is None})
        return carried

    async def _carry_requests(self, left: Collection[str]) -> None:
        """Let jobs that are paused, or are to begin again, be so in the target: those that were not `left` alone."""
        prefix = CONTROL_GROUP + GROUP_PREFIX
        for control in await self._source.groups():
            group = control.removeprefix(CONTROL_GROUP)
            is_asked = self._takes_all or _name_of(group) in self._held
            if control.startswith(prefix) and is_asked and group not in left:
                await carry_request(self._source, self._target, group)

    async def close(self) -> None:
        """Let everything go; idempotent."""
        held, self._held = self._held, {}
        for one in held.values():
            await one.source.close()
            await one.target.close()

    async def _look(self, held: _Held) -> None:
        """Open the state of a job, and take its snapshot."""
        if held.refused:
            return
        try:
            await held.source.open()
            await self._settle(held.source)
            held.began = await held.source.snapshot()
            if held.began.token == UNFINISHED:
                held.refused = HALF_HERE
        except (StateUnavailable, StateMismatch) as error:
            held.refused = _described(error)
        except TokenInvalid:
            held.refused = NO_OFFSETS

    async def _settle(self, source: JobState) -> None:
        """Let all arrive. What a killed process has left open can keep it waiting until the brokers end that."""
        deadline = time.monotonic() + OPEN_SECONDS_MAX
        while True:
            try:
                return await source.flush()
            except LogUnavailable as error:
                if time.monotonic() > deadline:
                    raise
                self._on_progress(f"Waiting for what a stopped job has left open: {error.message}")
                await asyncio.sleep(OPEN_PAUSE_SECONDS)

    async def _carry(self, group: str, held: _Held, positions: PositionMigration) -> CarriedGroup | None:
        if held.refused:
            return CarriedGroup(group, None, held.refused)
        began = held.began
        if began is None or began.token is None:
            return None
        position = Position.parse(began.token)
        if not positions.concerns(position):
            return None

        async def is_still() -> bool:
            return await held.source.snapshot() == began

        target, carried = held.target, Position()
        if not (conflict := positions.conflict(position)):
            carried = await positions.translate(position)
            conflict = await _left_alone(target, carried)
        if not conflict and not await target.replace(carried, held.source.rows, began.state, is_still):
            conflict = MOVING
        if conflict:
            return CarriedGroup(group, None, conflict)
        await held.source.mark_migrated()
        state = None
        if target.file is not None or self._target.features.keyed_state:
            state = CarriedState(*began.state, file=None if target.file is None else str(target.file))
        return CarriedGroup(group, carried.token(), positions.note(position), state)

    async def _hold(self, name: str) -> _Held:
        """Where the job's position and state are, and where they go."""
        in_logs = _Held(LogJobState(self._source, name), LogJobState(self._target, name))
        keep_state = self._source.features.keyed_state, self._target.features.keyed_state
        if all(keep_state) or not await self._is_stateful(name):
            return in_logs
        if self._files is None:
            in_logs.refused = NO_PROJECT
            return in_logs
        source = state_file(self._files.source, name)
        target = state_file(self._files.target, name)
        if not any(keep_state) and source.resolve() == target.resolve():
            in_logs.refused = f"both logs would have its state in {target}: name a directory for TO with --state-path"
            return in_logs
        return _Held(
            in_logs.source if keep_state[0] else FileJobState(self._source, name, source),
            in_logs.target if keep_state[1] else FileJobState(self._target, name, target),
        )

    async def _is_stateful(self, name: str) -> bool:
        """Whether the job remembers more than its position and the time of events, which it finds out again."""
        if name in self._stateful:
            return True
        if self._source.features.keyed_state:
            found = await namespaces_of(self._source, f"job/{name}/")
            return not all(namespace.endswith(PROGRESS) for namespace in found)
        try:
            _, boxes = parse_published(await self._source.committed(GROUP_PREFIX + name))
        except TokenInvalid:
            return False
        return bool(boxes)

    async def _in_files_only(self) -> set[str]:
        if self._files is None or self._source.features.keyed_state:
            return set()
        return {name for name in self._stateful if state_file(self._files.source, name).is_file()}


async def _left_alone(target: JobState, carried: Position) -> str | None:
    """Why what the target has of the job is not replaced; None if it is."""
    await target.open()
    if conflict := await target.conflict():
        return conflict
    present = (await target.snapshot()).token
    return FURTHER if present != UNFINISHED and is_further(present, carried) else None


def _name_of(group: str) -> str:
    """The job of a group. Those that share a job have groups of their own below its group."""
    return group.removeprefix(GROUP_PREFIX).partition("/")[0]


def _described(error: HeadwaterError) -> str:
    """An error as part of a sentence about one job."""
    text = error.message.removesuffix(".")
    if isinstance(error, StateUnavailable):
        return f"{text[:1].lower()}{text[1:]}: stop it and copy again"
    return f"{text[:1].lower()}{text[1:]}. {error.hint or ''}".rstrip()
