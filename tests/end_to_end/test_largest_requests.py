"""What the largest request of each route costs everybody else: a table of all routes, each with its bounds.

How this works: one server is started for the whole table, with hundreds of streams and schemas, in a process that
watches its own event loop (`watched_service`). The routes come from the application, so a new one without a row fails.
A stall is measured without the time in which the machine ran other programs; work is measured as processor time; and
both are compared with how long the same work takes on this machine at this moment.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from headwater.config import load_config
from headwater.platform import build
from headwater.testing.health_probe import asking_meanwhile
from headwater.testing.service_kit import write_project
from headwater.testing.watched_service import WatchedService, watched_service
from headwater.web.access import EVENTS_PATHS, STREAM_PATH
from headwater.web.app import create_app

pytestmark = pytest.mark.measures

# One process answers hundreds of the largest requests here; each kind alone is held to less in test_memory_returns.
TABLE_LEFT_BYTES_MAX = 60_000_000

# What a request may keep the event loop from turning. Of /healthz it is the longest wait.
STALL_SECONDS_MAX = 0.05
# One call of a library cannot be divided: reading or checking a single event of the largest size allowed.
LARGE_EVENT_STALL_SECONDS_MAX = 0.15
# Nor can the append of ten thousand events, which are durable together.
LARGE_APPEND_STALL_SECONDS_MAX = 0.1
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
STREAMS = 300
# The line and the headers of a request may have 64 KB.
LONG = "x" * 60_000
NAMES = ",".join(f"area.thing{number}" for number in range(STREAMS))
MANY = ",".join(itertools.islice(itertools.cycle(NAMES.split(",")), 4_000))
UNKNOWN = ",".join(f"area.thimg{number}" for number in range(4_000))
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
PAGE = {"accept": "text/html"}
EVENT = {"$schema": "/area/any/1.0.0", "meta": {"stream": "area.any"}}
BODY_BYTES = 10_485_760
# So that an answer without end has something to read soon.
BEATS = {"heartbeat_seconds": 0.5}


@dataclass(frozen=True)
class Ask:
    """A request, and what it may cost: processor time, memory at most while it is answered, a stall of the loop."""

    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    is_endless: bool = False
    seconds_max: float = 5.0
    growth_bytes_max: int = 100_000_000
    stall_seconds_max: float = STALL_SECONDS_MAX


def plain(*paths: str, headers: dict[str, str] | None = None) -> list[Ask]:
    """As it is, with a long query, with as many headers as are allowed."""
    asks = [Ask(path, headers=headers or {}) for path in paths]
    many = {f"x-{number}": "y" * 500 for number in range(90)}
    first = paths[0]
    joint = "&" if "?" in first else "?"
    return [*asks, Ask(f"{first}{joint}a={LONG}", headers=headers or {}), Ask(first, headers=many | (headers or {}))]


def array(event: Any, count: int) -> bytes:
    text = event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()
    return b"[" + b",".join([text] * count) + b"]"


def large(**fields: Any) -> bytes:
    return json.dumps(EVENT | fields, separators=(",", ":")).encode()


def events(path: str) -> list[Ask]:
    """Bodies as large as they may be, each with another thing to do."""
    exact = large(x=[1] * 300)[:-2] + b",0.12345678901234567890]}"
    single = {"stall_seconds_max": LARGE_EVENT_STALL_SECONDS_MAX, "growth_bytes_max": 400_000_000}
    many = {"seconds_max": 30.0, "growth_bytes_max": 300_000_000}
    stored = many | {"stall_seconds_max": LARGE_APPEND_STALL_SECONDS_MAX}
    cloud = {"specversion": "1.0", "id": "1", "source": "/x"}
    asks = [
        Ask(path, array(EVENT | {"text": "x" * 950}, 10_000), JSON, **stored),
        Ask(path, array(EVENT | {"texts": [1] * 900}, 5_000), JSON, **many),
        Ask(path, array({}, 10_000), JSON, **many),
        Ask(path, array(EVENT | {"meta": {"stream": "area.thimg"}}, 10_000), JSON, **many),
        Ask(path, array(EVENT | {"$schema": "/area/non/1.0.0"}, 10_000), JSON, **many),
        Ask(path, array(b'{"a":x}', 10_000), JSON, **many),
        Ask(path, array(exact, 9_000), JSON, **stored),
        Ask(path, array(b"[]", 3_400_000), JSON, **many),
        Ask(path, b"[" * (BODY_BYTES // 2) + b"]" * (BODY_BYTES // 2), JSON, **many),
        Ask(path, array(cloud | {"type": "area.any", "data": EVENT | {"text": "x" * 500}}, 10_000), BATCH, **stored),
        Ask(path, array(cloud, 10_000), BATCH, **many),
        Ask(path, large(texts=["a"] * 900_000 + [1]), JSON, seconds_max=10.0, **single),
        Ask(path, large(x=[1] * 1_000_000)[:-2] + b",0.12345678901234567890]}", JSON, seconds_max=15.0, **single),
        Ask(path, large(x=[[]] * 600_000), JSON, **single),
        Ask(path, large(x=0)[:-2] + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}", JSON, **single),
    ]
    dry = [Ask(f"{path}?dry_run=true", one.body, one.headers, **many) for one in (asks[0], asks[1])]
    return [*asks, *dry]


def webhooks() -> list[Ask]:
    """Bodies as large as a source accepts by default, and larger ones."""
    hook = "/v1/webhooks/hook"
    bodies = (
        array({"text": "x" * 900}, 1_000),
        array(b"1", 500_000),
        array(b"[]", 300_000),
        array(b"0.12345678901234567890", 40_000),
        b"[" * 500_000 + b"]" * 500_000,
        json.dumps({"texts": ["a"] * 200_000}).encode(),
        array(b"1", BODY_BYTES),
    )
    unknown = [Ask(path, bodies[0], JSON) for path in ("/v1/webhooks/unknown", f"/v1/webhooks/{LONG}")]
    return [*unknown, *(Ask(hook, body, JSON, stall_seconds_max=LARGE_EVENT_STALL_SECONDS_MAX) for body in bodies)]


def of_registry(path: str) -> list[Ask]:
    return plain(path, path.replace("area/thing0", LONG), path.replace("area/thing0", "area.thing0-value"))


ANY_SCHEMA = json.dumps({"schema": json.dumps({"type": "object", "enum": ["x" * 100] * 9_000})}).encode()
CHANGE = json.dumps({"reason": "x", "put": [{"id": f"r{n}", "streams": ["*"]} for n in range(20_000)]}).encode()
REPOSITORY = "/repositories/project/jsonschema"

TABLE: dict[str, Iterable[Ask]] = {
    "POST /v1/events": events("/v1/events"),
    # Other paths are other names of the same: nothing is done for them alone.
    **{f"POST {path}": events(path)[:2] for path in sorted(EVENTS_PATHS - {"/v1/events"})},
    f"GET {STREAM_PATH}{{streams:path}}": [
        Ask(f"{STREAM_PATH}{NAMES}", is_endless=True),
        Ask(f"{STREAM_PATH}{MANY}", is_endless=True),
        Ask(f"{STREAM_PATH}{UNKNOWN}"),
        Ask(f"{STREAM_PATH}{LONG}"),
        Ask(f"{STREAM_PATH}area.any?since={LONG}"),
        Ask(f"{STREAM_PATH}area.any?filter={LONG}"),
        Ask(f"{STREAM_PATH}area.any?filter={'(' * 60_000}"),
        Ask(f"{STREAM_PATH}area.any", headers={"last-event-id": "[" + '{"topic":"a","offset":1},' * 2_000 + "{}]"}),
        Ask(f"{STREAM_PATH}area.any", headers={"last-event-id": LONG}),
    ],
    "GET /": [
        *plain("/", headers=PAGE),
        *plain("/?spec", "/?doc", headers=PAGE),
        Ask(f"/?doc&path={LONG}"),
    ],
    "GET /metrics": plain("/metrics"),
    "GET /readyz": plain("/readyz"),
    "GET /static/{name}": plain("/static/page.css", f"/static/{LONG}"),
    "GET /v1/_page/feed": [Ask("/v1/_page/feed", is_endless=True)],
    "GET /v1/_page/state": plain("/v1/_page/state"),
    "GET /v1/_page/tables": plain("/v1/_page/tables"),
    "GET /tables": plain("/tables", f"/tables?{LONG}"),
    "GET /tables/{name}": plain("/tables/unknown", f"/tables/{LONG}"),
    "GET /v1/tables": plain("/v1/tables", f"/v1/tables?{LONG}"),
    "GET /v1/tables/{name}": plain("/v1/tables/unknown", f"/v1/tables/{LONG}", f"/v1/tables/unknown?after={LONG}"),
    "GET /v1/tables/{name}/rows": plain(
        "/v1/tables/unknown/rows?key=a", f"/v1/tables/unknown/rows?key={LONG}", f"/v1/tables/{LONG}/rows"
    ),
    "GET /v1/served": plain("/v1/served", f"/v1/served?{LONG}"),
    "GET /v1/served/{name}": plain("/v1/served/unknown", f"/v1/served/{LONG}", f"/v1/served/unknown?after={LONG}"),
    "GET /v1/served/{name}/counts": plain("/v1/served/unknown/counts", f"/v1/served/{LONG}/counts"),
    "GET /v1/served/{name}/rows/{key:path}": plain(
        "/v1/served/unknown/rows/a", f"/v1/served/unknown/rows/{LONG}", f"/v1/served/unknown/rows/{'x/' * 25_000}"
    ),
    "GET /v1/jobs": plain("/v1/jobs", f"/v1/jobs?{LONG}"),
    "GET /v1/errors": plain("/v1/errors", *(f"/v1/errors?{name}={LONG}" for name in ("where", "job", "after"))),
    "GET /v1/errors/{name:path}": plain("/v1/errors/unknown", f"/v1/errors/{LONG}"),
    "POST /v1/webhooks/{name}": webhooks(),
    "POST /v1/errors/redrive": [Ask("/v1/errors/redrive", CHANGE, JSON)],
    "GET /monitoring": plain("/monitoring", f"/monitoring?show={LONG}"),
    "GET /v1/canaries": plain("/v1/canaries", "/v1/canaries?" + "&".join(f"stream=area.thing{n}" for n in range(300))),
    "GET /v1/completeness": [
        Ask("/v1/completeness?" + "&".join(f"stream=area.thing{n}" for n in range(300))),
        Ask("/v1/completeness?from=2026-01-01T00&to=2028-01-01T00&stream=area.any"),
        Ask(f"/v1/completeness?stream={LONG}"),
    ],
    "GET /v1/reconciliation": plain("/v1/reconciliation", "/v1/reconciliation?from=2026-01-01T00&to=2026-01-03T00"),
    "GET /v1/stream-changes": plain("/v1/stream-changes?limit=1000"),
    "POST /v1/stream-changes": [Ask("/v1/stream-changes?dry_run=true", CHANGE, JSON)],
    "POST /v1/stream-changes/rollback": [Ask("/v1/stream-changes/rollback", CHANGE, JSON)],
    "POST /v1/stream-changes/kill": [Ask("/v1/stream-changes/kill", CHANGE, JSON)],
    "POST /v1/jobs/{name}": [Ask("/v1/jobs/x", CHANGE, JSON), Ask(f"/v1/jobs/{LONG}", CHANGE, JSON)],
    "GET /v1/stream-changes/{number:revision}": plain("/v1/stream-changes/1", "/v1/stream-changes/" + "9" * 4_000),
    **{f"GET {path}": plain(path) for path in ("/_info", "/_info/", "/_info/name", "/_info/version", "/_info/home")},
    "GET /robots.txt": plain("/robots.txt"),
    "GET /healthz": plain("/healthz"),
    "GET /v1/streams": plain(
        "/v1/streams",
        "/v1/streams?audience=browser",
        f"/v1/streams?names={NAMES}",
        f"/v1/streams?names={MANY}",
        f"/v1/streams?names={UNKNOWN}",
        f"/v1/streams?q={'a+' * 25_000}",
        f"/v1/streams?constraints={'a=b|' * 12_000}",
    ),
    "GET /v1/streams/{name:path}": plain("/v1/streams/area.thing1", "/v1/streams/area.thimg1", f"/v1/streams/{LONG}"),
    "GET /v1/stream-changes/live": [Ask("/v1/stream-changes/live", is_endless=True)],
    "GET /asyncapi.json": [Ask("/asyncapi.json", seconds_max=30.0)],
    "GET /asyncapi/{name:path}.json": plain("/asyncapi/area.thing1.json", f"/asyncapi/{LONG}.json"),
    "GET /v1/stream-configs": plain("/v1/stream-configs"),
    "GET /v1/stream-configs/{names:path}": plain(
        *(f"/v1/stream-configs/{names}" for names in ("area.any", MANY, UNKNOWN, LONG))
    ),
    **{
        f"{method} {path}": [
            ask
            for query in (
                f"action=streamconfigs&format=json&streams={MANY.replace(',', '|')}",
                f"action=streamconfigs&format=json&constraints={'a=b|' * 12_000}",
                "action=streamconfigs&format=json&all_settings",
                f"action=streamconfigs&format=jsonfm&x={LONG}",
                "&".join(f"a{number}=" for number in range(9_000)),
            )
            for ask in (
                [Ask(f"{path}?{query}")]
                if method == "GET"
                else [Ask(path, (query * (1_000_000 // len(query))).encode(), FORM)]
            )
        ]
        for path in ("/w/api.php", "/api.php")
        for method in ("GET", "POST")
    },
    "GET /clients/{name}": plain("/clients/headwater.js", f"/clients/{LONG}"),
    "GET /repositories": plain("/repositories"),
    "GET /repositories/": [
        *plain("/repositories/", "/repositories/?q=thing", headers=PAGE),
        Ask(f"/repositories/?q={'a+' * 25_000}", headers=PAGE),
        Ask("/repositories/?q=thing", seconds_max=20.0),
    ],
    "GET /repositories/-/static/{name}": plain("/repositories/-/static/page.css"),
    **{f"GET /repositories/{{name}}{rest}": plain(f"/repositories/project{rest}") for rest in ("", "/", "/jsonschema")},
    "GET /repositories/{name}/jsonschema/{path:path}": [
        *plain(f"{REPOSITORY}/", f"{REPOSITORY}/area/", f"{REPOSITORY}/area/thing0/", headers=PAGE),
        *plain(
            f"{REPOSITORY}/",
            f"{REPOSITORY}/area/thing0/latest",
            f"{REPOSITORY}/{'x/' * 25_000}",
            f"{REPOSITORY}/{LONG}",
        ),
    ],
    **{f"GET {path}": plain(path, f"{path}?subjectPrefix={LONG}") for path in ("/schemas", "/schemas/", "/subjects")},
    **{f"GET {path}": plain(path) for path in ("/schemas/types", "/config", "/mode")},
    **{
        f"GET /schemas/ids/{{id}}{part}": plain(f"/schemas/ids/1{part}", f"/schemas/ids/{'9' * 4_000}{part}")
        for part in ("", "/schema", "/subjects", "/versions")
    },
    **{
        f"GET /subjects/{{subject:path}}/versions{part}": of_registry(
            f"/subjects/area/thing0/versions{part.format(version='1')}"
        )
        for part in ("", "/{version}", "/{version}/schema", "/{version}/referencedby")
    },
    **{f"GET /{kind}/{{subject:path}}": of_registry(f"/{kind}/area/thing0") for kind in ("config", "mode")},
    "POST /subjects/{subject:path}/versions": [Ask("/subjects/area/thing0/versions", ANY_SCHEMA, JSON)],
    "POST /subjects/{subject:path}": [Ask("/subjects/area/thing0", ANY_SCHEMA, JSON)],
}


def project(directory: Path) -> Path:
    text = {"type": "string", "description": "What it says. It says more."}
    properties = {"$schema": {"type": "string"}, "meta": {"type": "object"}}
    any_schema = {"texts": {"type": "array", "items": {"type": "string"}}}
    schemas = [
        {
            "title": f"area/{name}",
            "description": f"Everything about {name}. And more.",
            "$id": f"/area/{name}/1.0.0",
            "$schema": DRAFT_07,
            "type": "object",
            "properties": properties | fields,
        }
        for name, fields in [
            ("any", any_schema),
            *((f"thing{number}", {f"field_{at}": text for at in range(8)}) for number in range(STREAMS)),
        ]
    ]
    streams = [{"stream": one["title"].replace("/", "."), "schema_title": one["title"]} for one in schemas]
    write_project(directory, schemas, streams)
    sources = directory / "sources"
    sources.mkdir()
    (sources / "hook.yaml").write_text("connector: webhook\nsignature: none\nstream: area.any\n", encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("largest") / "project")


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[WatchedService]:
    with watched_service(place, intake={"test_events": [EVENT]}, consumption=BEATS, control=BEATS) as service:
        yield service


@pytest.fixture(scope="module")
def idle_bytes(service: WatchedService) -> int:
    """What an idle service has that has answered a little of everything."""
    with httpx.Client(base_url=service.address, timeout=300) as client:
        for route in TABLE:
            if "{" not in route:
                answered(client, route.partition(" ")[0], Ask(route.partition(" ")[2], is_endless=True))
        # What was stored last is kept for readers, a bounded number of bytes; the last is error events.
        for ask in events("/v1/events")[:4]:
            answered(client, "POST", ask)
    return service.idle_bytes()


def test_every_route_has_a_row(place: Path) -> None:
    url = f"sqlite:///{place / 'var' / 'routes.db'}"
    app = create_app(build(load_config(place, environment={}, overrides={"log": {"url": url}})))

    routes = {f"{method} {route.path}" for route in app.routes for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]

    answered_before = {*(f"POST {path}" for path in EVENTS_PATHS), f"GET {STREAM_PATH}{{streams:path}}"}
    assert set(TABLE) == routes | answered_before


@pytest.mark.timeout(400)
@pytest.mark.parametrize("route", TABLE)
def test_the_largest_requests_of_a_route_delay_no_other_request(
    service: WatchedService, idle_bytes: int, route: str
) -> None:
    method = route.partition(" ")[0]
    with httpx.Client(base_url=service.address, timeout=300) as client:
        for number, ask in enumerate(TABLE[route]):
            before = service.measured()
            status = answered(client, method, ask)
            after = service.measured()

            told = f"{number}: {ask.path[:80]} ({len(ask.body):,} bytes) was answered {status}: {after}"
            print(told)
            assert status < 500 or status == 501, told
            assert after.stall_seconds <= ask.stall_seconds_max * after.slowness, told
            assert after.cpu_seconds <= ask.seconds_max * after.slowness, told
            assert after.peak_bytes - before.bytes <= ask.growth_bytes_max, told
            assert (left := service.bytes_left(idle_bytes, TABLE_LEFT_BYTES_MAX)) <= TABLE_LEFT_BYTES_MAX, (
                f"{left:,} bytes are left of {told}"
            )


PATH = "/v1/events"
TEXTS = json.dumps(EVENT | {"x": [""] * 1_300_000}, separators=(",", ":")).encode()
MEMBERS = gzip.compress(b'{"$schema":"/area/any/1.0.0",') + gzip.compress(b"") * 499_000 + gzip.compress(b"}")
MEANWHILE: dict[str, Ask] = {
    "an answer that repeats violations": Ask(PATH, array(EVENT | {"texts": [1] * 900}, 5_000), JSON),
    "a dry run with violations": Ask(f"{PATH}?dry_run=true", array(EVENT | {"texts": [1] * 900}, 5_000), JSON),
    "a dry run of many events": Ask(f"{PATH}?dry_run=true", array(EVENT | {"text": "x" * 950}, 10_000), JSON),
    "a large event": Ask(PATH, TEXTS, JSON),
    "tiny events": Ask(PATH, array(b"[]", 3_400_000), JSON),
    "members of a compressed body": Ask(PATH, MEMBERS, JSON | {"content-encoding": "gzip"}),
    "a view of all schemas": Ask("/schemas"),
    "a search through all schemas": Ask(f"/repositories/?q={'field+' * 20}", headers=PAGE),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_others_are_answered_in_time_meanwhile(service: WatchedService, what: str) -> None:
    ask = MEANWHILE[what]
    with httpx.Client(base_url=service.address, timeout=300) as client:
        service.measured()
        with asking_meanwhile(service.address, service.pid) as waits:
            status = answered(client, "POST" if ask.body else "GET", ask)

    after = service.measured()
    told = f"{status}, {waits}, {after}"
    print(told)
    assert status < 500, told
    assert waits.worst_seconds <= STALL_SECONDS_MAX * after.slowness, told


def test_others_are_answered_in_time_while_large_events_are_filtered(service: WatchedService) -> None:
    with httpx.Client(base_url=service.address, timeout=300) as client, contextlib.ExitStack() as stack:
        service.measured()
        for number in range(4):
            wanted = " or ".join(["x contains 1"] * 126 + [f"x contains {number}"])
            path = f"{STREAM_PATH}area.any?filter={quote(wanted)}"
            lines = stack.enter_context(client.stream("GET", path)).iter_lines()
            next(lines)
        with asking_meanwhile(service.address, service.pid) as waits:
            for _ in range(2):
                assert client.post(PATH, content=TEXTS, headers=JSON).status_code == 201
            assert any(line.startswith("data:") for line in lines)

    after = service.measured()
    # To filter an event of megabytes is to parse it, in one call that holds the interpreter.
    assert waits.worst_seconds <= LARGE_EVENT_STALL_SECONDS_MAX * after.slowness, (waits, after)


def answered(client: httpx.Client, method: str, ask: Ask) -> int:
    """The status of the answer, which is read; of one without end, some of it."""
    with client.stream(method, ask.path, content=ask.body, headers=ask.headers) as answer:
        for _ in answer.iter_raw():
            if ask.is_endless:
                break
        return answer.status_code
