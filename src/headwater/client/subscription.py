"""Reads server-sent events over HTTP, and reopens a connection that ends or breaks after the last id.

How this works: `Subscription` keeps the position and the pauses, and does no I/O; `follow` and `follow_async` are the
same short loop around it, one with threads and one with asyncio.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass

import httpx
import orjson

from headwater.backoff import Backoff
from headwater.errors import LogUnavailable
from headwater.event_stream import Message, MessageParser, SubscriptionRefused

PAUSE_SECONDS_FIRST = 0.5
PAUSE_SECONDS_MAX = 15.0
PAUSE_SPREAD = (0.7, 1.3)
CONNECT_SECONDS_MAX = 10.0
SILENCE_SECONDS_MAX = 60.0
# Of a response that is an error, this much is read.
ERROR_BYTES_MAX = 65_536
DETAIL_CHARACTERS_MAX = 2_000
# The type of messages that are not of the server: all messages before it were given.
POSITION = "position"

STREAMS_HINT = "List the project's streams with `headwater streams list`; restart the server after adding one."


@dataclass(frozen=True, slots=True)
class Connecting:
    """What requests are made of.

    `attempts_max`: how often a server that was never reached is tried; None: without limit. `positions`: whether
    a message of the type POSITION follows the messages of each chunk, with the id after them.
    """

    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    last_id: str | None = None
    attempts_max: int | None = None
    positions: bool = False
    connect_seconds_max: float = CONNECT_SECONDS_MAX
    silence_seconds_max: float = SILENCE_SECONDS_MAX

    def timeout(self) -> httpx.Timeout:
        """The limits of one connection."""
        return httpx.Timeout(self.connect_seconds_max, read=self.silence_seconds_max)


class Subscription:
    """The state of one subscription over all its connections; it does no I/O."""

    def __init__(self, url: str, connecting: Connecting) -> None:
        self.url = url
        self._connecting = connecting
        self._parser = MessageParser()
        self._parser.last_id = connecting.last_id
        self._attempts_left = connecting.attempts_max
        self._backoff = Backoff(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX, spread=PAUSE_SPREAD)

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request of the next connection."""
        last_id = self._parser.last_id
        resume = {"last-event-id": last_id} if last_id else {}
        headers = {"accept": "text/event-stream", **(self._connecting.headers or {}), **resume}
        return client.build_request("GET", self.url, params=self._connecting.params, headers=headers)

    def opened(self) -> None:
        """The server accepted the subscription: from now on it is retried without limit."""
        self._attempts_left = None
        self._backoff.reset()

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completes. Raises SubscriptionRefused for a line without end."""
        messages = self._parser.feed(chunk)
        if self._connecting.positions:
            messages.append(Message(POSITION, "", self._parser.last_id))
        return messages

    def pause(self, failure: str, *, is_unreached: bool) -> float:
        """The seconds until the next connection. Raises LogUnavailable after the last attempt."""
        if is_unreached and self._attempts_left is not None:
            self._attempts_left -= 1
            if self._attempts_left <= 0:
                raise LogUnavailable(f"{self.url} does not answer: {failure}.", hint="Is the server running?")
        # A message that was cut off is sent again after the last id.
        fresh = MessageParser()
        fresh.last_id, fresh.retry_seconds = self._parser.last_id, self._parser.retry_seconds
        self._parser = fresh
        own = self._backoff.next_pause()
        return self._backoff.jittered(fresh.retry_seconds) if fresh.retry_seconds else own


def follow(url: str, connecting: Connecting, stopping: threading.Event) -> Generator[Message]:
    """The messages at `url`, without end, until `stopping` is set.

    Raises SubscriptionRefused for a permanent refusal, LogUnavailable as `attempts_max` says.
    """
    subscription = Subscription(url, connecting)
    with httpx.Client(timeout=connecting.timeout(), follow_redirects=True) as client:
        while not stopping.is_set():
            is_unreached = False
            try:
                answer = client.send(subscription.request(client), stream=True)
                try:
                    if answer.status_code != httpx.codes.OK:
                        _refuse(answer, _beginning(answer))
                    subscription.opened()
                    for chunk in answer.iter_bytes():
                        yield from subscription.feed(chunk)
                        if stopping.is_set():
                            return
                finally:
                    answer.close()
                failure = "the connection ended"
            except httpx.TransportError as error:
                is_unreached = True
                failure = str(error) or type(error).__name__
            stopping.wait(subscription.pause(failure, is_unreached=is_unreached))


async def follow_async(url: str, connecting: Connecting) -> AsyncGenerator[Message, None]:
    """The messages at `url`, without end.

    Raises SubscriptionRefused for a permanent refusal, LogUnavailable as `attempts_max` says.
    """
    subscription = Subscription(url, connecting)
    async with httpx.AsyncClient(timeout=connecting.timeout(), follow_redirects=True) as client:
        while True:
            is_unreached = False
            try:
                answer = await client.send(subscription.request(client), stream=True)
                try:
                    if answer.status_code != httpx.codes.OK:
                        _refuse(answer, await _beginning_async(answer))
                    subscription.opened()
                    async for chunk in answer.aiter_bytes():
                        for message in subscription.feed(chunk):
                            yield message
                finally:
                    await answer.aclose()
                failure = "the connection ended"
            except httpx.TransportError as error:
                is_unreached = True
                failure = str(error) or type(error).__name__
            await asyncio.sleep(subscription.pause(failure, is_unreached=is_unreached))


def _beginning(answer: httpx.Response) -> bytes:
    body = b""
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) >= ERROR_BYTES_MAX:
            break
    return body


async def _beginning_async(answer: httpx.Response) -> bytes:
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) >= ERROR_BYTES_MAX:
            break
    return body


def _refuse(answer: httpx.Response, body: bytes) -> None:
    """Raises httpx.RemoteProtocolError if the request may be retried, SubscriptionRefused if not."""
    text = body.decode("utf-8", "replace")[:DETAIL_CHARACTERS_MAX].strip()
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise httpx.RemoteProtocolError(f"{answer.status_code} {answer.reason_phrase}")
    detail, hint = _detail(text)
    hint = STREAMS_HINT if detail.startswith("Invalid streams") else hint
    raise SubscriptionRefused(f"{answer.status_code} {answer.reason_phrase}: {detail}", hint=hint)


def _detail(body: str) -> tuple[str, str | None]:
    """The message and the hint of an error response."""
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body or "no reason given", None
    if not isinstance(problem, dict):
        return body, None
    hint = problem.get("hint")
    return str(problem.get("detail") or problem.get("message") or body), hint if isinstance(hint, str) else None
