"""The Gate: which events enter, what is filled in, where they go, and what a refusal says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from headwater.errors import (
    EventInvalid,
    EventMalformed,
    EventTooLarge,
    KeyFieldMissing,
    SchemaNotFound,
    SchemaUriRefused,
    StreamSchemaMismatch,
    StreamUnknown,
)
from headwater.intake.event_key import event_key, topic_mark
from headwater.intake.gate import CLIENT_ADDRESS, Gate, GateSettings, SchemaPending, new_event_id
from headwater.intake.outcome import Admitted, Refused
from headwater.schemas.repository import LocalRepository
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

NOW = 1_780_000_000.123
NOW_TEXT = "2026-05-28T20:26:40.123Z"

SCHEMA: dict[str, Any] = {
    "title": "edit",
    "$id": "/edit/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["$schema", "meta", "page"],
    "properties": {
        "$schema": {"type": "string"},
        "meta": {
            "type": "object",
            "required": ["stream", "id", "dt"],
            "properties": {
                "stream": {"type": "string"},
                "id": {"type": "string"},
                "dt": {"type": "string"},
                "request_id": {"type": "string"},
            },
        },
        "dt": {"type": "string"},
        "page": {"type": "object", "properties": {"id": {"type": "integer"}, "space": {"type": "string"}}},
        "kind": {"type": "string", "default": "plain"},
        "http": {
            "type": "object",
            "properties": {"client_ip": {"type": "string"}, "request_headers": {"type": "object"}},
        },
    },
}
PLAIN_SCHEMA = {
    **SCHEMA,
    "$id": "/plain/1.0.0",
    "title": "plain",
    "properties": {name: part for name, part in SCHEMA["properties"].items() if name in ("$schema", "meta", "page")},
}


def made_gate(directory: Path, *streams: Stream, **settings: Any) -> Gate:
    for schema in (SCHEMA, PLAIN_SCHEMA):
        file = directory / f"{schema['$id'][1:]}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(schema), encoding="utf-8")
    declared = streams or (Stream("edits", schema_title="edit"), Stream("plains", schema_title="plain"))
    return Gate(
        StreamRegistry(declared),
        Validator(LocalRepository(directory)),
        GateSettings(**settings),
        clock=lambda: NOW,
        new_id=lambda: "made-id",
    )


def edit(**fields: Any) -> dict[str, Any]:
    meta = {"stream": "edits", "id": "given-id", "dt": "2026-01-01T00:00:00Z"} | fields.pop("meta", {})
    return {"$schema": "/edit/1.0.0", "meta": meta, "page": {"id": 7}} | fields


def admitted(verdict: Admitted | Refused | SchemaPending) -> Admitted:
    assert isinstance(verdict, Admitted), verdict
    return verdict


def refused(verdict: Admitted | Refused | SchemaPending) -> Refused:
    assert isinstance(verdict, Refused), verdict
    return verdict


def test_the_time_of_receipt_is_filled_in_at_the_beginning_of_the_epoch_too(tmp_path: Path) -> None:
    made_gate(tmp_path)
    streams = StreamRegistry((Stream("edits", schema_title="edit"),))
    gate = Gate(streams, Validator(LocalRepository(tmp_path)), GateSettings(), clock=lambda: 0.0)
    verdict = admitted(gate.admit({**edit(), "meta": {"stream": "edits"}}))
    assert orjson.loads(verdict.encoded)["meta"]["dt"] == "1970-01-01T00:00:00.000Z"


def test_a_schema_never_seen_is_asked_for_instead_of_fetched(tmp_path: Path) -> None:
    gate = made_gate(tmp_path)
    assert gate.try_admit(edit()) == SchemaPending("/edit/1.0.0")
    gate.compile("/edit/1.0.0")
    assert isinstance(gate.try_admit(edit()), Admitted)


def test_the_leading_slash_of_a_schema_uri_is_optional(tmp_path: Path) -> None:
    assert admitted(made_gate(tmp_path).admit(edit() | {"$schema": "edit/1.0.0"})).topic == "edits"


def test_bytes_of_an_event_that_lacks_nothing_are_kept_as_they_came(tmp_path: Path) -> None:
    raw = b' {"kind":"a", "page":{"id":7},"meta":{"stream":"edits","id":"i","dt":"d"},"$schema":"/edit/1.0.0"}'
    assert admitted(made_gate(tmp_path).admit(orjson.loads(raw), raw=raw)).encoded == raw


def test_bytes_with_line_breaks_become_one_line(tmp_path: Path) -> None:
    raw = orjson.dumps(edit(kind="a"), option=orjson.OPT_INDENT_2)
    encoded = admitted(made_gate(tmp_path).admit(orjson.loads(raw), raw=raw)).encoded
    assert b"\n" not in encoded
    assert orjson.loads(encoded) == edit(kind="a")


def test_missing_fields_that_the_schema_declares_are_filled_in(tmp_path: Path) -> None:
    value = {"$schema": "/edit/1.0.0", "meta": {"stream": "edits"}, "page": {}}
    one = admitted(made_gate(tmp_path).admit(value, {CLIENT_ADDRESS: "192.0.2.1"}))
    assert orjson.loads(one.encoded) == {
        "$schema": "/edit/1.0.0",
        "meta": {"stream": "edits", "id": "made-id", "dt": NOW_TEXT},
        "page": {},
        "kind": "plain",
        "http": {"client_ip": "192.0.2.1"},
    }
    assert one.event_id == "made-id"


def test_fields_that_the_schema_does_not_declare_are_not_filled_in(tmp_path: Path) -> None:
    value = {"$schema": "/plain/1.0.0", "meta": {"stream": "plains", "id": "i", "dt": "d"}, "page": {}}
    one = admitted(made_gate(tmp_path).admit(dict(value), {CLIENT_ADDRESS: "192.0.2.1"}))
    assert orjson.loads(one.encoded) == value


def test_a_null_counts_as_present(tmp_path: Path) -> None:
    assert isinstance(refused(made_gate(tmp_path).admit(edit(meta={"id": None}))).reason, EventInvalid)


def test_meta_dt_is_overwritten_only_where_the_stream_says_so(tmp_path: Path) -> None:
    always = made_gate(tmp_path, Stream("edits", schema_title="edit", meta_dt="always"))
    assert orjson.loads(admitted(always.admit(edit())).encoded)["meta"]["dt"] == NOW_TEXT
    absent = made_gate(tmp_path)
    assert orjson.loads(admitted(absent.admit(edit())).encoded)["meta"]["dt"] == "2026-01-01T00:00:00Z"


def test_header_fields_are_cut_and_never_overwrite(tmp_path: Path) -> None:
    headers = {"meta.request_id": "x-request-id", "http.request_headers.user-agent": "user-agent"}
    gate = made_gate(tmp_path, Stream("edits", schema_title="edit", headers=headers), header_value_chars_max=5)
    sent = {"x-request-id": "123456789", "user-agent": "UA"}
    value = orjson.loads(admitted(gate.admit(edit(meta={"request_id": "own"}), sent)).encoded)
    assert value["meta"]["request_id"] == "own"
    assert value["http"]["request_headers"] == {"user-agent": "UA"}
    assert orjson.loads(admitted(gate.admit(edit(), sent)).encoded)["meta"]["request_id"] == "12345"


def test_a_header_field_that_is_switched_off_stays_empty(tmp_path: Path) -> None:
    gate = made_gate(tmp_path, Stream("edits", schema_title="edit", headers={"http.client_ip": None}))
    assert "http" not in orjson.loads(admitted(gate.admit(edit(), {CLIENT_ADDRESS: "192.0.2.1"})).encoded)


def test_without_automatic_fields_only_schema_defaults_are_filled_in(tmp_path: Path) -> None:
    gate = made_gate(tmp_path, automatic_fields=False)
    reason = refused(gate.admit({"$schema": "/edit/1.0.0", "meta": {"stream": "edits"}, "page": {}})).reason
    assert isinstance(reason, EventInvalid)
    assert orjson.loads(admitted(gate.admit(edit())).encoded)["kind"] == "plain"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, b"2026-01-01T00:00:00Z"),
        ({"dt": "2026-02-01T00:00:00Z"}, b"2026-02-01T00:00:00Z"),
        ({"dt": "2026-02-01T02:00:00+02:00"}, b"2026-02-01T00:00:00.000Z"),
        ({"dt": "2026-02-01 00:00:00"}, b"2026-02-01T00:00:00.000Z"),
        ({"dt": "2026-02-01t00:00:00z"}, b"2026-02-01T00:00:00.000Z"),
        ({"dt": "2015-12-31T23:59:60Z"}, b"2016-01-01T00:00:00.000Z"),
        ({"dt": "2026-05-28T20:26:40Z"}, b"2026-05-28T20:26:40Z"),
        ({"dt": "2026-05-28T20:26:40.1239Z"}, b"2026-05-28T20:26:40.1239Z"),
        ({"dt": "2026-05-28T20:26:40.2Z"}, NOW_TEXT.encode()),
        ({"dt": "2026-05-28T20:26:41Z"}, NOW_TEXT.encode()),
        ({"dt": "2026-05-28T20:36:40Z"}, NOW_TEXT.encode()),
        ({"dt": "2026-05-28T21:36:40Z"}, NOW_TEXT.encode()),
        ({"dt": "2999-01-01T00:00:00Z"}, NOW_TEXT.encode()),
        ({"dt": "2999-01-01T00:00:00+01:00"}, NOW_TEXT.encode()),
        ({"dt": "9999-12-31T23:59:60-23:59"}, NOW_TEXT.encode()),
        ({"dt": "2026-05-28T20:26:40Z\n"}, NOW_TEXT.encode()),
        ({"dt": "0001-01-01T00:00:00z"}, b"0001-01-01T00:00:00.000Z"),
        ({"dt": "0000-01-01T00:00:00+23:00"}, b"0000-01-01T00:00:00.000Z"),
        ({"dt": "2026-02-30T00:00:00Z"}, NOW_TEXT.encode()),
        ({"dt": "yesterday"}, NOW_TEXT.encode()),
        ({"dt": "9999-99-99T99:99:99+99:99"}, NOW_TEXT.encode()),
    ],
)
def test_the_event_time_is_the_earlier_of_the_events_own_and_its_receipt(
    tmp_path: Path, fields: dict[str, Any], expected: bytes
) -> None:
    assert admitted(made_gate(tmp_path).admit(edit(**fields))).headers == (("dt", expected),)


def test_the_key_is_an_object_in_the_order_of_the_declaration(tmp_path: Path) -> None:
    stream = Stream("edits", schema_title="edit", message_key_fields={"space": "page.space", "page": "page.id"})
    gate = made_gate(tmp_path, stream)
    assert admitted(gate.admit(edit(page={"id": 7, "space": "w"}))).key == b'{"space":"w","page":7}'
    reason = refused(gate.admit(edit())).reason
    assert isinstance(reason, KeyFieldMissing)
    assert "page.space" in reason.message


def test_the_topic_has_the_prefix_of_this_datacenter(tmp_path: Path) -> None:
    stream = Stream("edits", schema_title="edit", topic_prefixes=("eqiad.", "codfw."))
    assert admitted(made_gate(tmp_path, stream, topic_prefix="codfw.").admit(edit())).topic == "codfw.edits"
    assert admitted(made_gate(tmp_path, stream).admit(edit())).topic == "eqiad.edits"


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, {"meta": {"stream": "edits"}}, {"$schema": 5}])
def test_what_names_no_schema_is_malformed(tmp_path: Path, value: Any) -> None:
    one = refused(made_gate(tmp_path).admit(value))
    assert isinstance(one.reason, EventMalformed)
    assert one.reason.message == "Field(s) $schema were missing from event and could not be extracted."


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("/nope/1.0.0", SchemaNotFound),
        ("/edit/latest", SchemaUriRefused),
        ("/../edit/1.0.0", SchemaUriRefused),
        ("http://example.org/edit/1.0.0", SchemaUriRefused),
        ("file:///edit/1.0.0", SchemaUriRefused),
        ("", SchemaUriRefused),
    ],
)
def test_a_schema_that_cannot_be_had_is_a_refusal(tmp_path: Path, uri: str, reason: type[Exception]) -> None:
    one = refused(made_gate(tmp_path).admit(edit() | {"$schema": uri}))
    assert isinstance(one.reason, reason)
    assert (one.schema_uri, one.stream_name) == (uri, "edits")


def test_an_undeclared_stream_and_a_wrong_title_are_refused(tmp_path: Path) -> None:
    gate = made_gate(tmp_path, Stream("edits", schema_title="edit"), Stream("other", schema_title="other"))
    assert isinstance(refused(gate.admit(edit(meta={"stream": "edit"}))).reason, StreamUnknown)
    assert isinstance(refused(gate.admit(edit(meta={"stream": "other"}))).reason, StreamSchemaMismatch)


def test_a_family_takes_events_of_its_members_and_not_of_itself(tmp_path: Path) -> None:
    gate = made_gate(tmp_path, Stream(r"/^job\..+/", schema_title="edit"))
    assert admitted(gate.admit(edit(meta={"stream": "job.one"}))).topic == "job.one"
    assert isinstance(refused(gate.admit(edit(meta={"stream": r"/^job\..+/"}))).reason, StreamUnknown)


def test_streams_that_are_not_enforced_take_any_schema_and_odd_names_are_refused(tmp_path: Path) -> None:
    gate = made_gate(tmp_path, enforce_streams=False)
    assert admitted(gate.admit(edit(meta={"stream": "anything.goes"}))).topic == "anything.goes"
    for name in ("", "a b", "a/b", "x" * 300, "ä"):
        assert isinstance(refused(gate.admit(edit(meta={"stream": name}))).reason, StreamUnknown | EventMalformed)


def test_every_violation_is_reported_also_in_the_legacy_form(tmp_path: Path) -> None:
    one = refused(made_gate(tmp_path).admit(edit(page={"id": "x", "space": 1})))
    assert isinstance(one.reason, EventInvalid)
    assert {violation.pointer for violation in one.reason.violations} == {"/page/id", "/page/space"}
    assert one.legacy_errors is not None
    assert [error["dataPath"] for error in one.legacy_errors] == [".page.id", ".page.space"]


def test_an_event_without_a_stream_is_told_what_its_schema_misses(tmp_path: Path) -> None:
    value = {"$schema": "/edit/1.0.0", "meta": {}, "page": {}}
    assert isinstance(refused(made_gate(tmp_path).admit(value)).reason, EventInvalid)


def test_too_large_and_too_deep_events_are_refused(tmp_path: Path) -> None:
    gate = made_gate(tmp_path, event_bytes_max=1000)
    assert isinstance(refused(gate.admit(edit(kind="x" * 1000))).reason, EventTooLarge)
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert isinstance(refused(gate.admit(edit(extra=deep))).reason, EventInvalid)


def test_only_an_id_that_the_producer_gave_can_be_a_duplicate(tmp_path: Path) -> None:
    gate = made_gate(tmp_path, Stream("edits", schema_title="edit"), Stream("plains", deduplicate=False))
    assert admitted(gate.admit(edit())).duplicate_key == event_key(topic_mark("edits"), "given-id")
    value = edit()
    del value["meta"]["id"]
    assert admitted(gate.admit(value)).duplicate_key is None
    single = made_gate(tmp_path, Stream("edits", schema_title="edit", deduplicate=False))
    assert admitted(single.admit(edit())).duplicate_key is None


def test_a_value_that_is_not_json_is_a_refusal(tmp_path: Path) -> None:
    assert isinstance(refused(made_gate(tmp_path).admit(edit(extra=object()))).reason, EventMalformed)


def test_made_ids_are_version_4_uuids() -> None:
    form = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    ids = {new_event_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(form.fullmatch(one) for one in ids)


def test_the_derived_vectors_of_automatic_fields_hold(tmp_path: Path, fixtures_dir: Path) -> None:
    vectors = orjson.loads((fixtures_dir / "intake" / "wmf_defaults_derived.json").read_bytes())["vectors"]
    done = 0
    for number, vector in enumerate(vectors):
        # Taking schema and stream from the query string is not offered (docs/reference/compatibility.md).
        if vector["request_query"]:
            continue
        own = tmp_path / str(number)
        (own / "a" / "b").mkdir(parents=True)
        (own / "a" / "b" / "1.0.0.yaml").write_text(yaml.safe_dump(vector["schema"]), encoding="utf-8")
        done += _holds(vector, own)
    assert done


def _holds(vector: dict[str, Any], directory: Path) -> int:
    vector = orjson.loads(re.sub(rb"<'a' x (\d+)>", lambda found: b"a" * int(found[1]), orjson.dumps(vector)))
    sent = vector["request_headers"]
    address = sent.get("x-client-ip") or sent.get("x-forwarded-for", "").split(", ")[0] or vector["socket_address"]
    headers = {"meta.request_id": "x-request-id", "http.request_headers.user-agent": "user-agent"}
    # One vector has no `meta`, and so no stream either, until it is filled in.
    name = vector["event"]["meta"]["stream"] if "meta" in vector["event"] else "a_b_1.0.0"
    gate = Gate(
        StreamRegistry([Stream(name, headers=headers)]),
        Validator(LocalRepository(directory)),
        GateSettings(enforce_streams=False, stream_field="meta.stream" if "meta" in vector["event"] else ""),
        clock=lambda: NOW,
        new_id=lambda: "<uuid>",
    )
    verdict = gate.admit(orjson.loads(orjson.dumps(vector["event"])), {**sent, CLIENT_ADDRESS: address})
    expected = vector["event"] if vector["expected"] == "<unchanged>" else vector["expected"]
    if isinstance(expected, str):
        assert isinstance(verdict, Refused), vector["id"]
        return 1
    actual = verdict.event_value if isinstance(verdict, Refused) else orjson.loads(verdict.encoded)
    assert _with_now(actual) == _with_now(expected), vector["id"]
    return 1


def _with_now(value: Any) -> Any:
    text = orjson.dumps(value).decode().replace(NOW_TEXT, "<now>").replace("<now, same value as meta.dt>", "<now>")
    return orjson.loads(text)
