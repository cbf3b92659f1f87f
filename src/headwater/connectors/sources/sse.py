"""Reads streams of server-sent events, such as Wikimedia's EventStreams or another Headwater: `connector: sse`.

How this works: a task reads the connection into a buffer of bounded size. A connection that ends is opened again with
the id of the last event that was read; one that fails is an error, which the job that reads the source shows, and after
which it opens the source again at what is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import httpx
import orjson

from headwater.backoff import Backoff
from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.connectors.source_spec import SourceContext, SourceSpec
from headwater.connectors.sources.over_http import check_written, headers_of, refusal_of, unreachable
from headwater.declaration import Declaration
from headwater.errors import PositionLost, SourceUnavailable, TokenInvalid
from headwater.event import get_path
from headwater.event_stream import Message, MessageParser, SubscriptionRefused
from headwater.futures import retrieve
from headwater.settings import REQUIRED, setting
from headwater.times import utc_milliseconds

AHEAD_EVENTS_MAX = 2_000
AHEAD_BYTES_MAX = 8_388_608
PAUSE_SECONDS_FIRST = 0.2
PAUSE_SECONDS_MAX = 15.0
RETRY_SECONDS_MAX = 60.0
CONNECT_SECONDS_MAX = 10.0
# So many connections, one after the other, that end within this time without an event are an error.
SHORT_CONNECTIONS_MAX = 4
SHORT_SECONDS = 1.0
# The parts of tokens: an id, a time, or neither.
ID, TIME, START = "id:", "at:", "start"


@dataclass(frozen=True, slots=True)
class SseOptions:
    """Which stream of events is read."""

    url: str = setting(
        REQUIRED,
        "The address, such as `https://stream.wikimedia.org/v2/stream/recentchange`.",
        starts_with=("http://", "https://"),
    )
    start: Literal["newest", "oldest"] = setting(
        "newest",
        "Where to begin: `newest` with what comes from now on, `oldest` with what the server still has (`since`).",
    )
    headers: Mapping[str, Any] = setting({}, "Headers of the requests.")
    secret_headers: Mapping[str, Any] = setting({}, "Headers that are secrets.", secret=True)
    events: tuple[str, ...] = setting(("message",), "The types of events that are taken.")
    idle_seconds_max: float = setting(
        120.0,
        "How long the server may send nothing, not even a comment, before the connection is opened again.",
        at_least=0.1,
        at_most=86_400,
    )


class _Read(NamedTuple):
    """A delivery, the token after it, and its size."""

    delivery: Delivery
    token: str
    size: int


class SseSource:
    """The events of one address; a token is the id of the last one. One task uses it."""

    features = SourceFeatures(seeks_time=True)

    def __init__(self, options: SseOptions, context: SourceContext) -> None:
        self._options = options
        self._event_bytes_max = context.event_bytes_max
        self._headers = headers_of(context, options.headers, options.secret_headers)
        self._read: deque[_Read] = deque()
        self._size = 0
        self._token = START
        # Set while the first connection has answered or failed, while there is something to read, and to write.
        self._answered, self._came, self._taken = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # The id that was read last, and how many messages without one followed it; how many came before any.
        self._last: tuple[str | None, int] = None, 0
        self._unnamed = 0

    async def partitions(self) -> Sequence[str]:
        return ("",)

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Raises TokenInvalid; whether the server answers is found when reading."""
        await self.close()
        if token is not None and not token.startswith((ID, TIME)) and token != START:
            raise TokenInvalid(f"{token[:80]!r} is no token of a stream of server-sent events.")
        # A server need not know `since`, so the first connection does without; one after it must not leave a gap.
        at_newest = token is None and self._options.start == "newest"
        self._token = f"{TIME}{int(time.time() * 1000)}" if at_newest else token or START
        self._answered.clear()
        reading = self._keep_reading(START if at_newest else self._token, self._token)
        self._task = asyncio.create_task(reading, name=f"events of {self._options.url}")
        self._task.add_done_callback(retrieve)

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """Raises SourceUnavailable, SourceRefused, and PositionLost if the server no longer has what comes next."""
        task = self._task
        if task is None:
            raise SourceUnavailable("The source is not open.")
        if not self._read:
            # What a server has comes with its first bytes.
            await self._until(self._answered, CONNECT_SECONDS_MAX)
            await self._until(self._came, wait_seconds)
        before, some = self._token, [self._read.popleft() for _ in range(min(deliveries_max, len(self._read)))]
        if not some and task.done() and not task.cancelled():
            task.result()
        if not self._read and not task.done():
            self._came.clear()
        self._size -= sum(one.size for one in some)
        self._taken.set()
        tokens = [before, *(one.token for one in some)]
        self._token = tokens[-1]

        def token_after(count: int) -> str:
            if not 0 <= count < len(tokens):
                raise ValueError(f"The batch has {len(tokens) - 1} deliveries, not {count}.")
            return tokens[count]

        return SourceBatch([one.delivery for one in some], token_after)

    async def confirm(self, token: str) -> None:
        """Does nothing: the server keeps events for as long as it is set up to."""

    async def token_at(self, timestamp_ms: int) -> str:
        return f"{TIME}{timestamp_ms}"

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        self._read.clear()
        self._came.clear()
        self._size = 0

    async def _until(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for `event` for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    async def _keep_reading(self, token: str, later: str) -> None:
        """Read one connection after the other, until one fails. Raises what `read` does.

        `token`: that of the first; `later`: that of the others, where no event had an id.
        """
        try:
            backoff = Backoff(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX)
            parser = self._parser(token)
            timeout = httpx.Timeout(CONNECT_SECONDS_MAX, read=self._options.idle_seconds_max)
            async with httpx.AsyncClient(timeout=timeout) as client:
                short = 0
                while short < SHORT_CONNECTIONS_MAX:
                    before, began = parser.last_id, time.monotonic()
                    await self._connection(client, token, parser)
                    token = later
                    if parser.last_id != before:
                        backoff.reset()
                    is_short = parser.last_id == before and time.monotonic() - began < SHORT_SECONDS
                    short = short + 1 if is_short else 0
                    pause = backoff.next_pause()
                    asked = min(parser.retry_seconds or 0.0, RETRY_SECONDS_MAX)
                    # An event that was cut off is sent again after the last id.
                    fresh = self._parser(token)
                    fresh.last_id, fresh.retry_seconds = parser.last_id, parser.retry_seconds
                    parser = fresh
                    await asyncio.sleep(max(pause, asked))
                raise SourceUnavailable(f"{self._options.url} ends each connection at once, without an event.")
        finally:
            self._answered.set()
            self._came.set()

    async def _connection(self, client: httpx.AsyncClient, token: str, parser: MessageParser) -> None:
        """Read one connection to its end."""
        url, headers = self._request(token, parser.last_id)
        self._last = parser.last_id, 0
        try:
            async with client.stream("GET", url, headers=headers) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise refusal_of(answer, await answer.aread())
                async for chunk in answer.aiter_raw():
                    for message in parser.feed(chunk):
                        await self._put(message)
                    self._answered.set()
        except (httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError):
            return  # it was silent for too long, or was cut off
        except httpx.HTTPError as error:
            raise unreachable(self._options.url, error) from None
        except SubscriptionRefused as error:
            raise SourceUnavailable(error.message) from None

    def _request(self, token: str, last_id: str | None) -> tuple[httpx.URL, dict[str, str]]:
        """The address and the headers that continue after `last_id`, or begin where `token` says."""
        headers = {**self._headers, "accept": "text/event-stream", "accept-encoding": "identity"}
        url = httpx.URL(self._options.url)
        if last_id:
            return url, {**headers, "last-event-id": last_id}
        if token.startswith(TIME):
            return url.copy_merge_params({"since": utc_milliseconds(int(token.removeprefix(TIME)))}), headers
        if self._options.start == "oldest":
            return url.copy_merge_params({"since": utc_milliseconds(0)}), headers
        return url, headers

    async def _put(self, message: Message) -> None:
        if message.event == "position-lost":
            raise PositionLost(f"{self._options.url} no longer has the events after the last one: {message.data[:300]}")
        if message.event == "error" and "error" not in self._options.events:
            raise SourceUnavailable(f"{self._options.url} reports an error: {message.data[:300]}")
        if message.event not in self._options.events:
            return
        while len(self._read) >= AHEAD_EVENTS_MAX or self._size >= AHEAD_BYTES_MAX:
            self._taken.clear()
            await self._taken.wait()
        raw = message.data.encode("utf-8", "surrogatepass")
        problem = f"The event is larger than {self._event_bytes_max:,} bytes." if message.is_cut else ""
        value = {} if message.is_cut else _object(raw)
        event_id = get_path(value, "meta.id")
        identity, token = self._place_of(message)
        delivery = Delivery(
            value,
            event_id if isinstance(event_id, str) else identity,
            None,
            int(time.time() * 1000),
            "",
            raw,
            problem,
        )
        self._read.append(_Read(delivery, token, len(raw)))
        self._size += len(raw)
        self._came.set()

    def _place_of(self, message: Message) -> tuple[str, str]:
        """What identifies a message, and the token after it. A server may give ids to some of them, or to none."""
        if message.id is None:
            at_ms, self._unnamed = int(time.time() * 1000), self._unnamed + 1
            return f"{TIME}{at_ms}:{self._unnamed}", f"{TIME}{at_ms}"
        before, count = self._last
        self._last = message.id, count + 1 if before == message.id else 0
        return f"{message.id}+{self._last[1]}" if self._last[1] else message.id, ID + message.id

    def _parser(self, token: str) -> MessageParser:
        parser = MessageParser(self._event_bytes_max)
        if token.startswith(ID):
            parser.last_id = token.removeprefix(ID)
        return parser


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _check(options: SseOptions, source: Declaration) -> None:
    check_written(options.url, options.headers, source)


SPEC = SourceSpec(
    name="sse",
    summary="Reads a stream of server-sent events, such as one of Wikimedia's EventStreams or of another Headwater.",
    options=SseOptions,
    make=SseSource,
    features=SseSource.features,
    check=_check,
    example="""\
connector: sse
url: https://stream.wikimedia.org/v2/stream/mediawiki.recentchange
stream: mediawiki.recentchange
""",
)
