"""Reads server-sent events over HTTP and resumes after a lost connection; for tail and the live demo."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import httpx

from headwater.backoff import Backoff
from headwater.errors import LogUnavailable
from headwater.event_stream import Message, MessageParser, SubscriptionRefused

PAUSE_SECONDS_FIRST = 0.5
PAUSE_SECONDS_MAX = 15.0
PAUSE_SPREAD = (0.7, 1.3)
SILENCE_SECONDS_MAX = 60.0


STREAMS_HINT = "List the project's streams with `headwater streams list`; restart the server after adding one."


async def follow(
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    last_id: str | None = None,
    attempts_max: int | None = None,
) -> AsyncGenerator[Message, None]:
    """The messages at `url`, without end: a connection that ends or breaks is reopened after the last id.

    Raises SubscriptionRefused for a permanent refusal, LogUnavailable if the server was never reached in
    `attempts_max` attempts (None: no limit). Once it was reached, it is retried without limit.
    """
    parser = MessageParser()
    parser.last_id = last_id
    attempts = 0
    backoff = Backoff(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX, spread=PAUSE_SPREAD)
    timeout = httpx.Timeout(10.0, read=SILENCE_SECONDS_MAX)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=True) as client:
        while True:
            try:
                sent = _headers(headers, parser.last_id)
                async with client.stream("GET", url, params=params, headers=sent) as answer:
                    await _check(answer)
                    attempts_max = None
                    backoff.reset()
                    async for chunk in answer.aiter_bytes():
                        for message in parser.feed(chunk):
                            yield message
                trouble = "the connection ended"
            except httpx.TransportError as error:
                attempts += 1
                trouble = str(error) or type(error).__name__
            if attempts_max is not None and attempts >= attempts_max:
                raise LogUnavailable(f"{url} does not answer: {trouble}.", hint="Is the server running?")
            # A message that was cut off is sent again after the last id.
            fresh = MessageParser()
            fresh.last_id, fresh.retry_seconds = parser.last_id, parser.retry_seconds
            parser = fresh
            own = backoff.next_pause()
            await asyncio.sleep(backoff.jittered(parser.retry_seconds) if parser.retry_seconds else own)


def _headers(headers: Mapping[str, str] | None, last_id: str | None) -> dict[str, str]:
    resume = {"last-event-id": last_id} if last_id else {}
    return {"accept": "text/event-stream", **(headers or {}), **resume}


async def _check(answer: httpx.Response) -> None:
    if answer.status_code == 200:
        return
    body = (await answer.aread())[:2000].decode("utf-8", "replace").strip()
    if answer.status_code == 429 or answer.status_code >= 500:
        raise httpx.RemoteProtocolError(f"{answer.status_code} {answer.reason_phrase}")
    detail, hint = _detail(body)
    hint = STREAMS_HINT if detail.startswith("Invalid streams") else hint
    raise SubscriptionRefused(f"{answer.status_code} {answer.reason_phrase}: {detail}", hint=hint)


def _detail(body: str) -> tuple[str, str | None]:
    """The message and the hint of an error response."""
    import orjson

    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body or "no reason given", None
    if not isinstance(problem, dict):
        return body, None
    hint = problem.get("hint")
    return str(problem.get("detail") or problem.get("message") or body), hint if isinstance(hint, str) else None
