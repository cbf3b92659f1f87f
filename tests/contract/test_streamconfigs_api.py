"""The compatible streamconfigs API over HTTP, case by case as the real server answered.

What may differ, docs/reference/compatibility.md says: the wording inside errors, not their codes; and private streams,
which are shown only with an API key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headwater.config import load_config
from headwater.platform import build
from headwater.web.app import create_app
from requirements import at_least_one

Ask = Callable[[dict[str, Any]], Coroutine[Any, Any, httpx.Response]]


@pytest.fixture(scope="module")
def recorded(fixtures_dir: Path) -> dict[str, Any]:
    path = fixtures_dir / "streams" / "streamconfigs_api_cases.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    real = json.loads((path.parent / "wikimedia_effective_metawiki.json").read_text(encoding="utf-8"))
    return loaded | {"fixtures": {**loaded["fixtures"], "wikimedia_metawiki": real}}


class Client(httpx.AsyncClient):
    """A client, and the headers that make its sender an operator."""

    operator: dict[str, str]


@asynccontextmanager
async def served(directory: Path, configuration: dict[str, Any], *, etag: bool) -> AsyncIterator[Client]:
    """A client of a platform whose streams are `configuration`, in the fixture's shape."""
    platform = build(load_config(made_project(directory, configuration, etag=etag)))
    key = platform.keys.create(f"operator {len(platform.keys.all())}", ["streams:read"])
    app = create_app(platform)
    async with Client(transport=httpx.ASGITransport(app), base_url="http://wiki.example.org") as client:
        client.operator = {"authorization": f"Bearer {key}"}
        yield client


def made_project(directory: Path, configuration: dict[str, Any], *, etag: bool) -> Path:
    (directory / "schemas").mkdir(parents=True, exist_ok=True)
    legacy = {
        "default_settings": configuration["wgEventStreamsDefaultSettings"],
        "streams": configuration["wgEventStreams"],
    }
    (directory / "streams.json").write_text(json.dumps(legacy), encoding="utf-8")
    settings = {"streams": {"path": "streams.json", "compatible_api_etag": etag}, "schemas": "schemas"}
    (directory / "headwater.yaml").write_text(json.dumps(settings), encoding="utf-8")
    return directory


async def asked(client: Client, case: dict[str, Any], *, operator: bool = False) -> httpx.Response:
    url = f"/w/api.php?{case['query']}" if case["query"] else "/w/api.php"
    headers = dict(case.get("headers", {})) | (client.operator if operator else {})
    if "post" in case:
        headers["content-type"] = "application/x-www-form-urlencoded"
    return await client.request(case["method"], url, content=case.get("post"), headers=headers)


def canonical(body: Any) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def differences(case: dict[str, Any], response: httpx.Response) -> list[str]:
    """What of the answer is not as recorded."""
    expected = case["expected"]
    found = [] if response.status_code == expected["status"] else [f"status {response.status_code}"]
    for name, value in expected["headers"].items():
        if response.headers.get(name) != value:
            found.append(f"{name}: {response.headers.get(name)!r} instead of {value!r}")
    found += [f"has {name}" for name in expected["absent_headers"] if name in response.headers]
    how = expected["compare"]
    if how == "exact" and response.json() != expected["body"]:
        found.append(f"body {response.text[:500]}")
    if how == "text" and response.text != expected["text"]:
        found.append(f"text {response.text[:500]}")
    if how == "digest":
        body = response.json()
        if list(body["streams"]) != expected["stream_names"]:
            found.append("names or their order")
        if hashlib.sha256(canonical(body).encode()).hexdigest() != expected["sha256_canonical_json"]:
            found.append("digest")
    if how == "error" and response.headers["content-type"].startswith("application/json"):
        body = response.json()
        error = body["error"] if "error" in body else body["errors"][0]
        if error["code"] != expected["error_code"] or set(body) != set(expected["body"]):
            found.append(f"error {response.text[:300]}")
    return found


def without_private(body: dict[str, Any]) -> dict[str, Any]:
    """An answer as it is without a key: the rule is that a part of a private stream's name is `private`."""
    streams = body["streams"].items()
    return {**body, "streams": {name: one for name, one in streams if "private" not in name.split(".")}}


async def differences_by_sight(client: Client, case: dict[str, Any]) -> list[str]:
    """What differs without a key; where private streams were recorded, with one, and what differs besides them."""
    public = await asked(client, case)
    if not any("private" in name.split(".") for name in case["expected"].get("stream_names", ())):
        return differences(case, public)
    whole = await asked(client, case, operator=True)
    found = [one for one in differences(case, whole) if not one.lower().startswith(("cache-control", "expires"))]
    headers_only = {**case, "expected": {**case["expected"], "compare": "headers"}}
    found += differences(headers_only, public)
    return found + ([] if public.json() == without_private(whole.json()) else ["more than private streams is left out"])


async def test_every_recorded_case_is_answered_as_the_original_answered_it(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
    wrong: dict[str, list[str]] = {}
    for name, configuration in recorded["fixtures"].items():
        if not isinstance(configuration, dict):
            continue
        async with served(tmp_path / name, configuration, etag=False) as client:
            for case in at_least_one(recorded["cases"]):
                if case["fixture"] == name and (found := await differences_by_sight(client, case)):
                    wrong[case["id"]] = found
    assert wrong == {}
    assert {case["fixture"] for case in recorded["cases"]} <= set(recorded["fixtures"])


async def test_the_body_of_all_real_streams_is_the_recorded_one(
    recorded: dict[str, Any], fixtures_dir: Path, tmp_path: Path
) -> None:
    whole = (fixtures_dir / "streams" / "streamconfigs_api_real_all.json").read_text(encoding="utf-8")
    async with served(tmp_path, recorded["fixtures"]["wikimedia_metawiki"], etag=True) as client:
        response = await client.get("/w/api.php?action=streamconfigs&format=json", headers=client.operator)
        public = await client.get("/w/api.php?action=streamconfigs&format=json")
    assert json.dumps(response.json()) == json.dumps(json.loads(whole))
    assert response.headers["cache-control"] == "private, no-cache"
    assert public.json() == without_private(json.loads(whole))


async def test_the_only_difference_with_validators_on_is_the_validator(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
    async with served(tmp_path, recorded["fixtures"]["small"], etag=True) as client:
        for case in at_least_one(recorded["cases"]):
            if case["fixture"] == "small":
                found = differences(case, await asked(client, case))
                assert found == ([] if case["expected"]["compare"] == "error" else ["has ETag"]), case["id"]


async def test_a_client_that_has_the_answer_gets_304_until_it_changes(recorded: dict[str, Any], tmp_path: Path) -> None:
    small = recorded["fixtures"]["small"]
    async with served(tmp_path, small, etag=True) as client:
        first = await client.get("/w/api.php?action=streamconfigs&streams=test.event")
        etag = first.headers["etag"]
        assert etag.startswith('"')
        for held in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await client.get(
                "/w/api.php?action=streamconfigs&streams=test.event", headers={"if-none-match": held}
            )
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
            assert again.headers["cache-control"] == first.headers["cache-control"]
        other = await client.get("/w/api.php?action=streamconfigs&streams=no_prefix", headers={"if-none-match": etag})
        assert (other.status_code, other.headers["etag"] == etag) == (200, False)
        posted = await client.post(
            "/w/api.php", data={"action": "streamconfigs", "streams": "test.event"}, headers={"if-none-match": etag}
        )
        assert posted.status_code == 200
    changed = json.loads(json.dumps(small))
    changed["wgEventStreams"]["test.event"]["sample"]["rate"] = 0.5
    async with served(tmp_path, changed, etag=True) as client:
        response = await client.get(
            "/w/api.php?action=streamconfigs&streams=test.event", headers={"if-none-match": etag}
        )
        assert (response.status_code, response.json()["streams"]["test.event"]["sample"]["rate"]) == (200, 0.5)


@pytest.fixture
async def small(recorded: dict[str, Any], tmp_path: Path) -> AsyncIterator[Client]:
    async with served(tmp_path, recorded["fixtures"]["small"], etag=True) as client:
        yield client


async def test_unknown_parameters_are_named_in_a_warning(small: httpx.AsyncClient) -> None:
    body = (await small.get("/w/api.php?action=streamconfigs&format=json&streams=&foo=1&maxage=1&bar=2")).json()
    assert body == {"warnings": {"main": {"warnings": "Unrecognized parameters: foo, bar."}}, "streams": {}}


async def test_a_php_array_is_passed_over_with_a_warning(small: httpx.AsyncClient) -> None:
    body = (await small.get("/w/api.php?action=streamconfigs&format=json&streams[]=test.event")).json()
    assert body["warnings"]["main"]["warnings"] == 'Parameter "streams" uses unsupported PHP array syntax.'
    assert len(body["streams"]) > 1


@pytest.mark.parametrize(
    ("query", "max_age", "warnings"),
    [
        (
            "formatversion=1&foo=1&all_settings=1",
            600,
            {
                "main": "Unrecognized parameter: foo.\nError printer failed (will retry without params).",
                "streamconfigs": 'The parameter "all_settings" has been deprecated.',
                "json": 'Unrecognized value for parameter "formatversion": 1.',
            },
        ),
        ("constraints=stream[a]=b&all_settings=1&foo=1", 600, {"streamconfigs": "The parameter"}),
        (
            f"streams={'|'.join(map(str, range(251)))}&constraints[]=1&foo=1",
            0,
            {"main": 'Parameter "constraints" uses unsupported PHP array syntax.'},
        ),
        ("formatversion=3", 600, {"json": 'Unrecognized value for parameter "formatversion": 3.'}),
    ],
)
async def test_errors_keep_the_warnings_and_the_caching_that_there_were_before(
    small: httpx.AsyncClient, query: str, max_age: int, warnings: dict[str, str]
) -> None:
    response = await small.get(f"/w/api.php?action=streamconfigs&format=json&requestid=r&{query}")
    body = response.json()
    assert body["error"]["code"] == response.headers["mediawiki-api-error"]
    assert body["requestid"] == "r"
    assert response.headers["cache-control"] == f"private, must-revalidate, max-age={max_age}"
    for module, text in warnings.items():
        assert body["warnings"][module]["warnings"].endswith(text) or text in body["warnings"][module]["warnings"]
    has_unknown = "Unrecognized parameter: foo." in json.dumps(body["warnings"])
    assert has_unknown is ("foo" in query and "formatversion" in query), "unread parameters are reported at the end"


async def test_errors_without_a_format_are_pages(small: httpx.AsyncClient) -> None:
    for query in ("action=streamconfig", "action=streamconfigs&formatversion=1", ""):
        response = await small.get(f"/w/api.php?{query}")
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert (response.status_code, response.headers["mediawiki-api-error"]) == (200, "badvalue")
    script = await small.get("/w/api.php?action=<script>")
    assert "<script>" not in script.text


async def test_the_name_of_a_callback_cannot_carry_a_script(small: httpx.AsyncClient) -> None:
    response = await small.get("/w/api.php?action=streamconfigs&streams=&callback=a.b[0]('x');alert(1)//")
    assert response.text == "/**/a.b[0]'x'alert1({\"streams\":{}})"


async def test_a_list_ends_the_comparison_at_its_level(small: httpx.AsyncClient) -> None:
    body = (await small.get("/w/api.php?action=streamconfigs&constraints=a_list[0]=hello|schema_title=nope")).json()
    assert list(body["streams"]) == ["many_types"]
