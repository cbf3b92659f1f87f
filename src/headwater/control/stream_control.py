"""Maintains the streams as files and revisions declare them now, and accepts changes.

How this works: revisions are records of one topic of the log. Every process reads it from the beginning, folds it and
follows it; only the order in the log decides which are valid (see revision.py), so all processes agree, also after a
restart. If a rule has a time window, the streams are recomputed at its start and end. A rule that no longer fits the
files, for example because a stream was renamed, is ignored and logged. While the log is unavailable, the last streams
stay in effect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headwater.control.idle_rules import idle_rules
from headwater.control.policy import check_rule, check_state
from headwater.control.revision import ALL_STREAMS, Revision, Rule, State
from headwater.errors import (
    ChangeConflict,
    ChangeRefused,
    ConfigInvalid,
    HeadwaterError,
    LogCorrupt,
    PositionLost,
    TopicUnknown,
)
from headwater.log.contract import Log, Position, Record, TopicSettings
from headwater.log.reading_on import passed
from headwater.streams.layers import Layer, Scope
from headwater.streams.registry import StreamRegistry
from headwater.telemetry import Telemetry, closed

TOPIC = "headwater.stream_changes"
FOLLOW_SECONDS = 2.0
ANSWER_SECONDS_MAX = 10.0
KILL_PREFIX = "kill:"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """A requested change. `expected`: the revision it is based on; None: the latest."""

    actor: str
    reason: str
    put: tuple[Rule, ...] = ()
    remove: tuple[str, ...] = ()
    expected: int | None = None
    kind: str = "change"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of one stream that a change affects, for people; None for an absent key."""

    stream: str
    path: str
    before: Any
    after: Any


class StreamControl:
    """The streams of one platform as they are now. Belongs to one event loop; `start` before use, `stop` after."""

    def __init__(
        self,
        log: Log,
        declared: StreamRegistry,
        telemetry: Telemetry,
        on_change: Callable[[StreamRegistry], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`on_change` is called with the streams whenever they have changed."""
        self.streams = declared
        self.state = State()
        self.history: list[Revision] = []
        self._log = log
        self._declared = declared
        self._on_change = on_change
        self._clock = clock
        self._position = Position()
        self._states: dict[int, State] = {0: self.state}
        self._following: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()
        self._news = asyncio.Event()
        self._version = 0
        self._applied_at = clock()
        self._changes = telemetry.counter(
            "headwater_stream_changes", "Revisions of streams applied, by kind.", (closed("kind"),)
        )
        number = telemetry.gauge("headwater_stream_revision", "The latest revision of the streams.")
        number.set_function(lambda: self.state.number)

    @property
    def version(self) -> int:
        """A number that increases in this process whenever the streams change, also at the start or end of a window."""
        return self._version

    async def start(self) -> None:
        """Read all revisions and start to follow. Raises LogUnavailable."""
        await self._log.ensure_topic(TOPIC, TopicSettings())
        self._position = await self._log.first([TOPIC])
        while await self._read(0):
            pass
        self._apply()
        self._following = asyncio.create_task(self._follow(), name="stream control")

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None

    def check(self, change: Change) -> tuple[Revision, State]:
        """The revision that a change would create, and the state after it. Raises ChangeRefused, ChangeConflict."""
        if change.expected is not None and change.expected != self.state.number:
            raise ChangeConflict(
                f"The streams are at revision {self.state.number}, not {change.expected}.",
                hint="Check what has changed meanwhile, and send the change again, based on the latest revision.",
            )
        for rule in change.put:
            check_rule(rule, self._declared)
        for name in change.remove:
            if name not in self.state.rules:
                raise ChangeRefused(f"There is no rule {name!r}.", hint="List the rules with `GET /v1/stream-changes`.")
        if not change.put and not change.remove:
            raise ChangeRefused("The change adds no rule and removes none.")
        number = self.state.number
        # In the precision in which it is written.
        at = round(self._clock(), 3)
        revision = Revision(number + 1, number, at, change.actor, change.reason, change.kind, change.put, change.remove)
        after = self.state.after(revision)
        check_state(after)
        return revision, after

    def differences(self, after: State, *, site: str | None = None) -> list[Difference]:
        """What a state would change now, for a site. Rules that apply elsewhere, or later, are not included."""
        scope = self._seen_from(site)
        found = []
        old = self._declared.layers.with_revisions(self._fitting(self.state))
        new = self._declared.layers.with_revisions(self._fitting(after))
        for name in self._declared.layers.entries:
            before, then = _leaves(old.document(name, scope)), _leaves(new.document(name, scope))
            changed = (path for path in sorted({*before, *then}) if before.get(path) != then.get(path))
            found += [Difference(name, path, before.get(path), then.get(path)) for path in changed]
        return found

    def idle(self, change: Change, found: Sequence[Difference], *, site: str | None = None) -> dict[str, list[str]]:
        """{id: reasons} of the added rules without an effect now, for a site; `found`: the changes."""
        changed = {difference.stream for difference in found}
        return idle_rules(change.put, changed, self._declared.layers, self._seen_from(site))

    async def change(self, change: Change) -> Revision:
        """Create a revision, durable and in effect here on return.

        Raises ChangeRefused, ChangeConflict, LogUnavailable.
        """
        revision, _ = self.check(change)
        (placement,) = await self._log.append([Record(TOPIC, revision.encode(), partition=0)])
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                while self._position.offsets.get((TOPIC, 0), 0) <= placement.offset:
                    await self._read(FOLLOW_SECONDS, placement.offset)
        except TimeoutError:
            raise ChangeConflict(
                "The change was written but could not be read back.", hint="Check the history."
            ) from None
        if not any(known == revision for known in self.history[-100:]):
            raise ChangeConflict(
                "Another change was made first.", hint="Check it, and send yours again, based on the latest revision."
            )
        return revision

    def rollback(self, to: int, actor: str, reason: str, expected: int | None = None) -> Change:
        """The change that leads back to the rules of revision `to`. Raises ChangeRefused."""
        target = self._states.get(to)
        if target is None:
            raise ChangeRefused(
                f"There is no revision {to}.", hint=f"Revisions are numbered from 0 to {self.state.number}."
            )
        put, remove = self.state.going_to(target)
        return Change(actor, reason, put, remove, expected, "rollback")

    def kill(self, stream: str, actor: str, reason: str, *, on: bool = True) -> Change:
        """The change that makes a stream, or all ("*"), refuse every event, or accept them again."""
        name = KILL_PREFIX + stream
        if not on:
            return Change(actor, reason, remove=(name,), kind="revive")
        off = Rule(name, stream, {"produce": {"enabled": False}}, priority=1_000_000)
        return Change(actor, reason, put=(off,), kind="kill")

    def at_revision(self, number: int) -> State | None:
        """The state after the revision `number`."""
        return self._states.get(number)

    async def wait(self, version: int, seconds: float) -> int:
        """The version, once it differs from `version` or `seconds` have passed."""
        if self._version == version:
            news = self._news
            try:
                async with asyncio.timeout(seconds):
                    await news.wait()
            except TimeoutError:
                pass
        return self._version

    async def _follow(self) -> None:
        while True:
            edge = next((edge for edge in self.state.edges() if edge > self._applied_at), None)
            wait = FOLLOW_SECONDS if edge is None else min(FOLLOW_SECONDS, max(0.0, edge - self._clock()))
            try:
                await self._read(wait)
                if edge is not None and self._applied_at < edge <= self._clock():
                    self._apply()
            except HeadwaterError as error:
                # An unavailable log reports that itself, once.
                level = logging.DEBUG if error.is_away else logging.WARNING
                _log.log(level, "stream changes cannot be read: %s", error)
                await asyncio.sleep(FOLLOW_SECONDS)
            except Exception:
                _log.exception("stream changes cannot be followed")
                await asyncio.sleep(FOLLOW_SECONDS)

    async def _read(self, wait_seconds: float, offset: int | None = None) -> bool:
        """Fold new records; whether there were any. With `offset`, only if that is not folded yet."""
        async with self._reading:
            if offset is not None and self._position.offsets.get((TOPIC, 0), 0) > offset:
                # An earlier read has folded it: waiting would be for the next change.
                return True
            try:
                records = await self._log.read(self._position, wait_seconds=wait_seconds)
            except (PositionLost, TopicUnknown) as error:
                await self._begin_anew(error)
                return True
            except LogCorrupt as error:
                self._position = passed(self._position, error)
                _log.error(
                    "changes of streams made there are no longer in effect: check with `headwater streams list`. %s",
                    error,
                )
                return True
            number = self.state.number
            for record in records:
                self._position = self._position.after(record)
                self._fold(record.value)
            if self.state.number != number:
                self._apply()
        return bool(records)

    async def _begin_anew(self, error: HeadwaterError) -> None:
        """The topic was emptied or deleted: use its present content, as a starting process does."""
        _log.warning("the changes of streams are read again from the beginning: %s", error.message)
        await self._log.ensure_topic(TOPIC, TopicSettings())
        self._position = await self._log.first([TOPIC])
        self.state, self.history = State(), []
        self._states = {0: self.state}
        while records := await self._log.read(self._position):
            for record in records:
                self._position = self._position.after(record)
                self._fold(record.value)
        self._apply()

    def _fold(self, data: bytes) -> None:
        try:
            revision = Revision.decode(data)
            self.state = self.state.after(revision)
        except ChangeRefused as error:
            # Another revision was first; the author of this one got an error.
            _log.info("ignored an invalid revision: %s", error)
            return
        self.history.append(revision)
        self._states[revision.number] = self.state
        self._changes.labels(revision.kind).inc()

    def _scope(self) -> Scope:
        return replace(self._declared.scope, at=self._clock())

    def _seen_from(self, site: str | None) -> Scope:
        return replace(self._scope(), site=site) if site else self._scope()

    def _fitting(self, state: State) -> Sequence[Layer]:
        """The layers of the rules that fit the declared streams; the others are ignored."""
        fitting = []
        for layer in state.layers():
            if layer.stream is not None and layer.stream not in self._declared.layers.entries:
                _log.warning("%s is about %r, which is no longer declared: ignored", layer.name, layer.stream)
                continue
            fitting.append(layer)
        return fitting

    def _apply(self) -> None:
        scope = self._scope()
        self._applied_at = scope.at or self._clock()
        layers = self._fitting(self.state)
        try:
            streams = self._declared.revised(layers).seen_from(scope) if layers else self._declared
        except ConfigInvalid:
            streams = self._declared.revised(self._one_by_one(layers, scope)).seen_from(scope)
        self.streams = streams
        self._version += 1
        self._on_change(streams)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _one_by_one(self, layers: Sequence[Layer], scope: Scope) -> list[Layer]:
        fitting: list[Layer] = []
        for layer in layers:
            try:
                self._declared.revised([*fitting, layer]).seen_from(scope)
            except ConfigInvalid as error:
                _log.warning("%s does not fit the declarations and is ignored: %s", layer.name, error)
            else:
                fitting.append(layer)
        return fitting


def _leaves(document: Any, above: str = "") -> dict[str, Any]:
    """{dotted path: value} of every value that is not a mapping, or is an empty one."""
    if not isinstance(document, dict) or not document:
        return {above: document}
    found: dict[str, Any] = {}
    for name, value in document.items():
        found.update(_leaves(value, f"{above}.{name}" if above else str(name)))
    return found


__all__ = ["ALL_STREAMS", "TOPIC", "Change", "Difference", "StreamControl"]
