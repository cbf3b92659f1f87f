"""POST /v1/webhooks/NAME: the events that other services post to a source, answered as those of producers are."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response

from headwater.errors import HeadwaterError, SourceUnknown
from headwater.platform import Platform
from headwater.processing.pushed_sources import PushedSource
from headwater.web.events import Answer, AnswerResponse, EventsEndpoint
from headwater.web.http.body import Disconnected, decode_body, read_body
from headwater.web.problems import request_uri

# A longer body is checked in a thread.
AT_ONCE_BYTES_MAX = 262_144


async def webhook(request: Request) -> Response:
    """The events are durable when this answers with success."""
    events: EventsEndpoint = request.app.state.events
    platform: Platform = request.app.state.platform
    try:
        source = platform.pushed.get(request.path_params["name"])
    except SourceUnknown as error:
        return AnswerResponse(events.problem(error, "POST", request_uri(request.scope)))
    try:
        answer = await _stored(request, events, source)
    except Disconnected:
        # Nobody reads it.
        return Response(status_code=400)
    except HeadwaterError as error:
        answer = events.problem(error, "POST", request_uri(request.scope))
    source.answered(answer.status)
    return AnswerResponse(answer)


async def _stored(request: Request, events: EventsEndpoint, source: PushedSource) -> Answer:
    sent = request.scope["headers"]
    bytes_max = min(source.body_bytes_max, events.config.request_bytes_max)
    body = await read_body(request.receive, sent, bytes_max)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent}
    if len(body) > AT_ONCE_BYTES_MAX:
        await asyncio.to_thread(source.check, headers, body, time.time())
    else:
        source.check(headers, body, time.time())
    content_type = _json_type(headers.get("content-type", ""))
    text = await decode_body(body, content_type, headers.get("content-encoding", "").encode("latin-1"), bytes_max)
    posted = await asyncio.to_thread(source.posted, headers, text)
    peer = request.client.host if request.client else None
    return await events.answer_posted(posted.slices, posted.unreadable, sent, peer, has_key=source.is_signed)


def _json_type(written: str) -> bytes:
    """The content type, in which JSON of a kind of its own (`application/…+json`) is JSON."""
    media_type, semicolon, parameters = written.partition(";")
    if media_type.strip().lower().endswith("+json"):
        media_type = "application/json"
    return f"{media_type}{semicolon}{parameters}".encode("latin-1")
