"""What services post to a webhook is in its stream when they are answered, once, and nobody else can put it there."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from headwater.config import load_config
from headwater.consumption.hub import StreamHub
from headwater.control.stream_control import StreamControl
from headwater.errors import ConfigInvalid, LogUnavailable
from headwater.intake.intake import Intake
from headwater.platform import Platform, build
from headwater.testing.faulty_log import FaultyLog
from headwater.testing.service_kit import serving, write_project

SECRET = "s3cret"
SCHEMA = {
    "title": "forge/push",
    "description": "A push.",
    "$id": "/forge/push/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["number"],
    "properties": {
        "$schema": {"type": "string"},
        "meta": {"type": "object", "properties": {"id": {"type": "string"}, "stream": {"type": "string"}}},
        "dt": {"type": "string", "format": "date-time", "maxLength": 64},
        "number": {"type": "integer"},
    },
}
STREAMS: list[dict[str, Any]] = [
    {"stream": "forge.push", "schema_title": "forge/push"},
    {"stream": "forge.keyed", "schema_title": "forge/push", "producers": {"keys": "required"}},
    {"stream": "forge.inside", "schema_title": "forge/push", "producers": {"external": False}},
]
SIGNED = "connector: webhook\nsecret: ${file:secret}\nsignature_prefix: sha256=\n"
OPEN = "connector: webhook\nsignature: none\n"
SOURCES = {
    "push": f"{SIGNED}id_header: x-delivery\nstream: forge.push\n",
    "pushes": f"{SIGNED}events: data.items\nid: number\nbody_bytes_max: 10000\nevents_max: 50\nstream: forge.push\n",
    "keyed": f"{SIGNED}stream: forge.keyed\n",
    "open": f"{OPEN}stream: forge.push\n",
    "open_keyed": f"{OPEN}stream: forge.keyed\n",
}


def made_project(directory: Path, sources: Mapping[str, str] = SOURCES) -> Path:
    write_project(directory, [SCHEMA], STREAMS)
    (directory / "sources").mkdir()
    (directory / "secret").write_text(SECRET, encoding="utf-8")
    for name, text in sources.items():
        (directory / "sources" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return directory


def made_platform(directory: Path, **sections: Mapping[str, Any]) -> Platform:
    overrides = {"web": {"port": 0}, "log": {"durability": "os"}} | sections
    return build(load_config(directory, environment={}, overrides=overrides))


async def clients(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    await platform.start(run_jobs=False)
    try:
        async with serving(platform) as address, httpx.AsyncClient(base_url=address, trust_env=False) as client:
            yield client
    finally:
        await platform.stop()


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return made_platform(made_project(tmp_path / "project"))


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async for client in clients(platform):
        yield client


async def post(
    client: httpx.AsyncClient, name: str, body: Any, *, secret: str = SECRET, **headers: str
) -> httpx.Response:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    signature = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    sent = {"content-type": "application/json", "x-signature": f"sha256={signature}", "x-delivery": "1"}
    sent |= {key.replace("_", "-"): value for key, value in headers.items()}
    written = {key: value for key, value in sent.items() if value}
    return await client.post(f"/v1/webhooks/{name}", content=raw, headers=written)


async def stored(platform: Platform, topic: str = "forge.push") -> list[Any]:
    return [orjson.loads(record.value) for record in await platform.log.read(await platform.log.first([topic]))]


async def test_an_event_is_in_its_stream_when_its_sender_is_answered(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    answer = await post(client, "push", {"number": 1})
    assert (answer.status_code, answer.content) == (201, b""), answer.text
    (event,) = await stored(platform)
    assert (event["number"], event["$schema"], event["meta"]["stream"]) == (1, "/forge/push/1.0.0", "forge.push")
    assert event["meta"]["id"]


async def test_requests_are_counted_by_outcome(client: httpx.AsyncClient, platform: Platform) -> None:
    await post(client, "push", {"number": 1})
    await post(client, "push", {"number": "x"}, x_delivery="2")
    await post(client, "push", {"number": 3}, secret="other")
    await post(client, "none", {"number": 4})
    counted = {
        outcome: platform.telemetry.value("headwater_webhook_requests_total", {"source": "push", "outcome": outcome})
        for outcome in ("stored", "refused", "unsigned", "failed")
    }
    assert counted == {"stored": 1, "refused": 1, "unsigned": 1, "failed": None}
    seconds = platform.telemetry.value("headwater_webhook_seconds_since_events", {"source": "push"})
    assert seconds is not None
    assert 0 <= seconds < 60


async def test_what_is_sent_again_is_stored_once(client: httpx.AsyncClient, platform: Platform) -> None:
    answers = await asyncio.gather(*(post(client, "push", {"number": 1}) for _ in range(5)))
    assert {one.status_code for one in answers} == {201}
    assert (await post(client, "push", {"number": 1}, x_delivery="2")).status_code == 201
    body = {"data": {"items": [{"number": 7}, {"number": 8}, {"number": 7}]}}
    for _ in range(2):
        assert (await post(client, "pushes", body)).status_code == 201
    assert [one["number"] for one in await stored(platform)] == [1, 1, 7, 8]


async def test_the_id_of_an_event_is_the_same_after_a_restart(tmp_path: Path) -> None:
    project = made_project(tmp_path / "project")
    for _ in range(2):
        platform = made_platform(project)
        async for client in clients(platform):
            assert (await post(client, "push", {"number": 1})).status_code == 201
            assert len(await stored(platform)) == 1


@pytest.mark.parametrize("headers", [{"secret": "other"}, {"x_signature": ""}, {"x_signature": "sha256="}])
async def test_who_cannot_sign_is_refused_and_stores_nothing(
    client: httpx.AsyncClient, platform: Platform, headers: dict[str, str]
) -> None:
    for body in ({"number": 1}, b"no JSON", b""):
        answer = await post(client, "push", body, **headers)
        assert answer.status_code == 401
        problem = answer.json()
        assert (problem["type"], problem["detail"]) == (
            "signature_invalid",
            "The signature of the request is not valid.",
        )
        assert "hint" not in problem
    assert await stored(platform) == []


@pytest.mark.parametrize("name", ["other", "PUSH", "pus", "%00", "forge.push", "%F0%9F%98%80"])
async def test_an_unknown_name_is_not_found(client: httpx.AsyncClient, name: str) -> None:
    answer = await post(client, name, {"number": 1})
    assert (answer.status_code, answer.json()["type"]) == (404, "source_unknown")


async def test_other_methods_are_not_answered(client: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await client.request(method, "/v1/webhooks/push")).status_code in (404, 405)


@pytest.mark.parametrize(
    ("sent", "headers", "status"),
    [
        (("push", b"no JSON"), {}, 400),
        (("push", b""), {}, 400),
        (("push", b"[" * 10_000), {}, 400),
        (("push", {"number": 1}), {"content_type": "application/x-www-form-urlencoded"}, 415),
        (("push", {"number": 1}), {"content_type": ""}, 415),
        (("push", {"number": 1}), {"x_delivery": ""}, 400),
        (("push", {"number": "x"}), {}, 400),
        (("push", {"number": 1, "meta": "x"}), {}, 400),
        (("push", [1]), {}, 400),
        (("pushes", {"data": {}}), {}, 400),
        (("pushes", {"data": {"items": [{"number": 1}] * 51}}), {}, 413),
        (("pushes", b" " * 10_001), {}, 413),
        (("pushes", {"data": {"items": [{"nr": 1}]}}), {}, 400),
    ],
)
async def test_what_is_no_event_is_refused_and_its_sender_told(
    client: httpx.AsyncClient, platform: Platform, sent: tuple[str, Any], headers: dict[str, str], status: int
) -> None:
    answer = await post(client, *sent, **headers)
    assert answer.status_code == status, answer.text
    assert await stored(platform) == []


async def test_of_several_events_the_valid_ones_are_stored(client: httpx.AsyncClient, platform: Platform) -> None:
    body = {"data": {"items": [{"number": 1}, {"number": 2, "dt": "never"}, 3, {"number": 4}]}}
    answer = await post(client, "pushes", body)
    assert answer.status_code == 207
    assert [one["number"] for one in await stored(platform)] == [1, 4]
    refused = answer.json()
    assert len(refused["invalid"]) + len(refused.get("error", ())) == 2
    errors = await stored(platform, platform.config.intake.error_stream_name)
    assert len(errors) == 2


async def test_no_events_are_all_of_none(client: httpx.AsyncClient, platform: Platform) -> None:
    assert (await post(client, "pushes", {"data": {"items": []}})).is_success
    assert await stored(platform) == []


async def test_forms_that_services_send_json_in(client: httpx.AsyncClient, platform: Platform) -> None:
    text = orjson.dumps({"number": 1})
    for number, (raw, headers) in enumerate(
        [
            (text, {"content_type": "application/json; charset=utf-8"}),
            (text, {"content_type": "application/vnd.forge+json"}),
            (gzip.compress(text), {"content_encoding": "gzip"}),
            (b"\xef\xbb\xbf" + text, {}),
            (b'{"number": 1, "exact": 12345678901234567890123}', {}),
        ]
    ):
        answer = await post(client, "push", raw, x_delivery=str(number), **headers)
        assert answer.status_code == 201, (raw, answer.text)
    found = await platform.log.read(await platform.log.first(["forge.push"]))
    assert len(found) == 5
    assert b"12345678901234567890123" in found[-1].value


async def test_the_log_that_is_away_is_reported_and_the_sender_may_try_again(tmp_path: Path) -> None:
    platform = made_platform(made_project(tmp_path / "project"))
    platform.log = log = FaultyLog()
    platform.intake = Intake(platform.gate, log, platform.config.intake, platform.telemetry)
    platform.control = StreamControl(log, platform.streams, platform.telemetry, platform._use_streams)
    platform.hub = StreamHub(log, platform.streams, platform.config.consumption, platform.telemetry)
    async for client in clients(platform):
        log.failure = LogUnavailable("The log is away.")
        answer = await post(client, "push", {"number": 1})
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
        log.failure = None
        assert (await post(client, "push", {"number": 1})).status_code == 201
        assert len(await stored(platform)) == 1


async def test_a_signature_is_as_good_as_a_key(client: httpx.AsyncClient, platform: Platform) -> None:
    assert (await post(client, "keyed", {"number": 1})).status_code == 201
    assert (await post(client, "open_keyed", {"number": 2})).status_code == 401
    key = platform.keys.create("sender", ("events:write",))
    assert (await post(client, "open_keyed", {"number": 3}, authorization=f"Bearer {key}")).status_code == 201
    assert (await post(client, "open", {"number": 4}, secret="any")).status_code == 201
    assert [one["number"] for one in await stored(platform, "forge.keyed")] == [1, 3]


async def test_where_keys_are_required_a_stranger_does_not_learn_which_webhooks_there_are(tmp_path: Path) -> None:
    required = {"intake": {"keys": "required"}, "consumption": {"keys": "required"}}
    platform = made_platform(made_project(tmp_path / "project"), **required)
    async for client in clients(platform):
        assert (await post(client, "push", {"number": 1})).status_code == 201
        assert (await post(client, "open", {"number": 1})).status_code == 401
        for name in ("other", "push/"):
            answer = await post(client, name, {"number": 1})
            assert (answer.status_code, answer.json()["type"]) == (401, "key_required")
        key = platform.keys.create("operator", ("streams:read",))
        answer = await post(client, "other", {"number": 1}, authorization=f"Bearer {key}")
        assert answer.status_code in (403, 404)
        assert len(await stored(platform)) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{OPEN}stream: forge.push\non_error: stop\n", "on_error"),
        (f"{OPEN}stream: forge.push\ncanaries: true\n", "canaries"),
        (OPEN, "stream"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, text: str, why: str) -> None:
    project = made_project(tmp_path / "project", {"hook": text})
    with pytest.raises(ConfigInvalid, match=why):
        made_platform(project)


async def test_a_secret_that_is_not_there_is_found_at_the_start(tmp_path: Path) -> None:
    project = made_project(tmp_path / "project")
    (project / "secret").unlink()
    with pytest.raises(ConfigInvalid, match="secret"):
        await anext(clients(made_platform(project)))
