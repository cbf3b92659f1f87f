"""Pausing, resetting and rewinding jobs: what was asked for is kept in the log, and carried out where the job runs.

So is why a job has stopped in front of an event.

How this works: what was asked of a job is the token of a group of its own in the log, so that it outlives every
process, on both kinds of log, and each process that runs the job, or its share of it, finds it. A pause lasts until it
is ended. A move of the position has an id; the process that has carried it out commits that id to another group. If it
ends before that, the move is made again, before the job does anything else. A job that stops in front of an event
writes the reason there, which ends it in all processes that share it, until it is resumed or a process starts.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from headwater.connectors.source_spec import ConfiguredSource
from headwater.errors import ChangeRefused
from headwater.jobs.job import Job
from headwater.log.contract import Log, Position
from headwater.processing.failures.redriven import redrive_topic
from headwater.processing.source_tokens import from_position, from_time
from headwater.times import utc_milliseconds

CONTROL_GROUP = "headwater.control/"
APPLIED_GROUP = "headwater.control.applied/"


@dataclass(frozen=True, slots=True)
class Move:
    """To delete what the job keeps, and continue from a time (epoch milliseconds of receipt); None: the beginning.

    `position`: of the upstream of a source, after which it is to continue instead.
    """

    id: str
    to_ms: int | None = None
    position: str | None = None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What was asked of a job. `by`: who asked last. `stopped`: why it has stopped in front of an event, or "".

    `exported`: the id of the export that has taken it elsewhere, so that it does not run here; `runs_on`: where it was
    started from that, "" if it was not yet.
    """

    paused: bool = False
    move: Move | None = None
    by: str = ""
    stopped: str = ""
    exported: str = ""
    runs_on: str = ""

    @property
    def waits(self) -> bool:
        """Whether nothing may be processed until somebody asks for that."""
        return self.paused or bool(self.exported) or bool(self.stopped)


class JobControl:
    """What was asked of one job, in `log`, which is open."""

    def __init__(self, log: Log, job: Job, topics: Collection[str]) -> None:
        """`topics`: those that the job reads."""
        self._log = log
        self._job = job.name
        self._topics = tuple(topics)
        self._input = job.input
        self._job_group = job.group
        self._group = CONTROL_GROUP + job.group
        self._applied = APPLIED_GROUP + job.group

    async def read(self) -> JobRequest:
        """The request; its `move` is None once it was carried out. Raises LogUnavailable."""
        return await _read(self._log, self._job_group)

    async def pause(self, *, paused: bool, by: str, force: bool = False) -> JobRequest:
        """Pause the job, or let it continue, also if it has stopped.

        Raises LogUnavailable, and ChangeRefused if it was taken elsewhere, unless `force` takes it back.
        """
        request = await self.read()
        if not paused and request.exported:
            if not force:
                raise _taken(self._job, request)
            request = replace(request, exported="", runs_on="")
        return await self._write(replace(request, paused=paused, by=by, stopped=request.stopped if paused else ""))

    async def stopped(self, reason: str) -> None:
        """The job has stopped in front of an event, for this reason; "": it is tried again. Raises LogUnavailable."""
        request = await self.read()
        if request.stopped != reason:
            await self._write(replace(request, stopped=reason))

    async def move(self, to_ms: int | None, *, by: str, position: str | None = None) -> JobRequest:
        """Have it begin again at a time; None: at the beginning, or after a position of the upstream of a source.

        Raises LogUnavailable, ChangeRefused.
        """
        if (request := await self.read()).exported:
            raise _taken(self._job, request)
        if position is not None:
            require_position(self._input)
        if self._input is not None and to_ms is not None and not self._input.spec.features.seeks_time:
            raise ChangeRefused(
                f"The connector {self._input.spec.name} cannot begin at a time.",
                hint="A reset lets it begin at the beginning.",
            )
        move = Move(secrets.token_hex(8), to_ms, position)
        return await self._write(replace(await self.read(), move=move, by=by, stopped=""))

    async def export(self, export_id: str, *, by: str, runs_on: str = "") -> JobRequest:
        """From now on the job belongs to the export of this id, "" to nobody but those who run it here.

        Raises LogUnavailable.
        """
        return await self._write(replace(await self.read(), exported=export_id, runs_on=runs_on, by=by))

    async def position(self, move: Move) -> Position:
        """Where the move leads. Raises LogUnavailable."""
        if self._input is not None:
            begins = Position() if move.to_ms is None else from_time(move.to_ms)
            if move.position is not None:
                begins = from_position(move.position)
        elif move.to_ms is None:
            begins = await self._log.first(self._topics)
        else:
            begins = await self._log.at(self._topics, move.to_ms)
        offsets = dict(begins.offsets)
        if redriven := await self._log.partition_counts([redrive_topic(self._job)]):
            # What was redriven is among what is read again.
            offsets.update((await self._log.last(redriven)).offsets)
        return Position(offsets)

    async def left_out(self, to_ms: int, position: Position) -> int:
        """How many records a move to this time leaves out that the job, at `position`, has not processed.

        Raises LogUnavailable.
        """
        first, begins = await self._log.first(self._topics), await self._log.at(self._topics, to_ms)
        return sum(
            max(0, at - max(position.offsets.get(part, 0), first.offsets.get(part, 0)))
            for part, at in begins.offsets.items()
        )

    async def last_move(self) -> str | None:
        """The id of the last move that was carried out; None if none was. Raises LogUnavailable."""
        return await self._log.committed(self._applied)

    async def applied(self, move: Move) -> None:
        """The move was carried out."""
        await self._log.commit(self._applied, move.id)

    async def _write(self, request: JobRequest) -> JobRequest:
        await self._log.commit(self._group, _encoded(request))
        return request


async def carry_request(source: Log, target: Log, group: str) -> None:
    """Let what was asked of the job with this group in `source` be asked of it in `target`: a pause, a move to be made.

    Both are open. Raises LogUnavailable.
    """
    request = replace(await _read(source, group), stopped="")
    if request.paused or request.exported or request.move is not None:
        await target.commit(CONTROL_GROUP + group, _encoded(request))


async def _read(log: Log, group: str) -> JobRequest:
    found = _decoded(await log.committed(CONTROL_GROUP + group))
    if found.move is not None and await log.committed(APPLIED_GROUP + group) == found.move.id:
        return replace(found, move=None)
    return found


def _encoded(request: JobRequest) -> str:
    written = asdict(request)
    if request.move is not None and request.move.position is None:
        # Earlier versions, which may run the job, do not know it.
        del written["move"]["position"]
    if not request.exported:
        del written["exported"], written["runs_on"]
    return orjson.dumps(written).decode()


def _decoded(text: str | None) -> JobRequest:
    if not text:
        return JobRequest()
    value: dict[str, Any] = orjson.loads(text)
    move = value.get("move")
    return JobRequest(
        bool(value.get("paused")),
        None if move is None else Move(**move),
        value.get("by", ""),
        value.get("stopped", ""),
        value.get("exported", ""),
        value.get("runs_on", ""),
    )


def _taken(job: str, request: JobRequest) -> ChangeRefused:
    where = f"it runs on {request.runs_on}" if request.runs_on else "it was not started again since"
    return ChangeRefused(
        f"The job {job} was exported to be moved, by {request.by or 'somebody'}, and {where}.",
        hint=f"`headwater job import {job} --state DIR` brings it back; `headwater job resume {job} --force` lets it"
        " continue here with what it had, also if it runs elsewhere.",
    )


def require_position(source: ConfiguredSource | None) -> None:
    """Raise ChangeRefused unless the job reads a source that can begin after a position of its upstream."""
    if source is None:
        raise ChangeRefused("The job reads streams.", hint="Rewind it to a time.")
    if not source.spec.features.seeks_position:
        raise ChangeRefused(
            f"The connector {source.spec.name} cannot begin after a position.",
            hint="A reset lets it begin at the beginning.",
        )


def in_words(to_ms: int | None, position: str | None = None) -> str:
    """Where a move begins. None: where the job would begin without a position; 0: with the oldest that there is."""
    if position is not None:
        return f"what follows {position}"
    return utc_milliseconds(to_ms) if to_ms else "the beginning"


def require_here(name: str, on_flink: Collection[str]) -> None:
    """Raise ChangeRefused if the job runs on Flink, which does not look at what is asked of it here."""
    if name in on_flink:
        raise ChangeRefused(
            f"The job {name} runs on Flink (flink.jobs).",
            hint=f"`headwater job stop {name}` stops it there with a savepoint, from which it can be started again.",
        )


def consequences(job: Job, *, begins_at: str, left_out: int = 0) -> list[str]:
    """What a move of the position deletes, changes and leaves, a sentence each. `begins_at`: where it then begins;
    `left_out`: how many records before that it has not processed."""
    keyed = [step.name for step in job.keyed_steps]
    writes = job.writes()
    reads = job.input.name if job.input is not None else ", ".join(job.reads())
    found = [f"Its position in {reads} is deleted: it processes everything again from {begins_at}."]
    if left_out:
        events = "1 event" if left_out == 1 else f"{left_out:,} events"
        found.insert(0, f"It has not come that far: {events} before {begins_at} will never be processed by it.")
    if keyed:
        found.append(f"The state and the timers of all keys of {', '.join(keyed)} are deleted, and the watermark.")
    if job.parks:
        found.append("The events that it has parked are deleted.")
    if job.input is not None:
        found.append(
            f"What it has written to {', '.join(writes.outputs)} stays, and is written again: with the same ids, unless"
            " the upstream gives other ones."
        )
    elif writes.outputs:
        found.append(
            f"What it has written to {', '.join(writes.outputs)} stays, and is written again, with the same ids."
        )
    if writes.materialized is not None:
        found.append(f"The table {writes.materialized.name} is empty until its events have been processed again.")
    if writes.table is not None:
        found.append(f"The rows of {writes.table.name} stay, and are written again.")
    if writes.events is not None:
        found.append(f"What {writes.events.name} was given stays there, and is given to it again.")
    return found
