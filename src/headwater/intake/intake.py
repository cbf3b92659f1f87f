"""The Intake: stores what the Gate admits, reports the outcome of each event to producers, and recognises repeats.

How this works: a request's events are validated one by one, each parsed tree dropped as soon as it is validated
(keeping them across the commit costs half the throughput of batches). Everything admitted, and an error event for
everything refused, goes to the log in one append: durable together, answered after. A request whose events are all
admitted and none of whose ids is being stored by another uses `try_append`, without a coroutine; the others use
`_finish`. Unknown schemas are fetched in a thread, once for all requests that need them. `hasty` requests are answered
before they are stored (`hasty.py`). An append that outlasts its request still decides whether its ids are known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.config import IntakeConfig
from headwater.errors import (
    AppendIncomplete,
    HeadwaterError,
    KeyRequired,
    LogCorrupt,
    LogUnavailable,
    SchemaUnavailable,
    TooManyStreams,
)
from headwater.event import encode_event
from headwater.intake.append_batcher import AppendBatcher, append_exactly, failure_of, failures_of
from headwater.intake.counters import Counters
from headwater.intake.dry_run import explanation
from headwater.intake.duplicates import DuplicateWindow, Reservation
from headwater.intake.error_event import error_event
from headwater.intake.gate import NO_HEADERS, Gate, SchemaPending
from headwater.intake.hasty import HastyQueue
from headwater.intake.judging import READ_SLOWLY_BYTES_MAX, Judging, Verdict, decoded
from headwater.intake.outcome import (
    NOTHING_UNREADABLE,
    Admitted,
    Explanation,
    Failed,
    Outcome,
    Receipt,
    Refused,
    Unreadable,
    outcomes,
)
from headwater.intake.recent import SECONDS_MAX, RecentOutcomes
from headwater.intake.restore import duplicate_keys, recent_outcomes, topics_remembered
from headwater.intake.spool import Spool
from headwater.intake.topics import IntakeTopics, settings_of
from headwater.log.contract import Log, Placement, Record, TopicSettings
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.times import utc_milliseconds

SCHEMA_FETCHES_AT_ONCE_MAX = 4
DUPLICATE_ROUNDS_MAX = 3
RESTORE_SECONDS_MAX = 0.5
# This many refusals or explanations are made before other tasks run.
IN_A_TURN_MAX = 20

_log = logging.getLogger(__name__)
_ALL_ADMITTED = {Admitted}
# From this many events on, checking all of them at once costs less than one after the other.
_FEW = 4
OnReceipt = Callable[[Receipt], None]


@dataclass(slots=True)
class _Pass:
    """One request on its way: the verdicts, and which of them each append placed where."""

    slices: Sequence[bytes]
    verdicts: list[Verdict]
    receipt: Receipt
    errors: list[Admitted] = field(default_factory=list)
    placed: list[tuple[list[int], Sequence[Placement]]] = field(default_factory=list)


class _FastPath:
    """One request that is being stored without a coroutine. `on_receipt` is None once it has been called."""

    __slots__ = ("admitted", "intake", "on_receipt", "reservation", "verdicts")

    def __init__(self, intake: Intake, verdicts: Sequence[Admitted], on_receipt: OnReceipt) -> None:
        self.intake = intake
        self.verdicts = verdicts
        self.admitted: Sequence[Admitted] = verdicts
        self.reservation = Reservation()
        self.on_receipt: OnReceipt | None = on_receipt

    def ended(self, error: HeadwaterError | None) -> None:
        self.intake._ended_at_once(self, error)

    def late(self) -> None:
        """Report to the client that the log did not respond; the append continues, and settles its ids when it ends."""
        on_receipt, self.on_receipt = self.on_receipt, None
        if on_receipt is not None:
            self.intake._deliver_receipt(self, on_receipt, failures_of(self.intake._no_answer(), len(self.admitted)))


class Intake:
    """The one way into the log. Belongs to one event loop; `start` before the first write, `stop` after the last."""

    def __init__(
        self,
        gate: Gate,
        log: Log,
        config: IntakeConfig,
        telemetry: Telemetry,
        *,
        topic_settings: Callable[[Stream], TopicSettings] | None = None,
        spool: Spool | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`topic_settings` gives the settings of a stream's topics; by default those of its declaration.

        `spool` stores `hasty` events while the log is slow or unavailable; without one they wait in memory.
        """
        self.gate = gate
        self.config = config
        self.recent = RecentOutcomes(clock)
        self._judging = Judging(gate)
        self.judge, self.judge_readable = self._judging.all, self._judging.readable
        self._log = log
        self._submit = log.submit
        self._gathering = AppendBatcher(self._submit, config.append_timeout_seconds)
        self._clock = clock
        self._made = IntakeTopics(gate, log, topic_settings or settings_of, config.made_topics_max)
        self._topics = self._made.known
        self._window = DuplicateWindow(config.dedupe_window_seconds, config.dedupe_ids_max, clock)
        self._fetching: dict[str, asyncio.Future[None]] = {}
        self._fetch_slots = asyncio.Semaphore(SCHEMA_FETCHES_AT_ONCE_MAX)
        self._counters = Counters(telemetry)
        self.clocks = self._counters.clocks
        gate.on_repaired = self._counters.repaired_event
        self._hasty = HastyQueue(self, config, self._counters, telemetry, spool)

    async def start(self) -> None:
        """Create missing topics of declared streams, and remember what was accepted just before the start."""
        streams = [*self.gate.streams.all(), self.gate.built_in.stream]
        await self._made.start(streams)
        if self._window.enabled:
            await self._remember()
        self._hasty.start()

    async def _remember(self) -> None:
        """Load the ids of what was stored before; nothing is answered until they are known."""
        until_ms = int(self._clock() * 1000)
        since_ms = until_ms - int(self.config.dedupe_window_seconds * 1000)
        try:
            topics = await topics_remembered(self._log, self.gate)
            async for keys in duplicate_keys(self._log, topics, since_ms, until_ms, self.config.dedupe_ids_max):
                self._window.remember(keys)
        except LogCorrupt as error:
            _log.error("a repeat of what was stored before the start may be stored twice: %s", error)

    async def recall(self, *, made_by_jobs: Collection[str] = ()) -> None:
        """Remember the outcomes of the last minutes that earlier processes left in the log; streams of jobs apart."""
        errors = self.gate.built_in.stream
        known = [one for one in self.gate.streams.all() if one.name not in made_by_jobs and one.name != errors.name]
        streams = {topic: one.name for one in known for topic in one.topics}
        since_ms = int((self._clock() - SECONDS_MAX) * 1000)
        try:
            found = await recent_outcomes(self._log, streams, errors.topics, since_ms, RESTORE_SECONDS_MAX)
        except HeadwaterError as error:
            _log.warning("the outcomes from before the start are unknown: %s", error)
        else:
            self.recent.recall(found)

    async def stop(self) -> None:
        """Wait until all `hasty` events are stored or spooled."""
        await self._hasty.stop()

    async def write(
        self,
        values: Sequence[Any],
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        raw: Sequence[bytes] | None = None,
    ) -> list[Outcome]:
        """Validate and store events; one outcome each, in order, durable if Accepted. `raw`: the bytes of each.

        The values are not changed. Raises EventMalformed for a value that is not JSON.
        """
        slices = raw if raw is not None else [encode_event(value)[0] for value in values]
        work = _Pass(slices, self.judge(slices, headers), Receipt(len(slices)))
        await self._finish(work, headers)
        return outcomes(work.verdicts, work.receipt, work.placed)

    async def write_slices(
        self,
        slices: Sequence[bytes],
        headers: Mapping[str, str] = NO_HEADERS,
        unreadable: Unreadable = NOTHING_UNREADABLE,
    ) -> Receipt:
        """As `write`, for the JSON text of each event, and with a receipt that costs nothing if all are accepted.

        A text that is not JSON is refused alone. `unreadable` are those that are already refused, by their index.
        """
        verdicts = await self._judging.in_turns(slices, headers, unreadable)
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

        def on_receipt(receipt: Receipt) -> None:
            if not answer.done():
                answer.set_result(receipt)

        if self.try_append(verdicts, on_receipt):
            return await answer
        return await self.write_judged(slices, verdicts, headers)

    def try_append(self, verdicts: Sequence[Verdict], on_receipt: OnReceipt) -> bool:
        """Append a request in which nothing is unusual; `on_receipt` is called with its receipt, perhaps at once.

        False, with nothing done, if something is: then use `write_judged`.
        """
        if len(verdicts) < _FEW:
            for one in verdicts:
                if one.__class__ is not Admitted or one.record.topic not in self._topics:
                    return False
        elif set(map(type, verdicts)) != _ALL_ADMITTED or not self._topics.issuperset(
            [one.record.topic for one in verdicts]  # type: ignore[union-attr]
        ):
            return False
        attempt = _FastPath(self, verdicts, on_receipt)  # type: ignore[arg-type]
        records = self._reserve(attempt)
        if records is None:
            return False
        if records:
            self._gathering.add(records, attempt)
        else:
            attempt.ended(None)
        return True

    def _reserve(self, attempt: _FastPath) -> list[Record] | None:
        """The records of a request that are to be stored; None where one of its events is being stored right now."""
        verdicts, window = attempt.verdicts, self._window
        if not window.enabled:
            return [one.record for one in verdicts]
        if len(verdicts) >= _FEW:
            keys = [key for one in verdicts if (key := one.duplicate_key) is not None]
            if not keys or window.reserve_new(keys, attempt.reservation):
                return [one.record for one in verdicts]
        return self._reserve_news(attempt)

    def _reserve_news(self, attempt: _FastPath) -> list[Record] | None:
        """As `_reserve`, one by one, without those that were stored before."""
        admitted: list[Admitted] = []
        for one in attempt.verdicts:
            if one.duplicate_key is not None:
                known = self._window.reserve(one.duplicate_key, attempt.reservation)
                if known is True:
                    continue
                if known is not False:
                    self._window.settle(attempt.reservation, stored=False)
                    return None
            admitted.append(one)
        attempt.admitted = admitted
        return [one.record for one in admitted]

    def _ended_at_once(self, attempt: _FastPath, error: HeadwaterError | None) -> None:
        failures: Mapping[int, HeadwaterError] = {}
        if error is None:
            self._window.settle(attempt.reservation, stored=True)
            stored = attempt.admitted
        else:
            failures = failures_of(error, len(attempt.admitted))
            self._settle(attempt.reservation, attempt.admitted, error)
            stored = [one for index, one in enumerate(attempt.admitted) if index not in failures]
        if stored:
            self.recent.accepted(stored)
            self._counters.accepted(stored)
        on_receipt, attempt.on_receipt = attempt.on_receipt, None
        if on_receipt is not None:
            self._deliver_receipt(attempt, on_receipt, failures)

    def _deliver_receipt(
        self, attempt: _FastPath, on_receipt: OnReceipt, failures: Mapping[int, HeadwaterError]
    ) -> None:
        """The receipt of a request; `failures` by place in `attempt.admitted`."""
        count = len(attempt.verdicts)
        repeated: list[int] = []
        if len(attempt.admitted) < count:
            stored = set(map(id, attempt.admitted))
            repeated = [index for index, one in enumerate(attempt.verdicts) if id(one) not in stored]
            self._counters.duplicates([attempt.verdicts[index] for index in repeated])
        receipt = Receipt(count, count - len(failures), duplicates=repeated)
        if failures:
            places = sorted(set(range(count)).difference(repeated))
            for number, error in sorted(failures.items()):
                receipt.not_stored(places[number], attempt.verdicts[places[number]], error)
            self._count_not_stored(receipt)
        on_receipt(receipt)

    def _count_not_stored(self, receipt: Receipt) -> None:
        for _, refused in receipt.refused:
            self._counters.refused(refused)
        for _, failed in receipt.failed:
            self._counters.failed(failed)

    def _settle(self, reservation: Reservation, admitted: Sequence[Admitted], error: HeadwaterError | None) -> None:
        """Remember the ids of what was stored, and forget those of what was not."""
        if isinstance(error, AppendIncomplete):
            missed = {admitted[index].duplicate_key for index in error.failures if index < len(admitted)}
            self._window.settle(reservation, stored=True, missed=missed)
        else:
            self._window.settle(reservation, stored=error is None)

    async def write_judged(
        self, slices: Sequence[bytes], verdicts: list[Verdict], headers: Mapping[str, str] = NO_HEADERS
    ) -> Receipt:
        """Finish what `judge` began, for any verdicts."""
        work = _Pass(slices, verdicts, Receipt(len(slices)))
        await self._finish(work, headers)
        return work.receipt

    def write_hasty(
        self,
        slices: Sequence[bytes],
        headers: Mapping[str, str] = NO_HEADERS,
        unreadable: Unreadable = NOTHING_UNREADABLE,
    ) -> None:
        """Accept events to be validated and stored later. Raises LogUnavailable if there is no room for them."""
        self._hasty.take(slices, headers, unreadable)

    async def explain(self, values: Sequence[Any], headers: Mapping[str, str] = NO_HEADERS) -> list[Explanation]:
        """What would become of each event, and where it would go. Stores nothing, counts nothing."""
        return await self.explain_slices([encode_event(value)[0] for value in values], headers)

    async def explain_slices(
        self,
        slices: Sequence[bytes],
        headers: Mapping[str, str] = NO_HEADERS,
        unreadable: Unreadable = NOTHING_UNREADABLE,
    ) -> list[Explanation]:
        """As `explain`, for the JSON text of each event; see `write_slices`."""
        work = _Pass(slices, await self._judging.in_turns(slices, headers, unreadable), Receipt(len(slices)))
        await self._fetch_schemas(work, headers)
        found: list[Explanation] = []
        for number, (verdict, one) in enumerate(zip(work.verdicts, slices, strict=True), 1):
            if not isinstance(verdict, SchemaPending):
                if len(one) > READ_SLOWLY_BYTES_MAX:
                    found.append(await asyncio.to_thread(explanation, verdict, one))
                else:
                    found.append(explanation(verdict, one))
            if number % IN_A_TURN_MAX == 0:
                await asyncio.sleep(0)
        return found

    async def _finish(self, work: _Pass, headers: Mapping[str, str]) -> None:
        """From verdicts to a receipt: fetch schemas, make error events, store, recognise duplicates, count."""
        await self._fetch_schemas(work, headers)
        await self._bound_topics(work)
        await self._make_error_events(work)
        await self._store(work)
        receipt = work.receipt
        receipt.failed.sort(key=lambda entry: entry[0])
        receipt.refused.sort(key=lambda entry: entry[0])
        self._count_not_stored(receipt)
        self._counters.duplicates([work.verdicts[index] for index in receipt.duplicates])  # type: ignore[misc]

    async def _fetch_schemas(self, work: _Pass, headers: Mapping[str, str]) -> None:
        """Validate again what waits for a schema, once the schema is fetched or known to be missing."""
        pending = [index for index, verdict in enumerate(work.verdicts) if isinstance(verdict, SchemaPending)]
        if not pending:
            return
        deadline = asyncio.get_running_loop().time() + self.config.append_timeout_seconds
        wanted = {verdict.uri for verdict in work.verdicts if isinstance(verdict, SchemaPending)}
        failures = {uri: await self._fetch(uri, deadline) for uri in sorted(wanted)}
        for number, index in enumerate(pending, 1):
            if number % IN_A_TURN_MAX == 0:
                await asyncio.sleep(0)
            value, text, flags = await decoded(work.slices[index])
            verdict = self.gate.try_admit(value, headers, text, flags)
            if isinstance(verdict, SchemaPending):
                reason = failures[verdict.uri] or SchemaUnavailable(f"The schema {verdict.uri[:200]} is not there yet.")
                verdict = self.gate.refuse(value, reason)
            work.verdicts[index] = verdict

    async def _fetch(self, uri: str, deadline: float) -> HeadwaterError | None:
        """Compile the schema at `uri` in a thread, joining a fetch in progress. Returns why that failed, or None."""
        loop = asyncio.get_running_loop()
        if loop.time() > deadline:
            return SchemaUnavailable(f"The schema {uri[:200]} was not fetched in time.", hint="Send the event again.")
        fetch = self._fetching.get(uri)
        if fetch is None:
            fetch = self._fetching[uri] = loop.create_task(self._compile(uri))
            fetch.add_done_callback(lambda _: self._fetching.pop(uri, None))
        # Shielded: other requests may wait for the same schema when this one is cancelled.
        try:
            await asyncio.shield(fetch)
        except HeadwaterError as error:
            return error
        return None

    async def _compile(self, uri: str) -> None:
        async with self._fetch_slots:
            await asyncio.to_thread(self.gate.compile, uri)

    async def _bound_topics(self, work: _Pass) -> None:
        """Refuse what would need more topics than events may make."""
        refused = 0
        for index, verdict in enumerate(work.verdicts):
            if isinstance(verdict, Admitted) and verdict.record.topic not in self._topics:
                try:
                    self._made.check(verdict.stream)
                except TooManyStreams as error:
                    refused += 1
                    if refused % IN_A_TURN_MAX == 0:
                        await asyncio.sleep(0)
                    value, _, _ = await decoded(work.slices[index])
                    work.verdicts[index] = self.gate.refuse(value, error)

    async def _make_error_events(self, work: _Pass) -> None:
        """Sort out what was not admitted: ours to `failed`, the producer's to `refused` with an error event each."""
        now = utc_milliseconds(int(self._clock() * 1000))
        for index, verdict in enumerate(work.verdicts):
            if not isinstance(verdict, Refused):
                continue
            received = work.slices[index]
            if len(work.receipt.refused) % IN_A_TURN_MAX == IN_A_TURN_MAX - 1:
                await asyncio.sleep(0)
            if verdict.reason.retriable:
                work.receipt.failed.append((index, Failed(received, verdict.stream_name, verdict.reason)))
                continue
            work.receipt.refused.append((index, verdict))
            if verdict.reason.__class__ is KeyRequired:
                # Events without the required key fill neither the page nor the error stream.
                continue
            self.recent.refused(verdict, received)
            if verdict.stream_name == self.gate.built_in.stream.name:
                # Errors about errors end here.
                self._counters.error_events_refused.inc()
                continue
            admitted = self.gate.admit(self._error_event(verdict, received, now), own=True)
            if isinstance(admitted, Admitted):
                work.errors.append(admitted)
            else:
                self._counters.error_events_refused.inc()

    def _error_event(self, refused: Refused, received: bytes, now: str) -> dict[str, Any]:
        form, emitter = self.gate.built_in, self.gate.settings.service_name
        may_copy = self.gate.streams.visibility.may_copy([refused.stream_name], form.stream)
        return error_event(refused, form, emitter, now, received, withheld=not may_copy)

    async def _store(self, work: _Pass) -> None:
        """Append what is admitted and not a duplicate, and the error events, in one go."""
        left = [index for index, verdict in enumerate(work.verdicts) if verdict.__class__ is Admitted]
        errors = work.errors
        for _ in range(DUPLICATE_ROUNDS_MAX):
            waiting = await self._store_round(work, left, errors)
            left = []
            # Once for each attempt: thousands of repeats may wait for the same one.
            others = {id(other): other for _, other in waiting}
            stored = {number: await self._stored_by(other) for number, other in others.items()}
            for index, other in waiting:
                key = work.verdicts[index].duplicate_key  # type: ignore[union-attr]
                known = stored[id(other)] and key not in other.missed
                (work.receipt.duplicates if known else left).append(index)
            errors = []
            if not left:
                break
        for index in left:
            work.receipt.not_stored(index, work.verdicts[index], self._no_answer())  # type: ignore[arg-type]
        work.receipt.accepted = work.receipt.count - len(work.receipt.refused) - len(work.receipt.failed)

    async def _stored_by(self, other: Reservation) -> bool:
        try:
            async with asyncio.timeout(self.config.append_timeout_seconds):
                return await other.wait()
        except TimeoutError:
            return False

    async def _store_round(
        self, work: _Pass, indexes: list[int], errors: list[Admitted]
    ) -> list[tuple[int, Reservation]]:
        """One append. Answers with the events that some other attempt, of this or another request, is storing."""
        admitted: list[Admitted] = []
        placed: list[int] = []
        waiting: list[tuple[int, Reservation]] = []
        reservation = Reservation()
        for index in indexes:
            one: Admitted = work.verdicts[index]  # type: ignore[assignment]
            if one.duplicate_key is not None and self._window.enabled:
                known = self._window.reserve(one.duplicate_key, reservation)
                if known is True:
                    work.receipt.duplicates.append(index)
                    continue
                if known is not False:
                    waiting.append((index, known))
                    continue
            admitted.append(one)
            placed.append(index)
        try:
            placements = await self._append(admitted, errors, reservation)
        except HeadwaterError as error:
            failures = failures_of(error, len(admitted) + len(errors))
            for number in sorted(failures):
                if number < len(placed):
                    work.receipt.not_stored(placed[number], admitted[number], failures[number])
                else:
                    self._counters.error_events_lost.inc()
            kept = [number for number in range(len(placed)) if number not in failures]
            placements = [error.placements[number] for number in kept] if isinstance(error, AppendIncomplete) else []
            admitted, placed = [admitted[number] for number in kept], [placed[number] for number in kept]
        if admitted:
            self.recent.accepted(admitted)
            self._counters.accepted(admitted)
            work.placed.append((placed, placements))
        return waiting

    async def _append(
        self, admitted: list[Admitted], errors: list[Admitted], reservation: Reservation
    ) -> Sequence[Placement]:
        """One append, whose outcome settles the reservation, also if its request no longer waits for it."""
        records = [one.record for one in (*admitted, *errors)]
        try:
            missing = {record.topic for record in records}.difference(self._topics)
            if missing:
                await self._made.ensure(one.stream for one in (*admitted, *errors) if one.topic in missing)
            if not records:
                self._window.settle(reservation, stored=True)
                return ()
        except BaseException:
            self._window.settle(reservation, stored=False)
            raise
        future = asyncio.ensure_future(append_exactly(self._submit, records))
        future.add_done_callback(lambda done: self._settle(reservation, admitted, failure_of(done)))
        await asyncio.wait([future], timeout=self.config.append_timeout_seconds)
        if not future.done():
            raise self._no_answer()
        return future.result()

    def _no_answer(self) -> LogUnavailable:
        return LogUnavailable(
            "The log did not answer in time.",
            hint="Send the events again: a repeated meta.id is recognised.",
            retry_after_seconds=self.config.retry_after_seconds,
        )
