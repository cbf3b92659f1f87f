"""The native API of streams: /v1/streams lists, searches and waits; /v1/stream-changes lists and accepts changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from headwater.control.revision import ALL_STREAMS, Rule, State, text_of
from headwater.control.stream_control import Change
from headwater.declaration import suggestion
from headwater.errors import (
    ChangeRefused,
    KeyRequired,
    RevisionUnknown,
    StreamUnknown,
)
from headwater.event import json_bytes, read_json
from headwater.platform import Platform
from headwater.streams.projection import AUDIENCES, OPEN_AUDIENCES, etag_of, project
from headwater.streams.visibility import Sight
from headwater.times import ms_of, utc_milliseconds
from headwater.web.http.headers import is_number, is_on
from headwater.web.http.json_body import json_body
from headwater.web.http.route import Route
from headwater.web.http.seats import Seats, until_ended
from headwater.web.http.threads import SharedWork
from headwater.web.sight import address_of, sight_of
from headwater.web.streams_listing import Ahead, Question, find

WAIT_SECONDS_MAX = 60.0
HISTORY_MAX = 1_000
SETTLE_SECONDS = 0.05


class StreamsApi:
    """The endpoints, over one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        limits = platform.config.control
        self._seats = Seats(limits.waiting_max, limits.waiting_per_address_max, platform.config.consumption)
        self._closing = asyncio.Event()
        self._listed, self._read = SharedWork(), SharedWork()
        self._ahead = Ahead()

    def routes(self) -> list[BaseRoute]:
        """The endpoints that read streams."""
        return [
            Route("/v1/streams", self.listing, methods=["GET"]),
            Route("/v1/streams/{name:path}", self.get, methods=["GET"]),
            Route("/v1/stream-changes/live", self.live, methods=["GET"]),
        ]

    def control_routes(self) -> list[BaseRoute]:
        """The endpoints that change streams, and list the changes."""
        return [
            Route("/v1/stream-changes", self.history, methods=["GET"]),
            Route("/v1/stream-changes", self.change, methods=["POST"]),
            Route("/v1/stream-changes/rollback", self.rollback, methods=["POST"]),
            Route("/v1/stream-changes/kill", self.kill, methods=["POST"]),
            Route("/v1/stream-changes/{number:revision}", self.revision, methods=["GET"]),
        ]

    def close(self) -> None:
        """End the open long polls and streams."""
        self._closing.set()

    async def listing(self, request: Request) -> Response:
        """The requested streams, as an audience sees them; with `wait`, when they differ from the client's copy."""
        audience = self._audience(request)
        held = request.headers.get("if-none-match")
        wait = _seconds(request.query_params.get("wait"))
        leave = self._seats.take(request) if wait else None
        ended = asyncio.ensure_future(until_ended(request.scope, request.receive)) if wait else None
        try:
            deadline = asyncio.get_running_loop().time() + wait
            while True:
                asked = self._asked(request, audience)
                body, etag = await self._listed.of(asked.key, partial(_listing, asked))
                left = deadline - asyncio.get_running_loop().time()
                if held is None or not _is_current(held, etag):
                    return _answer(request, body, etag, audience)
                if left <= 0 or self._closing.is_set() or ended is None or ended.done():
                    return _not_changed(request, etag, audience)
                await self._news(asked.version, left, ended)
        finally:
            if leave is not None:
                leave()
            if ended is not None:
                ended.cancel()

    async def get(self, request: Request) -> Response:
        """One stream. 404 with the nearest name if it is unknown."""
        audience = self._audience(request)
        asked = self._asked(request, audience)
        stream = find(request.path_params["name"], asked.seen(), audience, asked.sight)
        fields = project([stream], audience)
        body = json_bytes({"stream": stream.name, **fields[stream.name]})
        etag = etag_of(body)
        if _is_current(request.headers.get("if-none-match"), etag):
            return _not_changed(request, etag, audience)
        return _answer(request, body, etag, audience)

    async def history(self, request: Request) -> Response:
        """The latest revisions, newest first, and the current rules."""
        self._platform.keys.check(request.headers.get("authorization"), "streams:read", address_of(request))
        control = self._platform.control
        limit = min(HISTORY_MAX, _count(request.query_params.get("limit"), 100))
        return _json(
            {
                "revision": control.state.number,
                "rules": [rule.as_json() | {"revision": number} for number, rule in control.state.rules.values()],
                "changes": [revision.as_json() for revision in reversed(control.history[-limit:])] if limit else [],
            }
        )

    async def revision(self, request: Request) -> Response:
        """One revision, and what it changed if it applies everywhere and now."""
        self._platform.keys.check(request.headers.get("authorization"), "streams:read", address_of(request))
        number = request.path_params["number"]
        found = next((one for one in self._platform.control.history if one.number == number), None)
        if found is None:
            raise RevisionUnknown(
                f"There is no revision {number}.", hint="List the revisions with GET /v1/stream-changes."
            )
        return _json(found.as_json())

    async def change(self, request: Request) -> Response:
        """Add and remove rules. `dry_run=true`: only report what would change."""
        actor = self._platform.keys.check(request.headers.get("authorization"), "streams:write", address_of(request))
        written = await json_body(request)
        rules, removed = written.get("put", []), written.get("remove", [])
        if not isinstance(rules, list) or not isinstance(removed, list):
            raise ChangeRefused("`put` must be a list of rules, `remove` a list of ids.")
        put = tuple(Rule.from_json(rule) for rule in rules)
        expected = _expected(request, written)
        change = Change(actor, text_of(written, "reason"), put, tuple(map(str, removed)), expected)
        return await self._take(request, change)

    async def rollback(self, request: Request) -> Response:
        """Restore the rules of an earlier revision, as a new one."""
        actor = self._platform.keys.check(request.headers.get("authorization"), "streams:write", address_of(request))
        written = await json_body(request)
        to = written.get("to")
        if type(to) is not int:
            raise ChangeRefused("`to` must be the number of a revision.")
        reason, expected = text_of(written, "reason"), _expected(request, written)
        return await self._take(request, self._platform.control.rollback(to, actor, reason, expected))

    async def kill(self, request: Request) -> Response:
        """Make a stream ("*": all) refuse every event; `on: false` ends that."""
        actor = self._platform.keys.check(request.headers.get("authorization"), "streams:kill", address_of(request))
        written = await json_body(request)
        stream, on = text_of(written, "stream", 200), written.get("on", True)
        if not isinstance(on, bool):
            raise ChangeRefused("`on` must be true or false.")
        change = self._platform.control.kill(stream, actor, text_of(written, "reason"), on=on)
        return await self._take(request, change)

    async def live(self, request: Request) -> Response:
        """Server-sent events: first everything, then the streams that changed, with their new state."""
        audience = self._audience(request)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return self._seats.answer(request, self._messages(request, audience), headers)

    async def _messages(self, request: Request, audience: str) -> AsyncIterator[bytes]:
        sent: dict[str, Any] | None = None
        ahead: list[Any] = []
        resumed = request.headers.get("last-event-id")
        heartbeat = self._platform.config.control.heartbeat_seconds
        while not self._closing.is_set():
            try:
                asked = self._asked(request, audience, again=True)
                now, soon, etag = await self._read.of(asked.key, partial(_now_and_soon, asked))
            except KeyRequired:
                # Revoked, or expired, since the client connected.
                return
            news = {"revision": asked.state.number, "at": utc_milliseconds(ms_of(time.time())), "upcoming": soon}
            if sent is None and resumed == etag:
                # The client has this state.
                yield b": resumed\n"
            elif sent is None:
                yield _message("put", etag, {**news, "streams": now})
            elif (now, soon) != (sent, ahead):
                changed = {name: one for name, one in now.items() if sent.get(name) != one}
                gone = [name for name in sent if name not in now]
                yield _message("patch", etag, {**news, "streams": changed, "removed": gone})
            sent, ahead = now, soon
            if await self._news(asked.version, heartbeat) == asked.version:
                yield b": alive\n"

    async def _take(self, request: Request, change: Change) -> Response:
        control = self._platform.control
        dry = is_on(request.query_params.getlist("dry_run"))
        revision, after = control.check(change)
        effect = self._effect(request, change, after)
        if dry:
            return _json({"dry_run": True, **revision.as_json(), **effect})
        revision = await control.change(change)
        return _json({**revision.as_json(), **effect}, status=201, headers={"etag": f'"{revision.number}"'})

    def _effect(self, request: Request, change: Change, after: State) -> dict[str, Any]:
        """What a revision changes, and why some of its rules have no effect."""
        control, site = self._platform.control, request.query_params.get("site")
        found = control.differences(after, site=site)
        idle = control.idle(change, found, site=site)
        return {
            "differences": [{"stream": d.stream, "path": d.path, "before": d.before, "after": d.after} for d in found],
            **({"without_effect": idle} if idle else {}),
        }

    def _asked(self, request: Request, audience: str, *, again: bool = False) -> Question:
        """The question of a request about the current streams. Raises KeyRequired; `again` as in `sight_of`."""
        control = self._platform.control
        sight = sight_of(request, again=again)
        return Question(
            control.version, control.state, control.streams, audience, sight, request.query_params, self._ahead
        )

    def _audience(self, request: Request) -> str:
        """The requested audience. Those that see internal settings need a key."""
        audience = request.query_params.get("audience", "public")
        if audience not in AUDIENCES:
            raise StreamUnknown(f"Unknown audience {audience!r}.", hint=suggestion(audience, AUDIENCES))
        if audience not in OPEN_AUDIENCES:
            self._platform.keys.check(request.headers.get("authorization"), "streams:read", address_of(request))
        return audience

    async def _news(self, version: int, seconds: float, ended: asyncio.Future[None] | None = None) -> int:
        """Wait for the next version; a little longer, so that a burst of changes is reported once.

        At most until the server stops, or `ended` is done.
        """
        closing = asyncio.ensure_future(self._closing.wait())
        news = asyncio.ensure_future(self._platform.control.wait(version, seconds))
        try:
            waited: set[asyncio.Future[Any]] = {closing, news} if ended is None else {closing, news, ended}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            news.cancel()
        if self._platform.control.version != version:
            await asyncio.sleep(SETTLE_SECONDS)
        return self._platform.control.version


def _listing(asked: Question) -> tuple[bytes, str]:
    body = asked.answer()
    return body, etag_of(body)


def _now_and_soon(asked: Question) -> tuple[Any, Any, str]:
    """The streams now, upcoming changes, and the entity tag of both."""
    listed = read_json(asked.answer())
    now, soon = listed["streams"], listed.get("upcoming", [])
    return now, soon, etag_of(json_bytes([now, soon]))


def _answer(request: Request, body: bytes, etag: str, audience: str) -> Response:
    caching = {"cache-control": _caching(request, audience), "vary": "authorization"}
    headers = {"content-type": "application/json", "etag": etag, **caching}
    return Response(body, headers=headers)


def _not_changed(request: Request, etag: str, audience: str) -> Response:
    headers = {"etag": etag, "cache-control": _caching(request, audience), "vary": "authorization"}
    return Response(status_code=304, headers=headers)


def _caching(request: Request, audience: str) -> str:
    if audience in OPEN_AUDIENCES and sight_of(request) is Sight.PUBLIC:
        return "public, max-age=5, stale-while-revalidate=600, stale-if-error=86400"
    return "private, no-cache"


def _json(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    given = {"content-type": "application/json", "cache-control": "no-store", **(headers or {})}
    return Response(json_bytes(body), status_code=status, headers=given)


def _message(kind: str, event_id: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), event_id.encode(), json_bytes(data))


def _expected(request: Request, written: Mapping[str, Any]) -> int | None:
    """The revision a change is based on: If-Match, or `expected` in the body."""
    given: Any = written.get("expected")
    match = request.headers.get("if-match")
    if match is not None:
        given = match.strip().removeprefix("W/").strip('"')
    if given is None or given == "*":
        return None
    if not is_number(str(given)):
        raise ChangeRefused(f"{given!r:.80} is not the number of a revision.")
    return int(given)


def _is_current(if_none_match: str | None, etag: str) -> bool:
    return etag in [mark.strip().removeprefix("W/") for mark in (if_none_match or "").split(",")]


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, min(WAIT_SECONDS_MAX, float(text or 0)))
    except ValueError:
        return 0.0


def _count(text: str | None, default: int) -> int:
    return int(text) if text and is_number(text) else default


__all__ = ["ALL_STREAMS", "StreamsApi"]
