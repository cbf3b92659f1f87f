"""Sends the canaries of all streams, each with its own period, and records how recent each hop of each stream is.

How this works: one task checks once a second for canaries that are due and starts them, a few at once. Streams and
schemas are read again whenever the streams change, and periodically, so that a stream that could not have canaries gets
them as soon as it can. A failed canary is retried soon, to find out whether the error persists.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

from headwater.config import Config
from headwater.errors import HeadwaterError, TokenInvalid
from headwater.log.contract import Position
from headwater.monitoring.canary_plan import CanaryPlan, Target, Topology, claiming, find_schemas, plan_of
from headwater.monitoring.canary_sender import ACCEPTED, HOPS, IN_LOG, CanarySender, Journey, why_invalid
from headwater.schemas.repository import SchemaRepository
from headwater.streams.registry import StreamRegistry
from headwater.telemetry import Telemetry, closed, declared

TICK_SECONDS = 1.0
# After a start the canaries of all streams are due: they are spread over this time.
SPREAD_SECONDS_MAX = 30.0
# How many streams with impossible canaries are logged one by one.
TOLD_MAX = 3
RETRY_SECONDS_MAX = 60.0
PLAN_AGAIN_SECONDS = 600.0
JOURNEYS_KEPT = 8
# With equal periods the canaries of all streams would always coincide.
JITTER_SHARE = 0.1

# Prefix of a job's name among the hops of a stream.
JOB_HOP = "job:"

_log = logging.getLogger(__name__)
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class JobProgress:
    """The progress of a job: what it reads and the resume token of its last commit, None before the first."""

    name: str
    sources: tuple[str, ...]
    token: str | None


@dataclass(slots=True)
class Track:
    """The state of the canaries of one topic. Times are epoch milliseconds."""

    plan: CanaryPlan
    target: Target
    watched_since_ms: int
    # Hop → when the newest canary that passed it was sent.
    passed: dict[str, int] = field(default_factory=dict)
    recent: deque[Journey] = field(default_factory=lambda: deque(maxlen=JOURNEYS_KEPT))
    error: str | None = None

    def newest_ms(self) -> int | None:
        """When the newest canary that arrived was sent."""
        return self.passed.get(IN_LOG, self.passed.get(ACCEPTED) if self.target.url else None)


@lru_cache(maxsize=256)
def _position(token: str) -> Position:
    try:
        return Position.parse(token)
    except TokenInvalid:
        # A table may store a position of another kind.
        return Position()


class Canaries:
    """The canaries of one platform. `start` starts sending, `stop` ends it; `plans` and `tracks` hold the state."""

    def __init__(
        self,
        config: Config,
        repository: SchemaRepository,
        streams: Callable[[], StreamRegistry],
        sender: CanarySender,
        *,
        topology: Topology,
        telemetry: Telemetry,
        jobs: Callable[[], Sequence[JobProgress]] = lambda: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.plans: dict[str, CanaryPlan] = {}
        self.tracks: dict[Key, Track] = {}
        self.on_planned: Callable[[], None] = lambda: None
        self._config = config
        self._repository = repository
        self._streams = streams
        self._sender = sender
        self._topology = topology
        self._jobs = jobs
        self._clock = clock
        self._planned_for: StreamRegistry | None = None
        self._planned_at = 0.0
        self._due: dict[Key, float] = {}
        self._under_way: dict[Key, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(config.monitoring.canaries_at_once_max)
        self._running: asyncio.Task[None] | None = None
        self._random = random.Random()
        self._sent = telemetry.counter(
            "headwater_canaries",
            "Canary events sent, by outcome.",
            (declared("stream"), declared("prefix"), closed("outcome")),
        )
        self._age = telemetry.gauge(
            "headwater_canary_age_seconds",
            "Age of the newest canary that passed the hop; since the start if none has.",
            (declared("stream"), declared("prefix"), declared("hop")),
        )
        self._up = telemetry.gauge(
            "headwater_canary_up",
            "1 if a canary arrived within the required time, else 0.",
            (declared("stream"), declared("prefix")),
        )
        self._within = telemetry.gauge(
            "headwater_canary_required_within_seconds",
            "How old the newest canary of a stream may be.",
            (declared("stream"),),
        )
        self._impossible = telemetry.gauge(
            "headwater_canary_impossible",
            "1 for streams that declare canaries they cannot have.",
            (declared("stream"),),
        )

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="canaries")

    async def stop(self) -> None:
        """Stop sending; canaries in flight are abandoned."""
        tasks = [*([self._running] if self._running else ()), *self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running = None
        await self._sender.close()

    @property
    def impossible(self) -> dict[str, CanaryPlan]:
        """The streams that declare canaries and cannot have them, at least on some topic."""
        return {name: plan for name, plan in self.plans.items() if plan.problems}

    async def plan(self) -> None:
        """Determine again which streams get canaries. Reads schemas; sends nothing."""
        registry = self._streams()
        claims = list(claiming(registry))
        schemas = await asyncio.to_thread(find_schemas, claims, self._repository, self._topology)
        plans: dict[str, CanaryPlan] = {}
        for stream in claims:
            plan = plan_of(stream, schemas[stream.name], self._topology, self._config)
            plans[stream.name] = await self._checked(plan)
            await asyncio.sleep(0)
        self._use(plans)
        self._planned_for, self._planned_at = registry, self._clock()

    async def send(self, key: Key) -> Journey:
        """Send the canary of one (stream, topic) now."""
        track = self.tracks[key]
        journey = await self._sender.send(track.plan, track.target)
        for hop in journey.passed:
            track.passed[hop] = max(journey.sent_ms, track.passed.get(hop, 0))
        if journey.offset is not None:
            track.recent.append(journey)
        if journey.error and journey.error != track.error:
            _log.warning("canary of %s to %s: %s", track.plan.stream.name, track.target.topic, journey.error)
        track.error = journey.error
        outcome = "failed" if journey.error else "arrived"
        self._sent.labels(track.plan.stream.name, track.target.prefix, outcome).inc()
        return journey

    def hops(self, track: Track) -> dict[str, int | None]:
        """Hop → when the newest canary that passed it was sent (epoch ms), jobs that read the stream included."""
        local = track.target.url is None or IN_LOG in track.passed
        found: dict[str, int | None] = {hop: track.passed.get(hop) for hop in (HOPS if local else (ACCEPTED,))}
        for progress in self._jobs():
            if track.plan.stream.name in progress.sources and local:
                found[f"{JOB_HOP}{progress.name}"] = _reached(progress, track)
        return found

    async def _run(self) -> None:
        while True:
            try:
                if self._streams() is not self._planned_for or self._clock() - self._planned_at > PLAN_AGAIN_SECONDS:
                    await self.plan()
                self._start_due()
            except HeadwaterError as error:
                _log.log(logging.DEBUG if error.is_away else logging.WARNING, "canaries: %s", error)
            except Exception:
                _log.exception("canaries cannot be planned")
                await asyncio.sleep(RETRY_SECONDS_MAX)
            await asyncio.sleep(TICK_SECONDS)

    def _start_due(self) -> None:
        now = self._clock()
        for key, due in self._due.items():
            if due <= now and key not in self._under_way:
                task = asyncio.create_task(self._send_when_free(key), name=f"canary of {key[0]}")
                self._under_way[key] = task
                task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: Key, _: asyncio.Task[None]) -> None:
        self._under_way.pop(key, None)

    async def _send_when_free(self, key: Key) -> None:
        async with self._slots:
            track = self.tracks.get(key)
            if track is None:
                return
            failed = True
            # An error of one canary must not stop the others.
            with contextlib.suppress(HeadwaterError):
                failed = (await self.send(key)).error is not None
            period = track.plan.period_seconds
            pause = min(period, RETRY_SECONDS_MAX) if failed else period
            if key in self._due:
                self._due[key] = self._clock() + pause * (1 - JITTER_SHARE * self._random.random())

    async def _checked(self, plan: CanaryPlan) -> CanaryPlan:
        """The plan, without targets if the intake itself would refuse the canary."""
        if not plan.is_possible or plan.schema is None:
            return plan
        try:
            await self._sender.check(plan.stream, plan.schema, plan.targets[0])
        except HeadwaterError as error:
            if error.retriable:
                return plan
            return CanaryPlan(
                plan.stream, plan.period_seconds, plan.required_within_seconds, problems=(why_invalid(error),)
            )
        return plan

    def _use(self, plans: dict[str, CanaryPlan]) -> None:
        known = {name: plan.problems for name, plan in self.plans.items()}
        odd = [plan for name, plan in plans.items() if plan.problems and known.get(name) != plan.problems]
        for plan in odd[:TOLD_MAX]:
            _log.warning("%s declares canaries it cannot have: %s", plan.stream.name, " ".join(plan.problems))
        if len(odd) > TOLD_MAX:
            _log.warning(
                "The same applies to %d more streams; `headwater canary status` lists them.", len(odd) - TOLD_MAX
            )
        self.plans = plans
        now, old = self._clock(), self.tracks
        self.tracks = {}
        for plan in plans.values():
            for target in plan.targets if plan.is_possible else ():
                key = (plan.stream.name, target.topic)
                track = old.get(key) or Track(plan, target, int(now * 1000))
                track.plan, track.target = plan, target
                self.tracks[key] = track
        spread = {
            key: now + self._random.random() * min(SPREAD_SECONDS_MAX, track.plan.period_seconds)
            for key, track in self.tracks.items()
        }
        self._due = {key: self._due.get(key, due) for key, due in spread.items()}
        self._show()
        self.on_planned()

    def _show(self) -> None:
        """The gauges of the current streams; their values are computed on demand."""
        for gauge in (self._age, self._up, self._within, self._impossible):
            gauge.clear()
        for name, plan in self.plans.items():
            if plan.problems:
                self._impossible.labels(name).set(1)
            if plan.is_possible:
                self._within.labels(name).set(plan.required_within_seconds)
        for track in self.tracks.values():
            names = (track.plan.stream.name, track.target.prefix)
            self._up.labels(*names).set_function(partial(self.is_up, track))
            for hop in self.hops(track):
                self._age.labels(*names, hop).set_function(partial(self.age_seconds, track, hop))

    def age_seconds(self, track: Track, hop: str) -> float:
        """The age of the newest canary that passed the hop; if none has, the time since the start."""
        sent = self.hops(track).get(hop)
        return self._clock() - (track.watched_since_ms if sent is None else sent) / 1000

    def is_up(self, track: Track) -> bool:
        """Whether a canary arrived within the required time; also true while the first may still be in flight."""
        if track.error and track.newest_ms() is None:
            return False
        newest = track.newest_ms() or track.watched_since_ms
        return self._clock() - newest / 1000 <= track.plan.required_within_seconds


def _reached(job: JobProgress, track: Track) -> int | None:
    offsets = _position(job.token).offsets if job.token else {}
    for journey in reversed(track.recent):
        if journey.place is not None and journey.offset is not None and offsets.get(journey.place, 0) > journey.offset:
            return journey.sent_ms
    return None
