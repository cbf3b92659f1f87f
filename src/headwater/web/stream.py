"""GET and HEAD /v2/stream/{a,b}: parses a request, and sends a reader's bytes as they arrive."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from headwater.access.api_keys import ApiKeys
from headwater.consumption.filter import parse_filter
from headwater.consumption.framing import Format
from headwater.consumption.hub import Connection, StreamHub, StreamRequest
from headwater.declaration import suggestion
from headwater.errors import (
    ConfigInvalid,
    ContentUnsupported,
    FilterInvalid,
    HeadwaterError,
    KeyRequired,
    KeysDamaged,
    StreamUnknown,
    TimestampInvalid,
    TokenInvalid,
    TooManyConnections,
    TopicUnknown,
)
from headwater.event import json_bytes
from headwater.log.contract import TOKEN_PREFIX
from headwater.streams.stream import Stream
from headwater.streams.visibility import Sight
from headwater.web.cloudevents import STRUCTURED, CloudEventsOut, url_of
from headwater.web.eventgate import shown
from headwater.web.http.headers import RawHeaders, client_address, is_on, joined
from headwater.web.http.stalls import abort_of
from headwater.web.openapi.events import IDS
from headwater.web.problems import (
    MEDIA_TYPE,
    challenge_headers,
    problem_document,
    problem_headers,
    request_uri,
    status_of,
)

CLOUD_EVENTS = "cloudevents"
# EventSource cannot set headers; polyfills send the last id as one of these.
RESUME_PARAMETERS = ("last_event_id", "lastEventId")

_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)

JSON_TYPE = b"application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
_MISSING_ADDRESS = "is a required request header"

# The responses of EventStreams: status, type, title. Other errors are problem documents as everywhere else.
_LEGACY_PROBLEMS: dict[type[HeadwaterError], tuple[int, str, str]] = {
    StreamUnknown: (400, "not_found", "Stream Not Found"),
    TimestampInvalid: (400, "invalid_timestamp", "Invalid timestamp"),
    TooManyConnections: (429, "too_many_requests", "Too Many Concurrent Connections From Your Client IP"),
}


class StreamEndpoint:
    """Serves streams over HTTP. `default_headers` are sent with every response.

    A scope extension `headwater.abort`, where the server has one, is called to drop a client whose buffers are full.
    """

    def __init__(
        self,
        hub: StreamHub,
        default_headers: RawHeaders | None = None,
        public_url: str | None = None,
        *,
        keys: ApiKeys | None = None,
    ) -> None:
        """Without `keys`, only public streams are visible."""
        self._hub = hub
        self._keys = keys
        self._public_url = public_url
        self._standing = default_headers or []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = joined(scope["headers"])
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        header = self._hub.config.client_address_header
        client = scope.get("client")
        peer = client[0] if client and not header else None
        address = client_address(scope["headers"], peer, header)
        if header and not address:
            await self._refuse(scope, send, 400, _missing_address(scope, header))
            return
        resume = next((query[name] for name in RESUME_PARAMETERS if name in query), None)
        resume = headers.get("last-event-id", resume)
        names = scope["path_params"]["streams"].split(",")
        topics: Sequence[str] = ()
        try:
            self._hub.admission.enter(address)
        except HeadwaterError as error:
            await self._refuse_error(scope, send, error)
            return
        try:
            accept = headers.get("accept", "")
            url = url_of(self._public_url, scope.get("scheme", "http"), headers.get("host", ""))
            sight = self._sight(headers, address)
            streams = self._hub.resolve(names, sight)
            wanted = replace(_wish(streams, accept, query, resume), render=rendering(accept, query, url))
            topics = wanted.topics
            connection = await self._hub.connect(wanted)
        except HeadwaterError as error:
            await self._refuse_error(scope, send, error, resume=resume, topics=topics)
        else:
            try:
                if sight is not Sight.PUBLIC:
                    connection.may_read = lambda: self._still_reads(headers, sight)
                await self._serve(connection, scope, receive, send, media_type(headers.get("accept")))
            finally:
                await self._hub.disconnect(connection)
        finally:
            self._hub.admission.leave(address)

    async def close(self) -> None:
        """End all streams with a last token; open ones would delay the stop of the server."""
        await self._hub.close()

    def _sight(self, headers: Mapping[str, str], address: str | None) -> Sight:
        return self._keys.sight(headers.get("authorization"), address) if self._keys else Sight.PUBLIC

    def _still_reads(self, headers: Mapping[str, str], sight: Sight) -> bool:
        """Whether the key of a connection is still as valid as when the client connected."""
        try:
            return self._sight(headers, None) >= sight
        except (KeyRequired, KeysDamaged):
            return False

    async def _serve(self, connection: Connection, scope: Scope, receive: Receive, send: Send, media: bytes) -> None:
        head = [
            *self._standing,
            (b"content-type", media),
            (b"cache-control", b"no-cache"),
            (b"connection", b"keep-alive"),
            # Proxies such as nginx would delay frames until a buffer is full.
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        connection.abort = _abort_of(scope)
        listening = asyncio.create_task(_until_gone(connection, receive))
        reader = connection.reader
        try:
            while (data := await reader.next()) is not None and (connection.may_read is None or connection.may_read()):
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            # Our own abort leaves the response incomplete, so that the server closes the connection.
            if not connection.is_aborted:
                raise
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _refuse_error(
        self, scope: Scope, send: Send, error: HeadwaterError, *, resume: str | None = None, topics: Sequence[str] = ()
    ) -> None:
        """The response that EventStreams or KafkaSSE would send, with a content type."""
        kafka_sse = _kafka_sse_error(error, resume, topics)
        if kafka_sse is not None:
            reason = f"{kafka_sse['name']}: {kafka_sse['message']}".encode("latin-1", "replace")
            await self._refuse(scope, send, kafka_sse["statusCode"], kafka_sse, reason=reason)
            return
        uri, method = request_uri(scope), scope["method"]
        extra = [(name.encode(), value.encode()) for name, value in problem_headers(error).items()]
        extra += challenge_headers(error)
        legacy = _LEGACY_PROBLEMS.get(type(error))
        if legacy is None:
            document = problem_document(error, method=method, uri=uri)
            await self._refuse(scope, send, status_of(error), document, extra, media=MEDIA_TYPE.encode())
            return
        status, kind, title = legacy
        await self._refuse(scope, send, status, _legacy_problem(scope, status, kind, title, error.message), extra)

    async def _refuse(
        self,
        scope: Scope,
        send: Send,
        status: int,
        document: Mapping[str, Any],
        extra: Sequence[tuple[bytes, bytes]] = (),
        *,
        media: bytes = JSON_TYPE,
        reason: bytes = b"",
    ) -> None:
        body = json_bytes(document) + (b"\n" if reason else b"")
        length = (b"content-length", b"%d" % len(body))
        headers = [*self._standing, (b"content-type", media), length, *extra]
        await send({"type": "http.response.start", "status": status, "headers": headers, "reason": reason})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def form_of(accept: str) -> Format:
    """NDJSON if `Accept` begins with a JSON type, otherwise SSE (contract intake §5)."""
    return "json" if accept.startswith(("application/json", NDJSON, STRUCTURED.decode())) else "sse"


def rendering(accept: str, query: Mapping[str, str], url: str) -> CloudEventsOut | None:
    """The converter for a client that requests CloudEvents. Raises ContentUnsupported."""
    asked = query.get("format", "").lower()
    if asked not in ("", CLOUD_EVENTS):
        raise ContentUnsupported(f"Unknown format {asked[:100]!r}.", hint=f"Supported: {CLOUD_EVENTS!r}.")
    return CloudEventsOut(url) if asked or accept.startswith(STRUCTURED.decode()) else None


def media_type(accept: str | None) -> bytes:
    """The content type for this `Accept` header; without one, EventStreams names no charset."""
    if accept is None:
        return b"text/event-stream"
    if accept.startswith((NDJSON, STRUCTURED.decode())):
        return b"application/x-ndjson; charset=utf-8"
    return JSON_TYPE if form_of(accept) == "json" else b"text/event-stream; charset=utf-8"


def _wish(
    streams: tuple[Stream, ...], accept: str, query: Mapping[str, str], last_event_id: str | None
) -> StreamRequest:
    expression = query.get("filter", "").strip()
    return StreamRequest(
        streams,
        form=form_of(accept),
        filter=parse_filter(expression) if expression else None,
        legacy_ids=_legacy_ids(query.get("id")),
        positions=is_on([query["positions"]] if "positions" in query else []),
        heartbeat_seconds=_heartbeat(query.get("heartbeat")),
        canaries=is_on([query["canaries"]] if "canaries" in query else []),
        last_event_id=last_event_id,
        since=query.get("since"),
    )


def _legacy_ids(asked: str | None) -> bool | None:
    """The requested format of ids. Raises FilterInvalid."""
    if asked is None or asked in IDS:
        return None if asked is None else asked == "legacy"
    raise FilterInvalid(f"`id` must be one of {', '.join(IDS)}, not {asked[:80]!r}.", hint=suggestion(asked, IDS))


def _heartbeat(asked: str | None) -> float | None:
    """The requested seconds. Raises FilterInvalid."""
    if asked is None:
        return None
    if not _SECONDS.fullmatch(asked):
        raise FilterInvalid(
            f"`heartbeat` must be a number of seconds, not {asked[:80]!r}.", hint="Write it as 4 or 0.5."
        )
    return float(asked)


def _abort_of(scope: Scope) -> Callable[[], None]:
    extension = abort_of(scope)
    task = asyncio.current_task()

    def abort() -> None:
        if extension is not None:
            extension()
        elif task is not None:
            task.cancel()

    return abort


async def _until_gone(connection: Connection, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    connection.reader.finish()


def _legacy_problem(scope: Scope, status: int, kind: str, title: str, detail: str) -> dict[str, Any]:
    where = {"method": scope["method"], "uri": request_uri(scope)}
    return {"status": status, "type": kind, "title": title, "detail": detail, **where}


def _missing_address(scope: Scope, header: str) -> dict[str, Any]:
    title = f"Missing Required {header} Header"
    return _legacy_problem(scope, 400, "bad_request", title, f"{header} {_MISSING_ADDRESS}")


def _kafka_sse_error(error: HeadwaterError, resume: str | None, topics: Sequence[str]) -> dict[str, Any] | None:
    """The response to errors that the original's KafkaSSE library handles, in its format; None for all others."""
    document: dict[str, Any] = {"message": str(error), "origin": "KafkaSSE"}
    if isinstance(error, TokenInvalid) and resume is not None:
        document["name"] = "InvalidAssignmentError"
        try:
            assignments = orjson.loads(resume)
        except orjson.JSONDecodeError:
            document["originalName"] = "TokenInvalid" if resume.startswith(TOKEN_PREFIX) else "SyntaxError"
            document["last_event_id"] = resume
        else:
            document["originalName"] = "Error"
            document["assignments"] = shown(assignments)
        return document | {"statusCode": 400}
    if isinstance(error, TopicUnknown):
        return document | {"name": "TopicNotAvailableError", "availableTopics": list(topics), "statusCode": 404}
    if isinstance(error, ConfigInvalid):
        return document | {"name": "ConfigurationError", "allowedTopics": list(topics), "statusCode": 500}
    return None
