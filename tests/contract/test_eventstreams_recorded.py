"""What the real EventStreams answered, replayed against the running server; the documentation lists what differs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from deviations import rule
from deviations.eventstreams import HEADERS, RULES
from headwater.config import load_config
from headwater.log.contract import Record, TopicSettings
from headwater.platform import Platform, build
from headwater.testing.stream_kit import RawAnswer, request
from headwater.web.server import serving

COMPARED_HEADERS = (
    "access-control-allow-origin",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "x-xss-protection",
    "x-content-type-options",
    "x-frame-options",
    "content-security-policy",
    "x-content-security-policy",
    "x-webkit-csp",
    "content-type",
    "cache-control",
    "connection",
    "transfer-encoding",
    "location",
)
PARTITIONS = 4
# A description that says what was so when the request was made.
TWO_OPEN_BEFORE = "two connections from the same client ip are open"
QUIET_SECONDS = 0.3

Place = tuple[str, int]
Events = dict[Place, dict[int, tuple[bytes, bytes | None]]]


def events_of(record: dict[str, Any]) -> Events:
    """The events behind a recorded answer, without what EventStreams added: {(topic, partition): {offset: …}}."""
    found: Events = {}
    place, last = ("", 0), -1
    for value in (value for _, value in messages(record["response"].get("body", ""))):
        if isinstance(value, dict):
            meta = dict(value["meta"])
            place, last = (meta.pop("topic"), meta.pop("partition")), meta.pop("offset")
            key = bytes(meta.pop("key")["data"]) if "key" in meta else None
            event: Any = {**value, "meta": meta} if meta else {k: v for k, v in value.items() if k != "meta"}
        else:
            event, key, last = value, None, last + 1
        found.setdefault(place, {})[last] = (orjson.dumps(event), key)
    return found


def is_live(record: dict[str, Any]) -> bool:
    """Whether the events of an answer were produced while the client was connected: it began at the end."""
    asked, body = record["request"], record["response"].get("body") or ""
    delivered = (
        [value for _, value in messages(body) if isinstance(value, dict)]
        if "stream_ended" in record["response"]
        else []
    )
    if not delivered:
        return False
    resumed = {name.lower(): value for name, value in asked["headers"].items()}.get("last-event-id")
    if resumed is None:
        return "since=" not in asked["path"]
    places = [place for place in orjson.loads(resumed) if isinstance(place, dict)]
    first = {
        (value["meta"]["topic"], value["meta"]["partition"]): value["meta"]["offset"] for value in reversed(delivered)
    }
    return any(place.get("offset", 0) > first.get((place["topic"], place["partition"]), 2**63) for place in places)


def messages(body: str) -> Iterator[tuple[str | None, Any]]:
    """(id, value) of every complete message in an SSE or NDJSON body."""
    if body.startswith("\n"):
        for line in body.split("\n")[:-1]:
            if line:
                yield None, orjson.loads(line)
        return
    for block in body.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if fields.get("event") == "message":
            yield fields.get("id"), orjson.loads(fields["data"])


def merged(all_events: Sequence[Events]) -> Events:
    result: Events = {}
    for events in all_events:
        for place, by_offset in events.items():
            result.setdefault(place, {}).update(by_offset)
    return result


async def append(platform: Platform, events: Events) -> None:
    """Fill the log so that every event has its recorded offset; where none was delivered there was no JSON."""
    for (topic, partition), by_offset in events.items():
        next_offset = (await platform.log.last([topic])).offsets[topic, partition]
        for offset in range(next_offset, max(by_offset) + 1):
            value, key = by_offset.get(offset, (b"not {json", None))
            await platform.log.append([Record(topic, value, key, partition=partition)])


@contextlib.asynccontextmanager
async def service(
    name: str, directory: Path, meta: dict[str, Any], stored: Events
) -> AsyncIterator[tuple[Platform, int]]:
    """A fresh server with the recorded streams and events; gives its platform and port."""
    (directory / "streams.yaml").write_text(meta["stream_config"], encoding="utf-8")
    (directory / "schemas").mkdir()
    consumption: dict[str, Any] = {
        "allowed_streams": ["page-create", "recentchange", "test.stream", "ghost.stream", "no.topics"],
    }
    if name == "limit":
        consumption |= {
            "connections_per_address_max": 2,
            "client_address_header": "X-Client-IP",
            "redacted_pages": {"test.domain": ["Redact this", "404"]},
        }
    overrides = {
        "streams": {"path": "streams.yaml"},
        "intake": {"service_name": "eventstreams"},
        "consumption": consumption,
        "log": {"durability": "os"},
        "web": {"port": 0},
    }
    platform = build(load_config(directory, environment={}, overrides=overrides))
    await platform.start()
    try:
        for topic in {topic for topic, _ in stored}:
            await platform.log.ensure_topic(topic, TopicSettings(partitions=PARTITIONS))
        await append(platform, stored)
        async with serving(platform) as address:
            yield platform, int(address.rpartition(":")[2])
    finally:
        await platform.stop()


async def ask(platform: Platform, port: int, record: dict[str, Any]) -> RawAnswer:
    """Send a recorded request and receive as many messages as were recorded, or until nothing more comes."""
    asked, theirs = record["request"], record["response"]
    earlier = []
    if record["description"] == TWO_OPEN_BEFORE:
        earlier = [await request(port, asked["path"], asked["headers"]) for _ in range(2)]
    answer = await request(port, asked["path"], asked["headers"], method=asked["method"])
    if answer.status == 200 and asked["method"] != "HEAD" and "stream_ended" in theirs:
        await answer.until(b"\n", seconds=QUIET_SECONDS)
        if is_live(record):
            await append(platform, events_of(record))
        expected = len(list(messages(theirs.get("body", ""))))
        while len(list(messages(answer.body.decode()))) < max(expected, 1) and await answer.receive(
            seconds=2.0 if expected else QUIET_SECONDS
        ):
            pass
    else:
        length = int(answer.headers.get("content-length", 0)) if asked["method"] != "HEAD" else 0
        while len(answer.raw) < length and await answer.receive():
            pass
    for one in [*earlier, answer]:
        one.hang_up()
    async with asyncio.timeout(5):
        while platform.hub.admission.connections:  # noqa: ASYNC110 - the server tells nobody when it has noticed
            await asyncio.sleep(0.01)
    return answer


def differences(record: dict[str, Any], ours: RawAnswer) -> dict[str, str]:
    """What differs: {aspect: "recorded → ours"}."""
    theirs = record["response"]
    if "status" not in theirs:
        return {"answer": f"none → {ours.status}"}
    found: dict[str, str] = {}
    if theirs["status"] != ours.status:
        found["status"] = f"{theirs['status']} → {ours.status}"
    if theirs["reason"] != ours.reason and not found:
        found["reason"] = f"{theirs['reason']!r} → {ours.reason!r}"
    recorded_body, our_body = theirs.get("body", ""), ours.body.decode()
    if theirs["status"] == 200 == ours.status and "stream_ended" in theirs:
        found.update(_stream_differences(recorded_body, our_body))
    elif _parsed(recorded_body) != _parsed(our_body):
        found["body"] = f"{recorded_body!r} → {our_body!r}"[:400]
    return found


def _stream_differences(recorded: str, ours: str) -> dict[str, str]:
    found: dict[str, str] = {}
    theirs_events, our_events = list(messages(recorded)), list(messages(ours))
    first = recorded.split("\n\n", maxsplit=1)[0] if recorded.startswith(":") else ""
    if not ours.startswith(f"{first}\n\n" if first else "\n"):
        found["opening"] = f"{recorded[:40]!r} → {ours[:80]!r}"
    their_ids = [identity for identity, _ in theirs_events if identity is not None]
    our_ids = [identity for identity, _ in our_events if identity is not None]
    if their_ids and their_ids != our_ids:
        found["ids"] = f"{their_ids[0]} → {our_ids[:1]}"
    if "event: position-lost" in ours:
        found["notice"] = "none → position-lost"
    theirs_values = _by_partition([value for _, value in theirs_events])
    our_values = _by_partition([value for _, value in our_events])
    without_canaries = [value for value in theirs_values if not _is_canary(value)]
    if without_canaries != theirs_values:
        if our_values == theirs_values:
            return found
        found["canaries"] = "delivered → left out"
    if [_without_key(value) for value in without_canaries] != [_without_key(value) for value in our_values]:
        found["events"] = f"{len(without_canaries)} → {len(our_values)}: {our_values!r}"[:400]
    elif without_canaries != our_values:
        found["keys"] = "bytes → text"
    return found


def _by_partition(values: list[Any]) -> list[Any]:
    """Neither service promises an order between partitions; within one it is kept as it came."""
    place = ("", 0)
    placed = []
    for value in values:
        if isinstance(value, dict):
            place = (value["meta"]["topic"], value["meta"]["partition"])
        placed.append((place, value))
    return [value for _, value in sorted(placed, key=lambda item: item[0])]


def _is_canary(value: Any) -> bool:
    return isinstance(value, dict) and value["meta"].get("domain") == "canary"


def _without_key(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {**value, "meta": {name: part for name, part in value["meta"].items() if name != "key"}}


def _parsed(body: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body


def header_differences(record: dict[str, Any], ours: RawAnswer) -> dict[str, str]:
    """Headers that differ on an answer that is otherwise the same."""
    theirs = record["response"].get("headers", {})
    return {
        name: f"{theirs.get(name)} → {ours.headers.get(name)}"
        for name in COMPARED_HEADERS
        if theirs.get(name) != ours.headers.get(name)
    }


async def test_every_recorded_answer_is_ours_or_differs_by_rules(
    fixtures_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = json.loads((fixtures_dir / "intake" / "eventstreams_http_recorded.json").read_text(encoding="utf-8"))
    records = recorded["records"]
    plain = [record for record in records if record["service"] == "es" and not is_live(record)]
    live = merged([events_of(record) for record in records if is_live(record)])
    stored = merged([events_of(record) for record in plain])
    for place, by_offset in live.items():
        stored[place] = {offset: event for offset, event in stored[place].items() if offset not in by_offset}
    judged, wrong = [], {}
    headers_seen: set[str] = set()
    for name in dict.fromkeys(record["service"] for record in records):
        (tmp_path / name).mkdir()
        async with service(name, tmp_path / name, recorded["meta"], stored) as (platform, port):
            for raw in (record for record in records if record["service"] == name):
                ours = await ask(platform, port, raw)
                found = differences(raw, ours)
                if "status" not in found and "answer" not in found:
                    headers = header_differences(raw, ours)
                    headers_seen |= headers.keys()
                    others = {header: change for header, change in headers.items() if header not in HEADERS}
                    found |= {"headers": str(others)} if others else {}
                applying, fault = rule.judge(RULES, rule.Record(raw), ours, found, first=False)
                judged.append((applying, bool(found)))
                if fault:
                    wrong[raw["id"]] = (fault, found)
    assert judged, "there is no record"
    with capsys.disabled():
        alike = sum(not differs for _, differs in judged)
        print(f"\nEventStreams recorded: {alike} of {len(judged)} answered alike in every aspect")
    assert wrong == {}, "answers that differ otherwise than docs/reference/compatibility-eventstreams.md says"
    assert rule.unused(RULES, judged) == [], "rules that apply, and nothing differs any more"
    assert sorted(HEADERS.keys() - headers_seen) == [], "headers that do not differ any more"
