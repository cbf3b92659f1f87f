"""What a step's function is offered by its context, and what it changes through it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.foreign import Escaped
from headwater.jobs import Await, Context, Each, Job, PerKey, Scope, Timer, ToStream, Transition
from headwater.jobs.apply import Application
from headwater.jobs.cells import NO_CELL, Cell
from headwater.jobs.ids import NAMESPACE
from headwater.jobs.steps import Element, Results

ITEM = Element({"n": 1}, 5_000, "id-1", "in", b"{}", {"n": 1})
SCOPE = Scope(
    "counting",
    clock=lambda: 7.5,
    outputs={"also": "also", "pinned": "pinned", "pinned:1.0.0": "pinned"},
    settings={"limit": 3},
    http="client",
    tables=lambda name: f"table {name}",
)


def applied(step: Each | PerKey, before: Cell = NO_CELL, scope: Scope = SCOPE) -> tuple[Results, Cell]:
    """The output for ITEM, and the cell of the key "k" afterwards."""
    application = Application(Results(), 4_000, scope)
    if isinstance(step, Each):
        application.each(step, ITEM)
        return application.results, NO_CELL
    found = application.key(step, ITEM)
    assert found is not None
    key, context = found
    return application.results, application.event(step, key, ITEM, before, context)


def seen(look: Callable[[Context], Any], scope: Scope = SCOPE) -> Any:
    """What `look` gets of the context of ITEM. Raises what it raises."""
    results, _ = applied(Each("look", lambda event, context: [look(context)]), scope=scope)
    if results.failures:
        raise results.failures[0].error
    return results.items[0].value


def test_a_context_gives_the_time_the_age_and_what_the_runner_offers() -> None:
    assert seen(lambda context: (context.event_time_ms, context.watermark_ms, context.stream)) == (5_000, 4_000, "in")
    assert seen(lambda context: context.event_time) == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert seen(lambda context: context.age) == 2.5
    assert seen(lambda context: context.attempt) == 1
    assert seen(lambda context: context.settings["limit"]) == 3
    assert seen(lambda context: context.http) == "client"
    assert seen(lambda context: context.table("pages")) == "table pages"
    assert seen(lambda context: context.log) is logging.getLogger("headwater.job.counting")


def test_an_event_of_the_future_and_one_of_history_have_no_age() -> None:
    assert seen(lambda context: context.age, Scope(clock=lambda: 4)) == 0
    assert seen(lambda context: context.age, Scope(clock=None)) == 0


def test_the_idempotency_key_is_that_of_job_and_input_in_every_attempt() -> None:
    expected = str(uuid.uuid5(NAMESPACE, "counting\n\nid-1"))
    assert seen(lambda context: context.idempotency_key) == expected
    again = Context(0, scope=SCOPE, lineage_id="id-1", attempt=7)
    assert again.idempotency_key == expected
    assert Context(0, scope=SCOPE, lineage_id="id-2").idempotency_key != expected
    assert Context(0, scope=Scope("other"), lineage_id="id-1").idempotency_key != expected


@pytest.mark.parametrize(
    ("use", "complaint"),
    [
        (lambda context: context.http, "context.http: this runner has no HTTP client"),
        (lambda context: context.metrics, "context.metrics: this runner has no metrics"),
        (lambda context: context.table("t"), "context.table: this runner has no tables"),
    ],
)
def test_what_a_runner_has_not_is_an_error_that_names_it(use: Callable[[Context], Any], complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        seen(use, Scope("j"))


def test_an_emitted_event_names_its_output_and_keeps_what_it_was_then() -> None:
    def emits(event: Any, context: Context) -> Any:
        context.emit(event, to="also")
        context.side("pinned:1.0.0", {"a": [1]})
        event["n"] = 2
        return event

    event = {"n": 1}
    application = Application(Results(), 0, SCOPE)
    application.each(Each("emits", emits), Element(event, 5_000, "id-1", "in", b"{}", event))
    results = application.results
    assert [(one.to, one.value, one.lineage_id) for one in results.emitted] == [
        ("also", {"n": 1}, "id-1/emit/0"),
        ("pinned", {"a": [1]}, "id-1/emit/1"),
    ]
    assert [(one.to, one.value, one.lineage_id) for one in results.items] == [(None, {"n": 2}, "id-1/0")]


@pytest.mark.parametrize("kind", ["each", "keyed"])
def test_a_function_that_fails_has_emitted_nothing(kind: str) -> None:
    def fails(context: Context) -> Any:
        context.emit({}, to="also")
        raise ValueError("after it has emitted")

    if kind == "each":
        results, _ = applied(Each("fails", lambda event, context: fails(context)))
    else:
        results, _ = applied(PerKey("fails", lambda e, c: "k", lambda state, event, context: fails(context)))
    assert (results.emitted, len(results.failures)) == ([], 1)


@pytest.mark.parametrize(
    ("to", "complaint"),
    [
        ("alsoo", "'alsoo' is not among the job's outputs .*Did you mean 'also'"),
        ("pinned:2.0.0", "Did you mean 'pinned:1.0.0'"),
        ("elsewhere", r"Declare it: outputs=\('elsewhere',\)"),
        (None, "None is not among"),
    ],
)
def test_emitting_to_what_is_not_declared_fails_the_event(to: Any, complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        seen(lambda context: context.emit({}, to=to))
    with pytest.raises(JobInvalid, match="it has none"):
        seen(lambda context: context.emit({}, to="x"), Scope("j", outputs={}))


def keyed(change: Callable[[Context], None], before: Cell = NO_CELL) -> dict[str, Timer]:
    """The timers of the key after `change`. Raises what it raises."""

    def on_event(state: Any, event: Any, context: Context) -> Transition:
        change(context)
        return Transition(state)

    results, cell = applied(PerKey("keyed", lambda e, c: "k", on_event), before)
    if results.failures:
        raise results.failures[0].error
    return dict(Cell.decode(cell.encode()).timers)


def test_timers_are_set_replaced_and_cancelled_by_name() -> None:
    assert keyed(lambda context: context.timer("over", after="30s")) == {"over": Timer(35_000)}
    assert keyed(lambda context: context.timer("over", at_ms=9, fires_when_idle=False)) == {
        "over": Timer(9, fires_when_idle=False)
    }
    assert keyed(lambda context: context.timer("over", after="1s", clock="wall")) == {
        "over": Timer(8_500, clock="wall")
    }
    assert keyed(lambda context: context.timer("over", at_ms=9, clock="wall")) == {"over": Timer(9, clock="wall")}
    before = Cell.of({"n": 1}, {"over": Timer(9), "other": Timer(10)})
    assert keyed(lambda context: context.timer("over", after=1), before) == {"over": Timer(6_000), "other": Timer(10)}
    assert keyed(lambda context: context.cancel("over"), before) == {"other": Timer(10)}
    assert keyed(lambda context: context.cancel("unknown"), before) == before.timers
    assert keyed(lambda context: None, before) == before.timers


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda context: context.timer("t"), "either `after`"),
        (lambda context: context.timer("t", after=1, at_ms=1), "either `after`"),
        (lambda context: context.timer("t", after="5 minutes"), "is not a duration"),
        (lambda context: context.timer("t", after=1, clock="sun"), '`clock` is "event" or "wall", not \'sun\''),
        (lambda context: context.timer("t", at_ms=1.5), "1.5 is not a time"),
        (lambda context: context.timer("t", at_ms=2**63), "is not a time"),
        (lambda context: context.timer(3, after=1), "the name of a timer is text"),
        (lambda context: context.cancel("a\0b"), "the name of a timer is text"),
    ],
)
def test_what_is_no_timer_is_an_error(change: Callable[[Context], None], complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        keyed(change)


def test_over_history_a_timer_by_the_clock_is_one_in_event_time() -> None:
    context = Context(5_000, timers={}, scope=Scope("j", clock=None))
    context.timer("over", after="1s", clock="wall")
    assert context.timers == {"over": Timer(6_000)}


@pytest.mark.parametrize("verb", [lambda context: context.timer("t", after=1), lambda context: context.cancel("t")])
def test_a_function_without_a_key_has_no_timers(verb: Callable[[Context], None]) -> None:
    with pytest.raises(JobInvalid, match="timers belong to a key"):
        seen(verb)


async def test_one_attempt_of_an_async_function_returns_its_output_or_raises() -> None:
    async def call(event: Any, context: Context) -> Any:
        if event["n"] > 1:
            raise SystemExit(3)
        context.emit({"attempt": context.attempt}, to="also")
        return [event, event]

    application = Application(Results(), 0, SCOPE)
    made = await application.attempt(Await("call", call), ITEM, 2)
    assert [one.lineage_id for one in made.items] == ["id-1/0", "id-1/1"]
    assert [(one.to, one.value) for one in made.emitted] == [("also", {"attempt": 2})]
    assert application.results == Results()
    with pytest.raises(Escaped):
        await application.attempt(Await("call", call), Element({"n": 2}, 0, "id-2"))


def test_awaiting_comes_before_state_and_outputs_are_named_once() -> None:
    async def call(event: Any, context: Context) -> Any: ...

    wait, count = Await("wait", call), PerKey("count", lambda e, c: 1, lambda s, e, c: Transition(s))
    assert Job("j", ("a",), (wait, count)).awaits
    assert not Job("j", ("a",), (count,)).awaits
    with pytest.raises(JobInvalid, match=r"awaits, in its step wait, after it keeps state, in count.*Make two jobs"):
        Job("j", ("a",), (count, wait))
    with pytest.raises(JobInvalid, match="two outputs for the stream c"):
        Job("j", ("a",), outputs=(ToStream("c"), ToStream("c", "1.0.0")))
    with pytest.raises(JobInvalid, match="has b as its output twice"):
        Job("j", ("a",), output=ToStream("b"), outputs=(ToStream("b", "1.0.0"),))
    with pytest.raises(JobInvalid, match="`outputs` is a tuple of ToStream"):
        Job("j", ("a",), outputs=("c",))  # type: ignore[arg-type]
    with pytest.raises(JobInvalid, match="reads the stream it writes, a"):
        Job("j", ("a",), outputs=(ToStream("a"),))


def test_a_job_names_all_it_writes_and_what_emit_accepts() -> None:
    job = Job("j", ("a",), (), ToStream("b", "1.0.0"), late_stream="l", outputs=(ToStream("c", "2.0.0"), ToStream("d")))
    assert job.writes().outputs == ("b", "c", "d")
    assert job.writes().streams == ("b", "c", "d", "l", "j.error")
    assert [job.output_version(name) for name in job.writes().outputs] == ["1.0.0", "2.0.0", None]
    assert dict(job.emits) == {"c": "c", "c:2.0.0": "c", "d": "d"}
