"""The schema service over HTTP: files for machines, pages for people, the registry API for its clients."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml

from headwater.cli.init import write_project
from headwater.cli.up.up import running
from headwater.config import load_config
from headwater.errors import ConfigInvalid
from headwater.web.schema_server import create_schema_app, indexes_of, name_of
from headwater.web.schemas.confluent import id_of, number_of
from headwater.web.schemas.repository_index import LISTING_SECONDS, RepositoryIndex, RepositoryIndexes, settings_at

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
# What java.net.HttpURLConnection asks for when nobody sets anything; schema clients in Java do not.
JAVA = {"accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}

ORDER = """\
title: shop/order
description: An order was placed. It may still be cancelled.
$id: /shop/order/VERSION
$schema: https://json-schema.org/draft-07/schema#
type: object
additionalProperties: false
required: [$schema, order_id]
properties:
  $schema: {type: string}
  order_id: {type: integer, description: "<b>The</b> number.", minimum: 1}
  lines:
    type: array
    items:
      type: object
      required: [sku]
      properties:
        sku: {type: string, maxLength: 12}
examples:
- {$schema: /shop/order/VERSION, order_id: 7}
"""


def _write(base: Path, title: str, name: str, text: str) -> Path:
    file = base / title / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def primary(tmp_path: Path) -> Path:
    base = tmp_path / "primary" / "jsonschema"
    for version in ("1.0.0", "1.2.0", "1.10.0"):
        text = ORDER.replace("VERSION", version)
        if version == "1.10.0":
            text = text.replace("  lines:", "  paid: {type: boolean}\n  lines:")
        _write(base, "shop/order", f"{version}.yaml", text)
    current = "title: shop/order\n$id: /shop/order/1.11.0\nallOf:\n- $ref: /fragment/common/1.0.0#\n"
    _write(base, "shop/order", "current.yaml", current)
    _write(base, "shop/order", "CHANGELOG.md", "# 1.10.0\nPayment.\n")
    for version in ("1.0.0", "1.1.0"):
        fragment = f"title: fragment/common\n$id: /fragment/common/{version}\nproperties: {{dt: {{type: string}}}}\n"
        _write(base, "fragment/common", f"{version}.yaml", fragment)
    (base / "shop" / "order" / "secret.yaml").write_text("password: hunter2\n")
    (tmp_path / "primary" / "outside.yaml").write_text("secret: true\n")
    (base / "shop" / "order" / "9.9.9.yaml").symlink_to(tmp_path / "primary" / "outside.yaml")
    return tmp_path / "primary"


@pytest.fixture
def secondary(tmp_path: Path) -> Path:
    base = tmp_path / "secondary" / "jsonschema"
    _write(base, "shop/order", "1.0.0.yaml", "title: shop/order\n$id: /shop/order/1.0.0\ndescription: Not the first.\n")
    _write(base, "shop/order", "3.0.0.yaml", "title: shop/order\n$id: /shop/order/3.0.0\n")
    visit = (
        '{"title": "web/visit", "$id": "/web/visit/0.1.0", "type": "object", "properties": {"url": {"type": "string"}}}'
    )
    _write(base, "web/visit", "0.1.0.json", visit)
    return tmp_path / "secondary"


@pytest.fixture
async def client(primary: Path, secondary: Path) -> AsyncIterator[httpx.AsyncClient]:
    indexes = RepositoryIndexes.of([("primary", settings_at(primary)), ("secondary", settings_at(secondary))])
    app = create_schema_app(indexes, lambda: {"shop/order": ["shop.order", "shop.order.eu"]})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://schemas") as opened:
        yield opened


P = "/repositories/primary/jsonschema"


async def test_a_version_without_extension_is_the_bytes_of_its_file(client: httpx.AsyncClient, primary: Path) -> None:
    answer = await client.get(f"{P}/shop/order/1.2.0")
    assert answer.content == (primary / "jsonschema/shop/order/1.2.0.yaml").read_bytes()
    assert answer.headers["content-type"] == "application/yaml"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["vary"] == "accept"


@pytest.mark.parametrize(
    ("path", "accept", "media_type"),
    [
        ("1.2.0", "*/*", "application/yaml"),
        ("1.2.0", JAVA["accept"], "application/yaml"),
        ("1.2.0", BROWSER["accept"], "application/yaml"),
        ("1.2.0", "application/json", "application/json"),
        ("1.2.0", "application/yaml, application/json;q=0.5", "application/yaml"),
        ("1.2.0", "application/yaml;q=0.2, application/json", "application/json"),
        ("1.2.0", "application/json;q=bad", "application/yaml"),
        ("1.2.0.yaml", "application/json", "application/yaml"),
        ("1.2.0.json", "*/*", "application/json"),
        ("latest.json", "*/*", "application/json"),
    ],
)
async def test_the_form_is_what_the_name_says_or_else_what_is_preferred(
    client: httpx.AsyncClient, path: str, accept: str, media_type: str
) -> None:
    answer = await client.get(f"{P}/shop/order/{path}", headers={"accept": accept})
    assert answer.headers["content-type"] == media_type
    parsed = answer.json() if media_type == "application/json" else yaml.safe_load(answer.text)
    assert parsed["title"] == "shop/order"


async def test_json_has_the_keys_in_the_order_of_the_yaml(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{P}/shop/order/1.2.0.json")
    assert list(answer.json())[:3] == ["title", "description", "$id"]


async def test_latest_is_the_greatest_version_by_number_and_is_asked_for_again(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{P}/shop/order/latest")
    assert yaml.safe_load(answer.text)["$id"] == "/shop/order/1.10.0"
    assert answer.headers["content-location"] == f"{P}/shop/order/1.10.0"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["shop/order/1.2.0", "shop/order/latest", "shop/order/1.2.0.json"])
async def test_a_client_that_has_it_already_gets_304(client: httpx.AsyncClient, path: str) -> None:
    first = await client.get(f"{P}/{path}")
    tag = first.headers["etag"]
    assert not tag.startswith("W/")
    for given in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = await client.get(f"{P}/{path}", headers={"if-none-match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get(f"{P}/{path}", headers={"if-none-match": '"other"'})).status_code == 200


async def test_each_form_has_its_own_tag(client: httpx.AsyncClient) -> None:
    tags = {(await client.get(f"{P}/shop/order/{name}")).headers["etag"] for name in ("1.2.0", "1.2.0.yaml")}
    other = (await client.get(f"{P}/shop/order/1.2.0.json")).headers["etag"]
    assert len(tags) == 1
    assert other not in tags


async def test_head_has_the_headers_of_get(client: httpx.AsyncClient) -> None:
    get, head = [await client.request(method, f"{P}/shop/order/1.2.0") for method in ("GET", "HEAD")]
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_any_origin_may_read(client: httpx.AsyncClient) -> None:
    preflight = await client.options(f"{P}/shop/order/1.2.0", headers={"origin": "https://a.example"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    missing = await client.get(f"{P}/shop/order/7.0.0", headers={"origin": "https://a.example"})
    assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, "*")


@pytest.mark.parametrize(
    "path",
    [
        "../outside.yaml",
        "%2e%2e/outside.yaml",
        "..%2foutside.yaml",
        "shop/../../outside.yaml",
        "shop/%2e%2e/%2e%2e/outside.yaml",
        "shop//order/1.2.0",
        "shop/%2e/order/1.2.0",
        "%5c..%5coutside.yaml",
        "/etc/passwd",
        "%00",
        "shop/order/1.2.0%00.yaml",
        "shop/order/9.9.9",
        "shop/order/9.9.9.yaml",
        "shop/order/secret",
        "shop/order/secret.yaml",
        "shop/order/%2e%2e",
        "shop/order/latest/",
        "http:%2f%2fexample.org/",
    ],
)
async def test_nothing_but_schemas_of_the_repository_can_be_asked_for(client: httpx.AsyncClient, path: str) -> None:
    for headers in ({}, BROWSER):
        answer = await client.get(f"{P}/{path}", headers=headers)
        assert answer.status_code in (400, 404), path
        assert "secret: true" not in answer.text
        assert "hunter2" not in answer.text


async def test_what_is_not_there_says_what_is(client: httpx.AsyncClient) -> None:
    version = (await client.get(f"{P}/shop/order/7.0.0")).json()
    assert (version["status"], version["type"]) == (404, "schema_not_found")
    assert "1.0.0, 1.2.0, 1.10.0" in version["hint"]
    title = (await client.get(f"{P}/shop/ordr/1.0.0")).json()
    assert "shop/order" in title["hint"]
    repository = (await client.get("/repositories/tertiary/jsonschema/shop/order/1.0.0")).json()
    assert "primary, secondary" in repository["hint"]


async def test_all_repositories_as_one_answer_from_the_first_that_has_it(client: httpx.AsyncClient) -> None:
    merged = "/repositories/all/jsonschema/shop/order"
    assert "An order" in (await client.get(f"{merged}/1.0.0")).text
    assert (await client.get(f"{merged}/3.0.0")).status_code == 200
    assert "1.10.0" in (await client.get(f"{merged}/latest")).text
    assert (await client.get("/repositories/all/jsonschema/web/visit/latest")).status_code == 200


async def test_json_files_are_served_unchanged(client: httpx.AsyncClient, secondary: Path) -> None:
    path = "/repositories/secondary/jsonschema/web/visit/0.1.0"
    stored = (secondary / "jsonschema/web/visit/0.1.0.json").read_bytes()
    assert (await client.get(f"{path}.json")).content == stored
    assert yaml.safe_load((await client.get(path)).text)["title"] == "web/visit"


async def test_directories_are_lists_for_machines_and_pages_for_people(client: httpx.AsyncClient) -> None:
    listing = (await client.get(f"{P}/")).json()
    assert listing == {"path": "/", "directories": ["fragment", "shop"]}
    schema = (await client.get(f"{P}/shop/order/")).json()
    assert (schema["versions"], schema["latest"]) == (["1.0.0", "1.2.0", "1.10.0"], "1.10.0")
    page = await client.get(f"{P}/shop/order/", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    moved = await client.get(f"{P}/shop/order", headers=BROWSER)
    assert (moved.status_code, moved.headers["location"]) == (308, f"{P}/shop/order/")


async def test_the_page_of_a_schema_shows_fields_versions_examples_and_users(client: httpx.AsyncClient) -> None:
    page = (await client.get(f"{P}/shop/order/", headers=BROWSER)).text
    for shown in (
        'id="field-order_id"',
        'id="field-lines[].sku"',
        "at most 12 characters",
        "shop.<wbr>order.<wbr>eu",
        "Payment.",
    ):
        assert shown in page
    assert "&lt;b&gt;The&lt;/b&gt; number." in page
    assert "<b>The" not in page
    assert page.index("1.10.0</a>") < page.index("1.2.0</a>") < page.index("1.0.0</a>")
    fragment = (await client.get(f"{P}/fragment/common/", headers=BROWSER)).text
    assert "1.0.0, behind" in fragment


async def test_the_page_shows_the_types_of_other_systems(client: httpx.AsyncClient) -> None:
    page = (await client.get(f"{P}/shop/order/?types=postgres", headers=BROWSER)).text
    assert "CREATE TABLE &#34;shop_order&#34;" in page


async def test_a_difference_shows_verdicts_changes_and_lines(client: httpx.AsyncClient) -> None:
    page = (await client.get(f"{P}/shop/order/?version=1.10.0&from=1.2.0", headers=BROWSER)).text
    assert "paid" in page
    assert 'class="added">+   paid: {type: boolean}' in page
    answers = [
        page.split(f"<h2>{name} ")[1].split("</span>")[0].split(">")[1] for name in ("Backward", "Forward", "Storage")
    ]
    assert answers == ["yes", "no", "yes"]


@pytest.mark.parametrize("query", ["version=7.7.7", "version=1.10.0&from=7.7.7", "version=../../x"])
async def test_a_version_that_is_not_there_is_a_page_that_says_so(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{P}/shop/order/?{query}", headers=BROWSER)
    assert answer.status_code == 404
    assert "Not found" in answer.text


async def test_search_finds_fields_in_every_repository(client: httpx.AsyncClient) -> None:
    found = (await client.get("/repositories/?q=sku")).json()["found"]
    assert found == [{"repository": "primary", "title": "shop/order", "fields": ["lines[].sku"]}]
    assert (await client.get("/repositories/?q=sku+url")).json()["found"] == []
    assert [one["title"] for one in (await client.get("/repositories/?q=URL")).json()["found"]] == ["web/visit"]
    page = (await client.get("/repositories/?q=%3Cscript%3E", headers=BROWSER)).text
    assert "<script>" not in page


async def test_pages_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/repositories/", headers=BROWSER)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("schemas.css", "page.css", "headwater.svg"):
        assert (await client.get(f"/repositories/-/static/{name}")).status_code == 200
    assert (await client.get("/repositories/-/static/page.js")).status_code == 404


def test_what_changes_on_disk_is_seen(primary: Path) -> None:
    now = [0.0]
    index = RepositoryIndex("primary", settings_at(primary), clock=lambda: now[0])
    _write(primary / "jsonschema", "shop/order", "2.0.0.yaml", ORDER.replace("VERSION", "2.0.0"))
    assert index.file("shop/order", "latest").name == "1.10.0.yaml"
    now[0] += LISTING_SECONDS + 1
    file = index.file("shop/order", "latest")
    assert file.name == "2.0.0.yaml"
    before = index.text(file, "json")
    file.write_text(ORDER.replace("VERSION", "2.0.0").replace("placed", "sent off"))
    assert index.text(file, "json").tag != before.tag


async def test_one_bad_file_hides_no_other(client: httpx.AsyncClient, primary: Path) -> None:
    _write(primary / "jsonschema", "shop/order", "1.10.0.yaml", "title: [unclosed\n")
    assert (await client.get(f"{P}/shop/order/1.2.0")).status_code == 200
    answer = await client.get(f"{P}/shop/order/1.10.0.json")
    assert (answer.status_code, answer.json()["type"]) == (422, "schema_invalid")
    assert (await client.get("/repositories/", headers=BROWSER)).status_code == 200
    assert (await client.get("/repositories/?q=sku", headers=BROWSER)).status_code == 200


# ---- the registry API ------------------------------------------------------------------------------------------


async def test_subjects_are_titles_and_the_values_of_streams(client: httpx.AsyncClient) -> None:
    answer = await client.get("/subjects")
    assert answer.json() == ["fragment/common", "shop.order-value", "shop.order.eu-value", "shop/order", "web/visit"]
    assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"


@pytest.mark.parametrize("subject", ["shop/order", "shop%2Forder", "shop.order-value"])
async def test_a_version_has_its_number_its_id_and_the_schema_as_json_text(
    client: httpx.AsyncClient, subject: str
) -> None:
    assert (await client.get(f"/subjects/{subject}/versions")).json() == [1000000, 1002000, 1010000]
    latest, minus, numbered, named = [
        (await client.get(f"/subjects/{subject}/versions/{version}")).json()
        for version in ("latest", "-1", "1010000", "1.10.0")
    ]
    assert latest == minus == numbered == named
    assert {key: latest[key] for key in ("version", "schemaType")} == {"version": 1010000, "schemaType": "JSON"}
    assert json.loads(latest["schema"])["$id"] == "/shop/order/1.10.0"
    raw = await client.get(f"/subjects/{subject}/versions/latest/schema")
    assert raw.text == latest["schema"]
    by_id = (await client.get(f"/schemas/ids/{latest['id']}")).json()
    assert by_id == {"schemaType": "JSON", "schema": latest["schema"]}
    assert (await client.get(f"/schemas/ids/{latest['id']}/schema")).text == latest["schema"]
    assert (await client.get(f"/schemas/ids/{latest['id']}/subjects")).json() == [
        "shop.order-value",
        "shop.order.eu-value",
        "shop/order",
    ]
    versions = (await client.get(f"/schemas/ids/{latest['id']}/versions")).json()
    assert {"subject": "shop/order", "version": 1010000} in versions


def test_ids_and_numbers_depend_on_nothing_but_the_version() -> None:
    digest = hashlib.sha256(b"/shop/order/1.10.0").digest()
    assert id_of("shop/order", (1, 10, 0)) == int.from_bytes(digest[:4], "big") % 2**31
    assert id_of("shop/order", (1, 10, 0)) != id_of("shop/order", (1, 1, 0))
    assert [number_of(version) for version in ((0, 0, 1), (1, 2, 3), (0, 0, 0), (1, 1000, 0), (9999, 0, 0))] == [
        1,
        1002003,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/subjects/none/versions", 404, 40401),
        ("/subjects/none/versions/1", 404, 40401),
        ("/subjects/shop/order/versions/5", 404, 40402),
        ("/subjects/shop/order/versions/9.0.0", 404, 40402),
        ("/subjects/shop/order/versions/0", 422, 42202),
        ("/subjects/shop/order/versions/newest", 422, 42202),
        ("/subjects/shop/order/versions/99999999999", 422, 42202),
        ("/schemas/ids/5", 404, 40403),
        ("/schemas/ids/5/schema", 404, 40403),
        ("/schemas/ids/5/versions", 404, 40403),
        ("/config/shop/order", 404, 40408),
        ("/config/none", 404, 40401),
    ],
)
async def test_the_registrys_errors_are_its_own(client: httpx.AsyncClient, path: str, status: int, code: int) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["message"]


async def test_the_registry_says_what_it_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).json() == {}
    assert (await client.get("/schemas/types")).json() == ["JSON"]
    assert (await client.get("/config")).json() == {"compatibilityLevel": "BACKWARD_TRANSITIVE"}
    assert (await client.get("/mode")).json() == {"mode": "READONLY"}
    assert len((await client.get("/schemas?subjectPrefix=shop/&latestOnly=true")).json()) == 1
    assert (await client.get("/subjects?subjectPrefix=:*:web")).json() == ["web/visit"]


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html, application/json;q=0.5",
        "TEXT/HTML;q=0.9",
    ],
)
@pytest.mark.parametrize("path", ["/schemas", "/schemas/", "/schemas?latestOnly=true"])
async def test_the_listing_leads_a_browser_to_the_pages(client: httpx.AsyncClient, path: str, accept: str) -> None:
    answer = await client.get(path, headers={"accept": accept})
    assert (answer.status_code, answer.headers["vary"]) == (303, "accept")
    page = await client.get(path, headers={"accept": accept}, follow_redirects=True)
    assert (page.status_code, page.url.path) == (200, "/repositories/")
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "",
        "application/json",
        "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json; q=0.9, application/json; q=0.5",
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "application/json, text/html;q=0.9",
        "text/html;q=0, */*",
    ],
)
async def test_the_listing_is_json_for_clients_of_a_registry(client: httpx.AsyncClient, accept: str | None) -> None:
    del client.headers["accept"]
    for path in ("/schemas", "/schemas/"):
        answer = await client.get(path, headers={} if accept is None else {"accept": accept})
        assert (answer.status_code, answer.headers["vary"]) == (200, "accept")
        assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
        assert {"subject", "version", "id", "schema"} <= set(answer.json()[0])


async def test_a_schema_that_is_there_is_looked_up_and_any_other_is_not_taken(client: httpx.AsyncClient) -> None:
    stored = (await client.get("/subjects/shop/order/versions/1.2.0")).json()
    body = {"schema": json.dumps(json.loads(stored["schema"])), "schemaType": "JSON"}
    assert (await client.post("/subjects/shop/order", json=body)).json() == stored
    assert (await client.post("/subjects/shop/order/versions", json=body)).json() == {"id": stored["id"]}
    other = {"schema": '{"type": "object"}', "schemaType": "JSON"}
    assert (await client.post("/subjects/shop/order", json=other)).json()["error_code"] == 40403
    refused = await client.post("/subjects/shop/order/versions", json=other)
    assert (refused.status_code, refused.json()["error_code"]) == (422, 42205)
    for bad in (b"{", b"[]", b'{"schema": 1}', b'{"schema": "{}"}', b'{"schema": "no", "schemaType": "JSON"}'):
        answer = await client.post("/subjects/shop/order", content=bad)
        assert (answer.status_code, answer.json()["error_code"]) == (422, 42201)


async def test_referencing_versions_are_returned_by_id(client: httpx.AsyncClient) -> None:
    found = (await client.get("/subjects/fragment/common/versions/1.0.0/referencedby")).json()
    assert found == [id_of("shop/order", (1, 10, 0))]


# ---- in a platform, and by its own command ----------------------------------------------------------------------


async def test_a_platform_serves_its_own_schemas_and_says_which_streams_have_them(tmp_path: Path) -> None:
    write_project(tmp_path / "mine")
    config = load_config(tmp_path / "mine", overrides={"web.port": 0, "log.durability": "os"})
    async with running(config) as (_, address), httpx.AsyncClient(base_url=address) as http:
        schema = await http.get("/repositories/schemas/jsonschema/demo/edit/latest")
        assert yaml.safe_load(schema.text)["title"] == "demo/edit"
        assert "demo.edit-value" in (await http.get("/subjects")).json()
        page = (await http.get("/repositories/schemas/jsonschema/demo/edit/", headers=BROWSER)).text
        assert "demo.<wbr>edit" in page
        climbing = await http.get("/repositories/schemas/jsonschema/%2e%2e/headwater.yaml")
        assert climbing.status_code == 400
        assert (await http.get("/", headers=BROWSER)).status_code == 200


def test_repositories_are_called_as_their_directories(primary: Path, secondary: Path, tmp_path: Path) -> None:
    assert name_of(primary / "jsonschema") == "primary"
    bases = ["primary/jsonschema", "secondary", "https://schemas.example.org/", "none"]
    indexes = indexes_of(bases, tmp_path)
    assert [index.name for index in indexes.indexes] == ["primary", "secondary"]
    with pytest.raises(ConfigInvalid, match="Two repositories"):
        RepositoryIndexes.of([("a", settings_at(primary)), ("a", settings_at(secondary))])
    with pytest.raises(ConfigInvalid, match="cannot be served"):
        RepositoryIndexes.of([("a/b", settings_at(primary))])
    with pytest.raises(ConfigInvalid, match="no directory"):
        settings_at(tmp_path / "none")


@pytest.fixture
def command() -> list[str]:
    return [str(Path(sys.executable).with_name("headwater")), "schema", "serve"]


def test_the_command_serves_until_it_is_told_to_stop(primary: Path, command: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([*command, str(primary), "--port", str(port)], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        said = [server.stderr.readline(), server.stderr.readline()]
        assert "primary: 2 schemas" in said[0]
        address = said[1].split()[3]
        answer = httpx.get(f"{address}primary/jsonschema/shop/order/latest", timeout=5)
        assert answer.status_code == 200
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        server.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "said"), [(["/nowhere"], "There is no directory /nowhere"), ([], "no schema repository to serve")]
)
def test_the_command_says_what_is_missing(arguments: list[str], said: str, command: list[str], tmp_path: Path) -> None:
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_real_repository_is_served_byte_for_byte(fixtures_dir: Path) -> None:
    base = fixtures_dir / "schemas" / "primary"
    index = RepositoryIndex("primary", settings_at(base))
    assert index.folders
    for title, folder in index.folders.items():
        for version, file in folder.versions.items():
            name = ".".join(map(str, version))
            assert index.text(index.file(title, name), "yaml").data == file.read_bytes()
            assert json.loads(index.text(file, "json").data) == index.document(file)
