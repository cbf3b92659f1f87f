"""CloudEvents in and out, made and read by the CloudEvents SDK: nothing is lost in either direction."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from cloudevents.core.bindings import http as sdk
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import HeadwaterError
from headwater.testing.service_kit import served_project, write_project
from headwater.web.cloudevents import (
    BATCH,
    BINARY_MARK,
    SCHEMAS_PATH,
    STRUCTURED,
    CloudEventsIn,
    CloudEventsOut,
    form_of,
)

TEXT = {"type": "string"}
SCHEMA = {
    "title": "page/change",
    "$id": "/page/change/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["title"],
    "properties": {
        "$schema": TEXT,
        "dt": {"type": "string", "format": "date-time", "maxLength": 64},
        "meta": {"type": "object", "properties": dict.fromkeys(("stream", "id", "dt", "uri", "domain"), TEXT)},
        "title": TEXT,
    },
}
URL = "https://events.example.org"
STREAMS = ("page.changes", "others")
IN, OUT = CloudEventsIn(STREAMS.__contains__, URL), CloudEventsOut(URL)
OURS = {
    "$schema": "/page/change/1.0.0",
    "meta": {"stream": "page.changes", "id": "1", "dt": "2026-01-01T00:00:00Z", "domain": "en.example.org"},
    "title": "River",
}
THEIRS = {
    "specversion": "1.0",
    "id": "a-1",
    "source": "/editors/7",
    "type": "org.example.page.changed",
    "subject": "River",
    "time": "2026-02-03T04:05:06.123456789+02:00",
    "datacontenttype": "application/json",
    "dataschema": f"{URL}{SCHEMAS_PATH}/page/change/1.0.0",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "sequence": 7,
    "data": {"title": "River", "meta": {"stream": "page.changes"}},
}


def test_the_attributes_of_an_event_of_ours_follow_from_its_fields() -> None:
    cloud = OUT(copy.deepcopy(OURS))
    assert cloud == {
        "specversion": "1.0",
        "id": "1",
        "source": "en.example.org",
        "type": "page/change",
        "subject": "page.changes",
        "time": "2026-01-01T00:00:00Z",
        "dataschema": f"{URL}{SCHEMAS_PATH}/page/change/1.0.0",
        "datacontenttype": "application/json",
        "data": OURS,
    }
    assert IN.event(cloud) == OURS


def test_a_foreign_event_fills_our_fields_and_keeps_the_rest() -> None:
    event = IN.event(THEIRS)
    assert event == {
        "$schema": "/page/change/1.0.0",
        "dt": THEIRS["time"],
        "title": "River",
        "meta": {
            "stream": "page.changes",
            "id": "a-1",
            "uri": "/editors/7",
            "cloudevent": {
                "type": "org.example.page.changed",
                "subject": "River",
                "traceparent": THEIRS["traceparent"],
                "sequence": 7,
            },
        },
    }
    cloud = OUT(event)
    assert {name: cloud[name] for name in THEIRS if name != "data"} == {k: v for k, v in THEIRS.items() if k != "data"}


ATTRIBUTES = st.fixed_dictionaries(
    {"specversion": st.just("1.0"), **{name: st.text(min_size=1) for name in ("id", "source", "type")}},
    optional={
        "subject": st.one_of(st.text(min_size=1), st.sampled_from(STREAMS)),
        "time": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
        "dataschema": st.sampled_from(["https://other.example/a/b/1.0.0.json", "/a/b/2.0.0", "urn:x:y"]),
        "datacontenttype": st.sampled_from(["application/json", "application/json; charset=utf-8", "text/x+json"]),
        "stream": st.sampled_from(STREAMS),
        "partitionkey": st.text(min_size=1),
        "anything": st.one_of(st.booleans(), st.integers(-(2**31), 2**31 - 1), st.text()),
    },
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text())
TEXTS = st.text(min_size=1)
META = dict.fromkeys(("uri", "domain", "dt"), TEXTS) | {"x": LEAVES}
META_ID = META | {"id": TEXTS}
STREAM = {"stream": st.sampled_from(STREAMS)}
FIELDS = {"dt": TEXTS, "x": st.lists(LEAVES)}
SCHEMAS = st.sampled_from(["/a/b/1.0.0", "/c/1.0.0"])
DATA = st.fixed_dictionaries(
    {"meta": st.fixed_dictionaries(STREAM, optional=META_ID)}, optional={"$schema": SCHEMAS, **FIELDS}
)
EVENTS = st.fixed_dictionaries(
    {"meta": st.fixed_dictionaries({**STREAM, "id": TEXTS}, optional=META), "$schema": SCHEMAS}, optional=FIELDS
)


@given(attributes=ATTRIBUTES, data=DATA)
def test_every_attribute_and_every_field_comes_back(attributes: dict[str, Any], data: dict[str, Any]) -> None:
    event = IN.event({**attributes, "data": copy.deepcopy(data)})
    cloud = OUT(copy.deepcopy(event))
    assert {name: cloud.get(name) for name in attributes} == attributes
    assert {**cloud["data"], "meta": None} | data == {**cloud["data"], "meta": data["meta"]}
    assert cloud["data"]["meta"] | data["meta"] == cloud["data"]["meta"]
    assert IN.event(cloud) == event


@given(event=EVENTS)
def test_events_of_ours_come_back_as_they_were(event: dict[str, Any]) -> None:
    assert IN.event(OUT(copy.deepcopy(event))) == event


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"specversion": "0.3"}, "version '0.3'"),
        ({"id": ""}, "no `id`"),
        ({"source": None}, "no `source`"),
        ({"data": "text"}, "not an object"),
        ({"data": None, "data_base64": "!"}, "base64"),
        ({"datacontenttype": "application/xml"}, "application/xml"),
        ({"data": {"meta": []}}, "not an object"),
        ({"data": {}}, "no declared stream"),
        ({"UPPER": "x"}, "'UPPER'"),
        ({"list": []}, "'list'"),
    ],
)
def test_what_is_no_cloudevent_is_refused_with_the_reason(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HeadwaterError, match=complaint):
        IN.event({**THEIRS, **change})


def test_the_stream_is_named_by_the_data_an_extension_the_subject_or_the_type() -> None:
    bare = {**THEIRS, "data": {"title": "River"}}
    for attribute in ("stream", "subject", "type"):
        assert IN.event({**bare, attribute: "others"})["meta"]["stream"] == "others"


def test_a_schema_is_found_in_every_address_that_leads_to_one() -> None:
    for address in (
        "/page/change/1.0.0",
        "https://schema.example.org/repositories/primary/jsonschema/page/change/1.0.0.yaml",
        "https://schema.example.org/page/change/1.0.0",
    ):
        event = IN.event({**THEIRS, "dataschema": address})
        assert event["$schema"] == "/page/change/1.0.0"
        assert OUT(event)["dataschema"] == address


def test_the_formats_are_recognised_by_their_headers() -> None:
    assert form_of([], b"application/cloudevents+json; charset=UTF-8") == STRUCTURED
    assert form_of([], b"Application/CloudEvents-Batch+JSON") == BATCH
    assert form_of([(BINARY_MARK, b"1.0")], b"application/json") == BINARY_MARK
    assert form_of([(b"ce-id", b"1")], b"application/json") is None


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    project = tmp_path_factory.mktemp("project")
    write_project(project, [SCHEMA], [{"stream": name, "schema_title": "page/change"} for name in STREAMS])
    with served_project(project) as (address, _):
        yield address


def made(event_id: str, **more: Any) -> CloudEvent:
    attributes = {
        "id": event_id,
        "source": "/editors/ü",
        "type": "org.example.changed",
        "subject": "page.changes",
        "specversion": "1.0",
        "time": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        "dataschema": "https://schema.example.org/page/change/1.0.0",
        "datacontenttype": "application/json",
        "note": "100 % ü",
        **more,
    }
    return CloudEvent(attributes=attributes, data={"title": f"Page {event_id}"})


def delivered(
    address: str, event_id: str, query: str = "format=cloudevents", accept: str = ""
) -> tuple[str, CloudEvent]:
    """The content type of a stream, and the CloudEvent with this id as the SDK reads it."""
    url = f"{address}/v2/stream/page.changes?since=2020-01-01T00:00:00Z&{query}"
    headers = {"accept": accept} if accept else {}
    with httpx.stream("GET", url, headers=headers, timeout=10) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            text = line.removeprefix("data: ")
            if text.startswith("{") and orjson.loads(text).get("id") == event_id:
                message = sdk.HTTPMessage({"content-type": STRUCTURED.decode()}, text.encode())
                event = sdk.from_structured_event(message)
                assert isinstance(event, CloudEvent)
                return response.headers["content-type"], event
    raise AssertionError("the stream ended")


def test_what_the_sdk_sends_in_both_forms_and_in_batches_is_what_the_sdk_reads(address: str) -> None:
    structured = [sdk.to_structured_event(made(name)) for name in ("batched 1", "batched 2")]
    batch = b"[" + b",".join(message.body for message in structured) + b"]"
    messages = [
        sdk.to_binary_event(made("binary")),
        sdk.to_structured_event(made("structured")),
        sdk.HTTPMessage({"content-type": BATCH.decode()}, batch),
    ]
    for message in messages:
        answer = httpx.post(f"{address}/v1/events", headers=dict(message.headers), content=message.body)
        assert answer.status_code == 201, answer.text
    for event_id in ("binary", "structured", "batched 1", "batched 2"):
        media_type, event = delivered(address, event_id)
        assert media_type.startswith("text/event-stream")
        assert event.get_attributes() == made(event_id).get_attributes()
        data = event.get_data()
        assert isinstance(data, dict)
        assert data["title"] == f"Page {event_id}"
        assert "cloudevent" not in data["meta"]


def test_streams_give_cloudevents_as_sse_or_lines_and_events_of_ours_to_everybody_else(address: str) -> None:
    sent = {**OURS, "meta": {**OURS["meta"], "id": "ours"}}
    assert httpx.post(f"{address}/v1/events", json=sent).status_code == 201
    for query, accept, expected in (
        ("format=cloudevents", "", "text/event-stream"),
        ("format=cloudevents", "application/json", "application/json"),
        ("", STRUCTURED.decode(), "application/x-ndjson"),
    ):
        media_type, event = delivered(address, "ours", query, accept)
        assert media_type.startswith(expected)
        assert (event.get_type(), event.get_subject()) == ("page/change", "page.changes")
        schema = httpx.get(event.get_dataschema() or "")
        assert schema.status_code == 200
        assert "page/change" in schema.text
    plain = f"{address}/v2/stream/page.changes?since=2020-01-01T00:00:00Z"
    with httpx.stream("GET", plain, headers={"accept": "application/x-ndjson"}) as response:
        first = next(line for line in response.iter_lines() if line.startswith("{"))
    assert "specversion" not in orjson.loads(first)
    assert httpx.get(f"{plain}&format=avro").status_code == 415


def test_what_cannot_be_taken_is_answered_with_the_reason(address: str) -> None:
    def refused(body: bytes, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx.post(f"{address}/v1/events", headers=named, content=body)
        assert answer.status_code in (400, 415), answer.text
        return answer.text

    assert "no declared stream" in refused(orjson.dumps({**THEIRS, "data": {}}), content_type=STRUCTURED.decode())
    assert "is an array" in refused(orjson.dumps(THEIRS), content_type=BATCH.decode())
    assert "no `id`" in refused(b"{}", content_type="application/json", ce_specversion="1.0")
    binary = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/", "ce_type": "others"}
    assert "not JSON" in refused(b"{", content_type="application/json", **binary)
    assert "not an object" in refused(b"[]", content_type="application/json", **binary)
    assert "text/csv" in refused(b"a,b", content_type="text/csv", **binary)
    assert "schema" in refused(b'{"title": "a"}', content_type="application/json", **binary)


def cloud(event_id: str, **change: Any) -> dict[str, Any]:
    return {**THEIRS, "id": event_id, "data": {"title": event_id, "meta": {"stream": "others"}}, **change}


def posted(address: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{address}/v1/events", content=body, headers=headers)


def titles(address: str) -> list[str]:
    """The titles of everything in `others`, until the event posted last comes."""
    with httpx.stream("GET", f"{address}/v2/stream/others?since=2020-01-01T00:00:00Z", timeout=10) as response:
        found = []
        for line in response.iter_lines():
            if line.startswith("data: "):
                found.append(orjson.loads(line.removeprefix("data: "))["title"])
                if found[-1] == "the last":
                    return found
    raise AssertionError("the stream ended")


def test_one_bad_event_of_a_batch_is_refused_alone(address: str) -> None:
    batch = [
        cloud("kept 1"),
        cloud("of another version", specversion="0.3"),
        cloud("twice", data_base64="e30="),
        cloud("bytes", data=None, data_base64=7),
        cloud(""),
        cloud("xml", datacontenttype="application/xml"),
        5,
        cloud("kept 2"),
        cloud("the last"),
    ]
    answer = posted(address, orjson.dumps(batch), {"content-type": BATCH.decode()})
    assert answer.status_code == 207
    reasons = [entry["context"]["message"] for entry in answer.json()["error"]]
    for index, word in enumerate(
        ["version '0.3'", "`data_base64`", "not text", "no `id`", "application/xml", "object"]
    ):
        assert f" at {index + 1}" in reasons[index]
        assert word in reasons[index]
    assert [title for title in titles(address) if title.startswith("kept")] == ["kept 1", "kept 2"]


@pytest.mark.parametrize("query", ["", "?hasty=true", "?dry_run=true"])
def test_a_batch_of_none_is_taken(address: str, query: str) -> None:
    answer = httpx.post(f"{address}/v1/events{query}", content=b"[]", headers={"content-type": BATCH.decode()})
    assert answer.status_code in (200, 201, 202)


BINARY = {"ce-specversion": "1.0", "ce-source": "/", "ce-type": "others", "ce-dataschema": "/page/change/1.0.0"}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/json; charset=utf-8",
        "application/vnd.example+json",
        "Application/X-WWW-Form-Urlencoded",
    ],
)
def test_data_in_binary_form_is_json_unless_its_type_says_otherwise(address: str, content_type: str) -> None:
    headers = {**BINARY, "ce-id": f"b/{content_type}"} | ({"content-type": content_type} if content_type else {})
    answer = posted(address, b'{"title": "binary"}', headers)
    assert answer.status_code == 201, answer.text


def test_data_in_binary_form_of_another_type_is_refused(address: str) -> None:
    assert posted(address, b"<a/>", {**BINARY, "ce-id": "x", "content-type": "text/xml"}).status_code == 415


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("plain", "plain"),
        ('"a b \\"c\\""', 'a b "c"'),
        ('"100%25 \\\\ %C3%BC"', "100% \\ ü"),
        ("%F0%9F%98%80", "\U0001f600"),
        ('not "quoted"', 'not "quoted"'),
        ('"', '"'),
        ("50 %", "50 %"),
    ],
)
def test_header_values_are_read_as_the_http_binding_says(sent: str, meant: str) -> None:
    events, refused = IN.events(
        BINARY_MARK,
        [
            *((name.encode(), value.encode()) for name, value in BINARY.items()),
            (b"ce-id", b"1"),
            (b"ce-note", sent.encode()),
        ],
        [b"{}"],
    )
    assert refused == {}
    assert orjson.loads(events[0])["meta"]["cloudevent"]["note"] == meant


@pytest.mark.parametrize("sent", [b"%FF%FE", b"%ED%A0%80", b"%C3", b"%F8%88%80%80%80", b"\xff"])
def test_header_values_that_are_not_utf_8_are_refused(sent: bytes) -> None:
    headers = [*((name.encode(), value.encode()) for name, value in BINARY.items()), (b"ce-id", b"1")]
    with pytest.raises(HeadwaterError, match="ce-subject is not UTF-8"):
        IN.events(BINARY_MARK, [*headers, (b"ce-subject", sent)], [b"{}"])
