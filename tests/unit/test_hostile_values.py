"""Values that are read and cannot be written, numbers of thousands of digits, and expectations without end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.client.answer import RETRY_SECONDS_MAX, Waiting, read_answer
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, EventMalformed, SchemaUnavailable
from headwater.event import NESTING_MAX, decode_event, decode_json, encode_read, read_json
from headwater.event_stream import MessageParser
from headwater.log.record_batch import BatchCodec, BatchDamaged, BatchHeader, Columns, checksum
from headwater.schemas.remote import RemoteRepository
from headwater.streams.legacy.api import Parameters, answer
from headwater.streams.legacy.constraints import EXPECTATIONS_MAX, TooManyConstraints, parse
from headwater.streams.legacy.constraints import NESTING_MAX as STEPS_MAX
from headwater.streams.legacy.source import LegacySource
from headwater.testing.service_kit import served_project, write_project

SCHEMA = {
    "title": "note",
    "$id": "/note/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"text": {"type": "string"}, "meta": {"type": "object"}},
}
DIGITS = "9" * 5_000


def nested(depth: int, kind: str) -> str:
    opening, end = {"object": ('{"a":', "}"), "list": ("[", "]"), "both": ('[{"a":', "}]")}[kind]
    return opening * depth + "1" + end * depth


NESTED = [nested(depth, kind) for depth in (200, 260, 400, 1_000) for kind in ("object", "list", "both")]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("project")
    write_project(directory, [SCHEMA], [{"stream": "notes", "schema_title": "note"}])
    (directory / "jobs").mkdir()
    with served_project(directory) as (address, platform):
        key = platform.keys.create("test", ["streams:read", "streams:write", "streams:kill"])
        with httpx.Client(base_url=address, headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
            yield client


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events?dry_run=true", "/v2/events", "/v1/events?hasty=true"])
@pytest.mark.parametrize("kind", ["event", "field", "list of events", "stream"])
def test_events_nested_deeper_than_can_be_written_are_refused(client: httpx.Client, path: str, kind: str) -> None:
    for deep in NESTED:
        body = {
            "event": deep,
            "field": f'{{"$schema":"/note/1.0.0","meta":{{"stream":"notes"}},"text":{deep}}}',
            "list of events": f'[{{"$schema":"/note/1.0.0","meta":{{"stream":"notes"}},"text":"a"}},{{"x":{deep}}}]',
            "stream": f'{{"$schema":{deep},"meta":{{"stream":{deep}}}}}',
        }[kind]
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code < 500, answer.text[:300]


@pytest.mark.parametrize("form", ["structured", "batch", "binary"])
def test_cloud_events_nested_too_deeply_are_refused(client: httpx.Client, form: str) -> None:
    attributes = '"specversion":"1.0","id":"1","source":"/x","type":"notes"'
    for deep in NESTED:
        data = f'{{"$schema":"/note/1.0.0","text":"a","x":{deep}}}'
        one = f'{{{attributes},"data":{data}}}'
        body, media = {
            "structured": (one, "application/cloudevents+json"),
            "batch": (f"[{one}]", "application/cloudevents-batch+json"),
            "binary": (data, "application/json"),
        }[form]
        ce = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "notes"} if form == "binary" else {}
        answer = client.post("/v1/events", content=body, headers={"content-type": media, **ce})
        assert 400 <= answer.status_code < 500, answer.text[:300]


def test_what_is_nested_too_deeply_says_so() -> None:
    with pytest.raises(EventMalformed, match="nested too deeply"):
        encode_read(orjson.loads(nested(600, "object")))


@pytest.mark.parametrize("path", ["/v1/stream-changes", "/v1/stream-changes/rollback", "/v1/stream-changes/kill"])
def test_changes_nested_too_deeply_are_refused(client: httpx.Client, path: str) -> None:
    for deep in NESTED:
        for body in (deep, f'{{"put":[{{"id":"a","stream":"notes","set":{deep}}}],"reason":"x","to":{deep}}}'):
            assert 400 <= client.post(path, content=body).status_code < 500


def test_json_about_declarations_is_bounded_in_depth() -> None:
    assert read_json(nested(NESTING_MAX - 1, "list"))
    for deep in (nested(NESTING_MAX + 1, "list"), nested(100_000, "list"), nested(NESTING_MAX, "both")):
        with pytest.raises(ValueError, match="nested"):
            read_json(deep)


def test_positions_nested_too_deeply_are_refused(client: httpx.Client) -> None:
    for deep in NESTED:
        answer = client.get("/v2/stream/notes", headers={"last-event-id": deep})
        assert answer.status_code == 400
        assert answer.json()["name"] == "InvalidAssignmentError"


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/stream-changes/{}", "/v1/stream-changes?limit={}", "/v1/streams?wait={}", "/schemas/ids/{}"),
        *(
            "/subjects/note/versions/{}",
            "/subjects/note/versions/-{}",
            "/schema/note/{}.0.0",
            "/v1/completeness?hour={}",
        ),
        *("/v2/stream/notes?since={}", "/v2/stream/notes?heartbeat={}", "/repositories/schemas/note/{}.0.0"),
    ],
)
def test_numbers_of_thousands_of_digits_in_urls_are_no_fault_of_the_server(client: httpx.Client, path: str) -> None:
    with client.stream("GET", path.format(DIGITS)) as answer:
        assert answer.status_code < 500


@pytest.mark.parametrize(
    "text", [f"\\u0041{DIGITS}", f"\\u0041-{DIGITS}", f"{DIGITS}\\n", f"{DIGITS}.{DIGITS}\\t", "1e" + DIGITS]
)
def test_text_with_many_digits_is_kept(text: str) -> None:
    value, kept, _ = decode_event(f'{{"text":"{text}"}}'.encode())
    assert decode_json(kept) == value == orjson.loads(f'{{"text":"{text}"}}')


@given(st.integers(1, 6_000), st.sampled_from(["", "-", ".", "0.", "1e", "\\u00e9", " "]), st.booleans())
def test_digits_in_numbers_and_texts_are_read_or_refused(count: int, before: str, quoted: bool) -> None:
    number = f"{before}{'7' * count}"
    data = f'[{{"a": "\\n"}}, {f"{chr(34)}{number}{chr(34)}" if quoted else number}]'.encode()
    try:
        _, kept, _ = decode_event(data)
    except EventMalformed:
        assert not quoted
    else:
        assert decode_event(kept)[1] == kept


def expectations(count: int, form: str) -> str:
    return "&".join(form.format(number) for number in range(count))


@pytest.mark.parametrize("form", ["a[{}]=1", "a[x{}]=1", "a[]=1", "{}=1", "x{}=1", "a[b][{}]=1", "a=1&a[{}]=2"])
def test_expectations_take_steps_in_proportion_to_their_number(form: str) -> None:
    def steps(count: int) -> int:
        taken = 0

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal taken
            taken += 1
            return step

        values = [expectations(count, form)] * 2
        earlier = sys.gettrace()
        sys.settrace(step)
        try:
            parse(values)
        finally:
            sys.settrace(earlier)
        return taken

    # By squares it would be 16 times, by cubes 64.
    assert steps(400) < 5 * steps(100)


def test_too_many_expectations_are_refused_however_they_are_divided() -> None:
    for values in (
        [expectations(EXPECTATIONS_MAX + 1, "a[{}]=1")],
        [expectations(100, "x{}=1")] * (EXPECTATIONS_MAX // 100 + 1),
    ):
        with pytest.raises(TooManyConstraints):
            parse(values)
    assert parse([expectations(EXPECTATIONS_MAX, "x{}=1") + "&&&"])
    assert parse(["a" + "[b]" * STEPS_MAX])
    for form in ("a" + "[b]" * (STEPS_MAX + 1), "a" + "[" * 100_000, "a" + "[b" * 2_000):
        with pytest.raises(TooManyConstraints):
            parse([form])
    told = answer((), Parameters.parse("action=streamconfigs&format=json&constraints=" + "a%5B" * 300))
    assert told.error_code == "toomanyvalues"


@pytest.mark.parametrize("value", ["1e999", "inf", "nan", "-5", "1e30", "9" * 400, "Thu, 01 Jan 2026 00:00:00 GMT"])
def test_a_producer_is_never_asked_to_wait_for_ever(value: str) -> None:
    told = read_answer(httpx.Response(503, headers={"retry-after": value}), [Waiting("1", "a", b"{}")])
    assert told.pause_seconds is not None
    assert 0 <= told.pause_seconds <= RETRY_SECONDS_MAX


def test_legacy_settings_of_another_kind_are_refused_with_their_place() -> None:
    for value in (True, "x", 5, 1.5):
        for tree in ({"streams": value}, {"wgEventStreams": value}, {"wgEventStreams": {"default": value}}):
            with pytest.raises(ConfigInvalid, match="mapping"):
                LegacySource().add(Declaration("a.json", tree))
    for tree in (
        {"labs": {"streams": []}},
        {"labs": {"streams": None}},
        {"site_groups": {"a": "b"}},
        {"site_groups": [1]},
    ):
        with pytest.raises(ConfigInvalid, match="mapping"):
            LegacySource().add(Declaration("a.json", tree))


def test_a_batch_that_says_less_of_some_records_is_damaged() -> None:
    codec = BatchCodec()
    columns: list[Any] = [
        Columns([b"a", b"b"], keys=[b"k"]),
        Columns([b"a", b"b"], headers=[()]),
        Columns([b"a", b"b"], offset_deltas=[0, 1, 2]),
        Columns([b"a", b"b"], timestamp_deltas=[]),
    ]
    packed = [codec.pack(one) for one in columns]
    # A name of a header that is not Unicode.
    packed.append((0, b"\x95\x92\xc4\x01x\xc4\x01y\x92\xc4\x01k\xc0\x92\x91\x92\xa1\xc3\xc4\x01v\x90\xc0\xc0"))
    for kind, data in packed:
        header = BatchHeader(0, 5, 2, 1_000, 2_000, kind)
        with pytest.raises(BatchDamaged):
            codec.unpack(header, checksum(header, data), data)


@given(st.binary(max_size=60), st.integers(1, 9))
def test_a_feed_says_the_same_however_it_is_cut(data: bytes, step: int) -> None:
    whole, pieces = MessageParser(), MessageParser()
    data = data.replace(b"\x01", b"\n").replace(b"\x02", b"\r").replace(b"\x03", b"data:") + b"\n\n"
    messages = [message for at in range(0, len(data), step) for message in pieces.feed(data[at : at + step])]
    assert (messages, pieces.last_id) == (whole.feed(data), whole.last_id)


def test_a_pause_of_thousands_of_digits_is_no_pause_and_a_long_line_is_read_once() -> None:
    parser = MessageParser()
    assert parser.feed(b"retry: " + DIGITS.encode() + b"\n\n") == []
    assert parser.retry_seconds is None
    # Looking through all of it each time would take minutes.
    for _ in range(100_000):
        assert parser.feed(b"x" * 100) == []


def test_a_redirect_to_another_spelling_is_followed_or_refused(tmp_path: Path) -> None:
    import socket
    import threading

    for location in (b"\xf4", b"/\xc3\xa9 \x7f", b"http://[", b"//\xff", b"/a\xffb.yaml", b"%zz", b"/%00"):
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def serve(listening: socket.socket = listening, location: bytes = location) -> None:
                for _ in range(5):
                    try:
                        connection, _ = listening.accept()
                    except OSError:
                        return
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(
                            b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: " + location + b"\r\n\r\n"
                        )

            thread = threading.Thread(target=serve)
            thread.start()
            repository = RemoteRepository(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_seconds=2)
            try:
                with pytest.raises(SchemaUnavailable):
                    repository.get("/a/1.0.0")
            finally:
                repository.close()
                listening.shutdown(socket.SHUT_RDWR)
                thread.join()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_question_of_thousands_of_parameters_is_answered_as_a_short_one_is(client: httpx.Client, method: str) -> None:
    short = "action=streamconfigs&format=json&constraints=schema_title%3Dnote"
    # The longest request line is shorter than the longest form.
    long = short + "&a=%7Cb" * (8_000 if method == "GET" else 140_000)

    def asked(parameters: str) -> httpx.Response:
        if method == "GET":
            return client.get(f"/w/api.php?{parameters}")
        return client.post(
            "/w/api.php", content=parameters, headers={"content-type": "application/x-www-form-urlencoded"}
        )

    assert asked(long).json()["streams"] == asked(short).json()["streams"]
    assert list(asked(short).json()["streams"]) == ["notes"]
