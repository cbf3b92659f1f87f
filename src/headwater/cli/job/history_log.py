"""The log of the project as the target of a run over history, and the hand-over of the job to the server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

import orjson

from headwater.checking.project import schemas_of
from headwater.cli.console import say
from headwater.cli.up.up import require_free_log
from headwater.config import Config
from headwater.errors import ConfigInvalid
from headwater.intake.gate import Gate, GateSettings
from headwater.jobs.job import Job
from headwater.log.contract import Position, TopicPartition
from headwater.log.open import log_of
from headwater.processing.batch.log_range import LogRange
from headwater.processing.batch.log_target import GROUP_PREFIX, HandOver, HandOverNote, LogTarget
from headwater.processing.batch.store import FilesStore, ResultFile
from headwater.processing.declarations import topic_settings
from headwater.streams.registry import StreamRegistry


class HistoryLog:
    """The log of the project, as one run uses it. It is opened for each use."""

    def __init__(self, config: Config, job: Job, streams: StreamRegistry) -> None:
        self._config = config
        self._job = job
        self._streams = streams

    def require_hand_over(self, log_range: LogRange | None, results: Sequence[ResultFile]) -> None:
        """Raise ConfigInvalid, LogInUse, StateMismatch or FeatureUnsupported if the job could not be handed over."""
        job = self._job
        if log_range is None or set(log_range.streams) != set(job.reads()):
            raise ConfigInvalid(
                "--hand-over: the server continues where the log was read to, so all sources are read from it.",
                hint="Add --from log; files with older events can come in addition.",
            )
        if not all(result.into_log for result in results):
            raise ConfigInvalid(
                "--hand-over: the server continues with the events that are in the log.", hint="Use --to log."
            )
        require_free_log(self._config)
        asyncio.run(self._require_new())

    async def append(self, store: FilesStore, identity: object) -> None:
        """Append the results that are not in the log yet."""
        target = self._target(identity)
        await target.log.open()
        try:
            appended = await target.append(store.for_log())
        finally:
            await target.log.close()
        say(f"{appended:,} events were appended to the log.")

    def was_handed_over(self, note: HandOverNote) -> bool:
        """Whether the run that `note` is of has handed the job over before. Raises LogUnavailable."""
        return note.read() is not None and asyncio.run(self._was_handed_over(note))

    async def _was_handed_over(self, note: HandOverNote) -> bool:
        target = self._target(None)
        await target.log.open()
        try:
            return await target.was_handed_over(self._job, note)
        finally:
            await target.log.close()

    async def hand_over(
        self, store: FilesStore, end: Position, newest_ms: Mapping[TopicPartition, int], note: HandOverNote | None
    ) -> None:
        """Make state and position of the run those of the job."""
        state = await store.state_of(self._job.name)
        target = self._target(None)
        await target.log.open()
        try:
            await target.hand_over(self._job, HandOver(end, newest_ms, state), note)
        finally:
            await target.log.close()
        say(f"The job {self._job.name} continues after {end.token()} when the server starts.")

    async def _require_new(self) -> None:
        target = self._target(None)
        await target.log.open()
        try:
            await target.require_new(self._job)
        finally:
            await target.log.close()

    def _target(self, identity: object) -> LogTarget:
        streams = [self._streams.get(name) for name in self._job.writes().streams]
        topics = {topic: topic_settings(self._config, stream) for stream in streams for topic in stream.topics}
        gate = Gate(self._streams, schemas_of(self._config), GateSettings.from_config(self._config))
        run = hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
        return LogTarget(log_of(self._config), gate, f"{GROUP_PREFIX}/{self._job.name}/{run}", topics)
