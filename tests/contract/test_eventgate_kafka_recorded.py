"""What the real EventGate answered and produced on Kafka, replayed on a broker; the documentation says what differs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import pytest
import yaml

from deviations.eventgate import STANDING_HEADERS, has_impossible_day
from deviations.eventgate_kafka import BAD_NAME, RULES
from deviations.rule import Record, judge, stored_schemas, unused
from headwater.config import load_config
from headwater.platform import build
from headwater.web.server import serving
from requirements import at_least_one
from servers.kafka import KafkaCluster

FILLER = re.compile(r"<<'(.)' repeated, (\d+) characters>>")
# The security policy was different in the service of 2019, and is compared elsewhere.
COMPARED_HEADERS = tuple(name for name in STANDING_HEADERS if name != "content-security-policy")
# What no two runs have in common.
VOLATILE = ("id", "dt")


@dataclasses.dataclass(frozen=True)
class Message:
    """What a topic holds, as far as two runs can agree on it: `taken_from` is where the timestamp comes from."""

    topic: str
    key: str | None
    value: str
    taken_from: str


class Answer(NamedTuple):
    """Our answer, as rules look at it."""

    status: int
    body: Any

    @classmethod
    def of(cls, response: httpx.Response) -> Answer:
        is_json = "json" in response.headers.get("content-type", "")
        return cls(response.status_code, response.json() if is_json else response.text)


def settings(name: str, stream_config: str, directory: Path, fixtures: Path) -> dict[str, Any]:
    """The configuration of a service as it was recorded with, given in the words of the fixture's `meta.services`."""
    intake: dict[str, Any] = {"automatic_fields": False, "dedupe_window_seconds": 0, "append_timeout_seconds": 3.0}
    streams: dict[str, Any] = {"enforce": False}
    if name == "wmf2019":
        shutil.copytree(fixtures / "schemas_wmf", directory / "schemas", copy_function=shutil.copyfile)
        for flat in (directory / "schemas").glob("*_*.*.*"):
            title, version = flat.name.split("_")
            (directory / "schemas" / title).mkdir()
            flat.rename(directory / "schemas" / title / version)
        # The recorded service has one prefix for all streams, and streams have their own here.
        declared = {
            stream: {**entry, "topic_prefixes": ["dc1."]} for stream, entry in yaml.safe_load(stream_config).items()
        }
        (directory / "streams.yaml").write_text(yaml.safe_dump({"streams": declared}), encoding="utf-8")
        streams = {"path": "streams.yaml"}
        intake |= {"service_name": "eventgate-test", "error_stream": "eventgate-test.error.validation", "cors": None}
        intake |= {"topic_prefix": "dc1.", "event_bytes_max": 1_000_000}
    else:
        shutil.copytree(fixtures / "schemas_test", directory / "schemas", copy_function=shutil.copyfile)
        intake |= {"service_name": "eventgate"}
        intake |= {"event_bytes_max": 5000} if name == "kafka1" else {"stream_field": ""}
    return {
        "streams": streams,
        "intake": intake,
        "schemas": {"base_uris": ["schemas"], "file_extension": None},
        "web": {"port": 0},
    }


@contextlib.asynccontextmanager
async def service(overrides: dict[str, Any], directory: Path, bootstrap: str) -> AsyncIterator[str]:
    overrides = {**overrides, "log": {"url": f"kafka://{bootstrap}", "delivery_seconds_max": 2.0}}
    platform = build(load_config(directory, environment={}, overrides=overrides))
    await platform.start()
    try:
        async with serving(platform) as address:
            yield address
    finally:
        await platform.stop()


def expanded(value: Any) -> Any:
    """The recorded value with its abbreviated filler written out."""
    text = json.dumps(value)
    return json.loads(FILLER.sub(lambda found: found[1] * int(found[2]), text))


def body_of(record: dict[str, Any]) -> str | None:
    request = record["request"]
    if request.get("body") is None and "body_description" in request:
        # Too large to be recorded; but the answer says which events it is about.
        return json.dumps([entry["event"] for entry in expanded(record["response"]["body"])["error"]])
    body: str | None = request.get("body")
    return body


def differences(record: dict[str, Any], ours: httpx.Response) -> dict[str, str]:
    """What differs between the recorded answer and ours: {aspect: "recorded → ours"}."""
    theirs = record["response"]
    found = {}
    if ours.status_code != theirs["status"]:
        found["status"] = f"{theirs['status']} → {ours.status_code}"
    reason = ours.extensions["reason_phrase"].decode("latin-1")
    if reason != theirs["reason"]:
        found["reason"] = f"{theirs['reason']!r} → {reason!r}"
    is_json = "json" in ours.headers.get("content-type", "")
    body, expected = (ours.json() if is_json else ours.text), expanded(theirs["body"])
    if body != expected:
        found["body"] = f"{str(expected)[:300]!r} → {str(body)[:300]!r}"
    headers = {name: (theirs["headers"].get(name), ours.headers.get(name)) for name in COMPARED_HEADERS}
    if changed := {name: pair for name, pair in headers.items() if pair[0] != pair[1]}:
        found["headers"] = str(changed)
    return found


def message_of(topic: str, key: str | None, timestamp_ms: int, value: dict[str, Any]) -> Message:
    about = _refused_event(value)
    if about is not None:
        # What every form of an error event says; when, and under which id, differs from run to run.
        meta = {name: part for name, part in value["meta"].items() if name not in VOLATILE}
        told = {"meta": meta, "emitter_id": value["emitter_id"], "message": value["message"], "raw_event": about}
        return Message(topic, key, json.dumps(told, sort_keys=True), "receipt")
    given = value.get("meta", {}).get("dt")
    # Error events are made in the millisecond in which they are received.
    is_given = given and not _is_error_stream(topic)
    taken_from = "the event" if is_given and _epoch_ms(given) == timestamp_ms else "receipt"
    return Message(topic, key, json.dumps(value, sort_keys=True), taken_from)


def _refused_event(value: dict[str, Any]) -> Any:
    """The event an error event is about, parsed; None where the message is none that a service made."""
    try:
        return json.loads(value["raw_event"])
    except (KeyError, ValueError):
        return None


def _epoch_ms(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        # JavaScript takes February 30 for the first of March.
        return _epoch_ms(text.replace("-02-30", "-03-01")) if "-02-30" in text else None


def produced(bootstrap: str) -> list[Message]:
    """Everything in every topic, read by Kafka's own client."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
    found = []
    try:
        for name, topic in consumer.list_topics(timeout=10).topics.items():
            for partition in () if name.startswith("_") else topic.partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10)
                consumer.assign([TopicPartition(name, partition, low)])
                while low < high:
                    message = consumer.poll(10)
                    assert message is not None, f"{name} ends at {low}, not at {high}"
                    assert message.error() is None
                    low = (message.offset() or 0) + 1
                    key = message.key()
                    value = orjson.loads(message.value() or b"")
                    found.append(message_of(name, key.decode() if key else None, message.timestamp()[1], value))
    finally:
        consumer.close()
    return found


def message_differences(theirs: list[Message], ours: list[Message]) -> list[str]:
    """What is in a topic otherwise than recorded, and by none of the rules the documentation has for messages."""
    expected, actual = (Counter((one.topic, one.key, one.value) for one in messages) for messages in (theirs, ours))
    wrong = [f"missing: {message}" for message in (expected - actual) if not _may_be_missing(*message)]
    wrong += [f"more: {message}" for message in (actual - expected) if not _is_error_stream(message[0])]
    # Retention counts from a record's time, so it is that of receipt, whatever the event says.
    return wrong + [f"its time is the event's: {one}" for one in ours if one.taken_from != "receipt"]


def _may_be_missing(topic: str, key: str | None, value: str) -> bool:
    """Whether the event is refused here, or would have been an error event about an error event."""
    event = json.loads(value)
    about = event.get("raw_event") if _is_error_stream(topic) else None
    # Not about an event: a client made it up, which is refused here.
    is_posted = isinstance(about, str)
    is_loop = isinstance(about, dict) and _is_error_stream(str((about.get("meta") or {}).get("stream")))
    return is_posted or is_loop or has_impossible_day(event) or BAD_NAME.search(topic) is not None


def _is_error_stream(name: str) -> bool:
    return name.endswith(".error.validation")


async def replay(
    recording: dict[str, Any], directory: Path, fixtures: Path, broker: KafkaCluster
) -> tuple[list[tuple[Record, Answer, dict[str, str]]], list[Message]]:
    """Every record in file order, the broker killed before those recorded without one; and what was produced."""
    records = recording["records"]
    stored = stored_schemas(fixtures / "schemas_wmf", fixtures / "schemas_test")
    found = []
    async with contextlib.AsyncExitStack() as stack:
        addresses = {}
        for name in dict.fromkeys(record["service"] for record in records):
            own = directory / name
            own.mkdir()
            overrides = settings(name, recording["meta"]["stream_config"], own, fixtures)
            addresses[name] = await stack.enter_async_context(service(overrides, own, broker.bootstrap))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
        messages: list[Message] | None = None
        for record in at_least_one(records):
            # Only what was recorded after the broker had gone says how long it took.
            if "seconds" in record and messages is None:
                await asyncio.sleep(0.5)
                messages = await asyncio.to_thread(produced, broker.bootstrap)
                broker.kill(1)
            request = record["request"]
            body = body_of(record)
            answer = await client.request(
                request["method"],
                addresses[record["service"]] + request["path"],
                headers={"content-type": "application/json", **(request.get("headers") or {})},
                content=body.encode() if body is not None else None,
            )
            found.append((Record(record, body, stored), Answer.of(answer), differences(record, answer)))
    return found, messages or []


async def test_every_answer_and_message_on_kafka_is_ours_or_differs_by_a_rule(
    fixtures_dir: Path, tmp_path: Path, kafka_alone: KafkaCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    fixtures = fixtures_dir / "intake"
    recording = json.loads((fixtures / "eventgate_kafka_recorded.json").read_text(encoding="utf-8"))
    answered, ours = await replay(recording, tmp_path, fixtures, kafka_alone)
    theirs = [
        message_of(seen["topic"], seen["key"], seen["timestamp"], expanded(seen["value"]))
        for seen in recording["kafka_messages_seen"]
    ]
    judged, wrong = [], {}
    for record, answer, found in answered:
        applying, fault = judge(RULES, record, answer, found, first=True)
        judged.append((applying, bool(found)))
        if fault:
            wrong[record.raw["id"]] = (fault, found)
    assert judged
    assert theirs
    with capsys.disabled():
        alike = sum(not differs for _, differs in judged)
        print(f"\nEventGate on Kafka: {alike} of {len(judged)} answered alike, ", end="")
        print(f"{len(theirs)} messages recorded, {len(ours)} produced")
    assert wrong == {}, "answers that differ otherwise than docs/reference/compatibility.md says"
    assert unused(RULES, judged) == [], "rules that apply, and nothing differs any more"
    assert message_differences(theirs, ours) == [], "messages differ otherwise than the page says"
