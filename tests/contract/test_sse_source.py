"""Streams of server-sent events keep the contract of sources, whatever becomes of connections."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from headwater.connectors.contract import SourceBatch
from headwater.connectors.source_spec import SourceContext
from headwater.connectors.sources.sse import SseOptions, SseSource
from headwater.errors import PositionLost, SourceRefused, SourceUnavailable, TokenInvalid
from headwater.testing.suites.source import NewSource, Put, SourceSuite, event, numbers_of

TOPIC = "eqiad.edits"


class Upstream:
    """Serves events as EventStreams does: ids are positions in a topic, which `Last-Event-ID` and `since` resume."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.came = asyncio.Event()
        self.url = ""
        self.requests: list[dict[str, str]] = []
        # What the next requests are answered with instead, and after how many events a connection is cut.
        self.answers: list[bytes] = []
        self.cut_after: list[int] = []
        self.frames: list[bytes] = []
        self.is_closing = False
        self.serving: set[asyncio.Task[Any]] = set()

    def put(self, *events: Mapping[str, Any]) -> None:
        self.events += [orjson.dumps(one) for one in events]
        self.came.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            await self.answer(reader, writer)
        finally:
            self.serving.discard(task)
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            query = {name: values[0] for name, values in parse_qs(urlsplit(first.split()[1]).query).items()}
            self.requests.append({**headers, **query})
            if self.answers:
                writer.write(self.answers.pop(0))
            else:
                await self.stream(writer, self.start_of(headers, query))
            await writer.drain()

    def start_of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> int:
        if "last-event-id" in headers:
            return int(orjson.loads(headers["last-event-id"])[0]["offset"]) + 1
        return 0 if "since" in query else len(self.events)

    async def stream(self, writer: asyncio.StreamWriter, at: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:ok\n\nretry: 10\n\n")
        for frame in self.frames:
            writer.write(frame)
        left = self.cut_after.pop(0) if self.cut_after else None
        while not self.is_closing:
            for number in range(at, len(self.events)):
                if left == 0:
                    writer.write(b"event: message\nid: [{")  # in the middle of an event
                    return
                left = None if left is None else left - 1
                place = orjson.dumps([{"topic": TOPIC, "partition": 0, "offset": number}])
                writer.write(b"event: message\nid: " + place + b"\ndata: " + self.events[number] + b"\n\n")
                at = number + 1
            await writer.drain()
            self.came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.came.wait(), 0.02)
            writer.write(b":\n\n")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/stream/edits"
    yield made
    server.close()
    serving = list(made.serving)
    made.is_closing = True
    made.came.set()
    await asyncio.gather(*serving, return_exceptions=True)


def source_of(upstream: Upstream, tmp_path: Any, *, event_bytes_max: int = 4_194_304, **options: Any) -> SseSource:
    given = {"start": "oldest", **options}
    return SseSource(
        SseOptions(upstream.url, **given), SourceContext("s", tmp_path, event_bytes_max, "ops@example.org")
    )


async def some(source: SseSource, count: int) -> list[tuple[Any, str]]:
    """So many deliveries, each with its token."""
    found: list[tuple[Any, str]] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            batch = await source.read(deliveries_max=count - len(found), wait_seconds=5.0)
            found += [(one, batch.token_after(at)) for at, one in enumerate(batch.deliveries, 1)]
    return found


class TestSseSource(SourceSuite):
    implementations = (SseSource,)
    resumed_max = 3
    patience_seconds = 0.3

    @pytest.fixture
    def new_source(self, upstream: Upstream, tmp_path: Any) -> NewSource:
        return lambda: source_of(upstream, tmp_path)

    @pytest.fixture
    def put(self, upstream: Upstream) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            upstream.put(*events)

        return put


@pytest.mark.parametrize("seed", range(3))
async def test_connections_that_are_cut_anywhere_lose_and_repeat_nothing(
    upstream: Upstream, tmp_path: Any, seed: int
) -> None:
    chance = random.Random(seed)
    upstream.put(*map(event, range(60)))
    upstream.cut_after = [chance.randrange(1, 12) for _ in range(8)]
    source = source_of(upstream, tmp_path)
    await source.open(None)
    assert numbers_of(await some(source, 60)) == list(range(60))
    await source.close()
    assert len(upstream.requests) >= 6
    assert {request["accept-encoding"] for request in upstream.requests} == {"identity"}
    assert "ops@example.org" in upstream.requests[0]["user-agent"]


async def test_it_begins_with_the_newest_unless_asked_for_more(upstream: Upstream, tmp_path: Any) -> None:
    upstream.put(event(0))
    source = source_of(upstream, tmp_path, start="newest")
    await source.open(None)
    assert list((await source.read(deliveries_max=5, wait_seconds=0.3)).deliveries) == []
    upstream.put(event(1))
    assert numbers_of(await some(source, 1)) == [1]
    await source.close()
    await source.open(await source.token_at(1_767_225_600_000))
    await some(source, 2)
    await source.close()
    assert upstream.requests[-1]["since"] == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nbusy", SourceUnavailable),
        (b"HTTP/1.1 429 Slow down\r\ncontent-length: 0\r\n\r\n", SourceUnavailable),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", SourceRefused),
        (b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", SourceRefused),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", SourceRefused),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", PositionLost),
    ],
)
async def test_what_the_server_refuses_is_reported(
    upstream: Upstream, tmp_path: Any, answer: bytes, error: type[Exception]
) -> None:
    upstream.answers = [answer]
    upstream.put(event(0))
    source = source_of(upstream, tmp_path)
    await source.open(None)
    with pytest.raises(error) as raised:
        await source.read(deliveries_max=5, wait_seconds=10.0)
    if b"retry-after" in answer:
        assert raised.value.back_off_seconds == 7  # type: ignore[attr-defined]
    await source.open(None)
    assert numbers_of(await some(source, 1)) == [0]
    await source.close()


async def test_a_server_that_is_away_is_an_error_that_can_be_retried(tmp_path: Any) -> None:
    away = Upstream()
    away.url = "http://127.0.0.1:1/stream"
    source = source_of(away, tmp_path)
    await source.open(None)
    with pytest.raises(SourceUnavailable):
        await source.read(deliveries_max=5, wait_seconds=10.0)
    await source.close()


async def test_a_silent_connection_is_opened_again_and_comments_are_a_sign_of_life(
    upstream: Upstream, tmp_path: Any
) -> None:
    silent = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100\r\n\r\n:\n"
    upstream.answers = [silent]
    upstream.put(event(0))
    source = source_of(upstream, tmp_path, idle_seconds_max=0.3)
    await source.open(None)
    assert numbers_of(await some(source, 1)) == [0]
    opened = len(upstream.requests)
    assert list((await source.read(deliveries_max=1, wait_seconds=1.0)).deliveries) == []
    assert len(upstream.requests) == opened
    await source.close()


async def test_an_event_that_is_too_large_is_refused_and_the_rest_flows(upstream: Upstream, tmp_path: Any) -> None:
    upstream.put(event(0), event(1, text="x" * 300_000), event(2))
    source = source_of(upstream, tmp_path, event_bytes_max=100_000)
    await source.open(None)
    found = [delivery for delivery, _ in await some(source, 3)]
    assert [bool(one.problem) for one in found] == [False, True, False]
    assert found[1].raw.startswith(b'{"meta"')
    await source.close()


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b'event: position-lost\nid: x\ndata: {"message": "gone"}\n\n', PositionLost),
        (b'event: error\ndata: {"message": "bad"}\n\n', SourceUnavailable),
    ],
)
async def test_notices_of_the_server_are_errors(
    upstream: Upstream, tmp_path: Any, frame: bytes, error: type[Exception]
) -> None:
    upstream.frames = [frame]
    source = source_of(upstream, tmp_path)
    await source.open(None)
    with pytest.raises(error):
        await source.read(deliveries_max=5, wait_seconds=10.0)
    await source.close()


async def test_the_buffer_is_bounded_while_nobody_reads(upstream: Upstream, tmp_path: Any) -> None:
    upstream.put(*map(event, range(5_000)))
    source = source_of(upstream, tmp_path)
    await source.open(None)
    batch: SourceBatch = await source.read(deliveries_max=1, wait_seconds=10.0)
    await asyncio.sleep(0.3)
    assert len(source._read) <= 2_000
    assert numbers_of([(one, "") for one in batch.deliveries] + await some(source, 4_999)) == list(range(5_000))
    await source.close()


@pytest.mark.parametrize("token", ["", "x", "[1]", "hw1;edits:0=1"])
async def test_tokens_of_others_are_refused(upstream: Upstream, tmp_path: Any, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await source_of(upstream, tmp_path).open(token)


async def test_after_the_newest_was_asked_for_no_connection_leaves_a_gap(upstream: Upstream, tmp_path: Any) -> None:
    upstream.cut_after = [0]
    source = source_of(upstream, tmp_path, start="newest")
    await source.open(None)
    await source.read(deliveries_max=1, wait_seconds=0.0)
    upstream.put(event(0))
    assert numbers_of(await some(source, 1)) == [0]
    assert "since" not in upstream.requests[0], "not every server knows it"
    assert "since" in upstream.requests[1]
    await source.close()
    await source.open(None)
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    await source.close()
    upstream.put(event(1))
    await source.open(token)
    await some(source, 2)
    assert "since" in upstream.requests[-1]
    await source.close()


async def test_events_are_told_apart_although_a_server_gives_ids_to_some_of_them_or_to_none(
    upstream: Upstream, tmp_path: Any
) -> None:
    place = orjson.dumps([{"topic": TOPIC, "partition": 0, "offset": -1}]).decode()
    frames = ["data: {}\n\n", "data: {}\n\n", f"id: {place}\ndata: {{}}\n\n", "data: {}\n\n", "data: {}\n\n"]
    upstream.frames = [frame.encode() for frame in frames]
    source = source_of(upstream, tmp_path)
    await source.open(None)
    found = await some(source, 5)
    ids = [delivery.event_id for delivery, _ in found]
    assert len(set(ids)) == 5
    await source.close()
    upstream.frames = upstream.frames[3:]
    # Those that follow an id are the same ones when they are read again.
    await source.open(found[4][1])
    assert [delivery.event_id for delivery, _ in await some(source, 2)] == ids[3:]
    await source.close()
