"""The description of the HTTP interface is whole, is OpenAPI, and says truly what a running platform answers."""

from __future__ import annotations

import copy
import html
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_30
from starlette.routing import Match, Route

from headwater.cli.init import write_project
from headwater.config import load_config
from headwater.platform import build
from headwater.streams.projection import AUDIENCES
from headwater.testing.service_kit import served_project
from headwater.web.access import EVENTS_PATHS, STREAM_PATH
from headwater.web.app import create_app
from headwater.web.openapi.endpoints import LEFT_OUT, TAGS, specification
from headwater.web.paths import MERGED

EVENT = {
    "$schema": "/demo/edit/1.0.0",
    "meta": {"stream": "demo.edit"},
    "dt": "2026-01-01T00:00:00Z",
    "wiki": "enwiki",
    "title": "Water",
    "user": "Ada",
    "bot": False,
    "bytes": 42,
}
METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
# What is asked of each operation whose answer is JSON: the path's parameters, and queries with different answers.
ASKED: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "/v1/streams": ({}, ("", *(f"audience={one}" for one in AUDIENCES), "names=x")),
    "/v1/streams/{name}": (
        {"name": "demo.edit"},
        ("", *(f"audience={one}" for one in AUDIENCES)),
    ),
    "/v1/stream-changes": ({}, ("", "limit=1")),
    "/v1/stream-changes/{number}": ({"number": "1"}, ("",)),
    "/v1/stream-configs": ({}, ("",)),
    "/v1/stream-configs/{names}": ({"names": "demo.edit"}, ("",)),
    "/w/api.php": ({}, ("action=streamconfigs", "action=streamconfigs&format=json&constraints=a=b", "format=json&x=1")),
    "/api.php": ({}, ("action=streamconfigs",)),
    "/v1/tables": ({}, ("",)),
    "/v1/served": ({}, ("",)),
    "/v1/canaries": ({}, ("", "condition=live")),
    "/v1/completeness": ({}, ("stream=demo.edit", "stream=demo.edit&by=receipt")),
    "/v1/jobs": ({}, ("", "name=page_edits")),
    "/v1/errors": ({}, ("", "limit=1&where=error_type%3DTIMEOUT&since=2026-01-01")),
    "/v1/reconciliation": ({}, ("", "differing=1")),
    "/repositories/": ({}, ("", "q=wiki")),
    "/repositories/{name}/jsonschema/": ({"name": MERGED}, ("",)),
    "/repositories/{name}/jsonschema/{directory}/": ({"name": MERGED, "directory": "demo/edit"}, ("",)),
    "/repositories/{name}/jsonschema/{path}": ({"name": MERGED, "path": "demo/edit/1.0.0.json"}, ("",)),
    "/subjects": ({}, ("", "subjectPrefix=demo")),
    "/subjects/{subject}/versions": ({"subject": "demo/edit"}, ("",)),
    "/subjects/{subject}/versions/{version}": ({"subject": "demo.edit-value", "version": "latest"}, ("",)),
    "/subjects/{subject}/versions/{version}/schema": ({"subject": "demo/edit", "version": "1000000"}, ("",)),
    "/subjects/{subject}/versions/{version}/referencedby": ({"subject": "demo/edit", "version": "1.0.0"}, ("",)),
    "/schemas": ({}, ("", "latestOnly=true")),
    "/schemas/types": ({}, ("",)),
    "/schemas/ids/{id}": ({"id": "ID"}, ("",)),
    "/schemas/ids/{id}/schema": ({"id": "ID"}, ("",)),
    "/schemas/ids/{id}/subjects": ({"id": "ID"}, ("",)),
    "/schemas/ids/{id}/versions": ({"id": "ID"}, ("",)),
    "/config": ({}, ("",)),
    "/config/{subject}": ({"subject": "demo/edit"}, ("defaultToGlobal=true",)),
    "/mode": ({}, ("",)),
    "/mode/{subject}": ({"subject": "demo/edit"}, ("defaultToGlobal=true",)),
    "/": ({}, ("spec",)),
    "/_info": ({}, ("",)),
    "/_info/name": ({}, ("",)),
    "/_info/version": ({}, ("",)),
    "/healthz": ({}, ("",)),
    "/readyz": ({}, ("",)),
    "/asyncapi.json": ({}, ("", "audience=internal")),
    "/asyncapi/{name}.json": ({"name": "demo.edit"}, ("",)),
}

# What is described elsewhere: a page, and schemas as they stand in repositories.
FREE = {
    "/",
    "/repositories/{name}/jsonschema/{path}",
    "/subjects/{subject}/versions/{version}/schema",
    "/schemas/ids/{id}/schema",
}


class Service:
    """A platform that is served, its description, and a client with a key for everything."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.document: dict[str, Any] = client.get("/?spec").json()

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, methods in self.document["paths"].items():
            for method, described in methods.items():
                yield path, method, described

    def schema_of(self, response: httpx.Response, path: str, method: str) -> Any:
        """The schema that is documented for a response; the status and the media type have to be."""
        described = self.document["paths"][path][method]["responses"]
        assert str(response.status_code) in described, (path, response.status_code, response.text[:300])
        content = described[str(response.status_code)].get("content", {})
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in content, (path, response.status_code, media_type)
        return content[media_type]["schema"]

    def errors(self, schema: Any, value: Any) -> list[str]:
        whole = {**nullable_as_types(schema), "components": nullable_as_types(self.document["components"])}
        return [str(error) for error in jsonschema_rs.Draft4Validator(whole).iter_errors(value)]

    def is_data(self, path: str, method: str) -> bool:
        """Whether the operation answers JSON in the good case, and ends."""
        described = self.document["paths"][path][method]
        good = described["responses"].get("200", {}).get("content", {})
        return described.get("x-monitor", True) and any(media.endswith("json") for media in good)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("described")
    write_project(directory)
    control = {"requests_per_minute_max": 1_000_000}
    with served_project(directory, control=control, intake={"test_events": [EVENT]}) as (address, platform):
        key = platform.keys.create("test", ("streams:read", "streams:write", "streams:kill"))
        headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
        with httpx.Client(base_url=address, headers=headers, trust_env=False) as client:
            assert client.post("/v1/events", json=EVENT).status_code == 201
            kill = {"stream": "demo.edits_per_minute", "reason": "a test"}
            assert client.post("/v1/stream-changes/kill", json=kill).status_code == 201
            yield Service(client)


def nullable_as_types(schema: Any) -> Any:
    """OpenAPI's `nullable` in the words of JSON schema."""
    if isinstance(schema, list):
        return [nullable_as_types(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: nullable_as_types(one) for name, one in schema.items()}
    if found.pop("nullable", False) is True and "type" in found:
        found["type"] = [found["type"], "null"]
    return found


def routes_of(directory: Path) -> tuple[list[Route], dict[str, Any]]:
    write_project(directory)
    overrides = {"intake": {"test_events": [EVENT]}}
    platform = build(load_config(directory, environment={}, overrides=overrides))
    application = create_app(platform)
    routes = [route for route in application.routes if isinstance(route, Route)]
    assert len(routes) == len(application.routes)
    return routes, specification(platform)


def named(route: Route) -> str:
    return route.path.replace(":path}", "}").replace(":revision}", "}")


def answering(routes: list[Route], method: str, path: str) -> Route | None:
    """The route that answers a request, as Starlette finds it."""
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    return next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)


def test_every_route_is_described_or_left_out_for_a_reason_and_nothing_else_is(tmp_path: Path) -> None:
    routes, document = routes_of(tmp_path)
    there = {f"{method} {named(route)}" for route in routes for method in route.methods or ()}
    # What the application answers before any route is asked.
    there |= {f"POST {path}" for path in EVENTS_PATHS} | {f"GET {STREAM_PATH}{{streams}}"}
    described = set()
    for path, methods in document["paths"].items():
        for method in methods:
            if f"{method.upper()} {path}" in there:
                described.add(f"{method.upper()} {path}")
                continue
            # A path may be described in parts: what it means with and without a slash at its end.
            filled = path.format(name="a", directory="b", path="c")
            route = answering(routes, method.upper(), filled)
            assert route is not None, f"{method} {path} is described and not there"
            described.add(f"{method.upper()} {named(route)}")
    everywhere = {what for what in LEFT_OUT if " " not in what}
    untold = {one for one in there - described if one.split()[0] not in everywhere}
    assert untold == LEFT_OUT.keys() - everywhere
    # `OPTIONS` is answered before any route, too.
    assert all(any(one.startswith(f"{method} ") for one in there) for method in everywhere - {"OPTIONS"})


def test_a_described_path_is_answered_by_its_own_route_and_not_by_one_before_it(tmp_path: Path) -> None:
    routes, document = routes_of(tmp_path)
    own = {named(route) for route in routes}
    for path, methods in document["paths"].items():
        for method in methods:
            if path in own:
                values = defaultdict(lambda: "1", subject="s/t")
                route = answering(routes, method.upper(), path.format_map(values))
                assert route is not None, path
                assert named(route) == path


def test_the_description_is_openapi_and_all_it_refers_to_is_there(service: Service) -> None:
    document = service.document
    errors = [str(error) for error in jsonschema_rs.Draft4Validator(OPENAPI_30).iter_errors(document)]
    assert errors == []
    names = [described["operationId"] for _, _, described in service.operations()]
    assert len(names) == len(set(names))
    assert {tag["name"] for tag in document["tags"]} == set(TAGS)
    used = set()
    for reference in references(document):
        where: Any = document
        for step in reference.removeprefix("#/").split("/"):
            where = where[step]
        used.add(reference.rsplit("/", 1)[-1])
    assert used == document["components"]["schemas"].keys()
    for path, method, described in service.operations():
        assert set(described["tags"]) <= set(TAGS)
        assert method in METHODS
        parameters = described.get("parameters", [])
        places = {(one["name"], one["in"]) for one in parameters}
        assert len(places) == len(parameters)
        in_path = {part.strip("{}").removesuffix("}.json") for part in path.split("/") if part.startswith("{")}
        assert {name for name, place in places if place == "path"} == in_path
        assert all(one["description"] for one in parameters)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_described_json_answer_says_which_properties_are_always_there(service: Service) -> None:
    schemas = service.document["components"]["schemas"]

    def says_something(schema: Mapping[str, Any]) -> bool:
        if "$ref" in schema:
            return says_something(schemas[schema["$ref"].rsplit("/", 1)[-1]])
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            return all(says_something(one) for one in alternatives)
        if schema["type"] == "array":
            return says_something(schema["items"])
        if schema["type"] != "object":
            return True
        closed = schema.get("additionalProperties")
        if isinstance(closed, dict):
            return says_something(closed)
        # A schema in a repository is anything but nothing.
        return bool(schema.get("required")) or closed is False or schema.get("minProperties", 0) > 0

    vague = [
        f"{method} {path} {status}"
        for path, method, described in service.operations()
        for status, response in described["responses"].items()
        for media, one in response.get("content", {}).items()
        if media.endswith("json") and "text" not in one["schema"].get("type", "") and not says_something(one["schema"])
    ]
    # The page answers `?spec`, which is described by OpenAPI itself.
    assert vague == ["get / 200"]


def test_what_a_platform_answers_is_what_is_described(service: Service) -> None:
    data = {path for path, method, _ in service.operations() if method == "get" and service.is_data(path, method)}
    assert data == ASKED.keys(), "name the requests to a new path in ASKED"
    (some, *_) = service.client.get("/schemas?subjectPrefix=demo/edit&latestOnly=true").json()
    for path, (values, queries) in ASKED.items():
        asked = {name: str(some["id"]) if value == "ID" else value for name, value in values.items()}
        for query in queries:
            response = service.client.get(f"{path.format(**asked)}?{query}")
            if not (path.endswith("api.php") and "action" not in query):
                assert response.status_code == 200, (path, query, response.text[:300])
            schema = service.schema_of(response, path, "get")
            if schema.get("type") == "string":
                continue
            value = response.json()
            assert service.errors(schema, value) == [], (path, query)
            assert path in FREE or can_fail(service, schema, value), f"{path}?{query}: everything may be absent"


def can_fail(service: Service, schema: Any, value: Any) -> bool:
    """Whether the schema misses a property that is taken out of the value, or out of one in a map or list."""
    if isinstance(value, list):
        return not value or not isinstance(value[0], dict) or can_fail(service, schema["items"], value[0])
    if isinstance(schema.get("additionalProperties"), dict):
        return all(can_fail(service, schema["additionalProperties"], one) for one in value.values())
    return not value or any(service.errors(schema, without(value, name)) for name in value)


def without(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = dict(copy.deepcopy(value))
    del found[name]
    return found


@pytest.mark.parametrize(
    ("method", "path", "asked", "status"),
    [
        ("get", "/v1/streams", "/v1/streams?audience=internal", 401),
        ("get", "/v1/streams", "/v1/streams?audience=nobody", 404),
        ("get", "/v1/streams/{name}", "/v1/streams/demo.edti", 404),
        ("get", "/v1/stream-changes", "/v1/stream-changes", 401),
        ("get", "/v1/completeness", "/v1/completeness", 404),
        ("get", "/v1/completeness", "/v1/completeness?stream=demo.edit&hour=999999999999999", 400),
        ("get", "/v1/completeness", "/v1/completeness?stream=demo.edit&from=0001-01-01T00:00:00%2B14:00", 400),
        ("get", "/v1/completeness", "/v1/completeness?stream=demo.edit&from=1970-01-01", 413),
        ("get", "/v1/canaries", "/v1/canaries?condition=happy", 400),
        ("get", "/repositories/{name}/jsonschema/{path}", "/repositories/all/jsonschema/demo/edit/9.9.9", 404),
        ("get", "/repositories/{name}/jsonschema/{path}", "/repositories/all/jsonschema/demo//edit", 400),
        ("get", "/schemas/ids/{id}", "/schemas/ids/%C2%B2", 404),
        ("get", "/subjects/{subject}/versions/{version}", "/subjects/demo%2Fedit/versions/%C2%B2", 422),
        ("get", "/subjects/{subject}/versions/{version}", f"/subjects/demo%2Fedit/versions/{'9' * 5000}", 422),
        ("get", "/v2/stream/{streams}", "/v2/stream/nothing", 400),
        ("get", "/v2/stream/{streams}", "/v2/stream/demo.edit?since=tomorrow", 400),
        ("get", "/v2/stream/{streams}", "/v2/stream/demo.edit?filter=((", 400),
        ("get", "/v2/stream/{streams}", "/v2/stream/demo.edit?format=xml", 415),
        ("get", "/v2/stream/{streams}", "/v2/stream/demo.edit?last_event_id=[{}]", 400),
        ("get", "/v2/stream/{streams}", '/v2/stream/demo.edit?lastEventId=["other"]', 404),
        ("post", "/v1/stream-changes", "/v1/stream-changes", 401),
        ("post", "/subjects/{subject}/versions", "/subjects/demo%2Fedit/versions", 422),
    ],
)
def test_refusals_are_as_described(service: Service, method: str, path: str, asked: str, status: int) -> None:
    response = service.client.request(method, asked, headers={"authorization": ""})
    assert response.status_code == status, response.text[:300]
    assert service.errors(service.schema_of(response, path, method), response.json()) == []


def test_numbers_that_are_none_are_no_failure_of_the_service(service: Service) -> None:
    for text in ("²", "9" * 5000):
        assert service.client.get("/v1/stream-changes", params={"limit": text}).status_code == 200
        change = {"reason": "a test", "put": [], "remove": []}
        answer = service.client.post("/v1/stream-changes", json=change, headers={b"if-match": text.encode("latin-1")})
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_changes_are_answered_as_described(service: Service) -> None:
    rule = {"id": "half", "stream": "demo.edit", "set": {"produce": {"sample": {"unit": "session", "rate": 0.5}}}}
    bodies: dict[str, Any] = {
        "/v1/stream-changes": {"reason": "a test", "put": [rule]},
        "/v1/stream-changes/rollback": {"reason": "a test", "to": 0},
        "/v1/stream-changes/kill": {"reason": "a test", "stream": "demo.edit"},
    }
    for path, body in bodies.items():
        given = service.document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert service.errors(given, body) == []
        assert service.errors(given, without(body, "reason")) != []
        response = service.client.post(f"{path}?dry_run=true", json=body)
        assert response.status_code == 200, response.text
        assert service.errors(service.schema_of(response, path, "post"), response.json()) == []
    response = service.client.post("/v1/stream-changes", json=bodies["/v1/stream-changes"])
    assert response.status_code == 201
    assert service.errors(service.schema_of(response, "/v1/stream-changes", "post"), response.json()) == []


def test_events_may_be_sent_in_every_described_media_type(service: Service) -> None:
    cloud = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": EVENT}
    bodies: dict[str, Any] = {"application/cloudevents+json": cloud, "application/cloudevents-batch+json": [cloud]}
    content = service.document["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    for media_type, one in content.items():
        body = bodies.get(media_type, EVENT)
        assert service.errors(one["schema"], body) == []
        response = service.client.post(
            "/v1/events?dry_run=true", json=body, headers={"content-type": media_type, "authorization": ""}
        )
        assert response.status_code == 200, (media_type, response.text)
        assert response.json()["events"][0]["verdict"] == "accepted"
        assert service.errors(service.schema_of(response, "/v1/events", "post"), response.json()) == []
    header = {"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/s", "ce-type": "t"}
    named = {one["name"] for one in service.document["paths"]["/v1/events"]["post"]["parameters"]}
    assert header.keys() <= named
    assert service.client.post("/v1/events?dry_run=true", json=EVENT, headers=header).status_code == 200


def test_the_page_for_people_leads_to_every_operation_and_schema(service: Service) -> None:
    page = html.unescape(service.client.get("/?doc").text)
    anchors = [described["operationId"] for _, _, described in service.operations()]
    anchors += [f"schema-{name}" for name in service.document["components"]["schemas"]]
    for anchor in anchors:
        assert page.count(f' id="{anchor}"') == 1, anchor
        assert f'href="#{anchor}"' in page, anchor
    targets = {part.split('"')[0] for part in page.split('href="#')[1:]}
    assert [target for target in sorted(targets) if f' id="{target}"' not in page] == []
    assert all(reason in page for reason in LEFT_OUT.values())
