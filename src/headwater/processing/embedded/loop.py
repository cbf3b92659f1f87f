"""The embedded runner: runs one job inside this process, on a log with transactional commits.

How this works: it reads a batch after the committed position, folds it through the steps one after the other, and
commits outputs, error events, keyed state, timers, watermark and the new position to its `JobStore`, together: a kill
at any moment leaves all of a batch or nothing. The watermark moves between batches, so an event is judged by what came
before its batch. A job that fills a table commits in the sink instead: rows and position in one transaction of the
target. What a job's own functions raise becomes error events; only the troubles of log, store and sink end `run`, after
retries.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar, assert_never

import orjson

from headwater.backoff import Backoff
from headwater.connectors.contained import ContainedSink
from headwater.connectors.contract import Delivery, Sink
from headwater.errors import EventMalformed, HeadwaterError, LogCorrupt, PositionLost
from headwater.event import CANARY_DOMAIN, decode_stored, get_path
from headwater.foreign import contain
from headwater.intake.gate import Gate
from headwater.intake.outcome import Admitted
from headwater.jobs.job import Job
from headwater.jobs.steps import (
    Each,
    Element,
    Failure,
    PerKey,
    Results,
    apply_each,
    apply_event,
    apply_timer,
    key_of,
)
from headwater.log.contract import Log, Position, Record, StateChange, StoredRecord, TopicPartition
from headwater.log.event_time import event_time_of
from headwater.log.reading_on import passed
from headwater.processing.contract import RunnerFeatures, require_supported
from headwater.processing.embedded.keyed_state import KeyedState
from headwater.processing.embedded.source_positions import SourcePositions
from headwater.processing.embedded.suspects import Suspects
from headwater.processing.embedded.watermark import Watermarks
from headwater.processing.outputs import OutputBuilder
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.contract import JobStore, LogStore, RefusesRecords, ReplacesRefused
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry

PROGRESS_KEY = b"progress"
# Further than any time an event can have.
END_OF_TIME = 2**61

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """How the runner goes about it."""

    batch_records_max: int = 500
    batch_bytes_max: int = 4_194_304
    timers_max: int = 1000
    wait_seconds: float = 1.0
    # The loop is shared with everything else in the process: after so long it is everybody else's turn.
    turn_seconds: float = 0.002
    retries_max: int = 6
    retry_seconds: float = 0.1
    retry_seconds_max: float = 5.0
    # Whether the job ends, instead of beginning anew, where its log was replaced.
    stops_where_replaced: bool = False


@dataclass(slots=True)
class _Batch:
    """What a batch has come to so far."""

    results: Results
    deliveries: list[Delivery]
    more: bool = False


class EmbeddedRunner:
    """Runs one job. `run` returns when it was stopped or, with `drain`, when the input is used up."""

    def __init__(
        self,
        job: Job,
        log: Log,
        gate: Gate,
        *,
        sink: Sink | None = None,
        store: JobStore | None = None,
        telemetry: Telemetry | None = None,
        settings: RunnerSettings | None = None,
        clock: Callable[[], float] = time.time,
        status: RunnerStatus | None = None,
    ) -> None:
        """`sink` is the target of a job that fills a table, `store` where it commits, if not to the log alone.

        Raises JobInvalid where this runner cannot run the job.
        """
        self._store = store or LogStore(log, job.group)
        self.features = RunnerFeatures(
            streams=log.features.transactional_commit,
            keyed_state=self._store.keeps_state,
            tables=sink is not None,
            tables_with_state=False,
            fires_when_idle=True,
            shares_partitions=False,
        )
        require_supported(job, self.unsupported_reasons(job))
        self.job = job
        self._writes = job.writes()
        self.settings = settings or RunnerSettings()
        self.status = status or RunnerStatus(job, telemetry or Telemetry())
        self._log = log
        self._gate = gate
        self._sink = None if sink is None else ContainedSink(sink)
        self._clock = clock
        self._derivation = OutputBuilder(job, gate, log if isinstance(log, RefusesRecords) else None)
        if isinstance(self._store, ReplacesRefused):
            self._store.on_refused = self._refused
        self._stopping = asyncio.Event()
        self._idle_since = 0.0
        self._turn_began = 0.0
        self._position = Position()
        in_log = sink is None and not log.features.keyed_state
        self._sources = SourcePositions(
            log,
            job.group,
            self.status,
            job.label,
            ids_in_token=sink is not None,
            ids_in_log=in_log,
            stops=self.settings.stops_where_replaced,
        )
        self._progress = Watermarks()
        self._state: dict[str, KeyedState] = {}
        self._streams: dict[str, Stream] = {}
        self._suspects = Suspects()
        self._at_hand: Sequence[StoredRecord] = ()
        # Up to where partitions are known to have no record, only marks of transactions.
        self._empty: dict[TopicPartition, int] = {}

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        return self.features.unsupported_reasons(job)

    def stop(self) -> None:
        """Ask `run` to return after the batch at hand."""
        self._stopping.set()

    async def run(self, *, drain: bool = False) -> None:
        """Process events until stopped. May be called again after it raised: it goes on from what is committed.

        `drain`: process what there is now, in any order without anything being late, fire what waits for the end
        of its time, and return. Raises LogUnavailable, SinkUnavailable when retrying did not help.
        """
        self._stopping.clear()
        try:
            await self._begin()
            await self._run(drain=drain)
            # Whoever comes after this one counts on reading what it committed.
            await self._with_retries(self._store.flush)
        finally:
            await self._store.close()

    async def _run(self, *, drain: bool) -> None:
        end = await self._log.last(self._topics()) if drain else None
        while not self._stopping.is_set():
            if end is None:
                self._position = await self._sources.look(self._position)
            records = await self._read(0.0 if drain else self.settings.wait_seconds)
            if records:
                self._idle_since = self._clock()
                await self._process_or_set_aside(records, hold_watermark=drain)
            if end is not None and (not records or _reached(self._position, end)):
                await self._finish()
                return
            if not records and end is None:
                await self._with_retries(self._store.flush)
                await self._process_idleness()

    async def fence(self) -> None:
        """End what an earlier process has left open for the job; `run` does so too. Raises what the log raises."""
        if self._sink is None:
            try:
                await self._with_retries(self._store.open)
            finally:
                await self._store.close()

    def cancelled_itself(self) -> None:
        """The job's code cancelled the task of `run`: one of the records at hand did it."""
        self._suspects.failed(self._at_hand, asyncio.CancelledError("it cancelled the task it runs in"))

    async def lag(self) -> int:
        """How many records of its sources the job has not processed."""
        ends = await self._ends(self._position)
        return sum(max(0, end - self._position.offsets.get(part, 0)) for part, end in ends.items())

    async def _begin(self) -> None:
        await asyncio.to_thread(self._derivation.prepare)
        streams = [self._gate.streams.get(name) for name in self.job.reads()]
        self._streams = {topic: stream for stream in streams for topic in stream.topics}
        self._state = {step.name: KeyedState(self._store, self.job.name, step.name) for step in self.job.keyed_steps}
        self._progress = Watermarks()
        self._empty = {}
        if self._sink is not None:
            token = await self._with_retries(self._sink.open)
        else:
            token = await self._with_retries(self._store.open)
            kept = await self._store.state_get(self._namespace(), [PROGRESS_KEY])
            self._progress = Watermarks(kept.get(PROGRESS_KEY))
        self._position = await self._sources.begin(token, self._topics())
        await self._leave_old_rows()
        self._idle_since = self._clock()
        self.status.running()

    async def _read(self, wait_seconds: float) -> Sequence[StoredRecord]:
        """The next records, at once when there are any; [] after the wait, or when stopped."""
        try:
            found = await self._read_log(0.0)
            if found or wait_seconds <= 0:
                return found
            reading = asyncio.ensure_future(self._read_log(wait_seconds))
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not reading.done():
                reading.cancel()
                await asyncio.wait((reading,))
            return [] if reading.cancelled() else reading.result()
        except PositionLost as error:
            self._position = await self._sources.lost(self._position, error)
            await self._leave_old_rows()
            return []
        except LogCorrupt as error:
            self._position = passed(self._position, error)
            self.status.position_lost(error)
            return []

    async def _leave_old_rows(self) -> None:
        """Rows of a log that is gone are no rows of this one: they are kept beside the table, which is filled anew."""
        if self._sink is None or not self._sources.met_other_log():
            return
        kept_as = await self._with_retries(self._sink.set_aside)
        if kept_as is not None:
            _log.warning("job %s: the rows of the log before are kept as the table %s.", self.job.name, kept_as)

    async def _read_log(self, wait_seconds: float) -> Sequence[StoredRecord]:
        return await self._log.read(
            self._position,
            records_max=1 if self._suspects.among(self._position) else self.settings.batch_records_max,
            bytes_max=self.settings.batch_bytes_max,
            wait_seconds=wait_seconds,
        )

    async def _process_or_set_aside(self, records: Sequence[StoredRecord], *, hold_watermark: bool) -> None:
        if self._sink is not None and self._suspects.among(self._position):
            # A sink that does not even take this has other troubles than the record.
            sink, token = self._sink, self._position.token()
            await self._with_retries(lambda: sink.write([], token))
        verdict = self._suspects.verdict(records)
        if verdict is not None:
            await self._set_aside(records[0], verdict)
            return
        self._at_hand = records
        try:
            await self._process(records, hold_watermark=hold_watermark)
        except Exception as error:
            self._suspects.failed(records, error)
            raise
        self._at_hand = ()

    async def _set_aside(self, record: StoredRecord, error: BaseException) -> None:
        """Go on after a record that cannot be processed, with an error event about it."""
        results = Results()
        try:
            items = self._items([record], results)
        except Exception:  # reading it may be what fails
            place = f"{record.topic}/{record.partition}/{record.offset}"
            items = [Element(None, record.timestamp_ms, place, self._streams[record.topic].name, record.value)]
        results.failures += [Failure(item, "process", error) for item in items]
        await self._commit(_Batch(results, []), self._position.after(record))
        self.status.read(1, self._progress.watermark_ms)

    async def _process(self, records: Sequence[StoredRecord], *, hold_watermark: bool) -> None:
        """Fold records through the steps and commit; then whatever timers did not fit into that commit."""
        batch = _Batch(Results(), [])
        items = self._items(records, batch.results)
        position = self._position
        for record in records:
            position = position.after(record)
        watermark = self._progress.watermark_ms
        if not hold_watermark:
            active = await self._active({(record.topic, record.partition) for record in records}, position)
            self._progress.advance(active, self.job.out_of_order_ms)
        await self._fold(items, batch, watermark, self._progress.watermark_ms)
        await self._commit(batch, position)
        self.status.read(len(records), self._progress.watermark_ms)
        while batch.more and not self._stopping.is_set():
            batch = await self._fire(self._progress.watermark_ms, include_strict=True)

    async def _process_idleness(self) -> None:
        """Fire by the wall clock what no event will fire: the watermark itself stays where events put it."""
        idle_ms = (self._clock() - self._idle_since) * 1000
        if self._state and idle_ms >= self.job.idle_ms:
            await self._fire_all(int(self._clock() * 1000) - self.job.out_of_order_ms)

    async def _finish(self) -> None:
        """The input is used up: fire everything that waits for an event, then move the watermark where it belongs."""
        await self._fire_all(END_OF_TIME)
        if self._stopping.is_set():
            return
        self._progress.advance(await self._active(set(), self._position, everything=True), self.job.out_of_order_ms)
        more = True
        while more:
            more = (await self._fire(self._progress.watermark_ms, include_strict=True, commit=True)).more

    async def _fire_all(self, until_ms: int) -> None:
        while not self._stopping.is_set():
            batch = await self._fire(until_ms, include_strict=False)
            if not batch.more:
                return

    async def _fire(self, until_ms: int, *, include_strict: bool, commit: bool = False) -> _Batch:
        """One commit's worth of due timers, without events."""
        batch = _Batch(Results(), [])
        strict_until = until_ms if include_strict else None
        fired = await self._fold([], batch, self._progress.watermark_ms, until_ms, strict_until)
        if fired or commit:
            await self._commit(batch, self._position)
        return batch

    async def _fold(
        self, items: list[Element], batch: _Batch, watermark_ms: int, until_ms: int, strict_until_ms: int | None = -1
    ) -> bool:
        """Take `items` and the timers due by `until_ms` through all steps; whether any timer fired.

        `strict_until_ms` is the same for strict timers: -1 as `until_ms`, None fires none.
        """
        strict_until = until_ms if strict_until_ms == -1 else strict_until_ms
        fired = False
        for step in self.job.steps:
            results = Results(failures=batch.results.failures, late=batch.results.late)
            match step:
                case Each():
                    for item in items:
                        apply_each(step, item, watermark_ms, results)
                        await self._yield_to_loop()
                case PerKey():
                    await self._fold_keyed(step, items, watermark_ms, results)
                    fired |= await self._fold_timers(step, batch, results, until_ms, strict_until)
                case _:
                    assert_never(step)
            items = results.items
        batch.results.items = items
        return fired

    async def _fold_keyed(self, step: PerKey, items: list[Element], watermark_ms: int, results: Results) -> None:
        state = self._state[step.name]
        keyed = [(key_of(step, item, watermark_ms, results), item) for item in items]
        await state.load(key for key, _ in keyed if key is not None)
        for key, item in keyed:
            if key is not None:
                before = state.get(key)
                state.put(key, apply_event(step, key, item, before, watermark_ms=watermark_ms, results=results))
            await self._yield_to_loop()

    async def _fold_timers(
        self, step: PerKey, batch: _Batch, results: Results, until_ms: int, strict_until_ms: int | None
    ) -> bool:
        state, limit = self._state[step.name], self.settings.timers_max
        due = await state.due(until_ms, strict=False, timers_max=limit)
        if len(due) >= limit:
            batch.more = True
        elif strict_until_ms is not None:
            # Only when no others wait: a window must not forget before it has told.
            due += await state.due(strict_until_ms, strict=True, timers_max=limit)
            batch.more |= len(due) >= limit
        for timer in due:
            after = apply_timer(
                step,
                timer.key,
                timer.name,
                timer.at_ms,
                state.get(timer.key),
                watermark_ms=self._progress.watermark_ms,
                results=results,
            )
            state.put(timer.key, after)
            await self._yield_to_loop()
        return bool(due)

    async def _commit(self, batch: _Batch, position: Position) -> None:
        """Make everything the batch came to durable, in one transaction, and go on from there."""
        records = [await self._made(self._derivation.late(item), batch) for item in self._routed_late(batch)]
        if self._writes.output is not None:
            records += [await self._made(self._derivation.output(item), batch) for item in batch.results.items]
        deliveries = self._deliveries(batch) if self._sink is not None else []
        errors = await self._error_records(batch.results.failures)
        outputs = [admitted.record for admitted in records if admitted is not None]
        token = position.token()
        if self._sink is not None:
            await self._commit_sink(self._sink, deliveries, errors, self._sources.with_ids(token))
        else:
            changes = [change for state in self._state.values() for change in state.changes()]
            changes.append(StateChange(self._namespace(), PROGRESS_KEY, self._progress.encode()))
            await self._with_retries(lambda: self._store.commit([*outputs, *errors], token, changes))
            for state in self._state.values():
                state.committed()
        self._position = position
        await self._sources.committed()
        self.status.committed(len(outputs) + len(deliveries), batch.results, token)

    async def _commit_sink(self, sink: Sink, deliveries: list[Delivery], errors: list[Record], token: str) -> None:
        # Before the rows: a repeat after a crash makes the same error events, with the same ids, once more.
        if errors:
            await self._with_retries(lambda: self._log.append(errors))
        await self._with_retries(lambda: sink.write(deliveries, token))

    def _routed_late(self, batch: _Batch) -> list[Element]:
        return batch.results.late if self._writes.late is not None else []

    def _deliveries(self, batch: _Batch) -> list[Delivery]:
        """What the sink can take; what it never will is a failure."""
        assert self._sink is not None
        taken = []
        for item in batch.results.items:
            try:
                event_id = get_path(item.value, "meta.id")
                delivery = Delivery(item.value, event_id if isinstance(event_id, str) else None, item.stream)
                self._sink.check(delivery)
            except BaseException as error:  # the event is wrong, or the sink's code fails with it
                contain(error)
                batch.results.failures.append(Failure(item, "table", error))
            else:
                taken.append(delivery)
        return taken

    async def _made(self, making: Awaitable[Admitted | Failure], batch: _Batch) -> Admitted | None:
        made = await making
        await self._yield_to_loop()
        if isinstance(made, Failure):
            batch.results.failures.append(made)
            return None
        return made

    async def _refused(self, record: Record, error: HeadwaterError) -> Record | None:
        """What the store relays instead of a record that the log will not take any more."""
        _log.warning("job %s: an event for %s was refused by the log: %s", self.job.label, record.topic, error)
        return await self._derivation.instead_of(record, error, int(self._clock() * 1000))

    async def _error_records(self, failures: Iterable[Failure]) -> list[Record]:
        records = []
        for failure in failures:
            made = await self._derivation.error(failure, int(self._clock() * 1000))
            if isinstance(made, Failure):
                self.status.error_event_refused(made.error)
            else:
                records.append(made.record)
        return records

    def _items(self, records: Sequence[StoredRecord], results: Results) -> list[Element]:
        """The records as items; canaries and tombstones left out, and bytes that are no event as failures."""
        items = []
        now_ms = int(self._clock() * 1000)
        for record in records:
            if not record.value:
                # Another tool's mark that its key is to be forgotten; no event was ever empty.
                continue
            stream = self._streams[record.topic]
            place = f"{record.topic}/{record.partition}/{record.offset}"
            try:
                value = decode_stored(record.value, record.headers)
                if not isinstance(value, dict):
                    raise EventMalformed("The record is no JSON object.")
            except (orjson.JSONDecodeError, EventMalformed) as error:
                item = Element(None, record.timestamp_ms, place, stream.name, record.value)
                results.failures.append(Failure(item, "decode", error))
                continue
            if not self.job.canaries and get_path(value, "meta.domain") == CANARY_DOMAIN:
                continue
            at = event_time_of(record, stream.event_time_field, value, now_ms=now_ms)
            self._progress.saw((record.topic, record.partition), at)
            event_id = get_path(value, "meta.id")
            lineage_id = event_id if isinstance(event_id, str) else place
            items.append(Element(value, at, lineage_id, stream.name, record.value, value))
        return items

    async def _active(
        self, read: set[TopicPartition], position: Position, *, everything: bool = False
    ) -> set[TopicPartition]:
        """The partitions the watermark waits for: those just read, and those with records still to read."""
        parts = set(position.offsets)
        if len(parts) <= 1:
            return parts
        if everything or not self.job.keeps_state:  # where nothing depends on it, the brokers are not asked for ends
            return read or {part for part in parts if self._progress.has_seen(part)}
        ends = await self._ends(position, read)
        return read | {part for part in parts if ends.get(part, 0) > position.offsets[part]}

    async def _ends(self, position: Position, read: Collection[TopicPartition] = ()) -> dict[TopicPartition, int]:
        """Where partitions end: at `position` where only marks of transactions are left, unless just `read`."""
        ends = dict((await self._log.last(self._topics())).offsets)
        if self._log.features.offsets_without_gaps:
            return ends
        for part, end in ends.items():
            at = position.offsets.get(part, 0)
            if part in read or at >= end:
                continue
            if self._empty.get(part, 0) < end and not await self._log.read(Position({part: at}), records_max=1):
                self._empty[part] = end
            if self._empty.get(part, 0) >= end:
                ends[part] = at
        return ends

    async def _with_retries(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """The attempt's answer, tried again with growing pauses while the error says that this can help."""
        backoff: Backoff | None = None
        for tried in range(self.settings.retries_max + 1):
            try:
                return await _shielded(attempt())
            except HeadwaterError as error:
                if not error.retriable or tried == self.settings.retries_max or self._stopping.is_set():
                    raise
                self.status.retrying(error)
                backoff = backoff or Backoff(self.settings.retry_seconds, self.settings.retry_seconds_max)
                await asyncio.sleep(backoff.next_pause())
        raise AssertionError("unreachable")

    async def _yield_to_loop(self) -> None:
        if time.perf_counter() - self._turn_began > self.settings.turn_seconds:
            await asyncio.sleep(0)
            self._turn_began = time.perf_counter()

    def _topics(self) -> list[str]:
        return list(self._streams)

    def _namespace(self) -> str:
        return f"job/{self.job.name}/progress"


async def _shielded(work: Awaitable[_T]) -> _T:
    """Wait for `work` to end even when cancelled: who begins again must find either all of a commit or nothing."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            await asyncio.wait((task,))
        raise


def _reached(position: Position, end: Position) -> bool:
    return all(position.offsets.get(part, 0) >= offset for part, offset in end.offsets.items())
