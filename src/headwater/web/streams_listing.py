"""What clients see of the streams, now and in the near future, computed in threads from immutable snapshots.

How this works: streams change on the event loop while threads compute responses. So the input of a response is captured
on the loop, once, as a `Question` whose parts never change, and a thread reads nothing else. The cache that the threads
share is protected by a lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

from headwater.control.revision import State
from headwater.errors import StreamUnknown
from headwater.event import json_bytes
from headwater.streams.layers import Scope
from headwater.streams.projection import project, value_at
from headwater.streams.registry import StreamRegistry
from headwater.streams.seen import SeenStreams
from headwater.streams.stream import Stream
from headwater.streams.visibility import Sight
from headwater.times import ms_of, utc_milliseconds

# How far ahead, and for how many moments, clients see what rules with a time window will change.
AHEAD_SECONDS = 86_400
AHEAD_MAX = 10
# The streams at those moments are cached for each requested site and realm, up to this many streams in total.
AHEAD_STREAMS_MAX = 20_000


class Ahead:
    """The streams at future moments, cached while their version is current. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = -1
        self._known: dict[tuple[str | None, str | None, float], StreamRegistry] = {}

    def seen(self, version: int, streams: StreamRegistry, scope: Scope, at: float) -> StreamRegistry:
        """The streams as a scope will see them then; `version` increases with every change of `streams`."""
        key = (scope.site, scope.realm, at)
        with self._lock:
            if version > self._version or (len(self._known) - AHEAD_MAX) * len(streams) >= AHEAD_STREAMS_MAX:
                self._version, self._known = version, {}
            known = self._known.get(key) if version == self._version else None
        if known is not None:
            return known
        made = streams.seen_from(Scope(scope.site, scope.realm, at))
        with self._lock:
            return self._known.setdefault(key, made) if version == self._version else made


@dataclass(frozen=True, slots=True)
class Question:
    """A request about the streams, and the streams as they were at that time."""

    version: int
    state: State
    streams: StreamRegistry
    audience: str
    sight: Sight
    query: QueryParams
    ahead: Ahead

    @property
    def key(self) -> tuple[int, str, Sight, str]:
        """Equal for questions with the same result."""
        return self.version, self.audience, self.sight, str(self.query)

    @property
    def scope(self) -> Scope:
        """The requested site and realm, else our own."""
        own = self.streams.scope
        return Scope(self.query.get("site") or own.site, self.query.get("realm") or own.realm, own.at)

    def seen(self, at: float | None = None) -> StreamRegistry:
        """The streams as the requested site sees them now, or at a future moment."""
        if at is not None:
            return self.ahead.seen(self.version, self.streams, self.scope, at)
        is_ours = "site" not in self.query and "realm" not in self.query
        return self.streams if is_ours else self.streams.seen_from(self.scope)

    def answer(self) -> bytes:
        """The requested streams, the unknown names, and upcoming changes, as JSON."""
        asked = [name for part in self.query.getlist("names") for name in part.split(",") if name]
        streams: list[Stream] = []
        unknown: dict[str, str | None] = {}
        known = self.seen()
        for name in asked:
            try:
                streams.append(find(name, known, self.audience, self.sight))
            except StreamUnknown as error:
                unknown[name] = error.hint
        if not asked:
            streams = list(SeenStreams(known, self.sight).entries())
        shown = self._shown(streams)
        upcoming = self._upcoming(shown, asked)
        body = {"revision": self.state.number, "streams": shown}
        if unknown:
            body["unknown"] = unknown
        if upcoming:
            body["upcoming"] = upcoming
        return json_bytes(body)

    def _shown(self, streams: Iterable[Stream]) -> Mapping[str, Any]:
        return project([stream for stream in streams if _fits(stream, self.query)], self.audience)

    def _upcoming(self, shown: Mapping[str, Any], asked: list[str]) -> list[dict[str, Any]]:
        """Upcoming changes and their times, for clients that may be unreachable then."""
        now = time.time()
        edges = [edge for edge in self.state.edges() if now < edge <= now + AHEAD_SECONDS]
        found = []
        for edge in edges[:AHEAD_MAX] if self.audience == "browser" else ():
            streams = self.seen(edge)
            chosen = (
                [streams.get(name) for name in asked if name in streams]
                if asked
                else SeenStreams(streams, self.sight).entries()
            )
            then = self._shown(chosen)
            changed = {name: one for name, one in then.items() if shown.get(name) != one}
            gone = [name for name in shown if name not in then]
            if changed or gone:
                found.append({"at": utc_milliseconds(ms_of(edge)), "streams": changed, "removed": gone})
            shown = then
        return found


def find(name: str, streams: StreamRegistry, audience: str, sight: Sight) -> Stream:
    """A stream by name. Raises StreamUnknown if the client may not see it.

    A sender to a private stream knows its name, and may see whether and how much to send.
    """
    return streams.get(name) if audience == "browser" else SeenStreams(streams, sight).get(name)


def _fits(stream: Stream, asked: Mapping[str, str]) -> bool:
    """Whether a stream matches `q`, every `where=key=value` and the legacy `constraints`."""
    words = asked.get("q", "").lower().split()
    text = f"{stream.name} {stream.schema_title} {stream.summary} {stream.owner}".lower()
    if not all(word in text for word in words):
        return False
    for pair in filter(None, asked.get("constraints", "").split("|")):
        key, _, value = pair.partition("=")
        if _text(value_at(stream, key)) != value:
            return False
    return True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json_bytes(value).decode()
