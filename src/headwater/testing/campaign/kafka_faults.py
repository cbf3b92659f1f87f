"""The broker campaign: kill, pause and restart Kafka nodes under load, and check that no accepted event is lost.

How this works: writers send events through an Intake on the log under test, each event with an id of its own, in order,
keyed by its writer; accepted events are recorded with their offset. Every second writer retries a failed event until it
is accepted, as producers do; the others send each event once. Meanwhile one node after the other is hit by a fault for
a while, and then healed; nothing else is restarted. Afterwards a newly opened log reads everything: every accepted
event must be there, at the acknowledged offset, none may be there twice, and each writer's events must be in the order
sent. An event that failed and was not retried may be there or not: its producer has no guarantee.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import orjson
from confluent_kafka.admin import AdminClient

from headwater.config import IntakeConfig
from headwater.intake import Accepted, Failed, Gate, GateSettings, Intake
from headwater.log.contract import Log, StoredRecord
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.job_kit import OpenSchemas

WRITERS = 8
EVENTS_PER_REQUEST = 5
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 0.5
PARTITIONS = 3
RECOVERY_SECONDS_MAX = 60.0
REQUEST_SECONDS_MAX = 30.0
PROBLEMS_MAX = 100
HEADINGS = f"{'fault':28}{'node':8}{'accepted':>10}{'failed':>8}{'silence s':>11}{'recovery s':>12}"


class Brokers(Protocol):
    """Three Kafka nodes to inject faults into; the calls block."""

    bootstrap: str

    def kill(self, number: int) -> None: ...
    def terminate(self, number: int) -> None: ...
    def pause(self, number: int) -> None: ...
    def resume(self, number: int) -> None: ...
    def restart(self, number: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to how many nodes, beginning with the leader of the first partition, or with a follower."""

    name: str
    method: str
    heals_by: str
    nodes: int = 1
    hits_leader: bool = True


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("follower killed", "kill", "restart", hits_leader=False),
        Fault("leader killed", "kill", "restart"),
        Fault("leader paused", "pause", "resume"),
        Fault("follower paused", "pause", "resume", hits_leader=False),
        Fault("leader shut down", "terminate", "restart"),
        Fault("two of three killed", "kill", "restart", nodes=2),
        Fault("two of three paused", "pause", "resume", nodes=2),
    )
}


@dataclass(slots=True)
class FaultFigures:
    """The figures of one fault, from its injection until the intake had recovered.

    `silence_seconds`: the longest time without an accepted event. `recovery_seconds`: from the end of healing to the
    first acceptance of an event sent after it.
    """

    fault: str
    node: str
    accepted: int = 0
    failed: int = 0
    silence_seconds: float = 0.0
    recovery_seconds: float = 0.0

    def text(self) -> str:
        """The figures as a line below `HEADINGS`."""
        seconds = f"{self.silence_seconds:11.2f}{self.recovery_seconds:12.2f}"
        return f"{self.fault:28}{self.node:8}{self.accepted:10,}{self.failed:8,}{seconds}"


@dataclass(slots=True)
class BrokerReport:
    """The result of a campaign, in events. It has passed if `problems` is empty.

    `failed` events were never accepted; `retried` ones were, after a failure. `stored_again` counts retried events that
    are stored twice: the producer's idempotence alone does not prevent that, the intake does, by their ids.
    """

    sent: int = 0
    accepted: int = 0
    failed: int = 0
    retried: int = 0
    lost: int = 0
    stored_twice: int = 0
    stored_again: int = 0
    failed_but_stored: int = 0
    seconds: float = 0.0
    faults: list[FaultFigures] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The figures as a table for people, with a line of totals and one for each problem."""
        return "\n".join([HEADINGS, *(one.text() for one in self.faults), *self.totals()])

    def totals(self) -> list[str]:
        """The line of totals, and one for each problem."""
        totals = {name: value for name, value in asdict(self).items() if name not in ("faults", "problems")}
        line = "  ".join(f"{name.replace('_', ' ')}: {value:,}" for name, value in totals.items())
        return [line, *(f"PROBLEM {problem}" for problem in self.problems)]


class Load:
    """Writers that send events until they are stopped, and the outcomes."""

    def __init__(self, intake: Intake, stream: str) -> None:
        self._intake = intake
        self._stream = stream
        self._stopping = asyncio.Event()
        self._writers: list[asyncio.Task[None]] = []
        # The offset of each accepted event; None for one that the intake recognised as a duplicate.
        self.accepted: dict[str, tuple[int, int] | None] = {}
        self.failed: set[str] = set()
        self.retried: set[str] = set()
        self.sent = 0
        self.failures = 0
        self.last_accepted_at = time.monotonic()
        self.longest_silence = 0.0
        # When the latest accepted request was sent: a response to an old request does not show the present state.
        self.newest_accepted_sent_at = 0.0

    def start(self) -> None:
        self._writers = [asyncio.create_task(self._write(number)) for number in range(WRITERS)]

    async def stop(self) -> None:
        """Wait for the outstanding responses. Raises what a writer raised."""
        self._stopping.set()
        await asyncio.gather(*self._writers)

    def check(self) -> None:
        """Raise what a writer raised, if one did."""
        for writer in self._writers:
            if writer.done() and not writer.cancelled():
                writer.result()

    async def _write(self, writer: int) -> None:
        number = 0
        while not self._stopping.is_set():
            ids = [f"{writer}/{number + index}" for index in range(EVENTS_PER_REQUEST)]
            number += EVENTS_PER_REQUEST
            self.sent += len(ids)
            await self._send(writer, ids)
            while writer % 2 and (again := [one for one in ids if one in self.failed]):
                self.retried.update(again)
                await asyncio.sleep(RETRY_SECONDS)
                await self._send(writer, again)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, writer: int, ids: Sequence[str]) -> None:
        sent_at = time.monotonic()
        events = [self._event(writer, event_id) for event_id in ids]
        outcomes = await asyncio.wait_for(self._intake.write(events), REQUEST_SECONDS_MAX)
        for event_id, outcome in zip(ids, outcomes, strict=True):
            self._note(event_id, outcome, sent_at)

    def _event(self, writer: int, event_id: str) -> dict[str, Any]:
        meta = {"stream": self._stream, "id": event_id}
        return {"$schema": "/fault/1.0.0", "meta": meta, "writer": writer, "text": "words " * 20}

    def _note(self, event_id: str, outcome: object, sent_at: float) -> None:
        match outcome:
            case Accepted(placement=place):
                now = time.monotonic()
                self.accepted[event_id] = None if place is None else (place.partition, place.offset)
                self.failed.discard(event_id)
                self.longest_silence = max(self.longest_silence, now - self.last_accepted_at)
                self.last_accepted_at = now
                self.newest_accepted_sent_at = max(self.newest_accepted_sent_at, sent_at)
            case Failed():
                self.failures += 1
                self.failed.add(event_id)
            case _:
                raise AssertionError(f"event {event_id} was neither accepted nor failed: {outcome}")


class BrokerCampaign:
    """Injects faults into brokers under load; one stream for the whole campaign."""

    def __init__(
        self, brokers: Brokers, new_log: Callable[[], Log], *, stream: str = "faults", seed: int | None = None
    ) -> None:
        """`new_log` makes a log, not yet open, on these brokers."""
        self._brokers = brokers
        self._new_log = new_log
        self._stream = Stream(
            stream, schema_title="fault", partitions=PARTITIONS, message_key_fields={"writer": "writer"}
        )
        self._random = random.Random(seed)
        self.report = BrokerReport()

    async def run(
        self, faults: Sequence[Fault], *, hold_seconds: float = 6.0, tell: Callable[[FaultFigures], None] | None = None
    ) -> BrokerReport:
        """Inject each fault in turn, and verify at the end; `tell` is called with each as it ends.

        The nodes are healed in any case.
        """
        started = time.monotonic()
        async with self._loaded() as load:
            for fault in faults:
                figures = await self._strike(load, fault, hold_seconds)
                if tell is not None:
                    tell(figures)
                if self.report.problems:
                    break
        self.report.sent = load.sent
        self.report.accepted = len(load.accepted)
        self.report.failed = len(load.failed)
        self.report.retried = len(load.retried)
        await self._verify(load)
        self.report.seconds = round(time.monotonic() - started, 1)
        return self.report

    @contextlib.asynccontextmanager
    async def _loaded(self) -> AsyncIterator[Load]:
        log = self._new_log()
        await log.open()
        try:
            gate = Gate(StreamRegistry([self._stream]), Validator(OpenSchemas()), GateSettings())
            intake = Intake(gate, log, IntakeConfig(), Telemetry())
            await intake.start()
            load = Load(intake, self._stream.name)
            load.start()
            await self._await_acceptance(load, "at the start")
            try:
                yield load
            finally:
                await load.stop()
                await intake.stop()
        finally:
            await log.close()

    async def _strike(self, load: Load, fault: Fault, hold_seconds: float) -> FaultFigures:
        nodes = await asyncio.to_thread(self._nodes, fault)
        figures = FaultFigures(fault.name, "+".join(str(node) for node in nodes))
        accepted, failed = len(load.accepted), load.failures
        load.longest_silence = 0.0
        try:
            for node in nodes:
                await asyncio.to_thread(getattr(self._brokers, fault.method), node)
            await asyncio.sleep(hold_seconds)
        finally:
            heal = getattr(self._brokers, fault.heals_by)
            # Together: one of two dead controllers alone does not become ready.
            await asyncio.gather(*(asyncio.to_thread(heal, node) for node in nodes))
        healed_at = time.monotonic()
        await self._await_acceptance(load, f"after '{fault.name}' of node {figures.node}")
        figures.recovery_seconds = round(time.monotonic() - healed_at, 2)
        figures.silence_seconds = round(load.longest_silence, 2)
        figures.accepted = len(load.accepted) - accepted
        figures.failed = load.failures - failed
        self.report.faults.append(figures)
        return figures

    async def _await_acceptance(self, load: Load, when: str) -> None:
        """Wait until an event that was sent after this call is accepted."""
        called_at = time.monotonic()
        while load.newest_accepted_sent_at < called_at:
            load.check()
            if time.monotonic() > called_at + RECOVERY_SECONDS_MAX:
                self._problem(f"{when} the intake accepted nothing for {RECOVERY_SECONDS_MAX:.0f} seconds")
                return
            await asyncio.sleep(0.01)

    def _nodes(self, fault: Fault) -> list[int]:
        """The nodes for the fault: the leader of partition 0, or a follower, and others."""
        topic = self._stream.topics[0]
        metadata = AdminClient({"bootstrap.servers": self._brokers.bootstrap}).list_topics(topic, timeout=30)
        leader: int = metadata.topics[topic].partitions[0].leader
        others = sorted(set(metadata.brokers) - {leader})
        self._random.shuffle(others)
        return ([leader, *others] if fault.hits_leader else others)[: fault.nodes]

    async def _verify(self, load: Load) -> None:
        log = self._new_log()
        await log.open()
        try:
            places: dict[str, list[tuple[int, int]]] = {}
            last_number: dict[tuple[int, str], int] = {}
            async for record in _everything(log, self._stream.topics[0]):
                event_id = str(orjson.loads(record.value)["meta"]["id"])
                places.setdefault(event_id, []).append((record.partition, record.offset))
                writer, _, number = event_id.partition("/")
                if event_id in load.retried:
                    continue
                if int(number) < last_number.get((record.partition, writer), -1):
                    self._problem(f"event {event_id} is behind a later one of its writer")
                last_number[record.partition, writer] = int(number)
        finally:
            await log.close()
        self._compare(load, places)

    def _compare(self, load: Load, places: dict[str, list[tuple[int, int]]]) -> None:
        for event_id, place in load.accepted.items():
            found = places.get(event_id, [])
            if not found:
                self.report.lost += 1
                self._problem(f"event {event_id} was accepted at {place} and is lost")
            elif place is not None and place not in found:
                self._problem(f"event {event_id} was accepted at {place} and is at {found}")
        for event_id, found in places.items():
            if len(found) > 1 and event_id in load.retried:
                self.report.stored_again += 1
            elif len(found) > 1:
                self.report.stored_twice += 1
                self._problem(f"event {event_id} was sent once and is at {found}")
            if event_id not in load.accepted and event_id not in load.failed:
                self._problem(f"event {event_id} is stored, but was never accepted")
        self.report.failed_but_stored = sum(event_id in load.failed for event_id in places)

    def _problem(self, text: str) -> None:
        if len(self.report.problems) < PROBLEMS_MAX:
            self.report.problems.append(text)


async def _everything(log: Log, topic: str) -> AsyncIterator[StoredRecord]:
    position, end = await log.first([topic]), await log.last([topic])
    while any(position.offsets[place] < offset for place, offset in end.offsets.items()):
        for record in await log.read(position, records_max=5_000, wait_seconds=1.0):
            position = position.after(record)
            yield record


def shuffled(rounds: int, seed: int | None = None) -> list[Fault]:
    """Every fault `rounds` times, in an order that `seed` decides."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    for _ in range(rounds):
        faults += chance.sample(list(FAULTS.values()), len(FAULTS))
    return faults
