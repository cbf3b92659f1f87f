"""Reads server-sent events over HTTP and resumes after a lost connection; for tail and the live demo."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

import httpx

from headwater.backoff import Backoff
from headwater.errors import HeadwaterError, LogUnavailable

LINE_BYTES_MAX = 33_554_432
# In milliseconds: a longer pause than this is ignored.
RETRY_DIGITS_MAX = 9
PAUSE_SECONDS_FIRST = 0.5
PAUSE_SECONDS_MAX = 15.0
PAUSE_SPREAD = (0.7, 1.3)
SILENCE_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched event: its type, its data, and the id to resume after it."""

    event: str
    data: str
    id: str | None


STREAMS_HINT = "List the project's streams with `headwater streams list`; restart the server after adding one."


class SubscriptionRefused(HeadwaterError):
    """The server refused this subscription, and a retry would be refused again."""

    code = "subscription_refused"


class MessageParser:
    """The line protocol of server-sent events, fed with bytes cut anywhere."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.retry_seconds: float | None = None
        self._rest = bytearray()
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages completed by `chunk`. Raises SubscriptionRefused for a line without end."""
        messages: list[Message] = []
        is_ended = self._rest.endswith(b"\r") or b"\n" in chunk or b"\r" in chunk
        self._rest += chunk
        if not is_ended:
            # A long line that arrives in many pieces is searched only once.
            self._require_end()
            return messages
        # A lone CR also ends a line, but may be half of CRLF: the last byte of a chunk waits for the next one.
        end = len(self._rest) - (1 if self._rest.endswith(b"\r") else 0)
        text = bytes(self._rest[:end])
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = bytearray(lines.pop()) + self._rest[end:]
        self._require_end()
        for line in lines:
            message = self._line(line.decode("utf-8", "replace"))
            if message is not None:
                messages.append(message)
        return messages

    def _require_end(self) -> None:
        if len(self._rest) > LINE_BYTES_MAX:
            raise SubscriptionRefused(f"The server sent a line of more than {LINE_BYTES_MAX} bytes.")

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= RETRY_DIGITS_MAX:
            self.retry_seconds = int(value) / 1000
        return None

    def _dispatch(self) -> Message | None:
        if self._id is not None:
            self.last_id = self._id
        message = Message(self._event or "message", "\n".join(self._data), self.last_id) if self._data else None
        self._event, self._data = "", []
        return message


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
