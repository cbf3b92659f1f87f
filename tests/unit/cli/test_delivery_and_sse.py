"""The clients behind produce, replay and tail, against servers that are busy, broken or cut off."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.cli import delivery as delivery_module
from headwater.cli.delivery import Delivery, Line, intake_url
from headwater.cli.demo.edits import live_edits, synthetic_edits
from headwater.client import subscription
from headwater.client.subscription import Connecting, follow, follow_async
from headwater.errors import ConfigInvalid, LogUnavailable
from headwater.event_stream import Message, MessageParser, SubscriptionRefused

Answer = Callable[[bytes, bytes, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def _http(answer: Answer) -> AsyncIterator[str]:
    """A server that answers each request of a connection with what `answer` writes."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-l")), 0)
            await answer(head, await reader.readexactly(length), writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _response(status: str, body: object = None, *headers: str) -> bytes:
    data = b"" if body is None else orjson.dumps(body)
    extra = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(data)}\r\nconnection: close\r\n{extra}\r\n".encode() + data


def _lines(*events: object) -> list[Line]:
    return [Line(number, orjson.dumps(event)) for number, event in enumerate(events, 1)]


async def test_a_busy_server_is_asked_again_until_it_takes_the_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "PAUSE_SECONDS_FIRST", 0.01)
    statuses = ["503 Busy", "429 Slow", "507 Full", "201 All"]

    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_response(statuses.pop(0)))

    async with _http(answer) as address, Delivery(address) as delivery:
        await delivery.send(_lines({"a": 1}, {"a": 2}))
    assert (delivery.tally.accepted, delivery.tally.retries) == (2, 3)


async def test_a_server_that_stays_busy_is_given_up_and_the_events_count_as_not_stored() -> None:
    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_response("503 Busy"))

    async with _http(answer) as address, Delivery(address, patience_seconds=0.1) as delivery:
        with pytest.raises(LogUnavailable, match="503"):
            await delivery.send(_lines({"a": 1}))
    assert delivery.tally.failed == 1


async def test_only_the_events_that_could_not_be_stored_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "PAUSE_SECONDS_FIRST", 0.01)
    bodies: list[list[object]] = []
    errored = {"status": "error", "event": {"a": 2}, "context": {"message": "The log did not answer in time."}}
    unknown = {"status": "error", "event": {"a": 3}, "context": {"message": "event … in stream; x is not configured."}}
    first = _response("207 Some", {"invalid": [], "error": [errored, unknown]}, "retry-after: 0")

    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        bodies.append(orjson.loads(body))
        writer.write(first if len(bodies) == 1 else _response("201 All"))

    async with _http(answer) as address, Delivery(address) as delivery:
        await delivery.send(_lines({"a": 1}, {"a": 2}, {"a": 3}))
    assert bodies[1:] == [[{"a": 2}]]
    assert (delivery.tally.accepted, dict(delivery.tally.refused_by_code)) == (2, {"stream_unknown": 1})


async def test_refusals_lead_back_to_their_lines() -> None:
    refused = {"$schema": "/x", "n": 2, "meta": {"dt": "2026-01-01T00:00:00Z", "id": "1"}}
    context = {"errors": [{"dataPath": ".n"}], "errorsText": "'.n' should be text"}
    body = {"invalid": [{"status": "invalid", "event": refused, "context": context}], "error": []}

    async def answer(head: bytes, sent: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_response("207 Some", body))

    async with _http(answer) as address, Delivery(address) as delivery:
        await delivery.send(_lines({"$schema": "/x", "n": 1}, {"$schema": "/x", "n": 2}, {"$schema": "/x", "n": 3}))
    (refusal,) = delivery.tally.refusals
    assert (refusal.number, refusal.code, refusal.reason) == (2, "event_invalid", "'.n' should be text")


async def test_a_request_that_is_too_large_is_sent_in_halves() -> None:
    sizes: list[int] = []

    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        sizes.append(len(orjson.loads(body)))
        writer.write(_response("413 Large") if sizes[-1] > 2 else _response("201 All"))

    async with _http(answer) as address, Delivery(address) as delivery:
        await delivery.send(_lines(*({"a": n} for n in range(5))))
    assert (delivery.tally.accepted, sizes) == (5, [5, 2, 3, 1, 2])


async def test_a_line_that_is_not_json_is_refused_and_its_neighbours_are_not() -> None:
    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_response("201 All"))

    async with _http(answer) as address, Delivery(address) as delivery:
        await delivery.send([Line(1, b'{"a": 1}'), Line(2, b'{"a":'), Line(3, b"[1]"), Line(4, b'{"a": 4}')])
    assert delivery.tally.accepted == 2
    assert [(one.number, one.code) for one in delivery.tally.refusals] == [
        (2, "event_malformed"),
        (3, "event_malformed"),
    ]


def test_addresses_may_be_short() -> None:
    assert [intake_url(text) for text in ("localhost:8080", "http://h/", "http://h/base", "http://h/v2/events")] == [
        "http://localhost:8080/v1/events",
        "http://h/v1/events",
        "http://h/base/v1/events",
        "http://h/v2/events",
    ]
    with pytest.raises(ConfigInvalid):
        intake_url("ftp://h")


# ---- server-sent events --------------------------------------------------------------------------------------------

STREAM = (
    b": hello\n\nid: 1\ndata: one\n\nevent: note\r\nid: 2\r\ndata: two\r\ndata: lines\r\n\r\n"
    b"data: three\r\rid: 4\ndata\n\n"
)
MESSAGES = [
    Message("message", "one", "1"),
    Message("note", "two\nlines", "2"),
    Message("message", "three", "2"),
    Message("message", "", "4"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_messages_are_the_same_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    parser = MessageParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [m for a, b in itertools.pairwise(edges) for m in parser.feed(STREAM[a:b])]
    assert found == MESSAGES


def _first(address: str, count: int, connecting: Connecting) -> list[str]:
    """The data of the first messages, as a thread reads them."""
    with contextlib.closing(follow(address, connecting, threading.Event())) as messages:
        return [message.data for message in itertools.islice(messages, count)]


async def _first_async(address: str, count: int, connecting: Connecting) -> list[str]:
    found: list[str] = []
    async with contextlib.aclosing(follow_async(address, connecting)) as messages:
        async for message in messages:
            found.append(message.data)
            if len(found) == count:
                break
    return found


Reader = Callable[[str, int, Connecting], Awaitable[list[str]]]


@pytest.fixture(params=["thread", "asyncio"])
def first(request: pytest.FixtureRequest) -> Reader:
    if request.param == "asyncio":
        return _first_async
    return lambda address, count, connecting: asyncio.to_thread(_first, address, count, connecting)


async def test_a_lost_connection_is_resumed_after_the_last_whole_message(first: Reader) -> None:
    resumed: list[bytes | None] = []

    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        last = next(
            (h.split(b":")[1].strip() for h in head.split(b"\r\n") if h.lower().startswith(b"last-event-id")), None
        )
        resumed.append(last)
        start = int(last or 0) + 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nretry: 1\n\n")
        for number in range(start, start + 3):
            writer.write(b"id: %d\ndata: %d\n\n" % (number, number))
        writer.write(b"id: %d\ndata: half" % (start + 3))

    async with _http(answer) as address:
        found = await first(address, 8, Connecting())
    assert found == [str(number) for number in range(1, 9)]
    assert resumed == [None, b"3", b"6"]


async def test_a_refused_subscription_is_not_asked_for_again(first: Reader) -> None:
    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_response("404 Not Found", {"detail": 'No stream is called "x".'}))

    async with _http(answer) as address:
        with pytest.raises(SubscriptionRefused, match="No stream is called"):
            await first(address, 1, Connecting())


async def test_a_busy_server_is_asked_again_but_only_so_often(first: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "PAUSE_SECONDS_FIRST", 0.01)
    requests = []

    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        requests.append(head)
        writer.write(_response("503 Busy"))

    async with _http(answer) as address:
        with pytest.raises(LogUnavailable, match="503 Busy"):
            await first(address, 1, Connecting(attempts_max=3))
    assert len(requests) == 3


async def test_live_edits_become_edits_of_the_demo_and_canaries_do_not() -> None:
    change = {
        "meta": {"id": "b7b8ee1c-0f3a-4e0a-9d0a-1c2d3e4f5a6b", "domain": "de.wikipedia.org"},
        "type": "edit",
        "timestamp": 1_700_000_000,
        "wiki": "dewiki",
        "title": "Elbe",
        "user": "Ann",
        "bot": False,
        "length": {"old": 10, "new": 7},
        "comment": "",
    }
    canary = {**change, "meta": {**change["meta"], "domain": "canary"}}  # type: ignore[dict-item]

    async def answer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for one in (canary, {**change, "type": "log"}, change):
            writer.write(b"data: " + orjson.dumps(one) + b"\n\n")

    async with _http(answer) as address:
        edits = live_edits(address)
        async with contextlib.aclosing(edits):
            sample = await anext(edits)
    assert (sample.event["title"], sample.event["bytes"], sample.event["dt"]) == (
        "Elbe",
        -3,
        "2023-11-14T22:13:20.000Z",
    )


def test_synthetic_edits_are_the_same_for_the_same_seed() -> None:
    from datetime import UTC, datetime
    from itertools import islice

    start = datetime(2026, 1, 1, tzinfo=UTC)
    first, again = (list(islice(synthetic_edits(3, start, 1.0), 200)) for _ in range(2))
    assert first == again
    assert {sample.refused_as for sample in first} == {None, "event_invalid", "stream_unknown", "schema_not_found"}
