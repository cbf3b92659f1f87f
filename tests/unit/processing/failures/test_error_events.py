"""An error event has the original event whole, wherever its bytes are kept, and its group, place and attempt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.event import encode_event
from headwater.intake.error_event import JOB_SCHEMA
from headwater.intake.gate import GateSettings
from headwater.jobs import Context, job
from headwater.log.contract import Record
from headwater.processing.embedded.loop import RunnerSettings
from headwater.processing.failures.failed_events import PART_BYTES_MAX, TOPIC
from headwater.processing.failures.stored import Groups, original_of
from headwater.schemas.dialect import DRAFT_07
from headwater.schemas.schema import Schema
from headwater.schemas.validation.validator import Validator
from headwater.testing.job_kit import JobKit
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog

from .kit import edit, errors_of, redrive


@job(source="edits", sink="out")
def refusing(event: dict[str, Any], context: Context) -> Any:
    """Processes nothing."""
    raise ValueError(f"not {event.get('number')}")


async def failed(*values: bytes, kit: JobKit | None = None) -> JobKit:
    """A kit whose job could process none of these records."""
    kit = kit or JobKit(refusing)
    await kit.open()
    await kit.log.append([Record("edits", value) for value in values])
    await kit.run()
    return kit


async def originals(kit: JobKit) -> list[Any]:
    return [await original_of(kit.log, error) for error in await errors_of(kit)]


LARGE = encode_event(edit(1, text="long \u00e9" * 500_000))[0]
BYTES = {
    "JSON": (encode_event(edit(1))[0], "text"),
    "JSON with spaces": (b'{ "number" :  1 }', "text"),
    "not JSON": (b"not an event", "text"),
    "not UTF-8": (b'{"title":"\xff\xfe\x80"}', "base64"),
    "any bytes": (bytes(range(256)), "base64"),
    "a byte that is no text": (b"\xf8", "base64"),
    "zero bytes": (b"\0\0\0", "text"),
    "half a pair of surrogates": (b'{"a":"\\ud800"}', "text"),
    "more than a megabyte": (LARGE[:1_500_000], "base64" if LARGE[:1_500_000][-1] > 127 else "text"),
    "too large for an error event": (LARGE, "stored"),
    "control characters, which JSON makes six times as long": (b"\1" * 1_900_000, "stored"),
    "large and not UTF-8": (b"\xff" * 3_000_000, "stored"),
}


@pytest.mark.parametrize("name", BYTES)
async def test_the_original_is_recovered_byte_by_byte(name: str) -> None:
    raw, kept = BYTES[name]
    kit = await failed(raw)
    (error,) = await errors_of(kit)
    assert error.details.kept == kept
    assert await original_of(kit.log, error) == (raw, b"")
    assert (error.details.topic, error.details.partition, error.details.offset) == ("edits", 0, 0)
    outcome = await redrive(kit)
    assert (outcome.events, outcome.impossible) == (1, 0)
    await kit.run()
    _, again = await errors_of(kit)
    assert again.details.attempt == 2
    assert await original_of(kit.log, again) == (raw, b"")


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=5))
@example([b"{}", b"no object"])
async def test_any_bytes_are_recovered(values: list[bytes]) -> None:
    kit = await failed(*values)
    # What is no event at all is found before the job is given the others of its batch.
    assert sorted(await originals(kit)) == sorted((value, b"") for value in values)


async def test_an_event_that_a_broker_would_refuse_inside_an_error_event_is_stored_in_parts() -> None:
    brokers = OracleBrokers()
    kit = JobKit(refusing, log=OracleKafkaLog(brokers))
    brokers.limits["refusing.error"] = 200_000
    brokers.limits[TOPIC] = PART_BYTES_MAX + 10_000
    raw = encode_event(edit(1, text="x" * 700_000))[0]
    await failed(raw, encode_event(edit(2))[0], kit=kit)
    first, second = await errors_of(kit)
    assert (first.details.kept, second.details.kept) == ("stored", "text")
    assert await original_of(kit.log, first) == (raw, b"")
    assert len(first.event["raw_event"]) < 20_000


async def test_an_event_that_can_be_stored_nowhere_else_is_read_where_it_came_from() -> None:
    brokers = OracleBrokers()
    kit = JobKit(refusing, log=OracleKafkaLog(brokers))
    brokers.limits["refusing.error"] = 100_000
    brokers.limits[TOPIC] = 1_000
    raw = encode_event(edit(1, text="x" * 700_000))[0]
    await failed(raw, kit=kit)
    (error,) = await errors_of(kit)
    assert error.details.kept == "log"
    assert await original_of(kit.log, error) == (raw, b"")


def validator_of(document: Mapping[str, Any]) -> Validator:
    class One:
        def get(self, uri: str) -> Schema:
            return Schema(uri=uri, document=document, title="error", dialect=DRAFT_07)

        def uris(self) -> tuple[str, ...]:
            return ()

        def close(self) -> None:
            """Nothing is open."""

    return Validator(One())


async def test_an_error_event_follows_the_schema_of_error_events() -> None:
    kit = await failed(encode_event(edit(1))[0], b"\xff", LARGE)
    compiled = validator_of(JOB_SCHEMA).compile("/error/2.1.0")
    for error in await errors_of(kit):
        assert compiled.violations(dict(error.event)) == []
        assert set(error.event) <= set(JOB_SCHEMA["properties"])
    first = next(error.event for error in await errors_of(kit) if error.details.offset == 0)
    assert (first["error_type"], first["emitter_id"], first["errored_stream_name"]) == (
        "HANDLER_ERROR",
        "refusing",
        "edits",
    )
    assert first["meta"]["failure"] | {"group": "", "first_failed_at": "", "received_ms": 0} == {
        "group": "",
        "step": "function",
        "exception": "ValueError",
        "attempt": 1,
        "first_failed_at": "",
        "event_id": "id-1",
        "lineage_id": "id-1",
        "stream": "edits",
        "topic": "edits",
        "partition": 0,
        "offset": 0,
        "received_ms": 0,
        "kept": "text",
        "raw_bytes": len(encode_event(edit(1))[0]),
        "event_time_ms": first["meta"]["failure"]["event_time_ms"],
    }


async def test_a_project_whose_schema_allows_nothing_else_in_meta_still_gets_error_events() -> None:
    closed = {
        "properties": {
            **JOB_SCHEMA["properties"],
            "meta": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"stream": {}, "id": {}, "dt": {}, "domain": {}},
            },
        },
        "additionalProperties": False,
    }
    own = replace(refusing, sources=("edits", GateSettings().error_stream))
    kit = JobKit(own, schemas={"/error/2.1.0": closed})
    raw = encode_event(edit(1))[0]
    await failed(raw, encode_event(edit(2))[0], kit=kit)
    errors = await errors_of(kit)
    assert all("failure" not in error.event["meta"] for error in errors)
    assert [error.details.place for error in errors] == ["edits/0/0", "edits/0/1"]
    assert await original_of(kit.log, errors[0]) == (raw, b"")


async def test_a_project_whose_schema_has_no_place_for_the_event_keeps_it_separately() -> None:
    own = replace(refusing, sources=("edits", GateSettings().error_stream))
    kit = JobKit(own)
    raw = encode_event(edit(1))[0]
    await failed(raw, kit=kit)
    (error,) = await errors_of(kit)
    assert "raw_event" not in error.event
    assert error.details.kept == "stored"
    assert await original_of(kit.log, error) == (raw, b"")


async def test_an_event_that_must_not_be_shown_is_not_in_its_error_event_and_can_be_redriven() -> None:
    secret = "sesame"

    @job(source="edits.private", sink="out", key="number", state=int)
    def careless(event: dict[str, Any], context: Context) -> Any:
        raise ValueError(f"not {event['text']}")

    kit = JobKit(careless)
    await kit.open()
    raw = encode_event(edit(1, text=secret))[0]
    await kit.log.append([Record("edits.private", raw)])
    await kit.run()
    (error,) = await errors_of(kit)
    assert not {secret, "edits.private", "id-1", "w.org"} & set(re.findall(r"[\w.-]+", str(error.event)))
    assert error.event["meta"]["failure"].keys() == {"group", "step", "exception", "attempt", "first_failed_at"}
    assert (error.stream, error.details.place, error.details.kept) == ("edits.private", "edits.private/0/0", "stored")
    assert await original_of(kit.log, error) == (raw, b"")
    outcome = await redrive(kit)
    assert outcome.events == 1
    await kit.run()
    assert [one.details.attempt for one in await errors_of(kit)] == [1, 2]


async def test_a_flood_of_one_cause_is_described_in_full_a_limited_number_of_times_and_nothing_is_lost() -> None:
    kit = JobKit(refusing, settings=RunnerSettings(wait_seconds=0.02, full_errors_per_minute_max=3))
    values = [encode_event(edit(number))[0] for number in range(40)]
    await failed(*values, kit=kit)
    errors = await errors_of(kit)
    assert [error.details.is_compact for error in errors] == [False] * 3 + [True] * 37
    assert all(("stack" in error.event) != error.details.is_compact for error in errors)
    assert await originals(kit) == [(value, b"") for value in values]
    (group,) = kit.runner.status.report().error_groups
    assert (group.count, group.compact, group.group) == (40, 37, errors[0].group)
    kit.clock.advance(60)
    await kit.log.append([Record("edits", values[0])])
    await kit.run()
    assert [error.details.is_compact for error in await errors_of(kit)][40:] == [False]


async def test_many_causes_at_once_share_a_limited_number_of_full_descriptions() -> None:
    from headwater.processing.failures.counts import GROUPS_MAX, ErrorCounts

    counts = ErrorCounts()
    full = sum(counts.allows_full(f"group {number}", 0, 2) for number in range(GROUPS_MAX * 5) for _ in range(5))
    assert full == GROUPS_MAX * 2 + 2
    assert counts.allows_full("group 1", 60_000, 2)


async def test_groups_in_the_log_agree_with_those_of_the_process() -> None:
    kit = await failed(*[encode_event(edit(number))[0] for number in range(5)], b"not an event", b"[]")
    groups = Groups()
    for error in await errors_of(kit):
        groups.add(error, redriven=False)
    stored, counted = groups.largest_first(), kit.runner.status.report().error_groups
    assert [(one.group, one.kind, one.count, one.step) for one in stored] == [
        (one.group, one.kind, one.count, one.step) for one in counted
    ]
    assert [one.count for one in stored] == [5, 1, 1]


async def test_error_events_of_earlier_versions_are_grouped_and_can_be_redriven() -> None:
    kit = JobKit(refusing)
    await kit.open()
    raw = encode_event(edit(7))[0].decode()
    for number, text in enumerate([raw, raw[:20] + "… (400 bytes in all)"]):
        event = {
            "$schema": "/error/1.0.0",
            "meta": {"stream": "refusing.error", "id": f"old-{number}"},
            "dt": "2025-01-01T00:00:00Z",
            "emitter_id": "refusing",
            "error_type": "ValueError",
            "errored_stream_name": "edits",
            "message": f"function: not {number}\nTraceback",
            "raw_event": text,
        }
        await kit.log.append([Record("refusing.error", encode_event(event)[0])])
    first, second = await errors_of(kit)
    assert first.group == second.group
    assert first.event_id == "id-7"
    outcome = await redrive(kit)
    assert (outcome.events, outcome.impossible) == (1, 1)
    await kit.run()
    assert (await errors_of(kit))[-1].details.attempt == 2
    assert (await errors_of(kit))[-1].details.lineage_id == "id-7"


def test_the_limits_leave_room_for_the_fields_around_an_event() -> None:
    assert GateSettings().event_bytes_max >= 4 * PART_BYTES_MAX
