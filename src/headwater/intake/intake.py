"""The Intake: makes what the Gate admits durable, tells producers what became of each event, and forgets nothing.

How this works: a request's events are judged one by one, each parsed tree dropped as soon as it is judged (keeping
them across the commit costs half the throughput of batches). Everything admitted, and an error event for everything
refused, goes to the log in one append: durable together, answered after. Unknown schemas are fetched in a thread, once
however many requests want them. Hasty requests are judged and stored in the background from a bounded backlog.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from headwater.config import IntakeConfig
from headwater.errors import EventMalformed, HeadwaterError, LogUnavailable, SchemaUnavailable
from headwater.intake.duplicates import DuplicateWindow, Reservation
from headwater.intake.error_event import error_event
from headwater.intake.gate import NO_HEADERS, Gate, SchemaPending, iso_milliseconds
from headwater.intake.outcome import Accepted, Admitted, Explanation, Failed, Outcome, Refused
from headwater.intake.recent import RecentOutcomes
from headwater.log.contract import Log, Placement, Position, Record, TopicSettings
from headwater.streams.stream import Stream
from headwater.telemetry import Counter, Telemetry

SCHEMA_FETCHES_AT_ONCE_MAX = 4
DUPLICATE_ROUNDS_MAX = 3
RESTORE_SECONDS_MAX = 0.5
JUDGED_AT_ONCE_MAX = 256

Verdict = Admitted | Refused | SchemaPending


@dataclass(slots=True)
class Receipt:
    """What became of one request: how many events, and those that are not in the log, by their place in the request."""

    count: int
    accepted: int = 0
    refused: list[tuple[int, Refused]] = field(default_factory=list)
    failed: list[tuple[int, Failed]] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Pass:
    """One request on its way: the verdicts, and which of them each append placed where."""

    slices: Sequence[bytes]
    verdicts: list[Verdict]
    receipt: Receipt
    errors: list[Admitted] = field(default_factory=list)
    placed: list[tuple[list[int], Sequence[Placement]]] = field(default_factory=list)


class Intake:
    """The one door into the log. Belongs to one event loop; `start` before the first write, `stop` after the last."""

    def __init__(
        self,
        gate: Gate,
        log: Log,
        config: IntakeConfig,
        telemetry: Telemetry,
        *,
        topic_settings: Callable[[Stream], TopicSettings] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`topic_settings` says how the topics of a stream are kept; by default as the stream itself says."""
        self.gate = gate
        self.config = config
        self.recent = RecentOutcomes(clock)
        self._log = log
        self._clock = clock
        self._topic_settings = topic_settings or settings_of
        self._topics: set[str] = set()
        self._window = DuplicateWindow(config.dedupe_window_seconds, config.dedupe_ids_max, clock)
        self._fetching: dict[str, asyncio.Future[None]] = {}
        self._fetch_slots = asyncio.Semaphore(SCHEMA_FETCHES_AT_ONCE_MAX)
        self._hasty: set[asyncio.Task[None]] = set()
        self._backlog_bytes = 0
        self._counters = _Counters(telemetry)
        backlog = telemetry.gauge("headwater_intake_hasty_backlog_bytes", "Bytes of hastily received events that wait.")
        backlog.set_function(lambda: self._backlog_bytes)
        telemetry.gauge(
            "headwater_intake_hasty_backlog_bytes", "Bytes of hastily received events that wait."
        ).set_function(lambda: self._backlog_bytes)

    async def start(self) -> None:
        """Make sure that the topics of all declared streams exist, and remember what was accepted just before."""
        streams = [*self.gate.streams.all(), self.gate.built_in.stream]
        for stream in streams:
            for topic in stream.topics:
                await self._log.ensure_topic(topic, self._topic_settings(stream))
                self._topics.add(topic)
        if self._window.enabled:
            await self._restore_window([s for s in streams if s.deduplicate])

    async def stop(self) -> None:
        """Wait until everything received hastily is stored."""
        while self._hasty:
            await asyncio.gather(*self._hasty, return_exceptions=True)

    async def write(
        self,
        values: Sequence[Any],
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        raw: Sequence[bytes] | None = None,
    ) -> list[Outcome]:
        """Judge and store events; one outcome each, in order, durable where Accepted. `raw`: the bytes of each.

        The values are not changed. Raises EventMalformed for a value that is not JSON.
        """
        slices = raw if raw is not None else [_encode(value) for value in values]
        work = _Pass(slices, [self._judge(one, headers) for one in slices], Receipt(len(slices)))
        await self._finish(work, headers)
        return _outcomes(work)

    async def write_slices(self, slices: Sequence[bytes], headers: Mapping[str, str] = NO_HEADERS) -> Receipt:
        """As `write`, for the JSON text of each event, and with an answer that costs nothing where all went well.

        Raises EventMalformed where one of the texts is not JSON; nothing of the request is stored then.
        """
        admit, loads = self.gate.try_admit, orjson.loads
        verdicts: list[Verdict] = []
        try:
            for start in range(0, len(slices), JUDGED_AT_ONCE_MAX):
                if start:
                    # Everybody else's turn: ten thousand events take a tenth of a second.
                    await asyncio.sleep(0)
                verdicts += [admit(loads(one), headers, one) for one in slices[start : start + JUDGED_AT_ONCE_MAX]]
        except orjson.JSONDecodeError as error:
            raise EventMalformed(f"The body is not JSON: {error}.") from None
        work = _Pass(slices, verdicts, Receipt(len(slices)))
        await self._finish(work, headers)
        return work.receipt

    def write_hasty(self, slices: Sequence[bytes], headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Take events to be judged and stored later. Raises LogUnavailable when the backlog is full."""
        size = sum(map(len, slices))
        if self._backlog_bytes + size > self.config.hasty_backlog_bytes_max and self._backlog_bytes:
            self._counters.hasty_refused.inc(len(slices))
            raise LogUnavailable(
                "Too many hastily received events are waiting.",
                hint="Send them again a little later.",
                retry_after_seconds=self.config.retry_after_seconds,
            )
        self._backlog_bytes += size
        self._counters.hasty.inc(len(slices))
        task = asyncio.get_running_loop().create_task(self._write_later(slices, headers, size))
        self._hasty.add(task)
        task.add_done_callback(self._hasty.discard)

    async def explain(self, values: Sequence[Any], headers: Mapping[str, str] = NO_HEADERS) -> list[Explanation]:
        """What would become of each event, and where it would go. Stores nothing, counts nothing."""
        slices = [_encode(value) for value in values]
        work = _Pass(slices, [self._judge(one, headers) for one in slices], Receipt(len(slices)))
        await self._fetch_schemas(work, headers)
        return [_explain(verdict, one) for verdict, one in zip(work.verdicts, slices, strict=True)]

    def _judge(self, one: bytes, headers: Mapping[str, str]) -> Verdict:
        return self.gate.try_admit(orjson.loads(one), headers, one)

    async def _write_later(self, slices: Sequence[bytes], headers: Mapping[str, str], size: int) -> None:
        try:
            receipt = await self.write_slices(slices, headers)
            self._counters.hasty_lost.inc(len(receipt.failed))
        finally:
            self._backlog_bytes -= size

    async def _finish(self, work: _Pass, headers: Mapping[str, str]) -> None:
        """From verdicts to a receipt: fetch schemas, make error events, store, recognise duplicates, count."""
        verdicts = work.verdicts
        simple = True
        for verdict in verdicts:
            if verdict.__class__ is not Admitted:
                simple = False
                break
        if not simple:
            await self._fetch_schemas(work, headers)
            self._make_error_events(work)
        await self._store(work)
        self._counters.count(work)
        if work.receipt.failed and simple is False:
            work.receipt.failed.sort(key=lambda entry: entry[0])

    async def _fetch_schemas(self, work: _Pass, headers: Mapping[str, str]) -> None:
        """Judge anew what waits for a schema, once it is there or is known not to be."""
        pending = [index for index, verdict in enumerate(work.verdicts) if isinstance(verdict, SchemaPending)]
        if not pending:
            return
        deadline = asyncio.get_running_loop().time() + self.config.append_timeout_seconds
        wanted = {verdict.uri for verdict in work.verdicts if isinstance(verdict, SchemaPending)}
        failures = {uri: await self._fetch(uri, deadline) for uri in sorted(wanted)}
        for index in pending:
            value = orjson.loads(work.slices[index])
            verdict = self.gate.try_admit(value, headers, work.slices[index])
            if isinstance(verdict, SchemaPending):
                reason = failures[verdict.uri] or SchemaUnavailable(f"The schema {verdict.uri[:200]} is not there yet.")
                verdict = self.gate.refuse(value, reason)
            work.verdicts[index] = verdict

    async def _fetch(self, uri: str, deadline: float) -> HeadwaterError | None:
        """Compile the schema at `uri` in a thread, joining a fetch that is under way; why it cannot be had, or None."""
        loop = asyncio.get_running_loop()
        if loop.time() > deadline:
            return SchemaUnavailable(f"The schema {uri[:200]} was not fetched in time.", hint="Send the event again.")
        fetch = self._fetching.get(uri)
        if fetch is None:
            fetch = self._fetching[uri] = loop.create_task(self._compile(uri))
            fetch.add_done_callback(lambda _: self._fetching.pop(uri, None))
        # Shielded: other requests may wait for the same schema when this one goes away.
        try:
            await asyncio.shield(fetch)
        except HeadwaterError as error:
            return error
        return None

    async def _compile(self, uri: str) -> None:
        async with self._fetch_slots:
            await asyncio.to_thread(self.gate.compile, uri)

    def _make_error_events(self, work: _Pass) -> None:
        """Sort out what was not admitted: ours to `failed`, the producer's to `refused` with an error event each."""
        now = iso_milliseconds(int(self._clock() * 1000))
        for index, verdict in enumerate(work.verdicts):
            if not isinstance(verdict, Refused):
                continue
            received = work.slices[index]
            if verdict.reason.retriable:
                work.receipt.failed.append((index, Failed(received, verdict.stream_name, verdict.reason)))
                continue
            work.receipt.refused.append((index, verdict))
            self.recent.refused(verdict, received)
            if verdict.stream_name == self.gate.built_in.stream.name:
                # Errors about errors end here.
                self._counters.error_events_refused.inc()
                continue
            form = self.gate.built_in
            admitted = self.gate.admit(error_event(verdict, form, self.gate.settings.service_name, now, received))
            if isinstance(admitted, Admitted):
                work.errors.append(admitted)
            else:
                self._counters.error_events_refused.inc()

    async def _store(self, work: _Pass) -> None:
        """Append what is admitted and not a duplicate, and the error events, in one go."""
        left = [index for index, verdict in enumerate(work.verdicts) if verdict.__class__ is Admitted]
        errors = work.errors
        for _ in range(DUPLICATE_ROUNDS_MAX):
            waiting = await self._store_round(work, left, errors)
            left = [index for index, other in waiting if not await other.wait()]
            work.receipt.duplicates += [index for index, other in waiting if other.stored]
            errors = []
            if not left:
                break
        for index in left:
            self._fail(work, index, LogUnavailable("Another attempt to store this event failed."))
        work.receipt.accepted = work.receipt.count - len(work.receipt.refused) - len(work.receipt.failed)

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
        stored = False
        try:
            placements = await self._append(admitted, errors)
            stored = True
        except HeadwaterError as error:
            for index in placed:
                self._fail(work, index, error)
            self._counters.error_events_lost.inc(len(errors))
        finally:
            # Also when the request is cancelled: whoever waits for these ids must hear of it.
            self._window.settle(reservation, stored=stored)
        if stored:
            self.recent.accepted(admitted)
            work.placed.append((placed, placements))
        return waiting

    async def _append(self, admitted: list[Admitted], errors: list[Admitted]) -> Sequence[Placement]:
        records: list[Record] = [one.record for one in admitted]
        if errors:
            records += [one.record for one in errors]
        if not records:
            return ()
        missing = {record.topic for record in records}.difference(self._topics)
        if missing:
            await self._ensure_topics(one.stream for one in (*admitted, *errors) if one.topic in missing)
        try:
            async with asyncio.timeout(self.config.append_timeout_seconds):
                return await self._log.append(records)
        except TimeoutError:
            raise LogUnavailable(
                "The log did not answer in time.",
                hint="Send the events again; some may be in the log twice then.",
                retry_after_seconds=self.config.retry_after_seconds,
            ) from None

    async def _ensure_topics(self, streams: Iterable[Stream]) -> None:
        """Create the topics of streams that no declaration names one by one: members of families, undeclared ones."""
        for stream in {stream.name: stream for stream in streams}.values():
            for topic in {*stream.topics, stream.topic_for(self.gate.settings.topic_prefix)}:
                await self._log.ensure_topic(topic, self._topic_settings(stream))
                self._topics.add(topic)

    def _fail(self, work: _Pass, index: int, reason: HeadwaterError) -> None:
        one: Admitted = work.verdicts[index]  # type: ignore[assignment]
        work.receipt.failed.append((index, Failed(one.encoded, one.stream.name, reason)))

    async def _restore_window(self, streams: Sequence[Stream]) -> None:
        """Read the ids of the last moments back from the log, oldest first, for half a second at most."""
        topics = [topic for stream in streams for topic in stream.topics]
        since = int((self._clock() - self.config.dedupe_window_seconds) * 1000)
        position: Position = await self._log.at(topics, since)
        decoder = msgspec.json.Decoder(_Identified)
        give_up = time.monotonic() + RESTORE_SECONDS_MAX
        while time.monotonic() < give_up:
            records = await self._log.read(position)
            if not records:
                return
            keys = []
            for record in records:
                position = position.after(record)
                try:
                    event_id = decoder.decode(record.value).meta.id
                except msgspec.DecodeError:
                    continue
                if isinstance(event_id, str):
                    keys.append(f"{record.topic} {event_id}")
            self._window.remember(keys)


class _Meta(msgspec.Struct):
    id: Any = None


class _Identified(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Counters:
    """What the intake counts about itself; children are kept, since finding one takes a lock."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._events: Counter = telemetry.counter(
            "headwater_intake_events", "Events judged, by stream and outcome.", ("stream", "outcome")
        )
        self._children: dict[tuple[str, str], Any] = {}
        self.hasty = telemetry.counter("headwater_intake_hasty_events", "Events received hastily.")
        self.hasty_refused = telemetry.counter(
            "headwater_intake_hasty_refused_events", "Hasty events refused because the backlog was full."
        )
        self.hasty_lost = telemetry.counter(
            "headwater_intake_hasty_lost_events", "Hasty events answered 202 that could not be stored."
        )
        self.error_events_refused = telemetry.counter(
            "headwater_intake_error_events_refused", "Error events that the Gate itself refused."
        )
        self.error_events_lost = telemetry.counter(
            "headwater_intake_error_events_lost", "Error events that could not be stored."
        )

    def count(self, work: _Pass) -> None:
        receipt = work.receipt
        duplicates = set(receipt.duplicates)
        failed = {index for index, _ in receipt.failed}
        tally: dict[tuple[str, str], int] = {}
        if not (duplicates or failed or receipt.refused):
            self._count_accepted(work, tally)
        else:
            for index, verdict in enumerate(work.verdicts):
                if index in failed:
                    continue
                if isinstance(verdict, Admitted):
                    outcome = "duplicate" if index in duplicates else "accepted"
                    _add(tally, verdict.stream.name, outcome)
            for _, refused in receipt.refused:
                # A stream that is not declared is a name anybody made up: not a label.
                known = refused.reason.code not in ("stream_unknown", "event_malformed", "schema_not_found")
                _add(tally, refused.stream_name or "" if known else "", refused.reason.code)
            for _, failure in receipt.failed:
                _add(tally, "", failure.reason.code)
        for labels, number in tally.items():
            child = self._children.get(labels)
            if child is None:
                child = self._children[labels] = self._events.labels(*labels)
            child.inc(number)

    def _count_accepted(self, work: _Pass, tally: dict[tuple[str, str], int]) -> None:
        verdicts = work.verdicts
        first = verdicts[0].stream if verdicts else None  # type: ignore[union-attr]
        if first is not None and all(verdict.stream is first for verdict in verdicts):  # type: ignore[union-attr]
            tally[first.name, "accepted"] = len(verdicts)
            return
        for verdict in verdicts:
            _add(tally, verdict.stream.name, "accepted")  # type: ignore[union-attr]


def _add(tally: dict[tuple[str, str], int], stream: str, outcome: str) -> None:
    tally[stream, outcome] = tally.get((stream, outcome), 0) + 1


def settings_of(stream: Stream) -> TopicSettings:
    """How the topics of a stream are kept, as the stream says."""
    return TopicSettings(
        partitions=stream.partitions,
        retention_seconds=stream.retention_seconds,
        retention_bytes=stream.retention_bytes,
        compact=stream.compact,
    )


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise EventMalformed(f"The event is not JSON: {error}.") from None


def _outcomes(work: _Pass) -> list[Outcome]:
    # The last placements of an append are those of its error events.
    placements = {index: where for placed, append in work.placed for index, where in zip(placed, append, strict=False)}
    outcomes: dict[int, Outcome] = {**dict(work.receipt.refused), **dict(work.receipt.failed)}
    for index, verdict in enumerate(work.verdicts):
        if index not in outcomes and isinstance(verdict, Admitted):
            placement = placements.get(index)
            outcomes[index] = Accepted(verdict, placement, duplicate=placement is None)
    return [outcomes[index] for index in range(len(work.verdicts))]


def _explain(verdict: Verdict, received: bytes) -> Explanation:
    if isinstance(verdict, Admitted):
        before, after = orjson.loads(received), orjson.loads(verdict.encoded)
        return Explanation(
            verdict="accepted",
            event_value=after,
            stream=verdict.stream.name,
            topic=verdict.topic,
            key=verdict.key.decode() if verdict.key is not None else None,
            filled=_difference(before, after),
        )
    assert isinstance(verdict, Refused)
    return Explanation(
        verdict="refused",
        event_value=verdict.event_value,
        stream=verdict.stream_name,
        reason=verdict.reason,
        legacy_errors=verdict.legacy_errors,
    )


def _difference(before: Any, after: Any, path: str = "") -> dict[str, Any]:
    """{dotted path: value} of what is in `after` and not, or otherwise, in `before`."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {} if before == after else {path: after}
    found: dict[str, Any] = {}
    for name, value in after.items():
        where = f"{path}.{name}" if path else name
        if name in before:
            found.update(_difference(before[name], value, where))
        else:
            found[where] = value
    return found
