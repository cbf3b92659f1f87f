"""Services that are polled keep the contract of sources: pages, cursors, validators, repeats and interrupted polls."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from headwater.connectors.source_spec import SourceContext
from headwater.connectors.sources.http_poll import HttpPollOptions, HttpPollSource
from headwater.errors import SourceRefused, SourceUnavailable, TokenInvalid
from headwater.testing.suites.source import NewSource, Put, SourceSuite, event, numbers_of

PAGE = 7
Reply = tuple[int, Mapping[str, str], bytes]


class Service:
    """Answers with the events that it has, in the way that a test asks for."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.requests: list[tuple[dict[str, str], dict[str, str], bytes]] = []
        self.url = ""
        self.replies: list[Reply] = []
        self.how: Callable[[dict[str, str], dict[str, str]], Reply] = self.whole

    def whole(self, query: dict[str, str], headers: dict[str, str]) -> Reply:
        return 200, {}, orjson.dumps(self.events)

    def pages(self, query: dict[str, str], headers: dict[str, str]) -> Reply:
        page = int(query["page"])
        return 200, {}, orjson.dumps({"data": {"rows": self.events[(page - 1) * PAGE : page * PAGE]}})

    def links(self, query: dict[str, str], headers: dict[str, str]) -> Reply:
        at = int(query.get("at", 0))
        following = {"link": f'<{self.url}?at={at + PAGE}>; rel="next"'} if at + PAGE < len(self.events) else {}
        return 200, following, orjson.dumps(self.events[at : at + PAGE])

    def following(self, query: dict[str, str], headers: dict[str, str]) -> Reply:
        at = int(query.get("at", 0))
        more = f"/items?at={at + PAGE}" if at + PAGE < len(self.events) else None
        return 200, {}, orjson.dumps({"items": self.events[at : at + PAGE], "next": more})

    def since(self, query: dict[str, str], headers: dict[str, str]) -> Reply:
        # The events at the cursor are among them, as many services do it.
        rows = [one for one in self.events if one["number"] >= int(query["since"] or -1)]
        return 200, {}, orjson.dumps({"rows": rows[:PAGE]})

    def validated(self, query: dict[str, str], headers: dict[str, str]) -> Reply:
        tag = f'"{len(self.events)}"'
        if headers.get("if-none-match") == tag:
            return 304, {}, b""
        return 200, {"etag": tag}, orjson.dumps(self.events)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            given = parse_qs(urlsplit(first.split()[1]).query, keep_blank_values=True)
            query = {name: values[0] for name, values in given.items()}
            self.requests.append((query, headers, body))
            status, more, content = self.replies.pop(0) if self.replies else self.how(query, headers)
            shown = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            size = "" if status == 304 else f"content-length: {len(content)}\r\n"
            writer.write(f"HTTP/1.1 {status} X\r\n{shown}{size}connection: close\r\n\r\n".encode() + content)
            await writer.drain()
        writer.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/items"
    async with server:
        yield made


WAYS: Mapping[str, Mapping[str, Any]] = {
    "whole": {},
    "pages": {"items": "data.rows", "page_parameter": "page"},
    "links": {"next": "link"},
    "following": {"items": "items", "next": "next"},
    "since": {"items": "rows", "cursor": "number", "query": {"since": "{cursor}"}},
    "validated": {},
}


def source_of(service: Service, tmp_path: Any, **options: Any) -> HttpPollSource:
    given = {"every_seconds": 0.05, **options}
    return HttpPollSource(HttpPollOptions(service.url, **given), SourceContext("s", tmp_path))


async def some(source: HttpPollSource, count: int, *, at_once: int = 1000) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            batch = await source.read(deliveries_max=min(at_once, count - len(found)), wait_seconds=5.0)
            found += [(one, batch.token_after(at)) for at, one in enumerate(batch.deliveries, 1)]
    return found


class TestHttpPollSource(SourceSuite):
    implementations = (HttpPollSource,)
    resumed_max = 4
    patience_seconds = 0.2

    @pytest.fixture
    def new_source(self, service: Service, tmp_path: Any) -> NewSource:
        return lambda: source_of(service, tmp_path)

    @pytest.fixture
    def put(self, service: Service) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            service.events = [*service.events, *events]

        return put


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_of_paging_delivers_each_item_once_whatever_token_it_is_resumed_from(
    service: Service, tmp_path: Any, way: str
) -> None:
    chance = random.Random(way)
    service.how = getattr(service, way)
    service.events = [event(number) for number in range(20)]
    source = source_of(service, tmp_path, **WAYS[way])
    await source.open(None)
    found = await some(source, 20, at_once=3)
    assert sorted(numbers_of(found)) == list(range(20))
    await source.close()
    service.events = [*service.events, event(20), event(21)]
    for at in chance.sample(range(20), 4):
        await source.open(found[at][1])
        assert sorted(numbers_of(await some(source, 21 - at))) == sorted([*numbers_of(found[at + 1 :]), 20, 21])
        assert list((await source.read(deliveries_max=9, wait_seconds=0.2)).deliveries) == []
        await source.close()


async def test_an_unchanged_answer_is_not_sent_again(service: Service, tmp_path: Any) -> None:
    service.how = service.validated
    service.events = [event(0)]
    source = source_of(service, tmp_path)
    await source.open(None)
    ((_, token),) = await some(source, 1)
    await source.read(deliveries_max=1, wait_seconds=0.3)
    await source.close()
    assert [headers.get("if-none-match") for _, headers, _ in service.requests][:2] == [None, '"1"']
    assert token


async def test_items_without_ids_are_new_at_each_poll_and_an_interrupted_poll_is_resumed(
    service: Service, tmp_path: Any
) -> None:
    service.events = [{"number": 1}, {"number": 1}, {"number": 2}]
    source = source_of(service, tmp_path)
    await source.open(None)
    first = await some(source, 2, at_once=1)
    await source.close()
    await source.open(first[-1][1])
    rest = await some(source, 4)
    assert numbers_of(first) + numbers_of(rest) == [1, 1, 2, 1, 1, 2]
    ids = [one.event_id for one, _ in (*first, *rest)]
    assert len(set(ids)) == len(ids)
    await source.close()


async def test_one_object_is_one_event_and_what_is_no_object_is_delivered_as_it_is(
    service: Service, tmp_path: Any
) -> None:
    service.how = lambda query, headers: (200, {}, b'{"status": "up"}')
    source = source_of(service, tmp_path, every_seconds=3600)
    await source.open(None)
    ((one, _),) = await some(source, 1)
    assert one.value == {"status": "up"}
    await source.close()
    service.how = lambda query, headers: (200, {}, b'[5, "x", null, {"a": 1}]')
    await source.open(None)
    assert [one.raw for one, _ in await some(source, 4)] == [b"5", b'"x"', b"null", b""]
    await source.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((503, {"retry-after": "9"}, b""), SourceUnavailable),
        ((429, {}, b""), SourceUnavailable),
        ((401, {}, b"no"), SourceRefused),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), SourceRefused),
        ((200, {}, b"<html>"), SourceUnavailable),
        ((200, {}, b"[" + b"1," * 1_000_000 + b"1]"), SourceRefused),
    ],
)
async def test_what_the_service_refuses_is_an_error_and_nothing_is_lost(
    service: Service, tmp_path: Any, reply: Reply, error: type[Exception]
) -> None:
    service.events = [event(0)]
    service.replies = [reply]
    source = source_of(service, tmp_path, answer_bytes_max=100_000)
    await source.open(None)
    with pytest.raises(error) as raised:
        await source.read(deliveries_max=5, wait_seconds=5.0)
    if "retry-after" in reply[1]:
        assert raised.value.back_off_seconds == 9  # type: ignore[attr-defined]
    assert numbers_of(await some(source, 1)) == [0]
    await source.close()


async def test_items_that_are_not_where_they_should_be_are_reported(service: Service, tmp_path: Any) -> None:
    source = source_of(service, tmp_path, items="data.rows")
    await source.open(None)
    with pytest.raises(SourceRefused, match=r"data\.rows"):
        await source.read(deliveries_max=5, wait_seconds=5.0)
    await source.close()


async def test_secrets_are_not_sent_to_another_host(service: Service, tmp_path: Any) -> None:
    service.how = lambda query, headers: (200, {}, b'{"items": [{"a": 1}], "next": "http://other.example/x"}')
    source = source_of(service, tmp_path, items="items", next="next", secret_headers={"authorization": "Bearer x"})
    await source.open(None)
    await some(source, 1)
    with pytest.raises(SourceRefused, match=r"other\.example"):
        await source.read(deliveries_max=5, wait_seconds=5.0)
    await source.close()
    assert service.requests[0][1]["authorization"] == "Bearer x"


async def test_the_next_poll_is_due_after_the_last_one_also_after_a_restart(service: Service, tmp_path: Any) -> None:
    service.events = [event(0)]
    source = source_of(service, tmp_path, every_seconds=3600)
    await source.open(None)
    await some(source, 1)
    token = (await source.read(deliveries_max=1, wait_seconds=0.1)).token
    await source.close()
    await source.open(token)
    assert list((await source.read(deliveries_max=1, wait_seconds=0.2)).deliveries) == []
    await source.close()
    assert len(service.requests) == 1


async def test_the_body_and_the_query_have_the_cursor(service: Service, tmp_path: Any) -> None:
    service.events = [event(4), event(9), event(7)]
    source = source_of(service, tmp_path, method="POST", body='{"after": {cursor}}', cursor="number", cursor_start="0")
    await source.open(None)
    await some(source, 3)
    await source.read(deliveries_max=1, wait_seconds=0.3)
    await source.close()
    assert [body for _, _, body in service.requests][:2] == [b'{"after": 0}', b'{"after": 9}']


@pytest.mark.parametrize("token", ["", "x", "bm8", "eyJhIjoxfQ", "no token"])
async def test_tokens_of_others_are_refused(service: Service, tmp_path: Any, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await source_of(service, tmp_path).open(token)


def test_a_schedule_needs_its_library_and_a_cron_expression(service: Service, tmp_path: Any) -> None:
    source = source_of(service, tmp_path, schedule="*/5 * * * *")
    assert source._due(1_767_225_601.0) == 1_767_225_900.0
    with pytest.raises(SourceRefused, match="cron"):
        source_of(service, tmp_path, schedule="every day")
