"""Whatever a job's code raises, wherever it is called: an error event of that input, and the others are processed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from foreign_failures import FAILURES
from headwater.jobs import Context, Each, Job, PerKey, Timer, ToStream, Transition, Window, job, tumbling
from headwater.testing.job_kit import JobKit, without_envelope

GOOD = "good"
AT = "2024-01-31T12:00:01Z"


def may_fail(event: Mapping[str, Any]) -> Any:
    """Raise what the event names."""
    return FAILURES[event["what"]]() if event["what"] != GOOD else True


def passed(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"$schema": "/out/1.0.0", "n": event["n"]}


class Reluctant(Mapping[str, Any]):
    """A mapping of the job's own, whose code runs while the event is stored."""

    def __init__(self, event: Mapping[str, Any], where: str) -> None:
        self.event = event
        self.where = where
        self.value = passed(event)

    def __getitem__(self, name: str) -> Any:
        if self.where == "item":
            may_fail(self.event)
        return self.value[name]

    def __iter__(self) -> Iterator[str]:
        if self.where == "iteration":
            may_fail(self.event)
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)


@dataclass
class Kept:
    count: int = 0


def in_function(event: Any, context: Context) -> Any:
    may_fail(event)
    return passed(event)


def in_generator(event: Any, context: Context) -> Any:
    yield from ()
    may_fail(event)
    yield passed(event)


def in_where(event: Any) -> Any:
    return may_fail(event)


def in_state(event: Any, context: Context) -> Any:
    context.state.count += 1
    may_fail(event)
    return passed(event)


def on_event(state: Any, event: Any, context: Context) -> Transition:
    return Transition(event, timers={"soon": Timer(context.event_time_ms)})


def on_timer(state: Any, timer: str, context: Context) -> Transition:
    may_fail(state)
    return Transition(None, events=[passed(state)], timers={})


def counted(window: Window, context: Context) -> Any:
    return {"$schema": "/out/1.0.0", "n": window.key}


def in_window(window: Window, context: Context) -> Any:
    may_fail({"what": window.what})
    return {"$schema": "/out/1.0.0", "n": window.key}


ONE = {"source": "in", "sink": "out", "name": "tried"}
HOUR = tumbling("1h")
POSITIONS: dict[str, Job] = {
    "function": job(**ONE)(in_function),
    "generator": job(**ONE)(in_generator),
    "where": job(**ONE, where=in_where)(lambda event, context: passed(event)),
    "key": job(**ONE, key=may_fail, state=int)(lambda event, context: passed(event)),
    "state": job(**ONE, key="n", state=Kept)(in_state),
    "timer": Job("tried", ("in",), (PerKey("k", lambda e, c: e["n"], on_event, on_timer),), ToStream("out")),
    "aggregate": job(**ONE, key="n", window=HOUR.count("edits", where=in_where))(counted),
    "window": job(**ONE, key="n", window=HOUR.greatest("what", "what"))(in_window),
    "mapping's items": job(**ONE)(lambda event, context: Reluctant(event, "item")),
    "mapping's iteration": job(**ONE)(lambda event, context: Reluctant(event, "iteration")),
    "second step": Job("tried", ("in",), (Each("a", lambda e, c: e), Each("b", in_function)), ToStream("out")),
}  # fmt: skip


async def outcome(position: str, whats: list[str]) -> tuple[list[int], int]:
    """The numbers that came out, and how many error events there are."""
    kit = JobKit(POSITIONS[position])
    await kit.open()
    events = [{"meta": {"stream": "in", "id": str(n), "dt": AT}, "n": n, "what": what} for n, what in enumerate(whats)]
    await kit.put(*events)
    await kit.run()
    errors = await kit.errors()
    assert all(error["message"] and error["error_type"] for error in errors)
    assert kit.runner.status.report().errors == len(errors)
    return sorted(event["n"] for event in without_envelope(await kit.events())), len(errors)


def all_at(position: str) -> list[str]:
    """Each failure once, with a good event before, between and after."""
    return [GOOD, *[one for failure in FAILURES for one in (failure, GOOD)]]


@given(st.sampled_from(sorted(POSITIONS)), st.lists(st.sampled_from([GOOD, *FAILURES]), max_size=8))
@example("function", all_at("function"))
@example("generator", all_at("generator"))
@example("where", all_at("where"))
@example("key", all_at("key"))
@example("state", all_at("state"))
@example("timer", all_at("timer"))
@example("aggregate", all_at("aggregate"))
@example("window", all_at("window"))
@example("mapping's items", all_at("mapping's items"))
@example("mapping's iteration", all_at("mapping's iteration"))
@example("second step", all_at("second step"))
def test_a_failure_anywhere_is_one_error_event_and_the_others_come_out(position: str, whats: list[str]) -> None:
    out, errors = asyncio.run(outcome(position, whats))
    assert out == [n for n, what in enumerate(whats) if what == GOOD]
    assert errors == len(whats) - len(out)
