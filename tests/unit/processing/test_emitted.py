"""Events for several outputs: each output has its own schema, and ids that do not depend on the other outputs."""

from __future__ import annotations

import uuid
from typing import Any

from headwater.jobs import Context, Each, Job, ToStream
from headwater.jobs.ids import NAMESPACE
from headwater.testing.job_kit import JobKit

STEPS_AFTER = (Each("after", lambda event, context: {**event, "after": True}),)
SMALL = {"properties": {"meta": {"type": "object"}, "n": {"type": "integer", "maximum": 2}}}


def split(event: dict[str, Any], context: Context) -> list[dict[str, Any]]:
    context.emit({"$schema": "/two/1.0.0", "n": event["n"]}, to="two")
    context.emit({"$schema": "/three/1.0.0", "n": -event["n"]}, to="three")
    context.emit({"$schema": "/two/1.0.0", "n": event["n"] + 1}, to="two")
    return [{"$schema": "/one/1.0.0", "n": event["n"]}, {"$schema": "/one/1.0.0", "n": event["n"] * 10}]


def derived(stream: str, lineage_id: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"split\n{stream}\n{lineage_id}"))


async def kit_of(*steps: Each) -> JobKit:
    outputs = (ToStream("two"), ToStream("three"))
    kit = JobKit(
        Job("split", ("in",), steps, ToStream("one"), outputs=outputs), schemas={"/two/1.0.0": SMALL}, partitions=1
    )
    await kit.open()
    return kit


async def ids(kit: JobKit, stream: str) -> list[tuple[int, str]]:
    return [(event["n"], event["meta"]["id"]) for event in await kit.events(stream)]


async def test_each_output_gets_its_events_and_later_steps_do_not_see_them() -> None:
    kit = await kit_of(Each("function", split), *STEPS_AFTER)
    await kit.put({"n": 1, "meta": {"id": "a"}})
    await kit.run()
    assert await ids(kit, "one") == [(1, derived("one", "a/0/0")), (10, derived("one", "a/1/0"))]
    assert await ids(kit, "two") == [(1, derived("two", "a/emit/0")), (2, derived("two", "a/emit/2"))]
    assert await ids(kit, "three") == [(-1, derived("three", "a/emit/1"))]
    assert [event["meta"]["stream"] for event in await kit.events("two")] == ["two", "two"]
    assert all("after" in event for event in await kit.events("one"))
    assert not any("after" in event for event in [*await kit.events("two"), *await kit.events("three")])


async def test_ids_of_a_job_with_one_output_are_those_they_always_were() -> None:
    kit = await kit_of(Each("function", lambda event, context: [event, event]))
    await kit.put({"$schema": "/one/1.0.0", "n": 1, "meta": {"id": "a"}})
    await kit.run()
    assert await ids(kit, "one") == [
        (1, "ebf48b51-059a-5fcb-9290-e3c32155aaa4"),
        (1, "ff91d183-8233-5631-a4b6-986b6eaa6852"),
    ]


async def test_an_emitted_event_that_its_schema_refuses_is_an_error_and_the_others_are_stored() -> None:
    kit = await kit_of(Each("function", split))
    await kit.put({"n": 2, "meta": {"id": "a"}})
    await kit.run()
    assert [event["n"] for event in await kit.events("one")] == [2, 20]
    assert [event["n"] for event in await kit.events("two")] == [2]
    (error,) = await kit.errors()
    assert "output" in error["message"]
    report = kit.runner.status.report()
    assert (report.written, report.errors, report.emitted) == (4, 1, {"two": 1, "three": 1})


async def test_two_refused_outputs_of_one_event_are_two_error_events() -> None:
    kit = await kit_of(Each("function", split))
    await kit.put({"n": 5, "meta": {"id": "a"}})
    await kit.run()
    errors = await kit.errors()
    assert len({error["meta"]["id"] for error in errors}) == len(errors) == 2
