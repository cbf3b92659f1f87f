"""A connector as the source of one job: what it delivers as records, its tokens as positions, and confirmations.

How this works: deliveries are numbered from 0; the position is the number of the next one. The token that is committed
has that number and the connector's own token, as one entry whose topic is no topic of a log. It is committed together
with what was made of the deliveries before it, and only then confirmed to the upstream, once more after a restart.
Where the upstream moves without events (they are filtered, or it is idle), an empty record carries its token to the
next commit. Events that are redriven are in a topic of the log, which is one more input.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

from headwater.connectors.contract import KnowsLag, SeeksPosition, SeeksTime, Source, Withholds
from headwater.connectors.secrets import Secrets
from headwater.errors import HeadwaterError, JobStopped, PositionLost, SourceRefused, TokenInvalid
from headwater.futures import retrieve
from headwater.jobs.job import Job
from headwater.log.contract import Log, Position, StoredRecord, TopicPartition
from headwater.processing.embedded.connected.deliveries import Deliveries, input_topic
from headwater.processing.embedded.log_source import LogSource
from headwater.processing.source_tokens import POSITION_ENTRY, TIME_ENTRY, TOKEN_ENTRY, is_foreign
from headwater.processing.status import RunnerStatus

# How often the upstream's position is committed while no events come.
PROGRESS_SECONDS = 10.0
NO_END = 2**62
NO_SECRETS = Secrets(())


class ConnectorSource:
    """Reads `connector`, which is the input of `job`; `log` has the events that are redriven."""

    def __init__(
        self,
        connector: Source,
        job: Job,
        log: Log,
        status: RunnerStatus,
        *,
        secrets: Secrets = NO_SECRETS,
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> None:
        """`secrets`: those of the connector, which its errors must not show.

        Raises JobInvalid if the job has no connector.
        """
        if job.input is None:
            raise job.invalid(f"The job {job.name} reads no connector.")
        self._connector = connector
        self._kind = job.input.spec.name
        self._job = job
        self._status = status
        self._secrets = secrets
        self._progress_seconds = progress_seconds
        self._input = input_topic(job)
        self._part: TopicPartition = (self._input, 0)
        self._redriven = LogSource(log, job, status)
        self._taken = Deliveries(job)
        self._committed_at = 0.0
        self._confirmed: str | None = None
        self.position = self.processed = Position()

    async def begin(self, token: str | None, topics: Collection[str]) -> None:
        own, offsets = self._parsed(token)
        await self._redriven.begin(Position(offsets).token() if offsets else None, ())
        try:
            await self._secrets.kept_by(self._connector.close())
            number, connector_token = await self._start_of(own)
            await self._secrets.kept_by(self._connector.open(connector_token))
        except (PositionLost, SourceRefused, TokenInvalid) as error:
            raise self._stopped(error) from error
        self._taken = Deliveries(self._job, number, connector_token)
        # Where it begins is committed at once, so that `start: newest` does not begin later after a restart.
        self._committed_at = 0.0 if connector_token is None else time.time()
        self.position = self.processed = self._with_redriven(number)
        if connector_token is not None:
            # It is committed; whether that was confirmed before a restart is not known.
            await self._secrets.kept_by(self._connector.confirm(connector_token))
        self._confirmed = connector_token

    async def refresh(self) -> None:
        await self._redriven.refresh()
        self.position = self._with_redriven(self.position.offsets.get(self._part, 0))

    async def read(
        self, *, records_max: int, bytes_max: int, wait_seconds: float, stopping: asyncio.Event
    ) -> Sequence[StoredRecord]:
        if self._redriven.position.offsets:
            again = await self._redriven.read(
                records_max=records_max, bytes_max=bytes_max, wait_seconds=0.0, stopping=stopping
            )
            if again:
                return again
        number = self.position.offsets.get(self._part, 0)
        if found := self._taken.next_from(number, records_max, bytes_max):
            return found
        await self._fetch(records_max, wait_seconds, stopping)
        return self._taken.next_from(number, records_max, bytes_max)

    def refused(self, records: Sequence[StoredRecord]) -> Mapping[int, HeadwaterError]:
        refused = self._taken.refused
        if not refused:
            return {}
        reasons = (
            (index, refused.get(record.offset)) for index, record in enumerate(records) if record.topic == self._input
        )
        return {index: reason for index, reason in reasons if reason is not None}

    def after(self, records: Sequence[StoredRecord]) -> Position:
        return self.position.after_all(records)

    async def move(self, position: Position) -> None:
        self.position = position
        await self.committed(position)

    async def committed(self, position: Position) -> None:
        self.processed = position
        redriven = Position({part: at for part, at in position.offsets.items() if part != self._part})
        if redriven != self._redriven.processed:
            await self._redriven.move(redriven)
        number = position.offsets.get(self._part, 0)
        token = self._taken.processed(number)
        self._committed_at = time.time()
        if token is not None and token != self._confirmed:
            await self._secrets.kept_by(self._connector.confirm(token))
            self._confirmed = token

    def token(self, position: Position) -> str:
        number = position.offsets.get(self._part)
        if number is None:
            # Where the job is to begin again, as somebody asked.
            return position.token()
        offsets = {part: at for part, at in position.offsets.items() if part != self._part}
        if (own := self._taken.token_at(number)) is not None:
            offsets[f"{TOKEN_ENTRY}{self._kind}/{own}", 0] = number
        return Position(offsets).token()

    def was_replaced(self) -> bool:
        return False

    async def end(self) -> Position:
        """Unknown until it is reached: a read then returns nothing."""
        return Position({self._part: NO_END})

    async def lag(self) -> int | None:
        if isinstance(self._connector, Withholds) and self._status.source is not None:
            self._status.source.withholds(self._connector.withheld)
        waiting = len(self._taken.ahead) + await self._redriven.lag()
        if not isinstance(self._connector, KnowsLag):
            return None
        upstream = await self._secrets.kept_by(self._connector.upstream_lag())
        return None if upstream is None else upstream + waiting

    async def with_backlog(self, position: Position, read: Collection[TopicPartition] = ()) -> set[TopicPartition]:
        """Nothing depends on it: the job keeps no state."""
        return set(read)

    async def close(self) -> None:
        """Let the connector release everything; idempotent."""
        await self._secrets.kept_by(self._connector.close())

    async def _fetch(self, records_max: int, wait_seconds: float, stopping: asyncio.Event) -> None:
        """Read the connector; a read that `stopping` ends takes nothing."""
        seconds = wait_seconds if self._committed_at else 0.0
        reading = asyncio.ensure_future(
            self._secrets.kept_by(self._connector.read(deliveries_max=records_max, wait_seconds=seconds))
        )
        reading.add_done_callback(retrieve)
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait((reading, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not reading.done():
                reading.cancel()
                await asyncio.wait((reading,))
        if reading.cancelled():
            return
        try:
            batch = reading.result()
        except (PositionLost, SourceRefused, TokenInvalid) as error:
            raise self._stopped(error) from error
        now = time.time()
        if self._status.source is not None:
            self._status.source.answered(len(batch.deliveries))
        if batch.deliveries:
            self._taken.take(batch, int(now * 1000))
        elif now - self._committed_at >= self._progress_seconds and batch.token != self._taken.last_token:
            self._taken.take_token(batch.token, int(now * 1000))

    def _with_redriven(self, number: int) -> Position:
        return Position({**self._redriven.position.offsets, self._part: number})

    def _parsed(self, token: str | None) -> tuple[Position, dict[TopicPartition, int]]:
        """Where the connector is, and the offsets of the log. Raises TokenInvalid."""
        offsets = Position.parse(token).offsets if token else {}
        own = {part: at for part, at in offsets.items() if is_foreign(part[0])}
        return Position(own), {part: at for part, at in offsets.items() if part not in own}

    async def _start_of(self, own: Position) -> tuple[int, str | None]:
        """The number of the next delivery, and the token to open the connector with. Raises TokenInvalid."""
        for (entry, _), at in own.offsets.items():
            if entry == TIME_ENTRY:
                if not isinstance(self._connector, SeeksTime):
                    raise TokenInvalid(f"The connector {self._kind} cannot begin at a time.")
                return 0, await self._secrets.kept_by(self._connector.token_at(at))
            if entry.startswith(POSITION_ENTRY):
                if not isinstance(self._connector, SeeksPosition):
                    raise TokenInvalid(f"The connector {self._kind} cannot begin after a position.")
                position = entry.removeprefix(POSITION_ENTRY)
                return 0, await self._secrets.kept_by(self._connector.token_of(position))
            kind, _, text = entry.removeprefix(TOKEN_ENTRY).partition("/")
            if kind != self._kind:
                raise TokenInvalid(f"Its position is one of the connector {kind}, and it is read by {self._kind} now.")
            return at, text
        return 0, None

    def _stopped(self, error: HeadwaterError) -> JobStopped:
        if isinstance(error, SourceRefused):
            return JobStopped(str(error))
        name = self._job.name.partition(".")[2]
        hint = error.hint or f"`headwater sources reset {name}` lets it begin again; what it has written stays."
        return JobStopped(f"its position is lost: {error.message} {hint}")
