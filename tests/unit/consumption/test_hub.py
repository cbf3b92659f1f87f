# ruff: noqa: SIM117 - the outer block is the server, the inner ones are its clients
"""Serving streams to many: shared tails, limits, slow and silent clients, what is left out, and clean endings."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from headwater.config import ConsumptionConfig
from headwater.consumption.hub import Connection, StreamHub, StreamRequest
from headwater.errors import ConfigInvalid, LogUnavailable, StreamUnknown
from headwater.log.contract import Position, Record, TopicSettings
from headwater.log.token_marks import marks_of
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually
from headwater.testing.oracle_log import OracleLog
from headwater.testing.stream_kit import RawAnswer, request, serving_streams

STREAMS = [
    Stream("edits", topics=("edits",), partitions=2, settings={"stream_aliases": ["changes"]}),
    Stream("other", topics=("other",)),
    Stream("ghost", topics=("ghost",)),
    Stream("/^made\\..+/"),
]


@pytest.fixture
async def log() -> OracleLog:
    log = OracleLog()
    await log.open()
    await log.ensure_topic("edits", TopicSettings(partitions=2))
    await log.ensure_topic("other", TopicSettings())
    return log


def _hub(log: OracleLog, telemetry: Telemetry | None = None, **settings: Any) -> StreamHub:
    config = ConsumptionConfig(**{"heartbeat_seconds": 0.4, **settings})
    return StreamHub(log, StreamRegistry(STREAMS), config, telemetry or Telemetry())


async def _write(log: OracleLog, *events: dict[str, Any], topic: str = "edits", partition: int | None = 0) -> None:
    values = [orjson.dumps({"meta": {}, **event}) for event in events]
    await log.append([Record(topic, value, partition=partition) for value in values])


@contextlib.asynccontextmanager
async def _client(port: int, path: str = "/v2/stream/edits", **headers: str) -> AsyncIterator[RawAnswer]:
    answer = await request(port, path, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        if answer.status == 200:
            await answer.until(b"\n")
        yield answer
    finally:
        answer.hang_up()


def _numbers(answer: RawAnswer) -> list[int]:
    return [frame.value()["n"] for frame in answer.frames() if frame.data is not None and frame.event == "message"]


async def test_clients_with_equal_wishes_share_one_tail_and_the_last_one_out_stops_it(log: OracleLog) -> None:
    hub = _hub(log)
    wanted = StreamRequest(hub.resolve(["edits"]))
    first, second = await hub.connect(wanted), await hub.connect(wanted)
    third = await hub.connect(StreamRequest(hub.resolve(["edits"]), canaries=True))
    assert first.reader.tail is second.reader.tail
    assert hub.tails == 2
    for connection in (first, second, third, third):
        await hub.disconnect(connection)
    assert hub.tails == 0


async def test_a_client_that_asks_for_positions_and_is_cut_before_any_event_misses_none(log: OracleLog) -> None:
    async with serving_streams(_hub(log)) as port:
        async with _client(port, "/v2/stream/edits?positions") as answer:
            await answer.until(b"retry:")
            token = answer.last_id()
        assert answer.body.startswith(b":ok\n\n")
        await _write(log, {"n": 1})
        async with _client(port, last_event_id=token or "") as answer:
            assert await answer.until(b'"n":1')


def _blocks(text: str) -> list[str]:
    """What readers take for messages that take everything before an empty line for one."""
    return text.split("\n\n")[:-1]


def _at_empty_lines(text: str) -> list[str]:
    """The data of what readers dispatch that dispatch at every empty line once they have seen an id."""
    found, data, seen = [], "", False
    for line in text.split("\n")[:-1]:
        if line.startswith("data:"):
            data = line
        seen = seen or line.startswith("id:")
        if not line and (seen or data):
            found.append(data)
            data = ""
    return found


@pytest.mark.parametrize("query", ["", "?since=2020-01-01", "?filter=n%20%3E%205", "?id=legacy", "?heartbeat=0.1"])
async def test_openings_and_heartbeats_are_messages_for_no_reader_however_lenient(log: OracleLog, query: str) -> None:
    await _write(log, {"n": 6})
    async with serving_streams(_hub(log)) as port, _client(port, f"/v2/stream/edits{query}") as answer:
        await answer.until(b"retry:")
        await answer.until(b"\n:\n")
        await _write(log, {"n": 1}, {"n": 7})
        assert await answer.until(b'"n":7')
        await answer.until(b"\n\n:\n:\n")
        text = answer.body.decode()
    assert text.startswith(":ok\n")
    assert all("\ndata: {" in block for block in _blocks(text))
    assert all(_at_empty_lines(text))


async def test_a_stream_ends_without_an_empty_message_too(log: OracleLog) -> None:
    hub = _hub(log)
    async with serving_streams(hub) as port, _client(port) as answer:
        await _write(log, {"n": 1})
        assert await answer.until(b'"n":1')
        await hub.close()
        await answer.to_end()
    assert all(_at_empty_lines(answer.body.decode()))


@pytest.mark.parametrize(("asked", "seconds"), [("0.1", 0.2), ("0.3", 0.3), ("1", 0.8), ("99", 0.8), ("0", 0.2)])
async def test_a_heartbeat_can_be_asked_for_within_bounds(log: OracleLog, asked: str, seconds: float) -> None:
    limits = {"heartbeat_seconds": 30.0, "heartbeat_seconds_min": 0.2, "heartbeat_seconds_max": 0.8}
    async with serving_streams(_hub(log, **limits)) as port, _client(port) as usual:
        async with _client(port, f"/v2/stream/edits?heartbeat={asked}") as answer:
            await answer.until(b"retry:")
            began = asyncio.get_running_loop().time()
            assert await answer.until(b"\n:\n:\n:\n")
            # A little sooner than asked for, so that it is never later; how much later depends on the machine.
            assert asyncio.get_running_loop().time() - began > 3 * 0.5 * seconds
        assert b"\n:\n" not in usual.body


@pytest.mark.parametrize("asked", ["", "x", "-1", "1e3", "nan", "4s", "²"])
async def test_a_heartbeat_that_is_no_number_is_refused(log: OracleLog, asked: str) -> None:
    async with serving_streams(_hub(log)) as port:
        async with _client(port, f"/v2/stream/edits?heartbeat={quote(asked)}") as answer:
            assert answer.status == 400
            assert await answer.until(b"must be a number of seconds")


async def test_ids_are_legacy_arrays_for_those_who_ask_are_configured_or_resume_with_one(log: OracleLog) -> None:
    mark = (await marks_of(log, ["edits"]))["edits"]
    array = (
        f'[{{"topic":"edits","partition":0,"log":"{mark}","offset":1}},'
        f'{{"topic":"edits","partition":1,"log":"{mark}","offset":0}}]'
    )
    stamped = '[{"topic":"edits","partition":0,"timestamp":0},{"topic":"edits","partition":1,"offset":-2}]'
    token = f"hw1;edits@{mark}:0=1,1=0"
    await _write(log, {"n": 1})
    configured = {"event_ids": "legacy"}
    cases: list[tuple[dict[str, Any], str, dict[str, str], str]] = [
        ({}, "?since=2020-01-01", {}, token),
        ({}, "?since=2020-01-01&id=legacy", {}, array),
        ({}, "?since=2020-01-01&id=token", {}, token),
        (configured, "?since=2020-01-01", {}, array),
        (configured, "?since=2020-01-01&id=token", {}, token),
        ({}, "", {"last_event_id": stamped}, array),
        ({}, "?id=token", {"last_event_id": stamped}, token),
        ({}, "?id=legacy", {"last_event_id": "hw1;edits:0=0,1=0"}, array),
        ({}, "?id=legacy&filter=n%20%3C%205", {"last_event_id": "hw1;edits:0=0,1=0"}, array),
    ]
    for settings, query, headers, expected in cases:
        async with serving_streams(_hub(log, **settings)) as port:
            async with _client(port, f"/v2/stream/edits{query}", **headers) as answer:
                assert await answer.until(b'"n":1')
                assert answer.last_id() == expected, (settings, query, headers)
    async with serving_streams(_hub(log)) as port, _client(port, "/v2/stream/edits?id=json") as answer:
        assert answer.status == 400
        assert await answer.until(b"must be one of token, legacy")


@pytest.mark.parametrize("form", ["token", "legacy"])
@pytest.mark.parametrize("given", [str, json.dumps, lambda one: json.dumps([one]), lambda one: f" {json.dumps(one)} "])
@pytest.mark.parametrize("where", ["header", "last_event_id", "lastEventId"])
async def test_an_id_resumes_exactly_however_it_is_given_back(
    log: OracleLog, form: str, given: Callable[[str], str], where: str
) -> None:
    await _write(log, *({"n": number} for number in range(3)))
    await _write(log, *({"n": number} for number in range(10, 13)), partition=1)
    async with serving_streams(_hub(log)) as port:
        seen: list[int] = []
        last: str | None = None
        while len(seen) < 6:
            query, headers = f"id={form}", {}
            if last is None:
                query += "&since=2020-01-01"
            elif where == "header":
                headers["last_event_id"] = given(last)
            else:
                query += f"&{where}={quote(given(last))}"
            async with _client(port, f"/v2/stream/edits?{query}", **headers) as answer:
                assert answer.status == 200
                assert await answer.until(b"data:")
                # As a client that is cut behind its first event.
                first = next(frame for frame in answer.frames() if frame.data is not None)
            seen.append(first.value()["n"])
            last = first.id
    assert sorted(seen) == [0, 1, 2, 10, 11, 12]


async def test_partitions_made_since_are_followed_by_those_who_asked_for_legacy_ids(log: OracleLog) -> None:
    array = '[{"topic":"edits","partition":0,"offset":0},{"topic":"edits","partition":1,"offset":0}]'
    await log.ensure_topic("edits", TopicSettings(partitions=3))
    await _write(log, {"n": 1}, partition=2)
    async with serving_streams(_hub(log)) as port:
        async with _client(port, "/v2/stream/edits?id=legacy", last_event_id=array) as answer:
            assert await answer.until(b'"n":1')
        # Without asking, such an array selects partitions, as in EventStreams.
        async with _client(port, last_event_id=array) as answer:
            await _write(log, {"n": 2})
            assert await answer.until(b'"n":2')
            assert _numbers(answer) == [2]


async def test_names_may_be_composed_repeated_or_aliases_and_unknown_ones_are_all_named(log: OracleLog) -> None:
    hub = _hub(log, stream_aliases={"wiki": "edits"}, allowed_streams=("wiki", "ghost"))
    assert [stream.name for stream in hub.resolve(["wiki", "edits", "changes"])] == ["edits"]
    with pytest.raises(StreamUnknown, match=r"Invalid streams: nope,other$"):
        hub.resolve(["edits", "nope", "other"])
    assert [stream.name for stream in hub.readable()] == ["edits", "ghost"]
    assert hub.aliases() == {"changes": "edits", "wiki": "edits"}


async def test_a_declared_stream_without_topics_is_our_fault_and_a_made_up_family_member_the_clients(
    log: OracleLog,
) -> None:
    hub = _hub(log)
    with pytest.raises(ConfigInvalid):
        await hub.connect(StreamRequest(hub.resolve(["ghost"])))
    with pytest.raises(StreamUnknown):
        await hub.connect(StreamRequest(hub.resolve(["made.up"])))


async def test_a_stream_whose_topic_was_deleted_is_asked_for_again_later(log: OracleLog) -> None:
    hub = _hub(log)
    await hub.disconnect(await hub.connect(StreamRequest(hub.resolve(["edits"]))))
    log.delete_topic("edits")
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="has no topic 'edits'") as caught:
            await hub.connect(StreamRequest(hub.resolve(["edits"])))
        assert caught.value.retriable


async def test_canaries_come_only_to_those_who_ask(log: OracleLog) -> None:
    async with serving_streams(_hub(log)) as port:
        async with _client(port) as plain, _client(port, "/v2/stream/edits?canaries=true") as curious:
            await _write(log, {"n": 1, "meta": {"domain": "canary"}}, {"n": 2})
            assert await plain.until(b'"n":2')
            assert await curious.until(b'"n":2')
    assert _numbers(plain) == [2]
    assert _numbers(curious) == [1, 2]


async def test_a_heartbeat_comes_in_time_and_its_id_passes_what_the_filter_removed(log: OracleLog) -> None:
    async with (
        serving_streams(_hub(log)) as port,
        _client(port, "/v2/stream/edits?positions=true&filter=n%20%3E%205") as answer,
    ):
        await answer.until(b"retry:")
        before = answer.last_id()
        await _write(log, {"n": 1}, {"n": 2})
        assert await answer.until(b"\n\n:\n", seconds=60)
    assert _numbers(answer) == []
    assert answer.last_id() != before
    assert Position.parse(answer.last_id() or "") == await log.last(["edits"])


async def test_a_filter_with_a_mistake_is_refused_with_a_problem_document(log: OracleLog) -> None:
    async with serving_streams(_hub(log)) as port, _client(port, "/v2/stream/edits?filter=n%20%3D%205") as answer:
        await answer.to_end(seconds=0.2)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "column 3" in orjson.loads(answer.body)["detail"]


async def test_redaction_comes_before_the_filter_which_would_otherwise_tell_what_is_withheld(log: OracleLog) -> None:
    hub = _hub(log, redacted_pages={"test.domain": ("Secret page",)})
    secret = {
        "meta": {"domain": "test.domain", "stream": "x"},
        "page_title": "secret_Page",
        "performer": {"name": "bob"},
    }
    async with serving_streams(hub) as port:
        async with _client(port, "/v2/stream/edits?filter=performer.name") as asking, _client(port) as answer:
            await _write(log, {"n": 1, **secret}, {"n": 2, **secret, "page_title": "Other"})
            assert await asking.until(b'"n":2')
            assert await answer.until(b'"n":2')
    assert _numbers(asking) == [2]
    assert "performer" not in next(frame for frame in answer.frames() if frame.data).value()


async def test_ndjson_is_one_object_a_line_after_an_empty_one(log: OracleLog) -> None:
    await _write(log, {"n": 1})
    async with serving_streams(_hub(log)) as port:
        async with _client(port, "/v2/stream/edits?since=0", accept="application/x-ndjson") as answer:
            await _write(log, {"n": 2})
            assert await answer.until(b'"n":2')
            assert await answer.until(b"}\n", seconds=1)
    assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    assert answer.body.startswith(b"\n{")
    assert [orjson.loads(line)["n"] for line in answer.body.split(b"\n") if line] == [1, 2]


async def test_head_answers_with_the_headers_and_nothing_else(log: OracleLog) -> None:
    hub = _hub(log)
    async with serving_streams(hub) as port:
        answer = await request(port, "/v2/stream/edits", {"accept": "text/event-stream"}, method="HEAD")
        refused = await request(port, "/v2/stream/nope", method="HEAD")
        await answer.receive(seconds=0.1)
        await refused.receive(seconds=0.1)
        assert hub.tails == 0
        answer.hang_up()
        refused.hang_up()
    assert (answer.status, refused.status) == (200, 400)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.raw, refused.raw) == (b"", b"")


async def test_a_slow_client_is_cut_off_with_a_token_to_resume_from_and_the_others_do_not_notice(
    log: OracleLog,
) -> None:
    telemetry = Telemetry()
    hub = _hub(log, telemetry, buffer_bytes_max=200_000, heartbeat_seconds=2.0)
    async with serving_streams(hub) as port:
        slow = await request(port, "/v2/stream/edits", receive_buffer_bytes=4096)
        await slow.until(b"retry:")
        async with _client(port) as quick:
            # More than fits into the buffers of both sockets and of the hub.
            for number in range(300):
                await _write(log, {"n": number, "fill": "x" * 40_000})
                assert await quick.until(b'"n":%d,' % number)
                quick.raw.clear()
        await slow.to_end()
        slow.hang_up()
    assert telemetry.value("headwater_stream_cut_total", {"reason": "consumer_too_slow"}) == 1
    last = slow.frames()[-1]
    assert last.event == "error"
    assert last.value()["code"] == "consumer_too_slow"
    numbers = _numbers(slow)
    assert numbers == list(range(len(numbers)))
    assert Position.parse(last.id or "").offsets["edits", 0] == len(numbers)


async def test_a_client_that_takes_nothing_at_all_is_dropped(log: OracleLog) -> None:
    telemetry = Telemetry()
    hub = _hub(log, telemetry, buffer_bytes_max=50_000, heartbeat_seconds=0.2)
    async with serving_streams(hub) as port:
        stuck = await request(port, "/v2/stream/edits", receive_buffer_bytes=4096)
        await stuck.until(b"retry:")
        stuck.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(300):
            await _write(log, {"n": number, "fill": "x" * 40_000})
            await asyncio.sleep(0)
        await eventually(lambda: not hub.admission.connections)
        assert telemetry.value("headwater_stream_cut_total", {"reason": "stalled"}) == 1
        stuck.hang_up()


async def test_connections_are_limited_by_address_and_in_all_and_places_are_given_back(log: OracleLog) -> None:
    hub = _hub(log, connections_per_address_max=2, connections_max=3, client_address_header="X-Client-IP")
    async with serving_streams(hub) as port:
        async with _client(port, x_client_ip="1") as one, _client(port, x_client_ip="1") as two:
            async with _client(port, x_client_ip="1") as refused, _client(port, x_client_ip="2") as other:
                async with _client(port, x_client_ip="3") as full, _client(port) as nameless:
                    await nameless.to_end(seconds=0.2)
            statuses = [answer.status for answer in (one, two, refused, other, full, nameless)]
            assert statuses == [200, 200, 429, 200, 429, 400]
            assert refused.headers["retry-after"] == "1"
            assert b"X-Client-IP is a required request header" in nameless.body
        await eventually(lambda: not hub.admission.connections)
        async with _client(port, x_client_ip="1") as again:
            assert again.status == 200


async def test_refused_requests_give_their_place_back_too(log: OracleLog) -> None:
    hub = _hub(log, connections_per_address_max=1)
    async with serving_streams(hub) as port:
        for path in ("/v2/stream/nope", "/v2/stream/ghost", "/v2/stream/edits?since=x", "/v2/stream/edits?filter=("):
            async with _client(port, path) as answer:
                assert answer.status >= 400
        async with _client(port) as answer:
            assert answer.status == 200


async def test_a_connection_ends_cleanly_after_its_time_with_a_token(log: OracleLog) -> None:
    async with serving_streams(_hub(log, connection_seconds_max=0.3, heartbeat_seconds=0.2)) as port:
        async with _client(port, "/v2/stream/edits?positions=1") as answer:
            await _write(log, {"n": 1}, {"n": 2, "meta": {"domain": "canary"}})
            await answer.to_end()
    assert answer.raw.endswith(b"0\r\n\r\n")
    assert Position.parse(answer.last_id() or "") == await log.last(["edits"])


async def test_closing_the_hub_ends_all_connections_with_a_token(log: OracleLog) -> None:
    hub = _hub(log, heartbeat_seconds=30.0)
    async with serving_streams(hub) as port, _client(port) as answer:
        await hub.close()
        await answer.to_end()
        assert answer.raw.endswith(b"0\r\n\r\n")
        async with _client(port) as late:
            await late.to_end(seconds=1)
            assert late.ended


async def test_partitions_made_while_clients_are_connected_are_followed_from_their_beginning(log: OracleLog) -> None:
    async with serving_streams(_hub(log)) as port:
        async with _client(port) as answer:
            await log.ensure_topic("edits", TopicSettings(partitions=3))
            await _write(log, {"n": 1}, partition=2)
            assert await answer.until(b'"n":1')
            assert Position.parse(answer.last_id() or "") == await log.last(["edits"])
        async with _client(port, last_event_id="hw1;edits:0=0,1=0") as answer:
            assert await answer.until(b'"n":1')


async def test_a_client_whose_position_was_removed_gets_a_notice_and_resumes_from_the_oldest_kept() -> None:
    now = 1_700_000_000.0
    log = OracleLog(clock=lambda: now)
    await log.open()
    await log.ensure_topic("edits", TopicSettings(retention_seconds=10))
    await _write(log, {"n": 1}, {"n": 2})
    now += 100
    await _write(log, {"n": 3})
    await log.trim()
    async with serving_streams(_hub(log)) as port, _client(port, last_event_id="hw1;edits:0=1") as answer:
        assert await answer.until(b'"n":3')
    told = next(frame for frame in answer.frames() if frame.event == "position-lost")
    assert told.value() == {"topic": "edits", "partition": 0, "asked": 1, "resumed": 2}
    assert _numbers(answer) == [3]


async def test_gaps_left_by_compaction_do_not_keep_a_client_from_meeting_the_tail(log: OracleLog) -> None:
    await log.ensure_topic("kept", TopicSettings(compact=True))
    hub = StreamHub(log, StreamRegistry([Stream("kept")]), ConsumptionConfig(heartbeat_seconds=0.4), Telemetry())
    values = [(b"a", 1), (b"b", 2), (b"a", 3), (b"a", 4)]
    await log.append([Record("kept", b'{"n":%d}' % n, key) for key, n in values])
    await log.trim()
    async with serving_streams(hub) as port:
        async with _client(port, "/v2/stream/kept", last_event_id="hw1;kept:0=0") as answer:
            assert await answer.until(b'"n":4')
            await log.append([Record("kept", b'{"n":5}', b"c")])
            assert await answer.until(b'"n":5')
    assert _numbers(answer)[-2:] == [4, 5]


async def test_clients_stay_while_the_log_is_away_and_miss_nothing(log: OracleLog) -> None:
    async with serving_streams(_hub(log)) as port:
        async with _client(port) as answer:
            await _write(log, {"n": 1})
            assert await answer.until(b'"n":1')
            await log.close()
            await asyncio.sleep(0.1)
            await log.open()
            await _write(log, {"n": 2})
            assert await answer.until(b'"n":2')
        assert _numbers(answer) == [1, 2]


async def test_a_legacy_client_of_some_partitions_is_given_ids_that_keep_it_to_them(log: OracleLog) -> None:
    await _write(log, {"n": 1}, partition=0)
    await _write(log, {"n": 2}, partition=1)
    legacy = '[{"topic":"edits","partition":1,"offset":0}]'
    async with serving_streams(_hub(log)) as port:
        async with _client(port, last_event_id=legacy) as answer:
            assert await answer.until(b'"n":2')
            await _write(log, {"n": 3}, partition=0)
            await _write(log, {"n": 4}, partition=1)
            assert await answer.until(b'"n":4')
        mark = (await marks_of(log, ["edits"]))["edits"]
        assert answer.last_id() == f'[{{"topic":"edits","partition":1,"log":"{mark}","offset":2}}]'
        await _write(log, {"n": 5}, partition=1)
        async with _client(port, last_event_id=answer.last_id() or "") as again:
            assert await again.until(b'"n":5')
    assert _numbers(answer) + _numbers(again) == [2, 4, 5]


async def test_a_client_that_starts_ahead_of_the_shared_tail_waits_for_it_and_repeats_nothing(log: OracleLog) -> None:
    hub = _hub(log)
    first: Connection = await hub.connect(StreamRequest(hub.resolve(["edits"])))
    # Without giving the tail a turn to read: the second client's end is then ahead of the tail.
    await log.append([Record("edits", b'{"n":1}', partition=0)])
    second = await hub.connect(StreamRequest(hub.resolve(["edits"])))
    await log.append([Record("edits", b'{"n":2}', partition=0)])
    seen: list[bytes] = []
    async with asyncio.timeout(5):
        while b'"n":2' not in b"".join(seen):
            seen.append(await second.reader.next() or b"")
    assert b'"n":1' not in b"".join(seen)
    for connection in (first, second):
        await hub.disconnect(connection)
