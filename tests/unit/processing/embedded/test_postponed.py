"""Events whose function asks to be called again later: what it has emitted is written, and the event is parked."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Await, Context, Each, Job, NotYet, Postpone, Retry, ToStream
from headwater.testing.run_job import JobTest

Event = dict[str, Any]
RETRY = Retry(within=0, park="1h")


class Service:
    """Fails for the first attempts; says so in the stream `noted`."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.attempts: list[tuple[int, int]] = []

    async def __call__(self, event: Event, context: Context) -> Event:
        self.attempts.append((event["n"], context.attempt))
        context.emit({"n": event["n"], "attempt": context.attempt}, to="noted")
        event["changed"] = True
        if context.attempt <= self.failures:
            raise Postpone("not now", after=60 * context.attempt)
        return {"n": event["n"]}


def job(service: Service, retry: Retry | None = RETRY, *before: Each | Await) -> Job:
    steps = (*before, Await("call", service, retry=retry))
    return Job("postponing", ("in",), steps, ToStream("out", "1.0.0"), outputs=(ToStream("noted", "1.0.0"),))


def event(n: int) -> Event:
    return {"$schema": "/in/1.0.0", "meta": {"id": f"id-{n}", "dt": "2026-01-31T12:00:00Z"}, "n": n}


def test_it_is_called_again_after_each_time_it_names_and_what_it_emitted_is_written() -> None:
    service = Service(2)
    with JobTest(job(service), at="2026-01-31T12:00:00Z") as test:
        test.put(event(1))
        assert test.process()["noted"][0]["attempt"] == 1
        test.advance("59s")
        assert service.attempts == [(1, 1)]
        test.advance("1s")
        assert service.attempts == [(1, 1), (1, 2)]
        test.advance("119s")
        assert len(service.attempts) == 2
        outcome = test.advance("1s")
        assert [one["attempt"] for one in outcome["noted"]] == [1, 2, 3]
        assert len({one["meta"]["id"] for one in outcome["noted"]}) == 3
        assert (outcome.values, outcome.errors) == ([{"n": 1}], [])


def test_it_waits_across_a_restart_and_others_overtake_it() -> None:
    service = Service(1)
    with JobTest(job(service), at="2026-01-31T12:00:00Z") as test:
        test.put(event(1))
        test.process()
        test.restart(job(service))
        service.failures = 0
        test.put(event(2))
        assert test.process().values == [{"n": 2}]
        assert test.advance("60s").values == [{"n": 2}, {"n": 1}]


def test_at_the_end_of_the_input_it_is_called_at_once() -> None:
    service = Service(2)
    with JobTest(job(service)) as test:
        test.put(event(1))
        assert test.finish().values == [{"n": 1}]
    assert service.attempts == [(1, 1), (1, 2), (1, 3)]


def test_behind_another_call_it_continues_with_what_that_made() -> None:
    async def doubled(event: Event, context: Context) -> Event:
        return {**event, "n": event["n"] * 2}

    service = Service(1)
    with JobTest(job(service, RETRY, Await("double", doubled))) as test:
        test.put(event(2))
        assert test.finish().values == [{"n": 4}]
    assert service.attempts == [(4, 1), (4, 2)]


@pytest.mark.parametrize("retry", [None, Retry()])
def test_without_parking_it_is_an_error_event(retry: Retry | None) -> None:
    with JobTest(job(Service(1), retry)) as test:
        test.put(event(1))
        outcome = test.finish()
    assert (outcome.values, outcome["noted"]) == ([], [])
    assert [(error["error_type"], "not now" in error["message"]) for error in outcome.errors] == [("NOT_YET", True)]


@pytest.mark.parametrize("after", ["soon", -1, None])
def test_it_needs_a_duration(after: Any) -> None:
    with pytest.raises(JobInvalid):
        Postpone("not now", after=after)


class InSteps:
    """Does one part of an event after the other, each in a call of its own; `fails_at`: the attempt that does not."""

    def __init__(self, fails_at: int = 0) -> None:
        self.fails_at = fails_at
        self.calls: list[tuple[int, list[int]]] = []

    async def __call__(self, event: Event, context: Context) -> Event:
        left = event.get("left", [1, 2, 3])
        self.calls.append((context.attempt, list(left)))
        part = left.pop(0)
        if context.attempt == self.fails_at:
            raise NotYet("not now")
        context.emit({"n": event["n"], "part": part}, to="noted")
        if left:
            raise Postpone("there is more", after=0, event={**event, "left": left})
        return {"n": event["n"]}


def in_steps(steps: InSteps, *before: Each | Await) -> Job:
    parks = Retry(within=0, park=["1h"] * 5)
    call = Await("call", steps, retry=parks)
    return Job("postponing", ("in",), (*before, call), ToStream("out", "1.0.0"), outputs=(ToStream("noted", "1.0.0"),))


async def _unchanged(event: Event, context: Context) -> Event:
    return event


@pytest.mark.parametrize("before", [(), (Each("same", lambda event, context: event),), (Await("same", _unchanged),)])
@pytest.mark.parametrize(
    ("fails_at", "lefts"), [(0, [3, 2, 1]), (1, [3, 3, 2, 1]), (2, [3, 2, 2, 1]), (3, [3, 2, 1, 1])]
)
def test_the_next_call_gets_the_event_that_was_given_also_after_a_failure_and_a_restart(
    before: tuple[Any, ...], fails_at: int, lefts: list[int]
) -> None:
    steps = InSteps(fails_at)
    with JobTest(in_steps(steps, *before), at="2026-01-31T12:00:00Z") as test:
        test.put(event(1))
        test.process()
        test.restart(in_steps(steps, *before))
        outcome = test.advance("2h")
    assert [len(left) for _, left in steps.calls] == lefts
    assert [attempt for attempt, _ in steps.calls] == list(range(1, len(lefts) + 1))
    assert [one["part"] for one in outcome["noted"]] == [1, 2, 3]
    assert len({one["meta"]["id"] for one in outcome["noted"]}) == 3
    assert (outcome.values, outcome.errors) == ([{"n": 1}], [])


def test_an_event_that_cannot_be_kept_is_an_error_event() -> None:
    async def call(event: Event, context: Context) -> None:
        raise Postpone("there is more", after=0, event={"n": object()})

    one = Job("postponing", ("in",), (Await("call", call, retry=RETRY),), ToStream("out", "1.0.0"))
    with JobTest(one) as test:
        test.put(event(1))
        assert [error["error_type"] for error in test.finish().errors] == ["NOT_YET"]
