"""If keys are required, a client without one learns only that the process lives, at every path and by every method."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.routing import Route

from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.service_kit import served_project, write_project
from headwater.web.access import DECISIONS, EVENTS_PATHS, STREAM_PATH, Use, decided
from headwater.web.app import create_app

DEADLINE_SECONDS = 30.0
TITLE = "shop/order"
SCHEMA = {
    "title": TITLE,
    "description": "An order.",
    "$id": f"/{TITLE}/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["meta"],
    "properties": {
        "$schema": {"type": "string"},
        "meta": {"type": "object", "properties": {"stream": {"type": "string"}, "id": {"type": "string"}}},
        "dt": {"type": "string", "format": "date-time", "maxLength": 64},
        "text": {"type": "string"},
    },
}
STREAMS: list[dict[str, Any]] = [
    {"stream": "shop.order", "schema_title": TITLE},
    {"stream": "shop.beacon", "schema_title": TITLE, "producers": {"keys": "optional"}},
    {"stream": "shop.news", "schema_title": TITLE, "consumers": {"keys": "optional"}},
    {"stream": "shop.partner", "schema_title": TITLE, "producers": {"keys": "required"}},
    {"stream": "shop.report", "schema_title": TITLE, "consumers": {"keys": "required"}},
]
SCOPES = ("events:read", "events:write", "streams:read", "streams:write", "streams:kill")
BOTH = {"intake": {"keys": "required"}, "consumption": {"keys": "required"}}


def event(stream: str, text: str = "x") -> dict[str, Any]:
    return {"$schema": f"/{TITLE}/1.0.0", "meta": {"stream": stream}, "text": text}


def made_project(directory: Path) -> Path:
    write_project(directory, [SCHEMA], STREAMS)
    (directory / "headwater.yaml").write_text("log: sqlite:///var/events.db\n", encoding="utf-8")
    return directory


@dataclass
class Service:
    client: httpx.Client
    platform: Platform
    address: str

    def key(self, *scopes: str) -> str:
        return self.platform.keys.create(f"{'+'.join(scopes)} {time.monotonic_ns()}", scopes)

    def bearer(self, *scopes: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key(*scopes)}"}


@contextlib.contextmanager
def served(directory: Path, **sections: Mapping[str, Any]) -> Iterator[Service]:
    sections = {"control": {"attempts_per_minute_max": 100_000}} | sections
    with (
        served_project(made_project(directory / "project"), **sections) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE_SECONDS) as client,
    ):
        yield Service(client, platform, address)


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "second worker"])
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Keys are required on both sides, and no stream file says otherwise."""
    directory = tmp_path_factory.mktemp("closed")
    project = directory / "project"
    write_project(project, [SCHEMA], STREAMS[:1])
    (project / "headwater.yaml").write_text("log: sqlite:///var/events.db\n", encoding="utf-8")
    sections: dict[str, Mapping[str, Any]] = {
        "control": {"attempts_per_minute_max": 100_000, "requests_per_minute_max": 100_000},
        **BOTH,
        "intake": {**BOTH["intake"], "test_events": [event("shop.order", "test")]},
    }
    with (
        served_project(project, workers=request.param, **sections) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE_SECONDS) as client,
    ):
        service = Service(client, platform, address)
        answer = client.post("/v1/events", json=event("shop.order", "secret"), headers=service.bearer("events:write"))
        assert answer.status_code == 201, answer.text
        yield service


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Keys are required, and some stream files say otherwise."""
    with served(tmp_path_factory.mktemp("mixed"), **BOTH) as service:
        yield service


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Keys are optional, and some stream files say otherwise."""
    with served(tmp_path_factory.mktemp("opened")) as service:
        yield service


def route_paths(directory: Path) -> list[str]:
    overrides = {"intake": {"test_events": [event("shop.order")]}}
    app = create_app(build(load_config(made_project(directory), environment={}, overrides=overrides)))
    found = [route.path for route in app.routes if isinstance(route, Route)]
    assert len(found) == len(app.routes)
    return [*found, *EVENTS_PATHS, f"{STREAM_PATH}{{streams}}"]


def filled(path: str) -> str:
    known = {
        "{id}": "1",
        "{number:revision}": "1",
        "{version}": "latest",
        "{subject:path}": TITLE,
        "{path:path}": f"{TITLE}/1.0.0",
        "{key:path}": "a/b",
    }
    for place in ("{name}", "{name:path}", "{names:path}", "{streams}", "{streams:path}"):
        known[place] = "shop.order"
    for place, value in known.items():
        path = path.replace(place, value)
    assert "{" not in path
    return path


def without_request(answer: httpx.Response) -> tuple[int, Any, list[tuple[str, str]]]:
    """An answer without what repeats the request."""
    document = {name: value for name, value in answer.json().items() if name not in ("uri", "method")}
    headers = [(name, value) for name, value in answer.headers.multi_items() if name not in ("date", "content-length")]
    return answer.status_code, document, sorted(headers)


def test_every_route_has_a_decision(tmp_path: Path) -> None:
    paths = route_paths(tmp_path / "project")
    undecided = [path for path in paths if decided(filled(path)) is None]
    assert undecided == [], "say in web/access.py what is done at the new routes"
    alive = [path for path in paths if decided(filled(path)) is Use.ALIVE]
    assert alive == ["/healthz"]
    ready = [path for path in paths if decided(filled(path)) is Use.READY]
    assert ready == ["/readyz"]


def test_every_decision_is_about_a_route(tmp_path: Path) -> None:
    paths = [filled(path) for path in route_paths(tmp_path / "project")]
    for known in DECISIONS:
        assert any(path == known or (known.endswith("/") and path.startswith(known)) for path in paths), known


UNKNOWN = (
    "/nothing",
    "/v1/nothing",
    "/v1/streams/nothing",
    "/v2/stream/nothing",
    "/subjects/nothing",
    "/docs",
    "/.env",
)
QUERIES = ("/?spec", "/?doc", "/metrics?worker", "/asyncapi.json?audience=internal", "/w/api.php?action=streamconfigs")
SPELLINGS = (
    "/V1/Events/",
    "/healthz/",
    "/HEALTHZ",
    "//healthz",
    "/healthz/x",
    "/v2/stream/",
    "/%6detrics",
    "/healthz%00",
)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_stranger_gets_one_answer_everywhere(closed: Service, tmp_path: Path, method: str) -> None:
    expected = without_request(closed.client.request(method, "/nothing-at-all"))
    assert expected[0] == 401
    assert expected[1]["type"] == "key_required"
    challenges = closed.client.request(method, "/nothing-at-all").headers.get_list("www-authenticate")
    assert [challenge.split()[0] for challenge in challenges] == ["Bearer", "Basic"]
    known = [filled(path) for path in route_paths(tmp_path / "project")]
    for path in (*known, *UNKNOWN, *QUERIES, *SPELLINGS):
        if path in ("/healthz", "/readyz") and method == "GET":
            continue
        for headers in ({}, {"accept": "text/html"}, {"accept": "text/event-stream", "last-event-id": "[]"}):
            answer = closed.client.request(method, path, headers=headers)
            assert answer.headers["content-type"] == "application/problem+json", path
            assert without_request(answer) == expected, path


def test_head_is_answered_alike(closed: Service, tmp_path: Path) -> None:
    for path in (*map(filled, route_paths(tmp_path / "project")), *UNKNOWN):
        answer = closed.client.head(path)
        assert (answer.status_code, answer.content) == (200 if path in ("/healthz", "/readyz") else 401, b""), path


def test_liveness_needs_no_key(closed: Service) -> None:
    answer = closed.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def basic(key: str, name: str = "") -> str:
    return "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", "Bearer x", "Basic", "Basic !", "Basic Og==", basic("x"), basic("", "hwk_x")),
        *("Digest x", "hwk_x", f"Bearer hwk_{'x' * 43}", basic(f"hwk_{'ä' * 43}"), "Bearer \u00e4", "Negotiate"),
    ],
)
def test_what_is_no_key_opens_nothing(closed: Service, authorization: str) -> None:
    for path in ("/", "/metrics", "/v2/stream/shop.order", "/nothing"):
        answer = closed.client.get(path, headers={"authorization": authorization.encode("latin-1")})
        assert answer.status_code == 401, path
    answer = closed.client.post(
        "/v1/events", json=event("shop.order"), headers={"authorization": authorization.encode("latin-1")}
    )
    assert answer.status_code == 401


def test_keys_open_what_their_scope_is_for(closed: Service, tmp_path: Path) -> None:
    for scope in SCOPES:
        headers = closed.bearer(scope)
        for path in route_paths(tmp_path / "project"):
            use = decided(filled(path))
            if use is Use.SEND or "feed" in path or "live" in path:
                continue
            wanted = {
                Use.ALIVE: SCOPES,
                Use.READY: SCOPES,
                Use.TRY: ("events:write",),
                Use.EVENTS: ("events:read",),
                Use.READ: tuple(set(SCOPES) - {"events:write"}),
                Use.SERVED: tuple(set(SCOPES) - {"events:write"}),
                # Only a POST to a webhook that there is needs no key.
                Use.HOOK: tuple(set(SCOPES) - {"events:write"}),
            }[use or Use.READ]
            with closed.client.stream("GET", filled(path), headers=headers) as answer:
                refused = answer.status_code == 403 and orjson.loads(answer.read())["type"] == "scope_missing"
                # Control asks for scopes of its own.
                if "stream-changes" not in path and "asyncapi" not in path:
                    assert refused == (scope not in wanted), (scope, path, answer.status_code)
                assert answer.status_code != 401, (scope, path)


def lines_of(service: Service, path: str, word: str, **headers: str) -> str:
    """What comes on a stream until the word has come."""
    text = ""
    deadline = time.monotonic() + DEADLINE_SECONDS
    with service.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        for part in answer.iter_text():
            text += part
            if word in text or time.monotonic() > deadline:
                break
    return text


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_streams_are_read_with_a_key_in_either_form(closed: Service, accept: str) -> None:
    key = closed.key("events:read")
    for authorization in (f"Bearer {key}", f"bearer  {key}", basic(key), basic(key, "ada")):
        text = lines_of(
            closed, "/v2/stream/shop.order?since=2020-01-01", "secret", accept=accept, authorization=authorization
        )
        assert "secret" in text


def test_a_key_that_sends_does_not_read(closed: Service) -> None:
    headers = closed.bearer("events:write")
    for path in ("/", "/v1/streams", "/v2/stream/shop.order", "/metrics", "/nothing"):
        answer = closed.client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "scope_missing"), path
        assert "shop.order" not in answer.text.replace(path, "")


def test_declarations_are_read_with_other_scopes_and_events_are_not(closed: Service) -> None:
    closed_key, events_key = closed.bearer("streams:read"), closed.bearer("events:read")
    for headers, reads in ((closed_key, False), (events_key, True)):
        state = closed.client.get("/v1/_page/state", headers=headers).json()
        assert {one["name"]: one["reads"] for one in state["streams"]}["shop.order"] is reads


def test_no_cache_keeps_an_answer_for_others(closed: Service) -> None:
    headers = closed.bearer("events:read")
    for path in ("/static/page.js?v=1", "/repositories/all/jsonschema/shop/order/1.0.0", "/"):
        assert "public" not in closed.client.get(path, headers=headers).headers.get("cache-control", "")
    assert closed.client.get("/").headers["cache-control"] == "no-store"


SENT = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
)


@pytest.mark.parametrize("more", SENT)
def test_a_page_of_another_origin_does_not_send_with_a_password(closed: Service, more: dict[str, str]) -> None:
    key = closed.key("events:write", "streams:write")
    body = {"content": orjson.dumps(event("shop.order")), "headers": {"content-type": "text/plain", **more}}
    for path in ("/v1/events", "/v1/_test/events"):
        with_password = {**body["headers"], "authorization": basic(key)}
        method = "GET" if "_test" in path else "POST"
        assert closed.client.request(method, path, content=body["content"], headers=with_password).status_code == 401
    own = {"content-type": "application/json", "origin": closed.address, "sec-fetch-site": "same-origin"}
    for headers in ({**own, "authorization": basic(key)}, {**own, **more, "authorization": f"Bearer {key}"}):
        assert closed.client.post("/v1/events", json=event("shop.order"), headers=headers).status_code == 201


def test_control_takes_no_password(closed: Service) -> None:
    key = closed.key("streams:write")
    change = {"reason": "x", "put": []}
    assert (
        closed.client.post("/v1/stream-changes", json=change, headers={"authorization": basic(key)}).status_code == 401
    )


def test_preflights_are_answered_alike(closed: Service, tmp_path: Path) -> None:
    asked = {"origin": "https://example.org", "access-control-request-method": "POST"}
    answers = [
        closed.client.options(path, headers=asked)
        for path in (*map(filled, route_paths(tmp_path / "project")), *UNKNOWN)
    ]
    left_out = ("date",)
    assert len({str([(n, v) for n, v in one.headers.multi_items() if n not in left_out]) for one in answers}) == 1
    assert {one.status_code for one in answers} == {204}
    assert "authorization" in answers[0].headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answers[0].headers


def test_a_stranger_is_refused_before_the_body_has_come(closed: Service) -> None:
    host, port = closed.client.base_url.host, closed.client.base_url.port
    for type_ in ("application/json", "text/plain"):
        with socket.create_connection((host, port or 80), timeout=DEADLINE_SECONDS) as connection:
            head = (
                f"POST /v1/events HTTP/1.1\r\nhost: {host}\r\ncontent-type: {type_}\r\ncontent-length: 5000000\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("query", ["", "?hasty=true", "?dry_run"])
@pytest.mark.parametrize("body", [b"", b"{}", b"[", orjson.dumps(event("shop.order", "strange")), b"x" * 2_000_000])
def test_a_stranger_leaves_nothing_behind(closed: Service, query: str, body: bytes) -> None:
    before = closed.platform.telemetry.render(None)
    for path in (*EVENTS_PATHS, "/V2/EVENTS/"):
        for type_ in ("application/json", "application/cloudevents+json", "text/plain"):
            answer = closed.client.post(path + query, content=body, headers={"content-type": type_})
            assert (answer.status_code, answer.json()["type"]) == (401, "key_required")
    counts = [line for line in closed.platform.telemetry.render(None).splitlines() if b"intake_events" in line]
    assert counts == [line for line in before.splitlines() if b"intake_events" in line]


def test_attempts_are_limited_at_every_door(tmp_path: Path) -> None:
    control = {"attempts_per_minute_max": 5}
    consumption = {"keys": "required", "client_address_header": "x-real-ip"}
    with served(tmp_path, control=control, consumption=consumption, intake={"keys": "required"}) as service:
        good = service.bearer("events:read", "events:write")

        def tried(path: str, address: str, headers: Mapping[str, str]) -> int:
            method = "POST" if path in EVENTS_PATHS else "GET"
            sent = {"x-real-ip": address, **headers}
            content = orjson.dumps(event("shop.order")) if method == "POST" else None
            if method == "POST":
                sent["content-type"] = "application/json"
            return service.client.request(method, path, content=content, headers=sent).status_code

        doors = ("/", "/nothing", "/v2/stream/shop.order", "/v1/stream-changes", "/metrics", *sorted(EVENTS_PATHS))
        for number, path in enumerate(doors):
            bad = {"authorization": basic("hwk_x") if number % 2 else "Bearer hwk_x"}
            address = f"2001:db8:0:{number}::1"
            assert [tried(path, address, bad) for _ in range(5)] == [401] * 5
            # The network of the address, at every door, whatever key comes now.
            other = f"2001:db8:0:{number}:ffff::2"
            assert {tried(one, other, good) for one in doors} == {429}
            assert tried("/healthz", other, bad) == 200
        assert tried("/metrics", "192.0.2.1", good) == 200
        # Who sends none has not tried one.
        assert {tried("/", "192.0.2.1", {}) for _ in range(20)} == {401}


def test_many_readers_with_a_revoked_key_shut_nobody_out(tmp_path: Path) -> None:
    control = {"attempts_per_minute_max": 3}
    with served(tmp_path, control=control, **BOTH) as service:
        sender, reader = service.bearer("events:write"), service.bearer("events:read")
        revoked = service.platform.keys.create("revoked", ["events:read"])
        ended: list[int] = []

        def read() -> None:
            with contextlib.suppress(httpx.HTTPError):
                lines_of(service, "/v2/stream/shop.order", "never said", authorization=f"Bearer {revoked}")
            ended.append(1)

        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while service.platform.hub.admission.connections < 6:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        service.platform.keys.revoke("revoked")
        while len(ended) < 6:
            assert time.monotonic() < deadline
            service.client.post("/v1/events", json=event("shop.order"), headers=sender).raise_for_status()
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        assert service.client.get("/metrics", headers=reader).status_code == 200


def test_a_damaged_key_file_reveals_no_name(tmp_path: Path) -> None:
    with served(tmp_path, **BOTH) as service:
        service.key("events:read")
        path = service.platform.config.path(service.platform.config.control.api_keys_path)
        entries = orjson.loads(path.read_bytes())
        entries[0]["name"], entries[0]["hash"] = "ada", "short"
        path.write_bytes(orjson.dumps(entries))
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (answer := service.client.get("/", headers={"authorization": "Bearer hwk_x"})).status_code != 503:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "ada" not in answer.text


@pytest.mark.parametrize("stream", ["shop.order", "shop.partner", "nobody.knows", "shop.beacon.x"])
def test_stream_files_open_the_intake_for_some(mixed: Service, stream: str) -> None:
    post = mixed.client.post
    assert post("/v1/events", json=event("shop.beacon")).status_code == 201
    refused = post("/v1/events", json=event(stream))
    assert (refused.status_code, refused.json()["type"]) == (401, "key_required")
    assert refused.headers.get_list("www-authenticate")
    assert stream not in refused.text
    both = post("/v1/events", json=[event("shop.beacon"), event(stream)])
    assert both.status_code == 207
    assert stream not in both.json()["error"][0]["context"]["message"]
    assert post("/v1/events", json=event("shop.order"), headers=mixed.bearer("events:write")).status_code == 201
    assert post("/v1/events", json=event("shop.beacon"), headers=mixed.bearer("events:read")).status_code == 403


def test_a_stranger_makes_no_error_events(mixed: Service) -> None:
    name = mixed.platform.config.intake.error_stream_name
    for _ in range(3):
        mixed.client.post("/v1/events", json=[event("shop.order", "strange"), event("nobody.knows", "strange")])
    mixed.client.post(
        "/v1/events", json={**event("shop.order", "known"), "dt": "never"}, headers=mixed.bearer("events:write")
    )
    text = lines_of(mixed, f"/v2/stream/{name}?since=2020-01-01", "known", **mixed.bearer("events:read"))
    assert "known" in text
    assert "strange" not in text


def test_stream_files_open_some_streams_for_reading(mixed: Service) -> None:
    headers = mixed.bearer("events:write")
    for name in ("shop.news", "shop.order"):
        mixed.client.post("/v1/events", json=event(name, "news"), headers=headers).raise_for_status()
    assert "news" in lines_of(mixed, "/v2/stream/shop.news?since=2020-01-01", "news")
    for names in ("shop.order", "shop.news,shop.order", "shop.news,nobody", "nobody", "shop.new"):
        answer = mixed.client.get(f"/v2/stream/{names}")
        assert (answer.status_code, answer.json()["detail"]) == (401, "This needs an API key.")
    for path in ("/", "/v1/streams/shop.news", "/v1/streams", "/v1/_page/state"):
        assert mixed.client.get(path).status_code == 401


def test_stream_files_close_some_streams(opened: Service) -> None:
    headers = opened.bearer("events:write")
    post, get = opened.client.post, opened.client.get
    assert post("/v1/events", json=event("shop.order")).status_code == 201
    assert post("/v1/events", json=event("shop.partner")).status_code == 401
    assert post("/v1/events?hasty=true", json=event("shop.partner", "hasty")).status_code in (202, 401)
    assert post("/v1/events", json=event("shop.partner", "keyed"), headers=headers).status_code == 201
    text = lines_of(opened, "/v2/stream/shop.partner?since=2020-01-01", "keyed")
    assert "hasty" not in text
    assert post("/v1/events", json=event("shop.report", "secret")).status_code == 201
    refused = get("/v2/stream/shop.report")
    assert (refused.status_code, refused.json()["type"]) == (401, "key_required")
    assert refused.headers.get_list("www-authenticate")
    assert get("/v2/stream/shop.report", headers=opened.bearer("streams:read")).status_code == 403
    assert "secret" not in get("/v1/_page/state").text
    read = lines_of(opened, "/v2/stream/shop.report?since=2020-01-01", "secret", **opened.bearer("events:read"))
    assert "secret" in read


def test_the_test_events_need_the_key_of_their_stream(tmp_path: Path) -> None:
    with served(tmp_path, intake={"test_events": [event("shop.partner", "test")]}) as service:
        assert service.client.get("/v1/_test/events").status_code == 401
        answer = service.client.get("/v1/_test/events", headers=service.bearer("events:write"))
        assert answer.status_code == 201


def test_a_stranger_learns_that_it_is_ready_and_nothing_else(closed: Service) -> None:
    ready = closed.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    known = closed.client.get("/readyz", headers=closed.bearer("streams:read"))
    assert known.json()["topics"] > 0
    sender = closed.client.get("/readyz", headers=closed.bearer("events:write"))
    assert sender.json() == {"status": "ok"}
    assert closed.client.get("/readyz", headers={"authorization": "Bearer hwk_wrong"}).status_code == 401


def test_without_settings_everything_is_as_before(opened: Service) -> None:
    for path in ("/", "/metrics", "/v1/streams", "/?spec", "/readyz"):
        assert opened.client.get(path).status_code == 200
    assert opened.client.get("/nothing").status_code == 404
    for authorization in ("Basic b3BlcmF0b3I6cHJveHk=", "Bearer of-a-proxy"):
        assert opened.client.get("/", headers={"authorization": authorization}).status_code == 200
