"""Materialized tables of a project: over HTTP, in SQL, on the command line, over history, and who may see them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema_rs
import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import sync_playwright

import headwater
from end_to_end.test_http_description import nullable_as_types
from headwater.cli.main import main
from headwater.platform import Platform
from headwater.streams.visibility import Sight
from headwater.testing.service_kit import served_project, write_project

DEADLINE_SECONDS = 30.0
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
        "dt": {"type": "string", "format": "date-time", "maxLength": 64},
        "shop": {"type": "string"},
        "number": {"type": "integer"},
        "version": {"type": "integer"},
        "text": {"type": "string"},
        "price": {"type": "number"},
        "is_deleted": {"type": "boolean"},
    },
}
STREAMS = [
    {"stream": "shop.order", "schema_title": "shop/order"},
    {"stream": "shop.question", "schema_title": "shop/order"},
    {"stream": "shop.answer", "schema_title": "shop/order"},
    {"stream": "shop.secret", "schema_title": "shop/order", "privacy": {"class": "restricted"}},
    {"stream": "shop.partner", "schema_title": "shop/order", "consumers": {"keys": "required"}},
]
JOBS = '''
from headwater.jobs import job, table


@table(source="shop.order", key=("shop", "number"), version="version", delete=lambda event: event.get("is_deleted"))
def orders(event):
    """The orders as they are now."""
    return {"text": event["text"], "price": event.get("price")}


@table(source="shop.order", key="shop")
def shops(event):
    return {"last": event["number"], "text": event["text"]}


@table(source="shop.secret", key="shop")
def secrets(event):
    return {"text": event["text"]}


@table(source="shop.partner", key="shop")
def partners(event):
    return {"text": event["text"]}


@job(source="shop.question", sink="shop.answer:1.0.0")
def answers(event, context):
    row = context.table("orders").get((event["shop"], event["number"]))
    return {**{name: event[name] for name in ("shop", "number")}, "text": row["text"] if row else "unknown"}


@job(source="shop.question")
def leaking(event, context):
    context.table("secrets").get("x")
'''
# Any text can be part of a key.
HOSTILE = ["a/b", "ü?&=#%", '"quoted"', "x y", "back\\slash", "5", "null", "[1]", "", "💧", "a+b", ".."]


def order(number: int, shop: str = "north", version: int = 1, *, stream: str = "shop.order", **fields: Any) -> Any:
    made = {"$schema": "/shop/order/1.0.0", "meta": {"stream": stream}, "shop": shop, "number": number}
    return {**made, "version": version, "text": f"{shop} {number} v{version}", **fields}


def until(condition: Any) -> Any:
    """The result of the condition once it is true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


@dataclass
class Service:
    client: httpx.Client
    platform: Platform
    project: Path

    def rows(self, name: str, query: str = "") -> list[Any]:
        return list(self.client.get(f"/v1/tables/{name}?{query}").json()["rows"])

    def row(self, name: str, *keys: str) -> httpx.Response:
        asked = "&".join(f"key={quote(one, safe='')}" for one in keys)
        return self.client.get(f"/v1/tables/{name}/rows?{asked}")

    def key(self) -> dict[str, str]:
        secret = self.platform.keys.create(f"test {time.monotonic_ns()}", ("events:read",))
        return {"authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("tables") / "project"
    write_project(directory, [SCHEMA], STREAMS)
    (directory / "headwater.yaml").write_text("log: sqlite:///var/events.db\n", encoding="utf-8")
    (directory / "jobs").mkdir()
    (directory / "jobs" / "shop.py").write_text(JOBS, encoding="utf-8")
    with (
        served_project(directory, control={"attempts_per_minute_max": 100_000}) as (address, platform),
        httpx.Client(base_url=address, trust_env=False, timeout=30) as client,
    ):
        service = Service(client, platform, directory)
        events = [order(number, version=version) for version in (2, 1, 3) for number in range(1, 4)]
        events += [order(2, version=4, is_deleted=True), order(2, version=1)]
        events += [order(number, shop) for number, shop in enumerate(HOSTILE)]
        events += [order(1, stream="shop.secret"), order(1, stream="shop.partner")]
        assert client.post("/v1/events", json=events).status_code == 201
        until(lambda: len(service.rows("orders", "limit=1000")) == 2 + len(HOSTILE))
        until(lambda: client.get("/v1/tables/secrets", headers=service.key()).json()["rows"])
        yield service


def test_the_newest_rows_are_listed_in_pages_in_order_of_their_keys(service: Service) -> None:
    whole = service.client.get("/v1/tables/orders?prefix=north").json()
    assert whole == {
        "table": "orders",
        "rows": [
            {"key": ["north", 1], "row": {"text": "north 1 v3", "price": None}},
            {"key": ["north", 3], "row": {"text": "north 3 v3", "price": None}},
        ],
        "next": None,
    }
    found, after = [], ""
    while after is not None:
        page = service.client.get(f"/v1/tables/orders?limit=3&after={after}").json()
        assert len(page["rows"]) <= 3
        found += page["rows"]
        after = page["next"]
    assert found == service.rows("orders", "limit=1000")
    assert service.rows("orders", f"prefix={quote(json.dumps(['north', 3]))}") == whole["rows"][1:]


def test_a_row_is_found_by_its_key_whatever_characters_it_has(service: Service) -> None:
    for number, shop in enumerate(HOSTILE):
        expected = {"text": f"{shop} {number} v1", "price": None}
        by_list = service.row("orders", json.dumps([shop, number]))
        assert (by_list.status_code, by_list.json()["row"]) == (200, expected), shop
        assert by_list.json()["key"] == [shop, number]
        # A part that reads as JSON is written as JSON.
        for written in (shop, json.dumps(shop)):
            single = service.row("shops", written)
            assert single.status_code == 200 or written == "", (shop, single.text)
    assert service.row("orders", "north", "1").json()["row"] == {"text": "north 1 v3", "price": None}


@pytest.mark.parametrize(
    ("path", "status", "code", "detail"),
    [
        (
            "orders/rows?key=[%22north%22,2]",
            404,
            "row_unknown",
            'The table orders has no row with the key ["north",2].',
        ),
        ("orders/rows?key=north", 400, "filter_invalid", "A key of the table orders has (shop, number)"),
        ("orders/rows?key=[%22north%22]", 400, "filter_invalid", "A key of the table orders has (shop, number)"),
        ("orders/rows", 400, "filter_invalid", "No key is given"),
        ("orders/rows?key=" + "x" * 10_001, 400, "filter_invalid", "at most 10,000 characters"),
        ("orders?limit=0", 400, "filter_invalid", "limit must be a number from 1 to 1,000"),
        ("orders?limit=1001", 400, "filter_invalid", "limit must be a number from 1 to 1,000"),
        ("orders?limit=x", 400, "filter_invalid", "limit must be a number from 1 to 1,000"),
        ("orders?after=!", 400, "filter_invalid", "after must be the `next` of a page before"),
        ("orders?prefix=[1,2,3]", 400, "filter_invalid", "A key of the table orders begins with"),
        ("shops?prefix=[1]", 400, "filter_invalid", "A key of the table shops begins with"),
        ("order", 404, "table_unknown", "There is no materialized table 'order'"),
        ("order/rows?key=1", 404, "table_unknown", "There is no materialized table 'order'"),
        ("secrets", 404, "table_unknown", "There is no materialized table 'secrets'"),
        ("secrets/rows?key=north", 404, "table_unknown", "There is no materialized table 'secrets'"),
        ("partners", 404, "table_unknown", "There is no materialized table 'partners'"),
    ],
)
def test_what_cannot_be_answered_says_why(path: str, status: int, code: str, detail: str, service: Service) -> None:
    response = service.client.get(f"/v1/tables/{path}")
    problem = response.json()
    assert (response.status_code, problem["type"]) == (status, code)
    assert detail in problem["detail"]


def test_tables_of_private_streams_are_there_for_those_who_may_read_their_events(service: Service) -> None:
    def names(headers: dict[str, str]) -> list[str]:
        return [one["name"] for one in service.client.get("/v1/tables", headers=headers).json()["tables"]]

    assert names({}) == ["orders", "shops"]
    assert names(service.key()) == ["orders", "partners", "secrets", "shops"]
    assert "secrets" not in service.client.get("/v1/tables/secret").text
    assert "secrets" not in service.client.get("/tables").text
    found = service.client.get("/v1/tables/secrets/rows?key=north", headers=service.key())
    assert found.json()["row"] == {"text": "north 1 v1"}
    page = service.client.get("/tables/secrets", headers={"accept": "text/html"})
    assert page.status_code == 404
    assert "north" not in page.text


def test_numbers_are_as_they_were_written(service: Service) -> None:
    exact = '"number":99,"version":1,"text":"exact","price":0.1234567890123456789'
    sent = '{"$schema":"/shop/order/1.0.0","meta":{"stream":"shop.order"},"shop":"north",' + exact + "}"
    headers = {"content-type": "application/json"}
    assert service.client.post("/v1/events", content=sent, headers=headers).status_code == 201
    until(lambda: service.row("orders", "north", "99").status_code == 200)
    assert '"price":0.1234567890123456789' in service.row("orders", "north", "99").text
    printed = invoke("table", "get", "orders", "north", "99", "--project", str(service.project)).stdout
    assert '"price":0.1234567890123456789' in printed
    gone = order(99, version=2, is_deleted=True)
    assert service.client.post("/v1/events", json=gone).status_code == 201
    until(lambda: service.row("orders", "north", "99").status_code == 404)


def test_what_a_job_writes_of_a_private_table_is_private(service: Service) -> None:
    visibility = service.platform.streams.visibility
    assert visibility.reads_job("answers", Sight.PUBLIC)
    assert not visibility.reads_job("leaking", Sight.PUBLIC)
    assert not visibility.names_job("leaking", Sight.PUBLIC)


def test_the_responses_are_as_described(service: Service) -> None:
    document = service.client.get("/?spec").json()
    paths = {
        "/v1/tables": "/v1/tables",
        "/v1/tables/{name}": "/v1/tables/orders?limit=2",
        "/v1/tables/{name}/rows": "/v1/tables/orders/rows?key=[%22north%22,1]",
    }
    for path, asked in paths.items():
        described = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        schema = {**nullable_as_types(described), "components": nullable_as_types(document["components"])}
        value = service.client.get(asked).json()
        validator = jsonschema_rs.Draft4Validator(schema)
        assert [str(error) for error in validator.iter_errors(value)] == []
        assert not validator.is_valid({name: value[name] for name in list(value)[1:]})


def test_the_pages_show_tables_and_rows(service: Service, chromium_executable: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_executable, args=["--no-sandbox"])
        page = browser.new_page(base_url=str(service.client.base_url))
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto("/tables")
        page.get_by_role("link", name="orders").click()
        assert page.get_by_role("heading", name="orders").is_visible()
        assert page.get_by_role("cell", name="north 3 v3").is_visible()
        page.get_by_label("Find the row of a key").fill('["north",1]')
        page.keyboard.press("Enter")
        page.wait_for_url("**/tables/orders?key=*")
        assert page.get_by_role("cell").all_inner_texts() == ["north", "1", "north 1 v3", ""]
        page.get_by_label("Find the row of a key").fill("nowhere")
        page.keyboard.press("Enter")
        page.wait_for_url("**/tables/orders?key=nowhere")
        assert "does not fit" in page.get_by_role("alert").inner_text()
        assert problems == []
        browser.close()


def rows_of(found: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in found.to_pylist()]


def test_sql_reads_a_table_with_its_key_and_types(service: Service) -> None:
    found = headwater.sql(
        "select shop, number, text, typeof(number), typeof(text) from orders where shop = 'north' order by number",
        project=service.project,
    )
    assert rows_of(found) == [
        ("north", 1, "north 1 v3", "BIGINT", "VARCHAR"),
        ("north", 3, "north 3 v3", "BIGINT", "VARCHAR"),
    ]
    joined = headwater.sql(
        "select count(*) from orders o join shops s on o.shop = s.shop and o.number = s.last", project=service.project
    )
    assert rows_of(joined) == [(len(HOSTILE),)]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def test_the_command_line_names_tables_their_rows_and_who_reads_them(service: Service) -> None:
    project = ("--project", str(service.project))
    listed = {
        one["name"]: one for one in map(json.loads, invoke("job", "list", "--json", *project).output.splitlines())
    }
    assert listed["orders"]["writes"] == ["table orders"]
    assert listed["orders"]["rows"] == 2 + len(HOSTILE)
    # With tombstones.
    assert listed["orders"]["state_keys"] > listed["orders"]["rows"]
    assert listed["orders"]["lag"] == 0
    assert listed["answers"]["reads"] == ["shop.question", "table orders"]
    shown = invoke("job", "show", "answers", *project).output
    assert "orders" in shown
    assert "materialized table, read by key" in shown
    assert "materialized table, 14 rows" in invoke("job", "show", "orders", *project).output
    assert invoke("check", *project).exit_code == 0


def test_rows_are_printed(service: Service) -> None:
    project = ("--project", str(service.project))
    listed = {
        one["name"]: one for one in map(json.loads, invoke("table", "list", "--json", *project).output.splitlines())
    }
    assert listed["orders"]["rows"] == 2 + len(HOSTILE)
    assert listed["orders"]["key"] == ["shop", "number"]
    assert "shop.order by shop, number" in invoke("table", "list", *project).output
    shown = invoke("table", "show", "orders", "--prefix", "north", *project).stdout
    assert [json.loads(line)["number"] for line in shown.splitlines()] == [1, 3]
    some = invoke("table", "show", "orders", "--count", "1", *project)
    assert (len(some.stdout.splitlines()), "There are more rows" in some.stderr) == (1, True)
    row = {"text": "north 1 v3", "price": None}
    for key in (["north", "1"], ['["north",1]']):
        assert json.loads(invoke("table", "get", "orders", *key, *project).stdout) == row
    for key, code, reason in (
        (["orders", "north", "2"], 1, "has no row with the key north 2"),
        (["orders", "north"], 2, "A key of the table orders has (shop, number)"),
        (["order", "north"], 1, 'Did you mean "orders"?'),
    ):
        refused = invoke("table", "get", *key, *project)
        assert (refused.exit_code, reason in refused.stderr) == (code, True), refused.stderr


def test_a_live_job_reads_the_table(service: Service) -> None:
    asked = [order(number, stream="shop.question") for number in (1, 2)]
    assert service.client.post("/v1/events", json=asked).status_code == 201

    def answered() -> list[Any]:
        text = 'select number, text from "shop.answer" order by number'
        return rows_of(headwater.sql(text, project=service.project))

    until(lambda: len(answered()) == 2)
    assert answered() == [(1, "north 1 v3"), (2, "unknown")]


def test_over_history_a_table_is_written_and_read(service: Service, tmp_path: Path) -> None:
    def run(name: str, *arguments: str) -> Result:
        return invoke("job", "run", name, "--project", str(service.project), *arguments)

    def lines(file: str) -> list[Any]:
        return [json.loads(line) for line in (tmp_path / file).read_text().splitlines()]

    events = [
        order(1, version=2, text="second"),
        order(1, text="first"),
        order(2),
        order(3, version=9, is_deleted=True),
    ]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in events))
    made = run("orders", "--from", str(tmp_path / "in.jsonl"), "--to", str(tmp_path / "rows.jsonl"), "--json")
    assert made.exit_code == 0
    assert json.loads(made.stdout)["written"] == 2
    assert lines("rows.jsonl") == [
        {"shop": "north", "number": 1, "text": "second", "price": None},
        {"shop": "north", "number": 2, "text": "north 2 v1", "price": None},
    ]
    questions = [order(number, stream="shop.question") for number in (1, 2, 3)]
    (tmp_path / "questions.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in questions))
    asked = ("--from", str(tmp_path / "questions.jsonl"), "--to", str(tmp_path / "out.jsonl"))
    assert run("answers", *asked, "--table", f"orders={tmp_path / 'rows.jsonl'}").exit_code == 0
    assert [one["text"] for one in lines("out.jsonl")] == ["second", "north 2 v1", "unknown"]
    # Without a file, as it is in the log of the project.
    found = run("answers", *asked)
    assert "The table orders is read as it is in the project's log." in found.stderr
    assert [one["text"] for one in lines("out.jsonl")] == ["north 1 v3", "unknown", "north 3 v3"]
    for given, reason in (
        ("orders", "is not NAME=FILE"),
        ("order=x", 'Did you mean "orders"?'),
        (f"orders={tmp_path / 'absent'}", "there is no file"),
        (f"orders={tmp_path / 'bad.jsonl'}", "row 1: it has no number, which is part of the key."),
    ):
        (tmp_path / "bad.jsonl").write_text('{"shop": "north"}\n')
        refused = run("answers", *asked, "--table", given)
        assert (refused.exit_code, reason in refused.stderr) == (2, True), refused.stderr
    # The same events give the same table, live and over history.
    assert run("orders", "--from", "log", "--to", str(tmp_path / "again.jsonl")).exit_code == 0
    named = [
        (dict(zip(("shop", "number"), one["key"], strict=True)), one) for one in service.rows("orders", "limit=999")
    ]
    live = [key | one["row"] for key, one in named]
    assert lines("again.jsonl") == live
    refused = run("orders", "--from", "log", "--to", "log")
    assert "keeps a table, not a stream" in refused.stderr
