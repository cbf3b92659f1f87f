"""Appends the results of a run over history to a log, each once, and hands the job over to the live runner.

How this works: every chunk of events is appended together with their number, in a group of the run, so that an
interrupted run continues where it ended. The last commit makes state and position of the run those of the job: it then
continues with the first record that the run has not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson

from headwater.errors import FeatureUnsupported, HeadwaterError, StateMismatch, TokenInvalid
from headwater.event import decode_event
from headwater.intake.gate import Gate
from headwater.intake.outcome import Refused
from headwater.jobs.job import Job
from headwater.log.contract import Commit, Log, Position, Record, StateChange, TopicPartition, TopicSettings
from headwater.processing.control import JobControl, Move
from headwater.processing.embedded.batches import PROGRESS_KEY, progress_of
from headwater.processing.embedded.reposition import ROWS_PER_COMMIT, namespaces_of
from headwater.processing.embedded.watermark import Watermarks

GROUP_PREFIX = "headwater.history"
CHUNK_EVENTS = 500


class HandOver(NamedTuple):
    """Where a run has ended: the position in the log, the newest event time of each partition, and its state."""

    position: Position
    newest_ms: Mapping[TopicPartition, int]
    state: Sequence[StateChange]


class HandOverNote:
    """The file in which it is noted that a run with this identity (JSON) hands its job over, or has."""

    def __init__(self, path: Path, identity: object) -> None:
        self._path = path
        self._identity = identity

    def write(self, position: Position, moved: str | None, *, is_done: bool) -> None:
        """`position`: where the job continues; `moved`: the last reset of the job. Raises OSError."""
        note = {"run": self._identity, "position": position.token(), "moved": moved, "is_done": is_done}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written = self._path.with_name(f"{self._path.name}.new")
        written.write_bytes(orjson.dumps(note))
        written.replace(self._path)

    def read(self) -> tuple[Position, str | None, bool] | None:
        """What was written; None if it was not by a run with this identity."""
        try:
            note = orjson.loads(self._path.read_bytes())
            return (
                (Position.parse(note["position"]), note["moved"], bool(note["is_done"]))
                if note["run"] == self._identity
                else None
            )
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, TokenInvalid):
            return None


class LogTarget:
    """The log that a run writes its results to; open while it is used. `group` is the run's own."""

    def __init__(self, log: Log, gate: Gate, group: str, topics: Mapping[str, TopicSettings]) -> None:
        self.log = log
        self._gate = gate
        self._group = group
        self._topics = topics

    async def append(self, lines: Iterable[bytes]) -> int:
        """Append the events that were not yet; how many there were. Raises LogUnavailable, SchemaUnavailable."""
        for topic, settings in self._topics.items():
            await self.log.ensure_topic(topic, settings)
        done = int(await self.log.committed(self._group) or 0)
        remaining = islice(lines, done, None)
        appended = 0
        while some := list(islice(remaining, CHUNK_EVENTS)):
            records = [self._record(line) for line in some]
            appended += len(some)
            await self._append(records, str(done + appended))
        return appended

    async def hand_over(self, job: Job, given: HandOver, note: HandOverNote | None) -> None:
        """Make state and position of the run those of the job. Raises FeatureUnsupported, StateMismatch.

        A reset that was asked for is carried out with it: what the job kept is deleted in the same commit. `note` is
        kept of it, so that it is known afterwards whether it was committed, wherever this process ends.
        """
        reset = await self.require_new(job)
        former: list[StateChange] = []
        position = given.position
        if reset is not None:
            former = await self._kept(job)
            position = Position({**position.offsets, **(await JobControl(self.log, job, ()).position(reset)).offsets})
        changes = [*former, *(change for change in given.state if change.key != PROGRESS_KEY)]
        kept = [change.value for change in given.state if change.key == PROGRESS_KEY]
        progress = Watermarks(kept[0] if kept else None).of_partitions(given.newest_ms)
        changes.append(StateChange(progress_of(job), PROGRESS_KEY, progress))
        if reset is not None:
            # First, so that no server resets the job after it was handed over. If this process ends here, the job has
            # what it had before, and the next run says that it has to be reset.
            await JobControl(self.log, job, ()).applied(reset)
        moved = await JobControl(self.log, job, ()).last_move()
        if note is not None:
            note.write(position, moved, is_done=False)
        await self.log.append([], commit=Commit(job.group, position.token(), tuple(changes)))
        if note is not None:
            note.write(position, moved, is_done=True)

    async def was_handed_over(self, job: Job, note: HandOverNote) -> bool:
        """Whether the hand-over that `note` is about was committed, and the job was not reset since."""
        found, committed = note.read(), await self.log.committed(job.group)
        control = JobControl(self.log, job, ())
        if found is None or committed is None or (await control.read()).move is not None:
            return False
        position, moved, is_done = found
        if moved != await control.last_move():
            return False
        if not is_done and Position.parse(committed) == position:
            # The process has ended before it could note that.
            note.write(position, moved, is_done=True)
            is_done = True
        return is_done

    async def require_new(self, job: Job) -> Move | None:
        """The reset that was asked for, if one was. Raises FeatureUnsupported, StateMismatch if the job cannot be
        handed over.
        """
        if not self.log.features.transactional_commit or (job.keeps_state and not self.log.features.keyed_state):
            raise FeatureUnsupported(
                f"This log keeps no state, so the job {job.name} cannot be handed over.",
                hint="Run the job over the log itself: it starts at the oldest record.",
            )
        move = (await JobControl(self.log, job, ()).read()).move
        if move is not None and move.to_ms is not None:
            raise StateMismatch(
                f"The job {job.name} is to be rewound, which would delete what the run hands over.",
                hint=f"Start the platform to have it rewound, or ask for `headwater job reset {job.name} --yes`.",
            )
        if move is None and await self.log.committed(job.group) is not None:
            raise StateMismatch(
                f"The job {job.name} has run on this log already, and its state would be replaced.",
                hint=f"Reset it with `headwater job reset {job.name} --yes` and run this again, or run it without "
                "--hand-over.",
            )
        return move

    async def _kept(self, job: Job) -> list[StateChange]:
        """Changes that delete everything the job keeps."""
        changes = []
        for namespace in namespaces_of(job) if self.log.features.keyed_state else ():
            after = b""
            while page := await self.log.state_scan(namespace, after=after, rows_max=ROWS_PER_COMMIT):
                changes += [StateChange(namespace, key, None) for key, _ in page]
                after = page[-1][0]
        return changes

    async def _append(self, records: Sequence[Record], token: str) -> None:
        if self.log.features.transactional_commit:
            await self.log.append(records, commit=Commit(self._group, token))
        else:
            await self.log.append(records)
            await self.log.commit(self._group, token)

    def _record(self, line: bytes) -> Record:
        value, raw, flags = decode_event(line)
        verdict = self._gate.admit(value, raw=raw, flags=flags, own=True)
        if isinstance(verdict, Refused):
            raise _unexpected(verdict)
        return verdict.record


def _unexpected(verdict: Refused) -> HeadwaterError:
    """It passed the Gate when it was made."""
    return StateMismatch(
        f"An event that the run made is refused now: {verdict.reason}", hint="Start it again with --restart."
    )
