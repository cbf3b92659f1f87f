"""HTTP by its rules, seen on the wire: offers of other protocols, old versions, half-closed and slow clients, names."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.platform import Platform
from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project

SECONDS_MAX = 10.0
H2C = "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAEAAEAAAAIAAAAB\n"
WEBSOCKET = "Connection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyE=\n"
OFFERS = {
    "h2c": H2C,
    "websocket": WEBSOCKET,
    "several": "Connection: upgrade\nUpgrade: TLS/1.0, h2c;q=1\n",
    "alone": "Upgrade: h2c\n",
    "in capitals": "CONNECTION: UPGRADE\nUPGRADE: H2C\n",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Platform]]:
    directory = tmp_path_factory.mktemp("rules")
    write_notes(directory, note_schema(required=()))
    limits = {"port": 0, "headers_seconds_max": 0.4, "body_seconds_max": 0.8}
    with served_project(directory, web=limits, consumption={"heartbeat_seconds": 60}) as (address, platform):
        yield address, platform


@pytest.fixture
def url(served: tuple[str, Platform]) -> str:
    return served[0]


def note(text: str) -> bytes:
    return json.dumps({"$schema": "/note/1.0.0", "meta": {"stream": "notes"}, "text": text}).encode()


def request(line: str, headers: str = "", body: bytes = b"") -> bytes:
    length = f"Content-Type: application/json\nContent-Length: {len(body)}\n" if body else ""
    return f"{line}\nHost: localhost\n{headers}{length}\n".replace("\n", "\r\n").encode() + body


class Wire:
    """A connection on which every byte is one's own."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname or "", where.port or 0), timeout=SECONDS_MAX)
        self.got = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> Wire:
        for part in parts:
            self.socket.sendall(part)
        return self

    def until(self, wanted: Callable[[bytes], bool]) -> bytes:
        """What came until it is what is wanted. Fails where the connection ends before, or nothing comes."""
        while not wanted(self.got):
            more = self.socket.recv(65_536)
            assert more, f"the connection ended after {self.got!r}"
            self.got += more
        return self.got

    def to_the_end(self) -> bytes:
        while more := self.socket.recv(65_536):
            self.got += more
        return self.got


def answers(got: bytes) -> list[int]:
    """The statuses in what came, those of interim answers left out."""
    return [int(part[:3]) for part in got.split(b"HTTP/1.1 ")[1:] if part[:3] != b"100"]


def texts(url: str) -> list[str]:
    """The texts of the notes there are."""
    with Wire(url) as wire:
        line = "GET /v2/stream/notes?since=2020-01-01T00:00:00Z HTTP/1.0"
        end = f"end {time.monotonic()}"
        httpx.post(f"{url}/v1/events", content=note(end), headers={"content-type": "application/json"}, trust_env=False)
        got = wire.send(request(line, "Accept: application/x-ndjson\n")).until(lambda got: end.encode() in got)
    lines = got.partition(b"\r\n\r\n")[2].splitlines()
    return [json.loads(one)["text"] for one in lines if one.strip()]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("form", ["whole", "in pieces", "in chunks", "expecting"])
def test_an_offer_of_another_protocol_is_ignored_and_the_body_read(url: str, offer: str, form: str) -> None:
    text = f"{form} {offer}"
    body = note(text)
    sent = request("POST /v1/events HTTP/1.1", offer, body)
    if form == "in chunks":
        head = request(
            "POST /v1/events HTTP/1.1", f"{offer}Content-Type: application/json\nTransfer-Encoding: chunked\n"
        )
        sent = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif form == "expecting":
        sent = request("POST /v1/events HTTP/1.1", f"{offer}Expect: 100-continue\n", body)
    parts = [sent[at : at + 23] for at in range(0, len(sent), 23)] if form == "in pieces" else [sent]
    with Wire(url) as wire:
        # What follows on the same connection is read as well.
        wire.send(*parts, request("POST /v1/events HTTP/1.1", "", note(f"after {text}")))
        got = wire.until(lambda got: len(answers(got)) == 2)
        assert answers(got) == [201, 201]
        assert got.count(b"100 Continue") == (form == "expecting")
    stored = texts(url)
    assert stored.count(text) == stored.count(f"after {text}") == 1


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("path", ["/v1/streams", "/subjects", "/asyncapi.json", "/?spec", "/healthz"])
def test_an_offer_without_a_body_is_ignored_too(url: str, path: str, offer: str) -> None:
    with Wire(url) as wire:
        wire.send(request(f"GET {path} HTTP/1.1", offer) * 2, request("GET /healthz HTTP/1.1"))
        assert answers(wire.until(lambda got: len(answers(got)) == 3 and b'"ok"' in got)) == [200, 200, 200]


def test_a_stream_is_given_to_who_offers_a_websocket(url: str) -> None:
    with Wire(url) as wire:
        got = wire.send(request("GET /v2/stream/notes HTTP/1.1", WEBSOCKET)).until(lambda got: b":ok" in got)
        assert answers(got) == [200]


def test_a_tunnel_and_http_2_without_asking_are_refused(url: str) -> None:
    for sent in (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with Wire(url) as wire:
            assert answers(wire.send(sent).to_the_end()) == [400]


@pytest.mark.parametrize(
    "path", ["/v2/stream/notes?since=2020-01-01", "/v1/stream-changes/live", "/v1/_page/feed", "/v1/streams", "/"]
)
def test_http_1_0_is_given_no_chunks(url: str, path: str) -> None:
    httpx.post(f"{url}/v1/events", content=note("old"), headers={"content-type": "application/json"}, trust_env=False)
    with Wire(url) as wire:
        got = wire.send(request(f"GET {path} HTTP/1.0", "Connection: keep-alive\n")).until(
            lambda got: b"\n\n" in got.partition(b"\r\n\r\n")[2] or b"content-length" in got
        )
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert b"keep-alive" not in head.lower()
    assert b"\r\n" not in body


def test_http_1_0_posts_are_answered_and_not_asked_to_continue(url: str) -> None:
    with Wire(url) as wire:
        got = wire.send(request("POST /v1/events HTTP/1.0", "Expect: 100-continue\n", note("1.0"))).to_the_end()
    assert got.startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize("headers", ["", H2C, "Content-Encoding: identity\n"], ids=["plain", "offering", "unusual"])
def test_who_closes_its_half_of_the_connection_gets_all_answers(url: str, headers: str) -> None:
    with Wire(url) as wire:
        wire.send(request("POST /v1/events HTTP/1.1", headers, note("half")) * 2, request("GET /v1/streams HTTP/1.1"))
        wire.socket.shutdown(socket.SHUT_WR)
        assert answers(wire.to_the_end()) == [201, 201, 200]


def test_a_stream_continues_after_a_half_close_and_ends_after_a_disconnect(
    served: tuple[str, Platform],
) -> None:
    url, platform = served
    with Wire(url) as wire:
        wire.send(request("GET /v2/stream/notes HTTP/1.1")).until(lambda got: b":ok" in got)
        wire.socket.shutdown(socket.SHUT_WR)
        # It is found out, by something without a meaning, whether anybody reads.
        wire.until(lambda got: got.count(b"\r\n2\r\n:\n\r\n") >= 2)
        httpx.post(
            f"{url}/v1/events", content=note("late"), headers={"content-type": "application/json"}, trust_env=False
        )
        wire.until(lambda got: b"late" in got)
        assert platform.hub.admission.connections
    deadline = time.monotonic() + SECONDS_MAX
    while platform.hub.admission.connections and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not platform.hub.admission.connections


def test_a_body_that_ends_too_early_is_refused(url: str) -> None:
    with Wire(url) as wire:
        wire.send(request("POST /v1/events HTTP/1.1", "", note("cut"))[:-3])
        wire.socket.shutdown(socket.SHUT_WR)
        got = wire.to_the_end()
    assert answers(got) == [400]
    assert b"closed before the body was complete" in got
    assert "cut" not in texts(url)


SLOW = {
    "headers": (b"POST /v1/events HTTP/1.1\r\nHost: x\r\n", "headers"),
    "headers of the second request": (
        request("GET /healthz HTTP/1.1") + b"POST /v1/events HTTP/1.1\r\nHost: x\r\n",
        "headers",
    ),
    "body": (request("POST /v1/events HTTP/1.1", "", note("slow"))[:-3], "body"),
    "body of an unusual request": (
        request("POST /v1/events HTTP/1.1", "Content-Encoding: identity\n", note("slow"))[:-3],
        "body",
    ),
    "body behind an offer": (request("POST /v1/events HTTP/1.1", H2C, note("slow"))[:-3], "body"),
    "body of a lookup": (request("POST /subjects/note HTTP/1.1", "", b'{"schema": "{}"}')[:-3], "body"),
}


@pytest.mark.parametrize("dripping", [False, True], ids=["silent", "dripping"])
@pytest.mark.parametrize("what", SLOW)
def test_headers_and_bodies_that_do_not_come_are_answered_408(url: str, what: str, dripping: bool) -> None:
    sent, part = SLOW[what]
    began = time.monotonic()
    with Wire(url) as wire:
        wire.send(sent)
        wire.socket.settimeout(0.05)
        while b" 408 " not in wire.got:
            assert time.monotonic() < began + SECONDS_MAX
            try:
                wire.got += wire.socket.recv(65_536)
            except TimeoutError:
                if dripping:
                    # Endless, and never complete.
                    wire.send(b"a: b\r\n" if part == "headers" else b"")
        wire.socket.settimeout(SECONDS_MAX)
        got = wire.to_the_end()
    answer = got[got.index(b"HTTP/1.1 408") :]
    assert time.monotonic() - began >= (0.4 if part == "headers" else 0.8)
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    if "lookup" in what:
        assert document["error_code"] == 408
    else:
        assert (document["status"], document["type"]) == (408, "request_too_slow")
        assert part in document["detail"]
    assert b"retry-after" in answer.lower() or "lookup" in what


def test_slow_answers_and_silent_streams_are_no_slow_requests(url: str) -> None:
    with Wire(url) as wire:
        wire.send(request("GET /v2/stream/notes HTTP/1.1"), b"GET /healthz HTTP/1.1\r\n")
        wire.until(lambda got: b":ok" in got)
        time.sleep(1)
        wire.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            wire.until(lambda got: b"408" in got)


CLOUD = "ce-specversion, ce-id, ce-source, ce-type, ce-subject, ce-time, ce-dataschema, ce-shop, ce-traceparent"
OURS = "content-type, content-encoding, authorization, if-none-match, last-event-id, x-request-id, x-shop, traceparent"
PUBLIC = {
    "/v1/events": {"POST"},
    "/v2/events": {"POST"},
    "/V1/Events/": {"POST"},
    "/v2/stream/notes": {"GET", "HEAD"},
    "/v2/stream/notes,others": {"GET", "HEAD"},
    "/?spec": {"GET", "HEAD"},
    "/?doc": {"GET", "HEAD"},
    "/?spec=1&x": {"GET", "HEAD"},
    "/v1/streams": {"GET", "HEAD"},
    "/v1/streams/notes": {"GET", "HEAD"},
    "/v1/stream-changes/live": {"GET", "HEAD"},
    "/w/api.php": {"GET", "POST", "HEAD"},
    "/asyncapi.json": {"GET", "HEAD"},
    "/asyncapi/notes.json": {"GET", "HEAD"},
    "/clients/headwater.js": {"GET", "HEAD"},
    "/repositories/": {"GET", "HEAD"},
    "/repositories/schemas/jsonschema/note/1.0.0": {"GET", "HEAD"},
    "/subjects": {"GET", "HEAD"},
    "/subjects/note": {"POST"},
    "/subjects/note/versions": {"GET", "POST", "HEAD"},
    "/schemas/ids/1": {"GET", "HEAD"},
    "/config": {"GET", "HEAD"},
    "/healthz": {"GET", "HEAD"},
    "/_info": {"GET", "HEAD"},
}


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("asked", [CLOUD, OURS, CLOUD.upper(), "last-event-id", ""])
def test_a_preflight_names_the_methods_of_its_path_and_every_header_that_is_asked_for(
    url: str, path: str, asked: str
) -> None:
    method = min(PUBLIC[path])
    headers = {"origin": "https://app.example", "access-control-request-method": method}
    if asked:
        headers["access-control-request-headers"] = asked
    answer = httpx.options(f"{url}{path}", headers=headers, trust_env=False)
    assert answer.status_code == 204
    allowed = {word.strip() for word in answer.headers["access-control-allow-headers"].split(",")}
    assert set(filter(None, asked.lower().replace(" ", "").split(","))) <= allowed
    methods = {word.strip() for word in answer.headers["access-control-allow-methods"].split(",")}
    assert methods == PUBLIC[path] | {"OPTIONS"}
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]


@pytest.mark.parametrize(
    "path", ["/", "/?specs", "/v1/stream-changes", "/metrics", "/v1/_page/feed", "/monitoring", "/v1/canaries"]
)
def test_the_platforms_own_paths_answer_no_preflight(url: str, path: str) -> None:
    headers = {"origin": "https://app.example", "access-control-request-method": "GET"}
    assert httpx.options(f"{url}{path}", headers=headers, trust_env=False).status_code in (404, 405)


def test_a_preflight_repeats_nothing_that_is_no_header(url: str) -> None:
    asked = "x-good, x bad, x-b(d, " + ", ".join(f"x-{number}" for number in range(300))
    headers = {"access-control-request-method": "POST", "access-control-request-headers": asked}
    answer = httpx.options(f"{url}/v1/events", headers=headers, trust_env=False)
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert "x-good" in allowed
    assert not any(" " in word or "(" in word for word in allowed)
    assert len(allowed) < 150


FLAGS = {
    "dry_run": True,
    "dry_run=": True,
    "dry_run=true": True,
    "dry_run=1": True,
    "dry%5Frun": True,
    "a=b&dry_run": True,
    "dry_run=yes": True,
    "dry_run=false": False,
    "dry_run=0": False,
    "dry_run=No": False,
    "dry_run=off": False,
    "no_dry_run=true": False,
    "hasty": False,
}


@pytest.mark.parametrize("query", FLAGS)
def test_a_dry_run_is_asked_for_with_or_without_a_value(url: str, query: str) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{url}/v1/events?{query}", content=note(f"flag {query}"), headers=headers, trust_env=False)
    assert answer.status_code == (200 if FLAGS[query] else 201)
    assert (f"flag {query}" in texts(url)) is not FLAGS[query]


# Names → the start of the content type of their place's errors.
PLACES = {
    "/v1/streams/{}": "application/problem+json",
    "/v1/stream-changes/{}": "application/problem+json",
    "/asyncapi/{}.json": "application/problem+json",
    "/clients/{}": "application/problem+json",
    "/repositories/schemas/jsonschema/x/{}": "application/problem+json",
    "/v1/completeness?stream={}": "application/problem+json",
    "/subjects/{}/versions": "application/vnd.schemaregistry.v1+json",
    "/subjects/{}/versions/latest": "application/vnd.schemaregistry.v1+json",
    "/subjects/note/versions/{}": "application/vnd.schemaregistry.v1+json",
    "/schemas/ids/{}": "application/vnd.schemaregistry.v1+json",
    "/schemas/{}": "application/vnd.schemaregistry.v1+json",
    "/config/{}": "application/vnd.schemaregistry.v1+json",
    "/mode/{}": "application/vnd.schemaregistry.v1+json",
    "/nothing/{}": "text/html",
}
THERE = (b"", b"notes", b"note", b"latest", b"types", b"ids", b"live")
NAMES = [
    "a\nb",
    "\n",
    "notes\n",
    "\0",
    "\r\nx: y",
    "é",
    "😀",
    "<b>",
    "a b",
    '"',
    "\\",
    "\x7f",
    "\u2028",
    "..",
    "%",
    "*",
]


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_there_is_answered_in_the_form_of_its_place_whatever_its_name(url: str, place: str) -> None:
    with httpx.Client(trust_env=False) as client:

        @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
        @given(st.one_of(st.sampled_from(NAMES), st.text(min_size=1, max_size=20), st.binary(min_size=1, max_size=9)))
        def holds(name: str | bytes) -> None:
            if isinstance(name, str):
                name = name.encode("utf-8", "replace")
            if name.isdigit() or name.strip(b"/.").lower() in THERE:
                name = b"\n" + name
            answer = client.get(f"{url}{place.format(quote(name, safe=''))}")
            assert answer.status_code in (400, 404, 405, 422)
            assert answer.headers["content-type"].startswith(PLACES[place])
            if answer.headers["content-type"].endswith("json"):
                answer.json()

        holds()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/subjects", "/subjects/x", "/config", "/mode/x", "/schemas/ids/x", "/schemas/nope"])
def test_every_error_on_a_path_of_the_registry_is_the_registrys(url: str, path: str, method: str) -> None:
    answer = httpx.request(method, f"{url}{path}", trust_env=False)
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
        assert answer.json().keys() == {"error_code", "message"}
        assert str(answer.json()["error_code"]).startswith(str(answer.status_code))


def test_a_break_in_a_name_is_a_part_of_it(url: str, tmp_path: Path) -> None:
    assert httpx.get(f"{url}/v1/streams/notes", trust_env=False).status_code == 200
    answer = httpx.get(f"{url}/v1/streams/notes%0A", trust_env=False)
    assert (answer.status_code, answer.json()["type"]) == (404, "stream_unknown")


ATTRIBUTES = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-subject", "notes")]


@pytest.mark.parametrize("again", [*ATTRIBUTES, ("CE-ID", "2"), ("ce-shop", "a"), ("ce-time", "2026-01-31T12:00:00Z")])
def test_an_attribute_of_a_cloudevent_is_there_once(url: str, again: tuple[str, str]) -> None:
    once = again if again[0].lower() not in dict(ATTRIBUTES) else None
    for second in (again, (again[0], f"{again[1]}0")):
        headers = [*ATTRIBUTES, *([once] if once else []), second, ("content-type", "application/json")]
        answer = httpx.post(f"{url}/v1/events", content=b"{}", headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["type"]) == (400, "event_malformed")
        assert f"{again[0].lower()} occurs twice" in answer.json()["detail"]


@pytest.mark.parametrize("types", [("application/json", "text/plain"), ("text/plain", "application/json")])
def test_two_content_types_are_refused(url: str, types: tuple[str, str]) -> None:
    headers = [("content-type", one) for one in types]
    for path in ("/v1/events", "/v2/events?hasty=true"):
        answer = httpx.post(f"{url}{path}", content=b'{"a": 1}', headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["type"]) == (400, "header_repeated")
        assert "content-type" in answer.json()["detail"]
