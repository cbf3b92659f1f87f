"""Private streams are hidden without a key: every route of the platform is tried, and every way around it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from click.testing import CliRunner
from starlette.routing import Route

from headwater.cli.main import main
from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually_blocking
from headwater.testing.service_kit import served_project, write_project
from headwater.web.app import create_app

# Part of every private name, and of every private event.
NAME, SECRET = "hush", "sesame"
UNKNOWN = "nobody"
DEADLINE_SECONDS = 30.0


def schema(title: str, **properties: Any) -> dict[str, Any]:
    meta = {"type": "object", "properties": {name: {"type": "string"} for name in ("stream", "id", "dt")}}
    stream = title.replace("/", ".")
    example = {"$schema": f"/{title}/1.0.0", "meta": {"stream": stream}, "text": "x"}
    return {
        "title": title,
        "description": f"Events of {title}.",
        "$id": f"/{title}/1.0.0",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "required": ["meta"],
        "properties": {
            "$schema": {"type": "string"},
            "meta": meta,
            "dt": {"type": "string", "format": "date-time", "maxLength": 64},
            "text": {"type": "string"},
            **properties,
        },
        "examples": [example],
    }


WATCHED = {
    "monitor": {"canary": {"enabled": True}},
    "produce": {"destination_event_service": "headwater-intake"},
}
STREAMS: Sequence[dict[str, Any]] = (
    {
        "stream": "shop.order",
        "schema_title": "shop/order",
        "privacy": {"class": "public"},
        "docs": {"owner": "team:shop"},
        **WATCHED,
    },
    {"stream": "shop.total", "schema_title": "shop/order", "privacy": {"class": "public"}},
    {
        "stream": "hush.patient",
        "schema_title": "hush/patient",
        "privacy": {"class": "restricted"},
        "docs": {"summary": "hush", "owner": "team:hush"},
        **WATCHED,
    },
    # Private because of what is put into them, or of their names.
    {"stream": "hush.digest", "schema_title": "hush/patient"},
    {"stream": "hush.late", "schema_title": "hush/patient"},
    {"stream": "x.private.hush.v1", "schema_title": "shop/order"},
)
FAMILY = {"stream": "/^hush\\.ward\\..+/", "schema_title": "hush/patient", "privacy": {"class": "private"}}
JOBS = """
from headwater.jobs import job, table

@job(source="hush.patient", sink="hush.digest", late="hush.late")
def hush_digest(event, context):
    if event["text"].startswith("fail"):
        raise ValueError(event["text"])
    return {"text": event["text"]}

@job(source=["shop.order", "hush.patient"], sink="shop.total", name="hush_both")
def both(event, context):
    return {"text": "counted"}

@job(source="shop.order", sink="shop.total")
def open_job(event, context):
    if event["text"].startswith("fail"):
        raise ValueError(event["text"])
    return None

@table(source="hush.patient", key="text")
def hush_pages(event):
    return {"dt": event.get("dt")}

hush_rows = table("hush_rows", source="hush.patient", columns={"text": "text"})
shop_rows = table("shop_rows", source="shop.order", columns={"text": "text"})
"""


def made_project(directory: Path) -> Path:
    write_project(directory, [schema("shop/order"), schema("hush/patient")], STREAMS)
    families = directory / "streams" / "families"
    families.mkdir(exist_ok=True)
    (families / "wards.yaml").write_bytes(orjson.dumps(FAMILY))
    (directory / "jobs").mkdir(exist_ok=True)
    (directory / "jobs" / "made.py").write_text(JOBS, encoding="utf-8")
    (directory / "served_tables").mkdir(exist_ok=True)
    (directory / "served_tables" / "hush_pages.yaml").write_text("summary: hush\n", encoding="utf-8")
    (directory / "headwater.yaml").write_text("log: sqlite:///var/events.db\n", encoding="utf-8")
    return directory


def event(stream: str, text: str, title: str = "shop/order", **more: Any) -> dict[str, Any]:
    return {"$schema": f"/{title}/1.0.0", "meta": {"stream": stream}, "text": text, **more}


POSTED = (
    event("shop.order", "open"),
    event("shop.order", "fail openly"),
    event("hush.patient", f"{SECRET} 1", "hush/patient"),
    event("hush.patient", f"fail {SECRET} 2", "hush/patient"),
    event("hush.ward.7", f"{SECRET} 3", "hush/patient"),
    event("x.private.hush.v1", f"{SECRET} 4"),
    # Refused: of the wrong type, of another schema, for no stream at all.
    event("shop.order", "wrong type", dt="never"),
    event("hush.patient", f"{SECRET} 5", "hush/patient", dt=f"never {SECRET}"),
    event("hush.patient", f"{SECRET} 6", "shop/order"),
    event("hush.patent", f"{SECRET} 7", "hush/patient"),
)


@dataclass
class Service:
    """A platform with private streams full of secrets, and clients without and with keys."""

    client: httpx.Client
    platform: Platform
    keys: dict[str, dict[str, str]] = field(default_factory=dict)

    def key(self, *scopes: str) -> dict[str, str]:
        name = "+".join(scopes)
        if name not in self.keys:
            self.keys[name] = {"authorization": f"Bearer {self.platform.keys.create(name, scopes)}"}
        return self.keys[name]

    def read(self, path: str, until: Sequence[str] = (), seconds: float = DEADLINE_SECONDS, **headers: str) -> str:
        """What comes on a stream until all these words have come, or so long."""
        text = ""
        deadline = time.monotonic() + seconds
        with (
            contextlib.suppress(httpx.ReadTimeout),
            self.client.stream("GET", path, headers=headers, timeout=seconds) as answer,
        ):
            for part in answer.iter_text():
                text += part
                if (until and all(word in text for word in until)) or time.monotonic() > deadline:
                    break
        return text


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    project = made_project(tmp_path_factory.mktemp("private") / "project")
    limits = {"requests_per_minute_max": 100_000}
    monitoring = {"canary_period_seconds": 1.0, "count_interval_seconds": 0.1}
    with (
        served_project(project, control=limits, monitoring=monitoring) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE_SECONDS) as client,
    ):
        made = Service(client, platform)
        answer = client.post("/v1/events", json=list(POSTED))
        assert answer.status_code == 207, answer.text
        settled(made)
        yield made


def settled(service: Service) -> None:
    """Wait until jobs, tables and canaries have done their part."""
    everything = service.key("events:read")
    wanted = ("hush.digest", "hush_digest.error", "hush.patient", "open_job.error", "hush_both.error")

    def done() -> bool:
        state = service.client.get("/v1/_page/state", headers=everything).json()
        counts = {one["name"]: one["count"] for one in state["streams"]}
        tables = service.client.get("/v1/_page/tables", headers=everything).json()
        canaries = service.client.get("/v1/canaries", headers=everything).json()
        live = {one["stream"] for one in canaries["streams"] if one["last_canary"]}
        return (
            all(counts.get(name) for name in wanted[:4])
            and all(table["rows_total"] for table in tables)
            and live >= {"hush.patient", "shop.order"}
        )

    eventually_blocking(done)


def told(text: str, *asked: str) -> list[str]:
    """The private words in a text, those the reader wrote themselves left out."""
    for word in sorted(asked, key=len, reverse=True):
        text = text.replace(word, "")
    return [word for word in (NAME, SECRET) if word in text.lower()]


# Every route, and what is asked of it. A route that is not here fails the test: whoever adds one decides who may see
# what it tells, and asks for it here. {} is the name of a private stream, (…) that of one nobody has.
NOTHING: Sequence[str] = ()
STREAM_NAMES = ("hush.patient", "hush.digest", "hush.late", "hush_digest.error", "hush.ward.7", "x.private.hush.v1")
GET: dict[str, Sequence[str]] = {
    "/": ("/", "/?spec", "/?doc"),
    "/_info": ("/_info",),
    "/_info/": ("/_info/",),
    "/_info/name": ("/_info/name",),
    "/_info/version": ("/_info/version",),
    "/_info/home": ("/_info/home",),
    "/robots.txt": ("/robots.txt",),
    "/healthz": ("/healthz",),
    "/readyz": ("/readyz",),
    "/metrics": ("/metrics", "/metrics?worker"),
    "/w/api.php": (
        "/w/api.php?action=streamconfigs&format=json",
        "/w/api.php?action=streamconfigs&format=json&streams={}",
        "/w/api.php?action=streamconfigs&format=json&constraints=schema_title=hush/patient",
        "/w/api.php?action=streamconfigs&format=json&all_settings&streams={}",
    ),
    "/api.php": ("/api.php?action=streamconfigs&format=json", "/api.php?action=streamconfigs&streams={}"),
    "/v1/streams": (
        "/v1/streams",
        "/v1/streams?q=patient",
        "/v1/streams?names={}",
        "/v1/streams?audience=browser",
        "/v1/streams?site=enwiki",
        "/v1/streams?constraints=privacy.class=restricted",
        "/v1/streams?audience=internal",
    ),
    "/v1/streams/{name:path}": ("/v1/streams/{}", "/v1/streams/{}?site=enwiki", "/v1/streams/hush.patien"),
    "/v1/stream-changes": ("/v1/stream-changes",),
    "/v1/stream-changes/{number:revision}": ("/v1/stream-changes/1",),
    "/v1/stream-changes/live": NOTHING,  # asked below: it does not end
    "/v1/_page/feed": NOTHING,  # likewise
    "/v1/_page/state": ("/v1/_page/state",),
    "/v1/_page/tables": ("/v1/_page/tables",),
    "/static/{name}": ("/static/page.js", "/static/{}"),
    "/tables": ("/tables",),
    "/tables/{name}": ("/tables/{}",),
    "/v1/tables": ("/v1/tables",),
    "/v1/tables/{name}": ("/v1/tables/{}",),
    "/v1/tables/{name}/rows": ("/v1/tables/{}/rows?key=a",),
    "/v1/served": ("/v1/served",),
    "/v1/served/{name}": ("/v1/served/{}", "/v1/served/hush_pages"),
    "/v1/served/{name}/counts": ("/v1/served/{}/counts", "/v1/served/hush_pages/counts"),
    "/v1/served/{name}/rows/{key:path}": ("/v1/served/{}/rows/a", "/v1/served/hush_pages/rows/a"),
    "/v1/jobs": ("/v1/jobs",),
    "/v1/errors": ("/v1/errors", "/v1/errors?job={}", "/v1/errors?job=hush"),
    "/v1/errors/{name:path}": ("/v1/errors/{}", "/v1/errors/x?job=hush"),
    "/monitoring": ("/monitoring", "/monitoring?show=live", "/monitoring?show=unwatched"),
    "/v1/canaries": ("/v1/canaries", "/v1/canaries?stream={}"),
    "/v1/completeness": ("/v1/completeness", "/v1/completeness?stream={}", "/v1/completeness?stream=shop.order"),
    "/v1/reconciliation": ("/v1/reconciliation", "/v1/reconciliation?stream={}"),
    "/v1/stream-configs": ("/v1/stream-configs",),
    "/v1/stream-configs/{names:path}": ("/v1/stream-configs/{}", "/v1/stream-configs/{},shop.order"),
    "/v1/_test/events": NOTHING,  # runs the events that the settings have, and answers about those
    "/clients/{name}": ("/clients/headwater.js",),
    "/asyncapi.json": ("/asyncapi.json", "/asyncapi.json?audience=internal"),
    "/asyncapi/{name:path}.json": ("/asyncapi/{}.json",),
    "/repositories": ("/repositories",),
    "/repositories/": ("/repositories/", "/repositories/?q=hush", "/repositories/?q=patient"),
    "/repositories/-/static/{name}": ("/repositories/-/static/page.css",),
    "/repositories/{name}": ("/repositories/all",),
    "/repositories/{name}/": ("/repositories/all/",),
    "/repositories/{name}/jsonschema": ("/repositories/all/jsonschema",),
    "/repositories/{name}/jsonschema/{path:path}": (
        "/repositories/all/jsonschema/",
        "/repositories/all/jsonschema/hush/",
        "/repositories/all/jsonschema/hush/patient/",
        "/repositories/all/jsonschema/hush/patient/1.0.0",
        "/repositories/all/jsonschema/hush/patient/1.0.0.json",
        "/repositories/schemas/jsonschema/hush/patient/latest",
        "/repositories/all/jsonschema/hush/patien/1.0.0",
        "/repositories/all/jsonschema/shop/order/",
        "/repositories/all/jsonschema/shop/order/1.0.0",
    ),
    "/subjects": ("/subjects", "/subjects?subjectPrefix=hush"),
    "/subjects/{subject:path}/versions": ("/subjects/hush/patient/versions", "/subjects/{}-value/versions"),
    "/subjects/{subject:path}/versions/{version}": (
        "/subjects/hush/patient/versions/latest",
        "/subjects/{}-value/versions/latest",
        "/subjects/shop/order/versions/latest",
    ),
    "/subjects/{subject:path}/versions/{version}/schema": ("/subjects/hush/patient/versions/latest/schema",),
    "/subjects/{subject:path}/versions/{version}/referencedby": (
        "/subjects/hush/patient/versions/latest/referencedby",
    ),
    "/schemas": ("/schemas", "/schemas?subjectPrefix=hush"),
    "/schemas/": ("/schemas/", "/schemas/?subjectPrefix=hush"),
    "/schemas/types": ("/schemas/types",),
    "/schemas/ids/{id}": ("/schemas/ids/ID",),
    "/schemas/ids/{id}/schema": ("/schemas/ids/ID/schema",),
    "/schemas/ids/{id}/subjects": ("/schemas/ids/ID/subjects", "/schemas/ids/SHOP/subjects"),
    "/schemas/ids/{id}/versions": ("/schemas/ids/ID/versions", "/schemas/ids/SHOP/versions"),
    "/config": ("/config",),
    "/config/{subject:path}": ("/config/hush/patient", "/config/{}-value"),
    "/mode": ("/mode",),
    "/mode/{subject:path}": ("/mode/hush/patient", "/mode/{}-value?defaultToGlobal=true"),
}
POST: dict[str, Sequence[tuple[str, Any]]] = {
    "/w/api.php": (("/w/api.php?action=streamconfigs&format=json", None),),
    "/api.php": (("/api.php?action=streamconfigs&format=json", None),),
    "/v1/stream-changes": (("/v1/stream-changes", {"reason": "x", "put": []}),),
    "/v1/stream-changes/rollback": (("/v1/stream-changes/rollback", {"to": 0, "reason": "x"}),),
    "/v1/jobs/{name}": (("/v1/jobs/hush", {"do": "pause"}),),
    "/v1/errors/redrive": (("/v1/errors/redrive", {"job": "hush"}),),
    "/v1/webhooks/{name}": (("/v1/webhooks/hush", {"any": "thing"}), ("/v1/webhooks/{}", {"any": "thing"})),
    "/v1/stream-changes/kill": (("/v1/stream-changes/kill", {"stream": "hush.patien", "reason": "x"}),),
    "/subjects/{subject:path}/versions": (("/subjects/hush/patient/versions", {"schemaType": "JSON", "schema": "{}"}),),
    "/subjects/{subject:path}": (("/subjects/{}-value", {"schemaType": "JSON", "schema": "{}"}),),
}


ASKED = ("hush.patien", "hush/patient", "hush/patien", "hush")


def ids(service: Service) -> dict[str, str]:
    headers = service.key("streams:read")
    found = {
        name: service.client.get(f"/subjects/{title}/versions/latest", headers=headers).json()["id"]
        for name, title in (("ID", "hush/patient"), ("SHOP", "shop/order"))
    }
    return {name: str(number) for name, number in found.items()}


def routes(tmp_path: Path) -> set[tuple[str, str]]:
    """(method, path) of the route table, with everything on that can be."""
    project = made_project(tmp_path / "project")
    overrides = {"intake": {"test_events": [event("shop.order", "x")]}}
    app = create_app(build(load_config(project, environment={}, overrides=overrides)))
    table = [route for route in app.routes if isinstance(route, Route)]
    return {(method, route.path) for route in table for method in route.methods or ()} - {
        (method, route.path) for route in table for method in ("HEAD", "OPTIONS")
    }


def test_every_route_has_a_decision(tmp_path: Path) -> None:
    decided = {("GET", path) for path in GET} | {("POST", path) for path in POST}
    assert routes(tmp_path) - decided == set(), "say in this file what is asked of the new routes"
    assert decided - routes(tmp_path) == set()


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("path", [path for paths in GET.values() for path in paths])
def test_no_route_reveals_a_private_stream(service: Service, path: str, accept: str) -> None:
    known = ids(service)
    for name in STREAM_NAMES if "{}" in path else ("",):
        asked = path.replace("{}", name)
        for word, number in known.items():
            asked = asked.replace(word, number)
        answer = service.client.get(asked, headers={"accept": accept})
        # What the reader wrote may come back.
        words = [asked, *(part for part in (name, *ASKED) if part and part in path + name)]
        assert told(answer.text, *words) == [], (asked, answer.status_code, answer.text[:2000])
        assert told(str(answer.headers), *words) == []


@pytest.mark.parametrize("path", [path for paths in GET.values() for path in paths if "{}" in path])
def test_a_private_stream_is_answered_like_an_undeclared_one(service: Service, path: str) -> None:
    for name in STREAM_NAMES:
        private = service.client.get(path.replace("{}", name))
        unknown = service.client.get(path.replace("{}", UNKNOWN))
        assert private.status_code == unknown.status_code
        assert private.text.replace(name, "*") == unknown.text.replace(UNKNOWN, "*")
        left_out = {"date", "etag", "content-length", "expires"}
        assert {k: v for k, v in private.headers.items() if k not in left_out} == {
            k: v for k, v in unknown.headers.items() if k not in left_out
        }


@pytest.mark.parametrize(("path", "body"), [one for several in POST.values() for one in several])
def test_no_route_for_posts_reveals_a_private_stream(service: Service, path: str, body: Any) -> None:
    answer = service.client.post(path.replace("{}", "hush.patient"), json=body)
    assert told(answer.text, path.replace("{}", "hush.patient"), "hush.patient", "hush/patient", "hush.patien") == []


@pytest.mark.parametrize("form", ["", "?format=cloudevents", "?since=2020-01-01", "?last_event_id=[]"])
@pytest.mark.parametrize("name", [*STREAM_NAMES, "shop.order,hush.patient", "hush.ward.8"])
def test_a_private_stream_is_not_served(service: Service, name: str, form: str) -> None:
    private = service.client.get(f"/v2/stream/{name}{form}")
    unknown = service.client.get(f"/v2/stream/{name.replace('hush', UNKNOWN)}{form}")
    assert private.status_code == unknown.status_code == 400
    assert private.text.replace("hush", "*") == unknown.text.replace(UNKNOWN, "*")


def test_a_token_of_a_public_stream_reads_no_other(service: Service) -> None:
    offered = orjson.dumps([{"topic": "hush.patient", "partition": 0, "offset": 0}]).decode()
    for token in ("v1:hush.patient:0:0", "v1:hush.patient:0=0", offered, '["hush.patient"]'):
        answer = service.client.get("/v2/stream/shop.order", headers={"last-event-id": token})
        assert answer.status_code in (400, 404)
        assert told(answer.text, token, "hush.patient") == []


def test_error_streams_are_named_but_not_read(service: Service) -> None:
    names = {one["name"]: one["reads"] for one in service.client.get("/v1/_page/state").json()["streams"]}
    for name in ("open_job.error", service.platform.config.intake.error_stream_name):
        assert names[name] is False
        assert service.client.get(f"/v2/stream/{name}?since=2020-01-01").status_code == 400
        text = service.read(f"/v2/stream/{name}?since=2020-01-01", ["raw_event"], **service.key("events:read"))
        assert '"raw_event"' in text


def test_feeds_show_public_outcomes_and_no_others(service: Service) -> None:
    seen = service.read("/v1/_page/feed", ["event: outcomes", "event: tables", "wrong type", "event: state"])
    assert '"shop.order"' in seen
    assert '"event_invalid"' in seen
    assert "The event names no declared stream." in seen
    assert told(seen) == []
    changes = service.read("/v1/stream-changes/live", ["event: put"])
    assert "shop.order" in changes
    assert told(changes) == []


@pytest.mark.parametrize("scope", ["streams:read", "streams:kill", "events:read"])
def test_a_key_shows_what_it_is_for(service: Service, scope: str) -> None:
    headers = service.key(scope)
    get = service.client.get
    assert "hush.patient" in get("/metrics", headers=headers).text
    assert "job:hush_both" in get("/v1/canaries?stream=shop.order", headers=headers).text
    assert get("/v1/completeness?stream=hush.patient", headers=headers).status_code == 200
    assert get("/repositories/all/jsonschema/hush/patient/1.0.0", headers=headers).status_code == 200
    listed = get("/v1/streams", headers=headers)
    assert "hush.patient" in listed.json()["streams"]
    assert listed.headers["cache-control"].startswith("private")
    everything = scope == "events:read"
    served = service.client.build_request("HEAD", "/v2/stream/hush.patient", headers=headers)
    answer = service.client.send(served, stream=True)
    answer.close()
    assert answer.status_code == (200 if everything else 403)
    assert (SECRET in get("/v1/_page/tables", headers=headers).text) is everything
    words = ["event: outcomes", *([SECRET] if everything else ["event: tables"])]
    assert (SECRET in service.read("/v1/_page/feed", words, **headers)) is everything


def test_a_key_that_is_revoked_shows_nothing_more(service: Service) -> None:
    given = service.platform.keys.create("short-lived", ["events:read"])
    headers = {"authorization": f"Bearer {given}"}
    with service.client.stream("GET", "/v2/stream/hush.patient?since=2020-01-01", headers=headers) as answer:
        lines = answer.iter_lines()
        assert any(SECRET in line for line in lines)
        service.platform.keys.revoke("short-lived")
        service.client.post("/v1/events", json=event("hush.patient", "after", "hush/patient"))
        assert not any("after" in line for line in lines)
    assert service.client.get("/v1/streams", headers=headers).status_code == 401


def test_credentials_for_a_proxy_are_no_key(service: Service) -> None:
    for credentials in ("Basic YWRhOmFkYQ==", "Bearer eyJhbGciOi", "Bearer", ""):
        answer = service.client.get("/v1/streams", headers={"authorization": credentials})
        assert answer.status_code == 200
        assert told(answer.text) == []


def test_hints_name_nothing_private(service: Service) -> None:
    for stream, uri in (("hush.patien", "/hush/patient/1.0.0"), ("shop.order", "/hush/patien/1.0.0")):
        for path in ("/v1/events", "/v1/events?dry_run=true"):
            sent = {"$schema": uri, "meta": {"stream": stream}, "text": "x"}
            answer = service.client.post(path, json=sent)
            assert told(answer.text, stream, uri) == [], answer.text


def test_counts_of_private_streams_are_reported_together(service: Service) -> None:
    text = service.client.get("/metrics").text
    assert 'headwater_intake_events_total{outcome="accepted",stream="(private)"}' in text
    assert 'stream="shop.order"' in text
    assert "headwater_job_events_total" in text


def test_a_setting_opens_a_private_stream(tmp_path: Path) -> None:
    project = made_project(tmp_path / "project")
    opened = {"allowed_streams": ["shop.order", "hush.patient"]}
    with (
        served_project(project, consumption=opened) as (address, platform),
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        service = Service(client, platform)
        client.post("/v1/events", json=list(POSTED))
        assert SECRET in service.read("/v2/stream/hush.patient?since=2020-01-01", [SECRET])
        assert "hush.patient" in client.get("/v1/streams").text
        eventually_blocking(lambda: SECRET in client.get("/v1/_page/tables").text)
        assert client.get("/v2/stream/x.private.hush.v1").status_code == 400


def error_project(directory: Path, privacy_class: str) -> Path:
    """A project that declares its error streams itself, and a job that fails with what it reads."""
    errors = ("headwater-intake.error.validation", "hush_digest.error", "open_job.error")
    declared = [{"stream": name, "schema_title": "error", "privacy": {"class": privacy_class}} for name in errors]
    project = made_project(directory)
    write_project(project, [], declared)
    return project


def test_error_streams_that_are_public_hold_nothing_of_private_events(tmp_path: Path) -> None:
    project = error_project(tmp_path / "project", "public")
    with (
        served_project(project) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE_SECONDS) as client,
    ):
        service = Service(client, platform)
        client.post("/v1/events", json=list(POSTED))
        since = "?since=2020-01-01"
        refused = service.read(f"/v2/stream/headwater-intake.error.validation{since}", ["wrong type", "is not shown"])
        assert refused.count('"raw_event":""') >= 1
        assert told(refused) == []
        failed = service.read(f"/v2/stream/hush_digest.error{since}", ["raw_event"])
        assert '"message":"function: ValueError"' in failed
        assert "jobs/made.py" in failed
        assert told(failed, "hush_digest", "jobs/made.py", "hush.patient:0") == []
        public = service.read(f"/v2/stream/open_job.error{since}", ["raw_event"])
        assert "fail openly" in public
        assert str(project) not in public
        state = client.get("/v1/_page/state").json()["streams"]
        assert {one["name"]: one["reads"] for one in state}["open_job.error"] is True


def test_error_streams_that_are_private_hold_everything(tmp_path: Path) -> None:
    project = error_project(tmp_path / "project", "private")
    with (
        served_project(project) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE_SECONDS) as client,
    ):
        service = Service(client, platform)
        client.post("/v1/events", json=list(POSTED))
        assert client.get("/v2/stream/headwater-intake.error.validation").status_code == 400
        everything = service.key("events:read")
        text = service.read("/v2/stream/headwater-intake.error.validation?since=2020-01-01", [SECRET], **everything)
        assert SECRET in text
        assert SECRET in service.read("/v2/stream/hush_digest.error?since=2020-01-01", [SECRET], **everything)


def test_a_project_without_private_streams_shows_every_refusal_with_its_reason(tmp_path: Path) -> None:
    write_project(tmp_path, [schema("shop/order")], STREAMS[:2])
    with (
        served_project(tmp_path) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE_SECONDS) as client,
    ):
        client.post("/v1/events", json=[event("shop.orders", "misspelt"), event("shop.order", "bad", dt="never")])
        seen = Service(client, platform).read("/v1/_page/feed", ["misspelt", "bad"])
        assert "is not declared" in seen
        assert '"stream_unknown"' in seen
        assert '"event_invalid"' in seen


@pytest.mark.parametrize("kind", ["prometheus", "grafana", "asyncapi"])
def test_exports_leave_private_streams_out_unless_asked_for_them(tmp_path: Path, kind: str) -> None:
    project = made_project(tmp_path / "project")
    runner = CliRunner()
    public = runner.invoke(main, ["export", kind, "--project", str(project)])
    assert public.exit_code == 0, public.output
    assert ("team:shop" if kind == "grafana" else "shop.order") in public.stdout
    assert told(public.stdout) == []
    if kind != "asyncapi":
        assert "Private streams left out: " in public.stderr
        private = runner.invoke(main, ["export", kind, "--project", str(project), "--private"])
        assert NAME in private.stdout
        assert private.stderr == ""


def test_commands_read_private_streams_with_a_key_in_a_file(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "analyst.key"
    file.write_text(service.key("events:read")["authorization"].removeprefix("Bearer ") + "\n", encoding="utf-8")
    server = str(service.client.base_url)
    runner = CliRunner()
    tail = ["tail", "hush.patient", "--since", "2020-01-01", "--count", "1", "--json", "--from", server]
    assert SECRET in runner.invoke(main, [*tail, "--key-file", str(file)]).stdout
    assert runner.invoke(main, tail).exit_code != 0
    for verb in (["completeness", "hush.patient"], ["canary", "status", "--json"]):
        asked = [*verb, "--server", server]
        assert "hush.patient" in runner.invoke(main, [*asked, "--key-file", str(file)]).stdout
        assert "hush" not in runner.invoke(main, asked).stdout


def checked(project: Path) -> dict[str, str]:
    """Rule → the first problem that `headwater check` has by it, errors and warnings."""
    lines = CliRunner().invoke(main, ["check", "--project", str(project), "--json"]).stdout.splitlines()
    problems = [orjson.loads(line) for line in reversed(lines)]
    return {one["rule"]: f"{one['severity']} {one['file']}:{one['line']} {one['message']}" for one in problems}


def test_private_in_public_is_an_error_of_the_check_that_stops_up(tmp_path: Path) -> None:
    project = made_project(tmp_path / "project")
    assert {"private-in-public", "private-opened"} & set(checked(project)) == set()
    late = {"stream": "hush.late", "schema_title": "hush/patient", "privacy": {"class": "public"}}
    write_project(project, [], [late])
    assert checked(project)["private-in-public"].startswith("error streams/hush.late.yaml:")
    up = CliRunner().invoke(main, ["up", "--project", str(project), "--port", "0"])
    assert up.exit_code == 2
    assert "private-in-public" in up.output


def test_the_check_warns_of_a_private_stream_that_a_setting_opens(tmp_path: Path) -> None:
    project = made_project(tmp_path / "project")
    settings = "log: sqlite:///var/events.db\nconsumption: {allowed_streams: [shop.order, hush.patient]}\n"
    (project / "headwater.yaml").write_text(settings, encoding="utf-8")
    found = checked(project)
    assert "private-in-public" not in found
    assert found["private-opened"].startswith("warning streams/hush.patient.yaml:")


def test_an_alias_does_not_open_a_private_stream(tmp_path: Path) -> None:
    project = made_project(tmp_path / "project")
    consumption = {"allowed_streams": ["shop.order", "open"], "stream_aliases": {"open": "hush.patient"}}
    (project / "headwater.yaml").write_text(orjson.dumps({"consumption": consumption}).decode(), encoding="utf-8")
    assert "private-in-public" in checked(project)
    with (
        served_project(project) as (address, _),
        httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE_SECONDS) as client,
    ):
        assert client.get("/v2/stream/open").status_code == 400
