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

from headwater.config import load_config
from headwater.log.contract import Record, TopicSettings
from headwater.platform import Platform, build
from headwater.testing.stream_kit import RawAnswer, request
from headwater.web.server import serving

COMPATIBILITY = Path(__file__).resolve().parents[2] / "docs" / "reference" / "compatibility-eventstreams.md"
RECORDS_SECTION = "## Recorded answers that differ"
HEADERS_SECTION = "## Headers that differ on every answer"
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
# The events of these answers were produced while the client was connected.
LIVE = ("sse_live_from_latest", "sse_offset_out_of_range")
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
        if record["id"] in LIVE:
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
    if not ours.startswith(first + "\n") or (first and ours.startswith(":ok\n\nretry:")):
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


def listed(section: str) -> dict[str, set[str]]:
    """{record id or header: aspects}, from a table of the documentation."""
    text = COMPATIBILITY.read_text(encoding="utf-8").split(section, 1)[1].split("\n## ", 1)[0]
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            names, aspects, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
            for name in names.split(","):
                found.setdefault(name.strip().strip("`"), set()).update(part.strip() for part in aspects.split(","))
    return found


async def test_every_recorded_answer_is_ours_or_a_listed_deviation(
    fixtures_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = json.loads((fixtures_dir / "intake" / "eventstreams_http_recorded.json").read_text(encoding="utf-8"))
    records = recorded["records"]
    plain = [record for record in records if record["service"] == "es" and record["id"] not in LIVE]
    live = merged([events_of(record) for record in records if record["id"] in LIVE])
    stored = merged([events_of(record) for record in plain])
    for place, by_offset in live.items():
        stored[place] = {offset: event for offset, event in stored[place].items() if offset not in by_offset}
    listed_headers = listed(HEADERS_SECTION)
    found: dict[str, dict[str, str]] = {}
    headers_seen: set[str] = set()
    for name in dict.fromkeys(record["service"] for record in records):
        (tmp_path / name).mkdir()
        async with service(name, tmp_path / name, recorded["meta"], stored) as (platform, port):
            for record in (record for record in records if record["service"] == name):
                ours = await ask(platform, port, record)
                found[record["id"]] = differences(record, ours)
                if "status" not in found[record["id"]] and "answer" not in found[record["id"]]:
                    headers = header_differences(record, ours)
                    headers_seen |= headers.keys()
                    others = {header: change for header, change in headers.items() if header not in listed_headers}
                    found[record["id"]] |= {"headers": str(others)} if others else {}
    differing = {
        name: {f"{aspect} {change}" if aspect == "status" else aspect for aspect, change in difference.items()}
        for name, difference in found.items()
        if difference
    }
    deviations = listed(RECORDS_SECTION)
    with capsys.disabled():
        alike = len(found) - len(differing)
        print(f"\nEventStreams recorded: {alike} of {len(found)} answered alike in every aspect, ", end="")
        print(f"{len(differing)} with deliberate deviations, {len(deviations)} listed in {COMPATIBILITY.name}")
    unlisted = {name: found[name] for name in differing if differing[name] != deviations.get(name)}
    assert unlisted == {}, "answers that differ otherwise than docs/reference/compatibility-eventstreams.md says"
    assert sorted(set(deviations) - set(differing)) == [], "listed as deviations, and do not differ any more"
    assert sorted(set(listed_headers) - headers_seen) == [], "listed headers that do not differ any more"
