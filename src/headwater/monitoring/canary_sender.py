"""Sends one canary through an intake and records how far it gets: accepted, in the log, delivered to a subscription."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import orjson

from headwater.config import origin_of
from headwater.consumption.subscription import Subscription
from headwater.errors import EventInvalid, HeadwaterError, LogCorrupt, LogUnavailable, SchemaInvalid, TopicUnknown
from headwater.event import is_canary
from headwater.intake.gate import Gate, SchemaPending
from headwater.intake.intake import Intake
from headwater.intake.outcome import Admitted, Refused
from headwater.log.contract import LogReader, Position, StoredRecord, TopicPartition
from headwater.log.reading_on import passed
from headwater.monitoring.canary_event import canary_event
from headwater.monitoring.canary_plan import CanaryPlan, Target
from headwater.schemas.schema import Schema
from headwater.streams.stream import Stream

ACCEPTED, IN_LOG, SUBSCRIBED = HOPS = ("accepted", "log", "subscription")
# How much of another intake's response is shown.
ANSWER_CHARS_MAX = 300
READ_RECORDS_MAX = 500


@dataclass(slots=True)
class Journey:
    """How far one canary got: the hops it passed with times (epoch ms), where it is stored, and its error."""

    sent_ms: int
    passed: dict[str, int] = field(default_factory=dict)
    place: TopicPartition | None = None
    offset: int | None = None
    error: str | None = None


class CanarySender:
    """Through the intake of this process, with all its checks, or over HTTP to another. `close` it at the end."""

    def __init__(
        self,
        intake: Intake,
        log: LogReader,
        *,
        timeout_seconds: float,
        shared_log: bool,
        keys: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`shared_log`: events of other intakes can be read here, too. `keys`: API keys by the intake's origin."""
        self._intake = intake
        self._log = log
        self._timeout_seconds = timeout_seconds
        self._shared_log = shared_log
        self._clock = clock
        self._keys = keys or {}
        self._gates: dict[str, Gate] = {}
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def check(self, stream: Stream, schema: Schema, target: Target) -> None:
        """Raise the error with which the intake would refuse a canary of this stream; nothing is sent."""
        await self._judged(stream, canary_event(stream, schema, self._now()), target)

    async def send(self, plan: CanaryPlan, target: Target) -> Journey:
        """Send one canary and wait until it is delivered, or the timeout."""
        journey = Journey(self._now())
        assert plan.schema is not None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                event = canary_event(plan.stream, plan.schema, journey.sent_ms)
                before = await self._end_of(target.topic)
                await (self._store(plan.stream, event, target) if target.url is None else self._post(event, target.url))
                journey.passed[ACCEPTED] = self._now()
                if target.url is None or self._shared_log:
                    await self._follow(journey, plan.stream, event["meta"].get("id"), target, before)
        except TimeoutError:
            missed = next(hop for hop in HOPS if hop not in journey.passed)
            journey.error = f"It did not pass the hop {missed!r} within {self._timeout_seconds:g} s."
        except (HeadwaterError, httpx.HTTPError) as error:
            journey.error = str(error) or type(error).__name__
        return journey

    async def _judged(self, stream: Stream, event: Mapping[str, object], target: Target) -> tuple[bytes, Admitted]:
        """The event's bytes and the Gate's result, an Admitted. Raises the reason of a refusal."""
        gate = self._gate(target.prefix if stream.topic_prefixes else "")
        encoded = orjson.dumps(event)
        for _ in range(3):
            verdict = gate.try_admit(orjson.loads(encoded), raw=encoded, own=True)
            if isinstance(verdict, Refused):
                raise verdict.reason
            if not isinstance(verdict, SchemaPending):
                return encoded, verdict
            await asyncio.to_thread(gate.compile, verdict.uri)
        raise LogUnavailable("The schema of the canary is unavailable.")

    async def _store(self, stream: Stream, event: Mapping[str, object], target: Target) -> None:
        encoded, verdict = await self._judged(stream, event, target)
        receipt = await self._intake.write_judged([encoded], [verdict])
        reasons = [outcome.reason for _, outcome in receipt.refused] + [outcome.reason for _, outcome in receipt.failed]
        if reasons:
            raise reasons[0]

    def _gate(self, prefix: str) -> Gate:
        """The Gate that writes to this datacenter's topics: the intake's own, or a copy with another prefix."""
        own = self._intake.gate
        if not prefix or prefix == own.settings.topic_prefix:
            return own
        gate = self._gates.get(prefix)
        if gate is None:
            settings = dataclasses.replace(own.settings, topic_prefix=prefix)
            gate = self._gates[prefix] = Gate(own.streams, own.validator, settings)
        elif gate.streams is not own.streams:
            gate.use_streams(own.streams)
        return gate

    async def _post(self, event: Mapping[str, object], url: str) -> None:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout_seconds)
        await post_canary(self._client, event, url, key_for(url, self._keys))

    async def _end_of(self, topic: str) -> Position | None:
        try:
            return await self._log.last([topic])
        except TopicUnknown:
            return None

    async def _follow(
        self, journey: Journey, stream: Stream, event_id: object, target: Target, before: Position | None
    ) -> None:
        """Read the canary back from its topic, and then once more as a consumer of the stream."""
        found = await self._find(target.topic, event_id, before)
        journey.passed[IN_LOG] = self._now()
        journey.place, journey.offset = (found.topic, found.partition), found.offset
        start = Position({journey.place: found.offset})
        subscription = Subscription(
            self._log, [dataclasses.replace(stream, topics=(target.topic,))], start=start, canaries=True, records_max=1
        )
        delivered = await subscription.next()
        if delivered is not None and any(record.offset == found.offset for record, _ in delivered.events):
            journey.passed[SUBSCRIBED] = self._now()
        else:
            journey.error = "It is in the log, but was not delivered to a subscription."

    async def _find(self, topic: str, event_id: object, before: Position | None) -> StoredRecord:
        position = before or await self._log.first([topic])
        # If the schema declares no id, any canary that arrived since then is accepted.
        wanted = event_id.encode() if isinstance(event_id, str) else b""
        while True:
            try:
                records = await self._log.read(position, records_max=READ_RECORDS_MAX, wait_seconds=1.0)
            except LogCorrupt as error:
                position = passed(position, error)
                continue
            for record in records:
                if wanted in record.value and is_canary(record.value):
                    return record
                position = position.after(record)

    def _now(self) -> int:
        return int(self._clock() * 1000)


async def post_canary(client: httpx.AsyncClient, event: Mapping[str, object], url: str, key: str | None = None) -> None:
    """Post one canary to an intake over HTTP. Raises LogUnavailable unless it was accepted, httpx.HTTPError."""
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    response = await client.post(url, json=[event], headers=headers)
    # 207 means that not all events were accepted; of one event, that it was not.
    if response.status_code not in (201, 202):
        text = response.text.strip().replace("\n", " ")
        # An intake may repeat the event it was sent, and this message is public.
        text = (text if key is None else text.replace(key, "…"))[:ANSWER_CHARS_MAX]
        raise LogUnavailable(f"{url} answered {response.status_code} {response.reason_phrase}: {text}")


def key_for(url: str, keys: Mapping[str, str]) -> str | None:
    """The API key for an intake, by its origin: it must not be sent to another."""
    return keys.get(origin_of(url) or "")


def why_invalid(error: HeadwaterError) -> str:
    """The problem of a stream whose example the intake refuses."""
    if isinstance(error, EventInvalid):
        return f"The first example of its schema is not valid: {error.message}"
    if isinstance(error, SchemaInvalid):
        return str(error)
    return f"The intake refuses its canary: {error}"
