"""What one operator does with a record, an element and a timer, without Flink."""

from __future__ import annotations

from typing import Any

import orjson

from headwater.jobs import Context, Job, Timer, ToStream, Transition
from headwater.jobs.cells import NO_CELL, Cell
from headwater.jobs.steps import Each, PerKey, Results
from headwater.log.contract import StoredRecord
from headwater.processing.embedded.fold import END_OF_TIME
from headwater.processing.failures.redriven import Redriven, redrive_record
from headwater.processing.flink.exchange import Travelling, decode_element
from headwater.processing.flink.plan import stages_of
from headwater.processing.flink.stage_work import (
    EVENT_TIMERS,
    LAST_TIMERS,
    Due,
    StageWork,
    clamped,
    first_timer,
    set_since,
)
from headwater.streams.stream import Stream

EDITS = Stream(name="edits", message_key_fields={"page": "page"})


def page_of(event: Any, context: Context) -> Any:
    return event["page"]


def parsed(event: Any, context: Context) -> Any:
    if event["page"] == "bad":
        raise ValueError("no such page")
    return {**event, "is_parsed": True}


def counted(state: Any, event: Any, context: Context) -> Transition:
    edits = (state or 0) + 1
    timers = {"first": Timer(100), "second": Timer(200), "old": Timer(150, fires_when_idle=False)}
    return Transition(edits, [{"page": context.key, "edits": edits, "watermark": context.watermark_ms}], timers)


def fired(state: Any, name: str, context: Context) -> Transition:
    timers = {**context.timers, "again": Timer(context.event_time_ms + 10)} if name == "first" else None
    return Transition(state, [{"fired": name, "at": context.event_time_ms}], timers)


def shaped(event: Any, context: Context) -> Any:
    return {**event, "shaped": True}


JOB = Job(
    "edits",
    ("edits",),
    (Each("parse", parsed), PerKey("count", page_of, counted, fired, delay_ms=5), Each("shape", shaped)),
    ToStream("counts"),
)


def work(number: int) -> StageWork:
    return StageWork(JOB, stages_of(JOB)[number], {"edits": EDITS}, JOB.scope(None))


def record(event: Any, offset: int = 7) -> StoredRecord:
    return StoredRecord("edits", 1, offset, 1_000, b"key", (("dt", b"1970-01-01T00:00:00.500Z"),), orjson.dumps(event))


def test_the_first_stage_sends_elements_to_where_their_key_is() -> None:
    made = work(0).read(record({"page": "A", "meta": {"id": "one"}}), 0, 2_000)
    ((key, data),) = made.sent
    assert key == '"A"'
    element, resume = decode_element(data)
    assert (element.value["is_parsed"], element.event_time_ms, element.lineage_id) == (True, 500, "one/0")
    assert (element.record, resume) == (record({"page": "A", "meta": {"id": "one"}}), None)


def test_an_event_that_fails_is_a_failure_and_is_not_sent() -> None:
    made = work(0).read(record({"page": "bad"}), 0, 2_000)
    assert made.sent == []
    assert [(one.step, one.item.lineage_id) for one in made.results.failures] == [("parse", "edits/1/7")]


def test_null_is_a_key_as_embedded() -> None:
    made = work(0).read(record({"page": None}), 0, 2_000)
    assert [key for key, _ in made.sent] == ["null"]


def test_state_and_timers_are_those_of_the_key() -> None:
    ((key, data),) = work(0).read(record({"page": "A"}), 0, 2_000).sent
    element = decode_element(data).element
    cell, made = work(1).event(key.encode(), element, NO_CELL, None, 50)
    assert [one.value for one in made.results.items] == [{"page": "A", "edits": 1, "watermark": 50, "shaped": True}]
    assert first_timer(cell, EVENT_TIMERS) == (100, "first")
    again, made = work(1).event(key.encode(), element, Cell.decode(cell.encode()), None, 50)
    assert [one.value["edits"] for one in made.results.items] == [2]
    assert set_since(cell, again) == frozenset()


def test_timers_that_are_due_fire_in_order_of_time_also_those_they_set() -> None:
    element = decode_element(work(0).read(record({"page": "A"}), 0, 2_000).sent[0][1]).element
    cell, _ = work(1).event(b'"A"', element, NO_CELL, None, 50)
    after, made = work(1).fire(b'"A"', cell, None, Due(EVENT_TIMERS, 160, 160, 160))
    assert [(one.value["fired"], one.value["at"]) for one in made.results.items] == [
        ("first", 100),
        ("again", 110),
        ("old", 150),
    ]
    assert first_timer(after, EVENT_TIMERS) == (200, "second")


def test_at_the_end_timers_fire_that_were_there_before_and_do_not_wait_for_an_event() -> None:
    element = decode_element(work(0).read(record({"page": "A"}), 0, 2_000).sent[0][1]).element
    cell, _ = work(1).event(b'"A"', element, NO_CELL, None, 50)
    after, made = work(1).fire(b'"A"', cell, None, Due(LAST_TIMERS, 100, 50, END_OF_TIME))
    assert [one.value["fired"] for one in made.results.items] == ["first"]
    late = set_since(cell, after)
    assert late == {("again", 110)}
    _, made = work(1).fire(b'"A"', after, None, Due(LAST_TIMERS, END_OF_TIME, 50, END_OF_TIME, late))
    assert [one.value["fired"] for one in made.results.items] == ["second"]


def test_a_redriven_event_continues_with_the_step_at_which_it_failed() -> None:
    made = redrive_record(
        "edits",
        Redriven("e", "r", "edits", "edits", 1, 7, 1_000, lineage_id="one/0/0", event_time_ms=500, resume="shape"),
        b'{"page":"A"}',
        b'{"page":"A","edits":3}',
    )
    redriven = StoredRecord(made.topic, 0, 0, 1_000, None, made.headers, made.value)
    ((key, data),) = work(0).read(redriven, 0, 2_000).sent
    travelling = decode_element(data)
    assert (key, travelling.resume) == ("", "shape")
    after = work(1).overtaken(travelling, 0)
    assert after is not None
    assert [(one.value, one.lineage_id) for one in after.results.items] == [
        ({"page": "A", "edits": 3, "shaped": True}, "one/0/0/0")
    ]
    assert work(1).overtaken(Travelling(travelling.element, "count"), 0) is None


def test_a_watermark_has_the_bounds_of_ours() -> None:
    assert clamped(2**63 - 1) == END_OF_TIME
    assert clamped(-(2**63)) == -(2**62)
    assert clamped(5) == 5


def test_the_results_of_a_call_go_through_the_steps_behind_it() -> None:
    element = decode_element(work(0).read(record({"page": "A"}), 0, 2_000).sent[0][1]).element
    made = work(1).results(Results([element], [], [], [], [], []), 0)
    assert [one.value["shaped"] for one in made.results.items] == [True]
