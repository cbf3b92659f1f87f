"""The native API of streams over HTTP: lists, long polls, live changes, and who may change what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from headwater.config import load_config
from headwater.platform import Platform, build
from headwater.testing.notes import note_schema
from headwater.web.server import serving

SCHEMA = note_schema(required=(), meta_texts=("stream",))
STREAMS = [
    {"stream": "clicks", "schema_title": "note", "docs": {"summary": "Every click.", "owner": "team:web"}},
    {"stream": "views", "schema_title": "note", "produce": {"sample": {"unit": "pageview", "rate": 0.1}}},
    {"stream": "secrets", "schema_title": "note", "privacy": {"class": "private"}},
]


def written_project(directory: Path) -> Path:
    (directory / "schemas" / "note").mkdir(parents=True)
    (directory / "schemas" / "note" / "1.0.0.yaml").write_text(yaml.safe_dump(SCHEMA), encoding="utf-8")
    (directory / "streams").mkdir()
    for stream in STREAMS:
        (directory / "streams" / f"{stream['stream']}.yaml").write_text(yaml.safe_dump(stream), encoding="utf-8")
    (directory / "streams" / "sites.yaml").write_text("groups:\n  large: [en, de]\n", encoding="utf-8")
    return directory


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[Platform, httpx.AsyncClient]]:
    overrides = {"web": {"port": 0}, "log": {"durability": "os"}, "control": {"heartbeat_seconds": 0.2}}
    platform = build(load_config(directory, environment={}, overrides=overrides))
    await platform.start()
    try:
        async with serving(platform) as address, httpx.AsyncClient(base_url=address, trust_env=False) as client:
            yield platform, client
    finally:
        await platform.stop()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Platform, httpx.AsyncClient]]:
    async with running(written_project(tmp_path)) as both:
        yield both


def key(platform: Platform, *scopes: str) -> dict[str, str]:
    name = f"key {len(platform.keys.all())}"
    given = platform.keys.create(name, scopes or ("streams:read", "streams:write", "streams:kill"))
    return {"authorization": f"Bearer {given}"}


def rate(value: float, stream: str = "clicks", **more: Any) -> dict[str, Any]:
    rule = {"id": f"rate of {stream}", "stream": stream, "set": {"produce": {"sample": _sample(value)}}, **more}
    return {"reason": "a test", "put": [rule]}


def _sample(value: float) -> dict[str, Any]:
    return {"unit": "session", "rate": value}


async def messages(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """(event, id, data) of server-sent events."""
    fields: dict[str, str] = {}
    async for line in lines:
        if not line and "data" in fields:
            yield fields["event"], fields["id"], orjson.loads(fields["data"])
            fields = {}
        name, colon, value = line.partition(": ")
        if colon and name:
            fields[name] = value


async def test_everybody_may_list_what_is_public_and_find_it(served: tuple[Platform, httpx.AsyncClient]) -> None:
    _, client = served
    told = (await client.get("/v1/streams")).json()
    assert set(told["streams"]) == {"clicks", "views"}
    assert told["streams"]["clicks"]["owner"] == "team:web"
    assert set((await client.get("/v1/streams?q=every CLICK")).json()["streams"]) == {"clicks"}
    assert set((await client.get("/v1/streams?constraints=docs.owner=team:web")).json()["streams"]) == {"clicks"}
    told = (await client.get("/v1/streams?names=clicks,clikcs,secrets")).json()
    assert set(told["streams"]) == {"clicks"}
    assert "clicks" in told["unknown"]["clikcs"]
    assert "secrets" in told["unknown"]
    assert (await client.get("/v1/streams/clicks")).json()["stream"] == "clicks"
    for missing in ("/v1/streams/clikcs", "/v1/streams/secrets", "/v1/streams?audience=browsers"):
        answer = await client.get(missing)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "browser" in answer.json()["hint"]


async def test_inner_settings_need_a_key(served: tuple[Platform, httpx.AsyncClient]) -> None:
    platform, client = served
    for audience in ("internal", "intake", "ingestion"):
        answer = await client.get(f"/v1/streams?audience={audience}")
        assert answer.status_code == 401
        assert "headwater keys create" in answer.json()["hint"]
        answer = await client.get(f"/v1/streams?audience={audience}", headers=key(platform, "streams:read"))
        assert "secrets" in answer.json()["streams"]
        assert answer.headers["cache-control"].startswith("private")
    browser = (await client.get("/v1/streams?audience=browser")).json()["streams"]
    assert browser["clicks"] == {}
    assert "secrets" not in browser
    assert "secrets" in (await client.get("/v1/streams?audience=browser&names=secrets")).json()["streams"]
    assert browser["views"] == {"sample": {"unit": "pageview", "rate": 0.1}}


async def test_a_client_that_is_up_to_date_gets_304_and_may_wait_for_changes(
    served: tuple[Platform, httpx.AsyncClient],
) -> None:
    platform, client = served
    url = "/v1/streams?audience=browser"
    first = await client.get(url)
    held = {"if-none-match": first.headers["etag"]}
    assert (await client.get(url, headers=held)).status_code == 304
    assert (await client.get(f"{url}&wait=0.1", headers=held)).status_code == 304
    waiting = asyncio.create_task(client.get(f"{url}&wait=30", headers=held))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    done = await client.post("/v1/stream-changes", json=rate(0.25), headers=key(platform))
    assert done.status_code == 201
    async with asyncio.timeout(5):
        news = await waiting
    assert news.status_code == 200
    assert news.json()["streams"]["clicks"] == {"sample": _sample(0.25)}
    assert news.headers["etag"] != first.headers["etag"]


async def test_changes_are_sent_live_and_not_repeated_to_a_client_that_reconnects(
    served: tuple[Platform, httpx.AsyncClient],
) -> None:
    platform, client = served
    headers = key(platform)
    url = "/v1/stream-changes/live?audience=browser"
    async with asyncio.timeout(10), client.stream("GET", url) as live:
        told = messages(live.aiter_lines())
        kind, _, everything = await anext(told)
        assert (kind, set(everything["streams"])) == ("put", {"clicks", "views"})
        await client.post("/v1/stream-changes", json=rate(0.5), headers=headers)
        kind, mark, patch = await anext(told)
        assert (kind, patch["streams"]) == ("patch", {"clicks": {"sample": _sample(0.5)}})
    async with asyncio.timeout(10), client.stream("GET", url, headers={"last-event-id": mark}) as live:
        lines = live.aiter_lines()
        assert await anext(lines) == ": resumed"
        await client.post("/v1/stream-changes", json=rate(0.75), headers=headers)
        kind, _, patch = await anext(messages(lines))
        assert (kind, patch["streams"]) == ("patch", {"clicks": {"sample": _sample(0.75)}})


async def test_a_change_is_audited_survives_a_restart_and_can_be_taken_back(tmp_path: Path) -> None:
    project = written_project(tmp_path)
    async with running(project) as (platform, client):
        headers = key(platform)
        dry = await client.post("/v1/stream-changes?dry_run=true", json=rate(0.25), headers=headers)
        assert dry.json()["dry_run"] is True
        assert {"stream": "clicks", "path": "produce.sample.rate", "before": None, "after": 0.25} in dry.json()[
            "differences"
        ]
        assert (await client.get("/v1/stream-changes", headers=headers)).json()["changes"] == []
        assert (await client.post("/v1/stream-changes", json=rate(0.25), headers=headers)).json()["revision"] == 1
        late = await client.post("/v1/stream-changes", json=rate(0.5), headers=headers | {"if-match": '"0"'})
        assert (late.status_code, late.json()["type"]) == (412, "change_conflict")
        well = await client.post("/v1/stream-changes", json=rate(0.5), headers=headers | {"if-match": '"1"'})
        assert (well.status_code, well.headers["etag"]) == (201, '"2"')
    async with running(project) as (platform, client):
        browser = "/v1/streams/clicks?audience=browser"
        assert (await client.get(browser)).json()["sample"] == _sample(0.5)
        back = await client.post("/v1/stream-changes/rollback", json={"to": 1, "reason": "wrong"}, headers=headers)
        assert (back.status_code, back.json()["kind"]) == (201, "rollback")
        assert (await client.get(browser)).json()["sample"] == _sample(0.25)
        history = (await client.get("/v1/stream-changes", headers=headers)).json()
        assert [one["revision"] for one in history["changes"]] == [3, 2, 1]
        assert {one["actor"] for one in history["changes"]} == {"key 0"}
        assert (await client.get("/v1/stream-changes/2", headers=headers)).json()["reason"] == "a test"
        unknown = await client.get("/v1/stream-changes/99", headers=headers)
        assert (unknown.status_code, unknown.json()["type"]) == (404, "revision_unknown")


async def test_the_kill_switch_refuses_events_at_once_and_lets_them_in_again(
    served: tuple[Platform, httpx.AsyncClient],
) -> None:
    platform, client = served
    headers = key(platform, "streams:kill")
    event = {"$schema": "/note/1.0.0", "meta": {"stream": "clicks"}, "text": "x"}
    assert (await client.post("/v1/events", json=event)).status_code == 201
    off = {"stream": "clicks", "reason": "too much"}
    assert (await client.post("/v1/stream-changes", json=rate(0.5), headers=headers)).status_code == 403
    assert (await client.post("/v1/stream-changes/kill", json=off, headers=headers)).status_code == 201
    refused = await client.post("/v1/events", json=event)
    assert refused.status_code == 400
    assert "accepts no events at present" in refused.text
    assert (await client.get("/v1/streams/clicks?audience=browser")).json()["enabled"] is False
    await client.post("/v1/stream-changes/kill", json=off | {"on": False}, headers=headers)
    assert (await client.post("/v1/events", json=event)).status_code == 201


async def test_a_rule_for_some_sites_is_seen_by_those(served: tuple[Platform, httpx.AsyncClient]) -> None:
    platform, client = served
    headers = key(platform)
    change = rate(0.01, when={"site_group": "large"})
    assert (await client.post("/v1/stream-changes", json=change, headers=headers)).status_code == 201
    assert (await client.get("/v1/streams/clicks?audience=browser&site=en")).json()["sample"] == _sample(0.01)
    assert "sample" not in (await client.get("/v1/streams/clicks?audience=browser&site=fr")).json()
    assert "sample" not in (await client.get("/v1/streams/clicks?audience=browser")).json()


async def test_a_rule_for_a_percentage_of_the_sites_draws_more_of_them_as_it_grows(
    served: tuple[Platform, httpx.AsyncClient],
) -> None:
    platform, client = served
    headers = key(platform)
    drawn: list[set[str]] = []
    for percent in (0, 30, 60, 100):
        change = rate(0.5, when={"percent": percent})
        assert (await client.post("/v1/stream-changes", json=change, headers=headers)).status_code == 201
        sites = [f"site{number}" for number in range(40)]
        answers = [await client.get(f"/v1/streams/clicks?audience=browser&site={site}") for site in sites]
        drawn.append({site for site, answer in zip(sites, answers, strict=True) if "sample" in answer.json()})
    assert drawn[0] == set()
    assert drawn[0] < drawn[1] < drawn[2] < drawn[3] == set(sites)
    assert "sample" not in (await client.get("/v1/streams/clicks?audience=browser")).json()
    wrong = await client.post("/v1/stream-changes", json=rate(0.5, when={"percent": 101}), headers=headers)
    assert (wrong.status_code, wrong.json()["detail"]) == (422, "`when.percent` must be a number from 0 to 100.")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 422, "not JSON"),
        (b"[]", 422, "JSON object"),
        (b"{}", 422, "`reason`"),
        (orjson.dumps({"reason": "x"}), 422, "adds no rule"),
        (orjson.dumps(rate(7)), 422, "from 0 to 1"),
        (orjson.dumps(rate(0.5, "clikcs")), 422, "not declared"),
        (orjson.dumps({"reason": "x", "remove": ["y"]}), 422, "no rule 'y'"),
        (b" " * 1_100_000, 413, "larger than"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_with_a_reason(
    served: tuple[Platform, httpx.AsyncClient], body: bytes, status: int, words: str
) -> None:
    platform, client = served
    answer = await client.post("/v1/stream-changes", content=body, headers=key(platform))
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert platform.control.state.number == 0


async def test_changes_cannot_be_written_through_the_intake(served: tuple[Platform, httpx.AsyncClient]) -> None:
    _, client = served
    event = {"$schema": "/note/1.0.0", "meta": {"stream": "headwater.stream_changes"}, "text": "x"}
    assert (await client.post("/v1/events", json=event)).status_code == 400
