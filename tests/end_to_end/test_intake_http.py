"""Events over real HTTP: what a client sends, what it is answered, and what is in the log afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from headwater.config import load_config
from headwater.consumption.hub import StreamHub
from headwater.control.stream_control import StreamControl
from headwater.errors import LogFull, LogUnavailable
from headwater.intake import Intake
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually
from headwater.testing.faulty_log import FaultyLog
from headwater.testing.notes import NOTES, note, note_schema, write_notes
from headwater.web.server import serving

SCHEMA = note_schema(
    meta_texts=("stream", "id", "dt", "request_id"),
    http={"type": "object", "properties": {"client_ip": {"type": "string"}}},
)
FIXED = {"id": "fixed", "request_id": "fixed", "dt": "2026-01-01T00:00:00Z"}
SETTINGS = {
    "web": {"port": 0},
    "log": {"durability": "os"},
    "intake": {"request_bytes_max": 100_000, "request_events_max": 1000, "test_events": []},
}


def made_platform(directory: Path, **intake: Any) -> Platform:
    write_notes(directory, SCHEMA, [{**NOTES, "produce": {"headers": {"meta.request_id": "x-request-id"}}}])
    settings = SETTINGS | {"intake": SETTINGS["intake"] | intake}  # type: ignore[operator]
    return build(load_config(directory, environment={}, overrides=settings))


def with_faulty_log(directory: Path) -> tuple[Platform, FaultyLog]:
    """A platform on a log whose appends fail or wait when a test says so."""
    platform, log = made_platform(directory), FaultyLog()
    platform.log = log
    platform.intake = Intake(platform.gate, log, platform.config.intake, platform.telemetry)
    platform.control = StreamControl(log, platform.streams, platform.telemetry, platform._use_streams)
    platform.hub = StreamHub(log, platform.streams, platform.config.consumption, platform.telemetry)
    return platform, log


@contextlib.asynccontextmanager
async def running(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    await platform.start()
    try:
        async with serving(platform) as address, httpx.AsyncClient(base_url=address, trust_env=False) as client:
            yield client
    finally:
        await platform.stop()


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return made_platform(tmp_path)


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with running(platform) as client:
        yield client


async def stored(platform: Platform, topic: str = "notes") -> list[Any]:
    return [orjson.loads(record.value) for record in await platform.log.read(await platform.log.first([topic]))]


async def exchange(client: httpx.AsyncClient, *parts: bytes, pause: float = 0.02) -> bytes:
    """Send bytes as they are, with a pause between the parts, and read until the server closes."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def post(body: bytes, *headers: str, path: str = "/v1/events", close: bool = False) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [*headers, *(["connection: close"] if close else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("path", ["/v1/events", "/v2/events", "/V1/Events/"])
async def test_an_event_is_in_the_log_when_it_is_answered(
    client: httpx.AsyncClient, platform: Platform, path: str
) -> None:
    response = await client.post(path, json=note("a"))
    assert (response.status_code, response.reason_phrase) == (201, "All 1 out of 1 events were accepted.")
    (event,) = await stored(platform)
    assert event["text"] == "a"
    assert set(event["meta"]) == {"stream", "id", "dt", "request_id"}


async def test_a_batch_keeps_its_order_and_names_what_was_refused(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    response = await client.post("/v1/events", json=[note("a"), note(1), note("b"), note("c", stream="nope")])
    assert response.status_code == 207
    assert response.reason_phrase == "2 out of 4 events were accepted, but 2 failed (1 invalid and 1 errored)."
    answer = response.json()
    assert answer["invalid"][0]["context"]["errorsText"] == "'.text' should be string"
    assert answer["error"][0]["context"]["message"].endswith("is not allowed in stream; nope is not configured.")
    assert [event["text"] for event in await stored(platform)] == ["a", "b"]
    assert len(await stored(platform, "headwater-intake.error.validation")) == 2


@pytest.mark.parametrize(
    ("content_type", "encoding", "pack"),
    [
        ("text/plain;charset=UTF-8", None, bytes),
        ("application/reports+json", None, bytes),
        ("Application/JSON; charset=utf-8", "gzip", gzip.compress),
        ("application/json", "gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
        ("application/json", "deflate", zlib.compress),
        ("application/json", "deflate", lambda body: zlib.compress(body)[2:-4]),
        ("application/json", "identity", bytes),
        ("application/json; charset=utf-16", None, lambda body: body.decode().encode("utf-16")),
        ("application/json", None, lambda body: b"\xef\xbb\xbf" + body),
        ("application/json", None, lambda body: b" \r\n\t" + body + b"\n"),
    ],
)
async def test_bodies_in_many_forms_are_understood(
    client: httpx.AsyncClient, platform: Platform, content_type: str, encoding: str | None, pack: Any
) -> None:
    headers = {"content-type": content_type} | ({"content-encoding": encoding} if encoding else {})
    response = await client.post("/v1/events", content=pack(orjson.dumps(note("ä ✓"))), headers=headers)
    assert response.status_code == 201, response.text
    assert [event["text"] for event in await stored(platform)] == ["ä ✓"]


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{nonsense", {}, 400, "event_malformed"),
        (b'"text"', {}, 400, "event_malformed"),
        (b'{"a":1}\n{"b":2}', {}, 400, "event_malformed"),
        (b'{"a":NaN}', {}, 400, "event_malformed"),
        (b"[" * 100_000, {}, 400, "event_malformed"),
        (b"not gzip", {"content-encoding": "gzip"}, 400, "event_malformed"),
        (gzip.compress(b"{}" * 1000)[:-20], {"content-encoding": "gzip"}, 400, "event_malformed"),
        (b"{}", {"content-encoding": "br"}, 415, "content_unsupported"),
        (b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415, "content_unsupported"),
        (b"{}", {"content-type": "application/json; charset=koi8-r"}, 415, "content_unsupported"),
        (b" " * 100_001, {}, 413, "request_too_large"),
        (b"[" + b"{}," * 1001 + b"{}]", {}, 413, "request_too_large"),
        (gzip.compress(b" " * 100_000_000), {"content-encoding": "gzip"}, 413, "request_too_large"),
    ],
)
async def test_bodies_that_are_no_events_are_the_clients_fault(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = await client.post("/v1/events", content=content, headers={"content-type": "application/json"} | headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert (document["type"], document["status"], document["uri"]) == (code, status, "/v1/events")


async def test_a_body_of_exactly_the_limit_is_taken_and_a_chunked_one_over_it_is_not(
    client: httpx.AsyncClient,
) -> None:
    headers = {"content-type": "application/json"}
    body = orjson.dumps(note())
    assert (await client.post("/v1/events", content=body.ljust(100_000), headers=headers)).status_code == 201

    async def chunks(size: int) -> AsyncIterator[bytes]:
        yield body
        for _ in range(size // 1000):
            yield b" " * 1000

    assert (await client.post("/v1/events", content=chunks(90_000), headers=headers)).status_code == 201
    assert (await client.post("/v1/events", content=chunks(110_000), headers=headers)).status_code == 413


@pytest.mark.parametrize(
    ("query", "status"),
    [("hasty=true", 202), ("hasty=1", 202), ("hasty", 400), ("hasty=", 400), ("hasty=false", 400), ("hasty=0", 400)],
)
async def test_hasty_is_answered_before_anything_is_validated(
    client: httpx.AsyncClient, query: str, status: int
) -> None:
    assert (await client.post(f"/v1/events?{query}", json=note(1))).status_code == status


async def test_hasty_events_are_stored_all_the_same(client: httpx.AsyncClient, platform: Platform) -> None:
    response = await client.post("/v1/events?hasty=true", json=[note("a"), note("b")])
    assert (response.status_code, response.reason_phrase) == (202, "2 events hastily received.")
    await platform.intake.stop()
    assert [event["text"] for event in await stored(platform)] == ["a", "b"]


async def test_a_dry_run_explains_and_stores_nothing(client: httpx.AsyncClient, platform: Platform) -> None:
    response = await client.post("/v1/events?dry_run=true", json=[note("a"), note(1), note("b", stream="note")])
    assert response.status_code == 200
    good, invalid, unknown = response.json()["events"]
    assert (good["verdict"], good["topic"], good["key"]) == ("accepted", "notes", None)
    assert set(good["filled"]) >= {"meta.id", "meta.dt"}
    assert invalid["violations"][0]["pointer"] == "/text"
    assert (unknown["code"], unknown["stream"]) == ("stream_unknown", "note")
    assert "notes" in unknown["reason"]
    assert await stored(platform) == []
    assert await stored(platform, "headwater-intake.error.validation") == []


async def test_an_event_sent_again_is_accepted_and_stored_once(client: httpx.AsyncClient, platform: Platform) -> None:
    responses = await asyncio.gather(*(client.post("/v1/events", json=note("a", id="same")) for _ in range(10)))
    assert {response.status_code for response in responses} == {201}
    assert len(await stored(platform)) == 1


async def test_the_clients_address_comes_from_proxies_or_the_connection(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    await client.post("/v1/events", json=note())
    await client.post("/v1/events", json=note(), headers={"x-forwarded-for": "192.0.2.1, 192.0.2.2"})
    both = {"x-client-ip": "198.51.100.1", "x-forwarded-for": "192.0.2.1"}
    await client.post("/v1/events", json=note(), headers=both)
    addresses = [event["http"]["client_ip"] for event in await stored(platform)]
    assert addresses == ["127.0.0.1", "192.0.2.1", "198.51.100.1"]


async def test_a_full_disk_is_507_and_what_comes_after_it_is_taken(tmp_path: Path) -> None:
    platform, log = with_faulty_log(tmp_path)
    async with running(platform) as client:
        log.failure = LogFull("The disk under the log is full.", hint="Make room.")
        response = await client.post("/v1/events", json=[note("a", id="1"), note(1)])
        assert response.status_code == 507
        assert response.headers["retry-after"] == "1"
        assert "retry-after" in response.headers["access-control-expose-headers"]
        assert len(response.json()["invalid"]) == 1
        assert response.json()["error"][0]["context"]["message"] == "The disk under the log is full. Make room."
        assert (await client.get("/readyz")).status_code == 200
        log.failure = LogUnavailable("The log is away.")
        response = await client.post("/v1/events", json=note("b"))
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        log.failure = None
        assert (await client.post("/v1/events", json=note("a", id="1"))).status_code == 201
        assert [event["text"] for event in await stored(platform)] == ["a"]


async def test_every_answer_carries_cors_and_security_headers(client: httpx.AsyncClient) -> None:
    for response in (
        await client.post("/v1/events", json=note()),
        await client.post("/v1/events", json=note(1)),
        await client.get("/_info"),
        await client.get("/nothing/here"),
        await client.options("/v1/events"),
        await client.head("/v1/events"),
    ):
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.headers["access-control-allow-methods"] == "post"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "content-security-policy" in response.headers


async def test_facts_about_the_service_are_returned(client: httpx.AsyncClient, platform: Platform) -> None:
    assert (await client.get("/_info/name")).json() == {"name": "headwater-intake"}
    assert (await client.get("/_info/home")).status_code == 301
    assert (await client.get("/_info/nothing")).status_code == 404
    assert (await client.get("/robots.txt")).text == "User-agent: *\nDisallow: /\n"
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).status_code == 200
    assert (await client.get("/v1/_test/events")).status_code == 404
    await client.post("/v1/events", json=note())
    assert 'headwater_intake_events_total{outcome="accepted",stream="notes"} 1.0' in (await client.get("/metrics")).text
    configs = (await client.get("/v1/stream-configs/notes,nothing")).json()
    assert list(configs) == ["notes"]
    assert configs["notes"]["schema_title"] == "note"
    assert set((await client.get("/v1/stream-configs")).json()) >= {"notes"}
    options = await client.options("/v2/events")
    assert (options.status_code, options.headers["allow"], options.text) == (200, "POST", "POST")


async def test_the_description_names_every_route_and_the_page_for_people_too(client: httpx.AsyncClient) -> None:
    document = (await client.get("/?spec")).json()
    assert document["openapi"].startswith("3.0")
    page = (await client.get("/?doc")).text
    for path, methods in document["paths"].items():
        assert methods
        assert path in page
    assert (await client.get("/?doc&path=../../secret")).status_code == 404


async def test_configured_test_events_are_run_as_if_posted(tmp_path: Path) -> None:
    async with running(made_platform(tmp_path, test_events=[note("test")])) as client:
        for _ in range(2):
            response = await client.get("/v1/_test/events")
            assert (response.status_code, response.reason_phrase) == (201, "All 1 out of 1 events were accepted.")
        assert (await client.get("/v1/_test/events?hasty=true")).status_code == 202
        assert (await client.post("/v1/_test/events")).status_code == 404


async def test_pipelined_requests_are_answered_in_order(client: httpx.AsyncClient, platform: Platform) -> None:
    good, bad = orjson.dumps(note("a")), orjson.dumps(note(1))
    get = b"GET /_info/name HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = await exchange(client, post(good) + post(bad) + get + post(good, close=True))
    # A body may be followed by the next status line without a line break.
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"201", b"400", b"200", b"201"]
    assert len(await stored(platform)) == 2


@pytest.mark.parametrize(
    "events",
    [[note("a", **FIXED)], [note("a", **FIXED), note(1, **FIXED)], [note(1, **FIXED)], [{"no": "schema"}], "neither"],
)
async def test_the_short_cut_answers_as_the_long_way_does(client: httpx.AsyncClient, events: Any) -> None:
    body = orjson.dumps(events)
    short = await exchange(client, post(body, close=True))
    long = await exchange(client, post(body, "x: y", path="/v1/events?", close=True).replace(b"/json", b"/json; a=b"))
    head, _, answered = short.partition(b"\r\n\r\n")
    long_head, _, long_answered = long.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == long_head.split(b"\r\n")[0]
    assert sorted(_names_and_values(head)) == sorted(_names_and_values(long_head))
    assert orjson.loads(answered or b"{}") == orjson.loads(long_answered or b"{}")


def _names_and_values(head: bytes) -> list[bytes]:
    """The headers of a response, without those that differ from one second, or event, to the next."""
    return [line for line in head.split(b"\r\n")[1:] if not line.startswith((b"date:", b"instance:"))]


async def test_a_busy_connection_is_kept_and_an_idle_one_is_closed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.web.server.KEEP_ALIVE_SECONDS", 1.5)
    async with running(platform) as client, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        for _ in range(4):
            writer.write(post(orjson.dumps(note())))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")
            answered = asyncio.get_running_loop().time()
            # Together longer than an idle connection is kept.
            await asyncio.sleep(0.5)
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - answered > 1.4
        writer.close()


async def test_a_request_may_come_in_any_pieces(client: httpx.AsyncClient, platform: Platform) -> None:
    request = post(orjson.dumps([note("a"), note("b")]), close=True)
    pieces = [request[start : start + 40] for start in range(0, len(request), 40)]
    assert (await exchange(client, *pieces, pause=0.001)).startswith(
        b"HTTP/1.1 201 All 2 out of 2 events were accepted."
    )
    assert len(await stored(platform)) == 2


async def test_a_client_that_asks_before_sending_gets_100_continue(client: httpx.AsyncClient) -> None:
    body = orjson.dumps(note())
    request = post(body, "expect: 100-continue", close=True)
    answer = await exchange(client, request[: -len(body)], body)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")


async def test_a_client_that_asks_before_sending_too_much_is_refused_at_once(client: httpx.AsyncClient) -> None:
    request = post(b"x" * 200_000, "expect: 100-continue", close=True)
    answer = await exchange(client, request[:-200_000])
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_http_1_0_and_half_requests_do_no_harm(client: httpx.AsyncClient, platform: Platform) -> None:
    body = orjson.dumps(note("old"))
    answer = await exchange(client, post(body).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert b" 201 " in answer.split(b"\r\n")[0]
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(post(orjson.dumps(note("half")))[:-5])
    await writer.drain()
    writer.close()
    del reader
    # What comes later is answered later.
    assert (await client.get("/healthz")).status_code == 200
    assert [event["text"] for event in await stored(platform)] == ["old"]


async def test_requests_under_way_are_answered_when_the_server_stops(tmp_path: Path) -> None:
    platform, log = with_faulty_log(tmp_path)
    await platform.start()
    async with httpx.AsyncClient(trust_env=False) as client:
        async with serving(platform) as address:
            assert (await client.post(f"{address}/v1/events", json=note("first"))).status_code == 201
            log.gate.clear()
            late = asyncio.create_task(client.post(f"{address}/v1/events", json=note("late")))
            await eventually(lambda: log.appends == 2)
            asyncio.get_running_loop().call_later(0.2, log.gate.set)
        assert (await late).status_code == 201
    assert [event["text"] for event in await stored(platform)] == ["first", "late"]
    await platform.stop()
