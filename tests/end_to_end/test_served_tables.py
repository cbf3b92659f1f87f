"""Tables that a project serves over HTTP: rows, caches, who may read what, the audit, and the description."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner

import headwater
from end_to_end.test_http_description import nullable_as_types
from headwater.cli.main import main
from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually_blocking
from headwater.testing.service_kit import served_project, write_project

SCHEMA = {
    "title": "shop/order",
    "description": "An order.",
    "$id": "/shop/order/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["meta", "shop", "number"],
    "properties": {
        "$schema": {"type": "string"},
        "meta": {"type": "object", "properties": {"stream": {"type": "string"}, "id": {"type": "string"}}},
        "shop": {"type": "string", "description": "The name of the shop."},
        "number": {"type": "integer", "maximum": 9_007_199_254_740_991, "minimum": -9_007_199_254_740_991},
        "version": {"type": "integer"},
        "text": {"type": "string"},
        "price": {"type": "number"},
    },
}
ACCESS = {
    "title": "served_table/access",
    "description": "A request for a table that is served to roles.",
    "$id": "/served_table/access/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["$schema", "meta", "dt", "served_table", "request", "key", "status", "rows"],
    "properties": {
        "$schema": {"type": "string"},
        "meta": {"type": "object"},
        "dt": {"type": "string", "format": "date-time", "maxLength": 64},
        **{name: {"type": "string"} for name in ("served_table", "request", "key", "client_address")},
        **{name: {"type": "integer"} for name in ("status", "rows")},
    },
    "additionalProperties": False,
}
STREAMS: list[dict[str, Any]] = [
    {"stream": "shop.order", "schema_title": "shop/order"},
    {"stream": "shop.secret", "schema_title": "shop/order", "privacy": {"class": "restricted"}},
    {"stream": "shop.access", "schema_title": "served_table/access", "privacy": {"class": "restricted"}},
]
JOBS = '''
from headwater.jobs import table


@table(source="shop.order", key=("shop", "number"), version="version")
def orders(event):
    """The orders as they are now."""
    return {"text": event["text"], "price": event.get("price")}


@table(source="shop.secret", key="shop")
def secrets(event):
    return {"text": event["text"]}


@table(source="shop.secret", key="shop")
def watched(event):
    return {"text": event["text"]}
'''
SERVED: dict[str, dict[str, Any]] = {
    "orders": {"fields": ["text", "price"], "equals": ["shop", "number", "text"], "ranges": ["price"]},
    "cheapest": {
        "table": "orders",
        "fields": {"price": "number"},
        "required": ["shop"],
        "order": "price",
        "distinct": {"prices": "price"},
        "cache_seconds": 60,
    },
    "secrets": {},
    "watched": {"roles": ["checkuser"], "audit": "shop.access"},
}
# Any text can be part of a key.
HOSTILE = ["a/b", "ü?&=#%", '"quoted"', "x y", "back\\slash", "5", "null", "💧", "a+b", "rows", "x/rows/y"]


def made_project(directory: Path) -> Path:
    write_project(directory, [SCHEMA, ACCESS], STREAMS)
    (directory / "headwater.yaml").write_text("log: sqlite:///var/events.db\n", encoding="utf-8")
    (directory / "jobs").mkdir()
    (directory / "jobs" / "shop.py").write_text(JOBS, encoding="utf-8")
    (directory / "served_tables").mkdir()
    for name, written in SERVED.items():
        (directory / "served_tables" / f"{name}.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return directory


def order(number: int, shop: str = "north", stream: str = "shop.order", **fields: Any) -> Any:
    made = {"$schema": "/shop/order/1.0.0", "meta": {"stream": stream}, "shop": shop, "number": number, "version": 1}
    return {**made, "text": f"{shop} {number}", **fields}


class Service:
    def __init__(self, client: httpx.Client, platform: Platform, project: Path) -> None:
        self.client = client
        self.platform = platform
        self.project = project

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.client.get(f"/v1/served{path}", headers=headers or {})

    def key(self, *scopes: str) -> dict[str, str]:
        name = f"{'+'.join(scopes)} {time.monotonic_ns()}"
        return {"authorization": f"Bearer {self.platform.keys.create(name, scopes)}"}

    def audited(self) -> list[Any]:
        """What the audit has, oldest first."""
        found = headwater.sql('select * from "shop.access" order by dt', project=self.project)
        return list(found.to_pylist())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    project = made_project(tmp_path_factory.mktemp("served") / "project")
    limits = {"attempts_per_minute_max": 100_000, "requests_per_minute_max": 100_000}
    with (
        served_project(project, control=limits) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=30) as client,
    ):
        service = Service(client, platform, project)
        events = [order(number, price=number % 4 + 0.5) for number in range(10)]
        events += [order(number, shop) for number, shop in enumerate(HOSTILE)]
        events += [order(1, stream="shop.secret")]
        assert client.post("/v1/events", json=events).status_code == 201
        eventually_blocking(lambda: service.get("/orders/counts").json() == {"rows": 10 + len(HOSTILE)})
        reader = service.key("role:checkuser")
        eventually_blocking(lambda: service.get("/watched/rows/north", reader).status_code == 200)
        eventually_blocking(lambda: service.get("/secrets/rows/north", service.key("events:read")).status_code == 200)
        yield service


def test_rows_are_found_by_values_bounds_and_in_pages(service: Service) -> None:
    found = service.get("/orders?shop=north&price.gt=2&limit=3").json()
    assert found == {
        "rows": [
            {"shop": "north", "number": number, "text": f"north {number}", "price": number % 4 + 0.5}
            for number in (2, 3, 6)
        ],
        "next": found["next"],
    }
    rest = service.get(f"/orders?shop=north&price.gt=2&limit=3&after={found['next']}").json()
    assert ([row["number"] for row in rest["rows"]], rest["next"]) == ([7], None)
    assert [row["number"] for row in service.get("/orders?text=north+4").json()["rows"]] == [4]


def test_the_next_page_is_linked_also_of_lines(service: Service) -> None:
    response = service.get("/orders?shop=north&limit=4", {"accept": "application/x-ndjson"})
    assert response.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in response.text.splitlines()]
    while (link := response.links.get("next")) is not None:
        response = service.client.get(response.url.join(link["url"]), headers={"accept": "application/x-ndjson"})
        rows += [json.loads(line) for line in response.text.splitlines()]
    assert [row["number"] for row in rows] == list(range(10))
    assert service.get("/orders?format=jsonl").text.count("\n") == 10 + len(HOSTILE)


def test_a_row_is_found_by_its_key_whatever_characters_it_has(service: Service) -> None:
    for number, shop in enumerate(HOSTILE):
        path = f"/orders/rows/{httpx.URL('/', params={'x': shop}).query.decode()[2:].replace('+', '%20')}/{number}"
        found = service.get(path)
        assert (found.status_code, found.json().get("text")) == (200, f"{shop} {number}"), (shop, found.text)
        listed = service.client.get("/v1/served/orders", params={"shop": shop, "number": number}).json()
        assert [row["text"] for row in listed["rows"]] == [f"{shop} {number}"], shop


def test_rows_are_sorted_and_counted(service: Service) -> None:
    found = service.get("/cheapest?shop=north&limit=4").json()["rows"]
    assert [(row["price"], row["number"]) for row in found] == [(0.5, 0), (0.5, 4), (0.5, 8), (1.5, 1)]
    assert service.get("/cheapest/counts?shop=north").json() == {"rows": 10, "prices": 4}


@pytest.mark.parametrize(
    ("path", "status", "code", "detail"),
    [
        ("/orders/rows/north/77", 404, "row_unknown", "has no row with the key north/77"),
        ("/orders/rows/north/x", 400, "filter_invalid", "number must be a whole number"),
        ("/orders/rows/north", 400, "filter_invalid", "A key of orders is shop/number, not 1 parts"),
        ("/orders/rows/north/1?x=1", 400, "filter_invalid", "has no parameters"),
        ("/orders?shap=1", 400, "filter_invalid", "has no parameter 'shap'"),
        ("/orders?shop=a&shop=b", 400, "filter_invalid", "shop is given twice"),
        ("/orders?price.gt=x", 400, "filter_invalid", "price.gt must be a number"),
        ("/orders?after=x", 400, "filter_invalid", "after must be"),
        ("/cheapest", 400, "filter_invalid", "needs the parameter shop"),
        ("/order", 404, "table_unknown", "There is no served table 'order'"),
        ("/secrets", 404, "table_unknown", "There is no served table 'secrets'"),
        ("/watched", 404, "table_unknown", "There is no served table 'watched'"),
        ("/nothing/counts", 404, "table_unknown", "There is no served table 'nothing'"),
        ("/nothing/rows/a", 404, "table_unknown", "There is no served table 'nothing'"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_document(
    path: str, status: int, code: str, detail: str, service: Service
) -> None:
    response = service.get(path)
    problem = response.json()
    assert (response.status_code, problem["type"]) == (status, code), problem
    assert detail in problem["detail"]
    assert response.headers["content-type"] == "application/problem+json"


def test_what_a_client_has_is_not_sent_again(service: Service) -> None:
    for path in ("/orders?limit=2", "/orders/rows/north/1", "/orders/counts"):
        first = service.get(path)
        assert first.headers["cache-control"] == "public, no-cache"
        again = service.get(path, {"if-none-match": f'"x", W/{first.headers["etag"]}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert service.get("/cheapest?shop=north").headers["cache-control"] == "public, max-age=60"
    head = service.client.head("/v1/served/orders")
    assert (head.status_code, head.content) == (200, b"")
    private = service.get("/secrets", service.key("events:read"))
    assert private.headers["cache-control"] == "private, no-cache"
    assert private.headers["vary"] == "accept, authorization"


def names(service: Service, headers: dict[str, str]) -> list[str]:
    return [one["name"] for one in service.get("", headers).json()["tables"]]


def test_tables_are_there_for_those_who_may_know_of_them(service: Service) -> None:
    assert names(service, {}) == ["cheapest", "orders"]
    assert names(service, service.key("events:read")) == ["cheapest", "orders", "secrets", "watched"]
    assert names(service, service.key("role:checkuser")) == ["cheapest", "orders", "watched"]
    assert names(service, service.key("role:other")) == ["cheapest", "orders"]
    assert service.get("/orders", {"authorization": "Bearer hwk_x"}).status_code == 401


def test_a_restricted_table_needs_a_role_and_each_request_is_audited(service: Service) -> None:
    before = len(service.audited())
    reader, other, events = (service.key(scope) for scope in ("role:checkuser", "role:other", "events:read"))
    assert service.get("/watched?shop=north", reader).json()["rows"] == [{"shop": "north", "text": "north 1"}]
    allowed = service.get("/watched/rows/north", reader)
    assert (allowed.status_code, allowed.headers["cache-control"]) == (200, "no-store")
    assert service.get("/watched/rows/nowhere", reader).status_code == 404
    assert service.get("/watched?x=1", reader).status_code == 400
    refused = service.get("/watched", events)
    assert (refused.status_code, refused.json()["type"]) == (403, "scope_missing")
    assert "role:checkuser" in refused.json()["hint"]
    # Who may not know of it is told nothing, and has read nothing.
    assert service.get("/watched", other).status_code == 404
    found = service.audited()[before:]
    asked = [(one["request"].removeprefix("/v1/served/watched"), one["status"], one["rows"]) for one in found]
    rows = [("?shop=north", 200, 1), ("/rows/north", 200, 1), ("/rows/nowhere", 404, 0)]
    assert asked == [*rows, ("?x=1", 400, 0), ("", 403, 0)]
    assert [one["key"].split()[0] for one in found] == ["role:checkuser"] * 4 + ["events:read"]
    assert {(one["served_table"], one["client_address"]) for one in found} == {("watched", "127.0.0.1")}


def test_a_restricted_table_is_read_in_no_other_way(service: Service) -> None:
    headers = service.key("events:read")
    for path in ("/v1/tables/watched", "/v1/tables/watched/rows?key=north", "/tables/watched"):
        assert service.client.get(path, headers=headers).status_code == 404
    listed = service.client.get("/v1/tables", headers=headers).json()["tables"]
    assert [one["name"] for one in listed] == ["orders", "secrets"]


def test_without_an_audit_nothing_is_answered(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.platform.audit, "_schema_of", lambda stream: "/shop/order/1.0.0")
    response = service.get("/watched/rows/north", service.key("role:checkuser"))
    assert (response.status_code, response.json()["type"]) == (500, "config_invalid")
    assert "north 1" not in response.text


def test_the_description_has_each_table_with_its_types(service: Service) -> None:
    document = service.client.get("/?spec").json()
    described = {path for path in document["paths"] if path.startswith("/v1/served/") and "{name}" not in path}
    assert described == {
        *("/v1/served/orders", "/v1/served/orders/counts", "/v1/served/orders/rows/{shop}/{number}"),
        *("/v1/served/cheapest", "/v1/served/cheapest/counts", "/v1/served/cheapest/rows/{shop}/{number}"),
    }
    parameters = {one["name"]: one for one in document["paths"]["/v1/served/orders"]["get"]["parameters"]}
    assert parameters["number"]["schema"]["type"] == "integer"
    assert parameters["shop"]["description"] == "The name of the shop."
    assert set(parameters) >= {"price.gt", "price.gte", "price.lt", "price.lte", "limit", "after", "fields", "format"}
    asked = {
        "/v1/served": "/v1/served",
        "/v1/served/orders": "/v1/served/orders?limit=2",
        "/v1/served/cheapest/counts": "/v1/served/cheapest/counts?shop=north",
        "/v1/served/orders/rows/{shop}/{number}": "/v1/served/orders/rows/north/1",
    }
    for path, request in asked.items():
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**nullable_as_types(schema), "components": nullable_as_types(document["components"])}
        value = service.client.get(request).json()
        validator = jsonschema_rs.Draft4Validator(whole)
        assert [str(error) for error in validator.iter_errors(value)] == []
        assert not validator.is_valid({name: value[name] for name in list(value)[1:]})
    restricted = service.client.get("/?spec", headers=service.key("role:checkuser")).json()
    assert restricted["paths"]["/v1/served/watched"]["get"]["x-scope"] == "role:checkuser"
    assert "served/watched" not in service.client.get("/?doc").text


def test_the_command_line_and_the_page_say_where_a_table_is_served(service: Service) -> None:
    project = ("--project", str(service.project))
    listed = CliRunner().invoke(main, ["table", "list", *project], catch_exceptions=False).output
    assert "served at /v1/served/cheapest, /v1/served/orders" in listed
    assert 'href="../v1/served/cheapest"' in service.client.get("/tables/orders").text
    checked = CliRunner().invoke(main, ["check", *project], catch_exceptions=False)
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("orders", {"table": "order"}, "there is no materialized table 'order'"),
        ("orders", {"ranges": ["size"]}, "size is in `ranges`, and its type is not known"),
        ("watched", {"roles": ["a"], "audit": "shop.acess"}, "its audit goes to shop.acess, which is not declared"),
        ("watched", {"roles": ["a"], "audit": "shop.order"}, "shop.order does not accept its audit"),
    ],
)
def test_check_finds_what_is_wrong(name: str, written: dict[str, Any], message: str, tmp_path: Path) -> None:
    project = made_project(tmp_path / "project")
    (project / "served_tables" / f"{name}.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    checked = CliRunner().invoke(main, ["check", "--project", str(project)], catch_exceptions=False)
    assert checked.exit_code != 0
    assert message in " ".join(checked.output.split())


def test_an_invalid_file_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    project = made_project(tmp_path / "project")
    (project / "served_tables" / "orders.yaml").write_text("table: order\n", encoding="utf-8")
    platform = build(load_config(project, environment={}))
    assert [one.name for one in platform.served.all()] == ["cheapest", "secrets", "watched"]
    assert "not served: served_tables/orders.yaml:1: there is no materialized table 'order'." in caplog.text


def test_verbs_that_need_no_jobs_ignore_the_files(tmp_path: Path) -> None:
    project = ("--project", str(made_project(tmp_path / "project")))
    exported = CliRunner().invoke(main, ["export", "prometheus", *project], catch_exceptions=False)
    assert (exported.exit_code, "served" in exported.stderr) == (0, False), exported.output


def test_where_keys_are_required_a_role_is_enough_for_what_it_is_for(tmp_path: Path) -> None:
    project = made_project(tmp_path / "project")
    with (
        served_project(project, consumption={"keys": "required"}) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=30) as client,
    ):
        headers = {"authorization": f"Bearer {platform.keys.create('ada', ('role:checkuser',))}"}
        assert client.get("/v1/served/watched").status_code == 401
        assert client.get("/v1/served/watched", headers=headers).status_code == 200
        assert client.get("/v1/tables", headers=headers).json()["type"] == "scope_missing"
