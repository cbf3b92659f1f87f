"""The HTTP sink keeps what the contract of a Sink promises, and sends the requests that its options describe."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import orjson
import pytest
from aiohttp import web

from headwater.connectors.contract import Delivery, EventShape, Sink
from headwater.connectors.isolated import IsolatedSink, isolated
from headwater.connectors.registry import sink_spec
from headwater.connectors.secrets import Secrets
from headwater.connectors.sinks.http.repeats import KEYS_MAX, Repeats
from headwater.connectors.sinks.http.requests import HttpOptions
from headwater.connectors.sinks.http.sink import HttpSink
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.testing.suites.event_sink import ANY, KEYED, EventSinkSuite, NewEventSink, Received, RefuseName, event


class Request(NamedTuple):
    """A request as a service got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Service:
    """A service that takes requests. `answers`: what it answers to a request, if not 200."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.answers: Callable[[Request], web.Response | None] = lambda request: None
        self.slow: Callable[[Request], float] = lambda request: 0.0
        self.at_once = 0
        self.at_once_max = 0

    async def take(self, request: web.Request) -> web.Response:
        found = Request(request.method, request.raw_path, dict(request.headers), await request.read())
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        await asyncio.sleep(self.slow(found))
        self.at_once -= 1
        answer = self.answers(found)
        if answer is None or answer.status < 300:
            self.requests.append(found)
        return answer or web.Response()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(request.body) for request in self.requests]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", service.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    service.url = f"http://{host}:{port}"
    yield service
    await runner.cleanup()


@pytest.fixture
async def opened(service: Service) -> AsyncIterator[Callable[..., Any]]:
    sinks: list[Sink] = []

    async def opened(shape: EventShape = ANY, **options: Any) -> HttpSink:
        if not {"url", "secret_url"} & options.keys():
            options["url"] = service.url
        sink = HttpSink(HttpOptions(**options), shape)
        sinks.append(sink)
        await sink.open()
        return sink

    yield opened
    for sink in sinks:
        await sink.close()


class TestHttpSink(EventSinkSuite):
    implementations = (HttpSink,)

    @pytest.fixture
    def new_sink(self, service: Service) -> NewEventSink:
        return lambda shape: HttpSink(HttpOptions(url=f"{service.url}/events"), shape)

    @pytest.fixture
    def received(self, service: Service) -> Received:
        return lambda: service.events

    @pytest.fixture
    async def refuse(self, service: Service) -> RefuseName:
        async def refuse(name: str) -> None:
            service.answers = lambda request: (
                web.Response(status=422, text="no such name") if orjson.loads(request.body)["name"] == name else None
            )

        return refuse


class TestSinkOnItsOwnThread(EventSinkSuite):
    implementations = (IsolatedSink,)

    @pytest.fixture
    def new_sink(self, service: Service) -> NewEventSink:
        options = HttpOptions(url=f"{service.url}/events")
        return lambda shape: isolated(lambda: HttpSink(options, shape), "any", seconds_max=60.0, secrets=Secrets([]))

    @pytest.fixture
    def received(self, service: Service) -> Received:
        return lambda: service.events


async def test_the_address_headers_and_body_have_fields_of_the_event(service: Service, opened: Any) -> None:
    sink = await opened(
        url=f"{service.url}/wiki/{{name}}?n={{number}}",
        method="PUT",
        headers={"X-Of": "{meta.id} é"},
        authorization="Bearer s3cret",
        body={"text": "{{{name}}} has {number}", "number": "{number}", "all": "{tags}", "same": [1, "{name}"]},
    )
    await sink.write([event("a/b ?&é", 7, tags={"x": [None]})], "token")
    (request,) = service.requests
    assert (request.method, request.path) == ("PUT", "/wiki/a%2Fb%20%3F%26%C3%A9?n=7")
    assert request.headers["X-Of"] == "a/b ?&%C3%A9-7 %C3%A9"
    assert request.headers["Authorization"] == "Bearer s3cret"
    assert request.headers["Content-Type"] == "application/json"
    assert orjson.loads(request.body) == {
        "text": "{a/b ?&é} has 7",
        "number": 7,
        "all": {"x": [None]},
        "same": [1, "a/b ?&é"],
    }


async def test_the_whole_address_may_be_a_field_of_allowed_hosts(service: Service, opened: Any) -> None:
    sink = await opened(url="{meta.uri}", hosts=("127.0.0.1", ".wiki.example"), method="PURGE")
    uris = [
        f"{service.url}/wiki/A%2FB?x=1#part",
        "http://other.example/wiki/C",
        "http://127.0.0.1.other.example/",
        "ftp://127.0.0.1/",
        "http://127.0.0.1/a\r\nX: y",
        None,
    ]
    with pytest.raises(WriteIncomplete) as incomplete:
        await sink.write([Delivery({"meta": {"uri": uri}}) for uri in uris], "token")
    assert sorted(incomplete.value.rejected) == [1, 2, 3, 4, 5]
    assert "other.example" in str(incomplete.value.rejected[1])
    (request,) = service.requests
    assert (request.method, request.path, request.body) == ("PURGE", "/wiki/A%2FB?x=1", b"")
    with pytest.raises(EventMalformed, match=r"meta\.uri"):
        sink.check(Delivery({"meta": {}}))


async def test_bodies_are_signed_and_events_named(service: Service, opened: Any) -> None:
    sink = await opened(sign_with="key")
    await sink.write([event("a", 1)], "token")
    (request,) = service.requests
    digest = hmac.new(b"key", request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-Signature-256"] == f"sha256={digest}"
    assert request.headers["Idempotency-Key"] == "a-1"


@pytest.mark.parametrize(
    ("status", "becomes"),
    [(200, "sent"), (204, "sent"), (301, "rejected"), (400, "rejected"), (404, "sent"), (409, "rejected")]
    + [(status, "retried") for status in (408, 425, 500, 502, 504)],
)
async def test_the_status_decides_about_an_event(service: Service, opened: Any, status: int, becomes: str) -> None:
    service.answers = lambda request: web.Response(status=status, text="why") if b'"b"' in request.body else None
    sink = await opened(KEYED, succeed_on=(404,))
    some = [event("b", 1), event("a", 1), event("b", 2)]
    if becomes == "sent":
        await sink.write(some, "token")
        return
    with pytest.raises(WriteIncomplete) as incomplete:
        await sink.write(some, "token")
    found = incomplete.value
    assert (sorted(found.rejected), found.retry) == (([0, 2], ()) if becomes == "rejected" else ([], (0, 2)))
    assert str(status) in str(found)
    assert [one["name"] for one in service.events] == ["a"]


@pytest.mark.parametrize(("after", "seconds"), [(None, 1.0), ("7", 7.0), ("100", 100.0), ("soon", 1.0)])
async def test_a_service_that_asks_for_time_is_left_alone(
    service: Service, opened: Any, after: str | None, seconds: float
) -> None:
    service.answers = lambda request: web.Response(status=429, headers={"Retry-After": after} if after else {})
    sink = await opened(concurrency=1)
    with pytest.raises(SinkUnavailable) as unavailable:
        await sink.write([event("a", number) for number in range(20)], "token")
    assert not isinstance(unavailable.value, WriteIncomplete)
    assert unavailable.value.back_off_seconds == seconds


async def test_a_service_that_is_away_is_unavailable_and_its_secrets_are_not_shown(opened: Any) -> None:
    sink = await opened(secret_url="http://127.0.0.1:1/hook/s3cret")
    with pytest.raises(SinkUnavailable) as unavailable:
        await sink.write([event("a", 1)], "token")
    assert "s3cret" not in str(unavailable.value)
    assert not isinstance(unavailable.value, WriteIncomplete)


async def test_a_service_that_hangs_does_not_hold_a_write_for_long(service: Service, opened: Any) -> None:
    service.slow = lambda request: 5.0
    sink = await opened(timeout_seconds=0.1, concurrency=2)
    began = time.monotonic()
    with pytest.raises(SinkUnavailable, match=r"within 0\.1 s"):
        await sink.write([event("a", number) for number in range(500)], "token")
    assert time.monotonic() - began < 5


async def test_no_more_requests_are_under_way_or_begun_than_allowed(service: Service, opened: Any) -> None:
    service.slow = lambda request: 0.01
    sink = await opened(concurrency=3, requests_per_second_max=100)
    began = time.monotonic()
    await sink.write([event("a", number) for number in range(21)], "token")
    assert time.monotonic() - began >= 0.19
    assert 1 <= service.at_once_max <= 3
    assert len(service.requests) == 21


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "either `url` or `secret_url`"),
        ({"url": "https://a.example/{}"}, "no field"),
        ({"url": "https://a.example/{id"}, "no field"),
        ({"url": "a.example/{id}"}, "http"),
        ({"url": "{meta.uri}"}, "hosts"),
        ({"url": "https://{host}/x"}, "hosts"),
        ({"url": "https://a.example{path}"}, "hosts"),
        ({"url": "https://me:word@a.example/"}, "password"),
        ({"url": "https://a.example/", "method": "get"}, "method"),
        ({"url": "https://a.example/", "headers": {"a b": "x"}}, "header"),
        ({"url": "https://a.example/", "headers": {"Authorization": "x"}}, "secret"),
        ({"url": "https://a.example/", "headers": {"X-Api-Key": "x"}}, "`X-Api-Key: ${env:NAME}`"),
        ({"url": "https://a.example/", "headers": {"Cookie": "x"}}, "secret_headers"),
        ({"url": "https://a.example/", "authorization": "Bearer x"}, "reference"),
        ({"url": "https://a.example/", "secret_headers": {"X-Api-Key": "x"}}, "secret_headers.X-Api-Key is a secret"),
        ({"url": "https://a.example/", "secret_headers": {"a b": "${env:A}"}}, "no name of a header"),
        ({"url": "https://a.example/", "secret_headers": {"Authorization": "${env:A}"}}, "`authorization`"),
        ({"url": "https://a.example/", "headers": {"x-a": "1"}, "secret_headers": {"X-A": "${env:A}"}}, "twice"),
        ({"url": "https://a.example/", "methd": "POST"}, 'Did you mean "method"'),
    ],
)
def test_options_that_no_request_can_be_made_from_are_refused(written: dict[str, Any], message: str) -> None:
    source = Declaration("streams/a.yaml", {"sinks": [written]}, {})
    with pytest.raises(ConfigInvalid) as refused:
        sink_spec("http").read(written, source, ("sinks", 0))
    assert message in f"{refused.value} {refused.value.hint}"


async def test_secret_headers_are_sent_as_they_are_and_shown_by_no_error(service: Service, opened: Any) -> None:
    sink = await opened(headers={"X-Of": "{name}"}, secret_headers={"X-Api-Key": "k3y {name}"})
    await sink.write([event("a", 1)], "token")
    (request,) = service.requests
    assert (request.headers["X-Of"], request.headers["X-Api-Key"]) == ("a", "k3y {name}")
    service.answers = lambda request: web.Response(status=400, text=f"refused {request.headers['X-Api-Key']}")
    with pytest.raises(WriteIncomplete) as incomplete:
        await sink.write([event("a", 2)], "token")
    (reason,) = incomplete.value.rejected.values()
    assert "refused ***" in str(reason)
    assert "k3y" not in repr((sink.__dict__, incomplete.value, str(reason)))


async def test_a_secret_header_that_cannot_be_sent_is_refused_without_its_value(service: Service, opened: Any) -> None:
    with pytest.raises(ConfigInvalid, match="The secret header X-Api-Key contains control characters") as refused:
        await opened(secret_headers={"X-Api-Key": "k3y\nX-Other: 1"})
    assert "k3y" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ([{"name": "{name}"}, "{number}", 1], b'[{"name":"a \\"b\\""},7,1]', "application/json"),
        ([], b"[]", "application/json"),
        ('{name}, "{number}" {{x}}', b'a "b", "7" {x}', "text/plain; charset=utf-8"),
        ({}, b"{}", "application/json"),
    ],
)
async def test_a_body_is_an_object_a_list_or_a_text(
    body: Any, sent: bytes, kind: str, service: Service, opened: Any
) -> None:
    sink = await opened(body=body)
    await sink.write([event('a "b"', 7)], "token")
    (request,) = service.requests
    assert (request.body, request.headers["Content-Type"]) == (sent, kind)


def told(*names: str | None, start: int = 0) -> list[Delivery]:
    return [
        Delivery({"meta": {"id": f"{start + number}"}, **({} if name is None else {"name": name})})
        for number, name in enumerate(names)
    ]


async def test_what_was_sent_lately_is_left_out(service: Service, opened: Any) -> None:
    sink = await opened(EventShape("any", key=("name",)), repeat_after_seconds=3600)
    await sink.write(told("a", "a", "b", None, None), "1")
    await sink.write(told("b", "a", "c", start=10), "2")
    assert sorted(str(one.get("name")) for one in service.events) == ["None", "None", "a", "b", "c"]
    # What has not been taken is sent again.
    service.answers = lambda request: web.Response(status=503)
    with pytest.raises(SinkUnavailable):
        await sink.write(told("d"), "3")
    service.answers = lambda request: None
    await sink.write(told("d", "d"), "3")
    assert [one["name"] for one in service.events if "name" in one].count("d") == 1


async def test_without_a_key_it_is_the_id_that_is_left_out(service: Service, opened: Any) -> None:
    sink = await opened(repeat_after_seconds=3600)
    await sink.write([*told("a", "a"), *told("b")], "1")
    await sink.write(told("a"), "2")
    assert sorted((one["meta"]["id"], one["name"]) for one in service.events) == [("0", "a"), ("1", "a")]


async def test_after_the_time_it_is_sent_again(service: Service, opened: Any) -> None:
    sink = await opened(EventShape("any", key=("name",)), repeat_after_seconds=0.05)
    await sink.write(told("a"), "1")
    await asyncio.sleep(0.06)
    await sink.write(told("a"), "2")
    assert len(service.events) == 2


def test_only_so_many_keys_are_remembered() -> None:
    now = [0.0]
    repeats = Repeats(10.0, lambda: now[0])
    for number in range(KEYS_MAX + 1):
        repeats.sent(str(number).encode())
    assert [repeats.is_repeat(key) for key in (b"0", b"1")] == [False, True]
    now[0] = 10.0
    assert not repeats.is_repeat(b"1")
