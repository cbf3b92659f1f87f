"""The stages of a job, and what in an execution plan would mix up the order of events."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import ConfigInvalid
from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Await, Context, Each, PerKey, Transition
from headwater.processing.flink.plan import exchange_before_hash, mode_of, source_parallelism, stages_of


def _same(event: Any, context: Context) -> Any:
    return event


async def _called(event: Any, context: Context) -> Any:
    return event


def _kept(state: Any, event: Any, context: Context) -> Transition:
    return Transition(state, [event])


def _job(*steps: Each | Await | PerKey) -> Job:
    return Job("edits", ("a",), steps, ToStream("b"))


WHOLE = _job(
    Each("parse", _same),
    Each("clean", _same),
    Await("call", _called),
    Each("trim", _same),
    PerKey("hold", _same, _kept, delay_ms=60_000),
    PerKey("count", _same, _kept, delay_ms=1_000),
    Each("shape", _same),
)


def test_a_job_without_keys_is_one_stage() -> None:
    (stage,) = stages_of(_job(Each("one", _same), Each("two", _same)))
    assert (stage.head, stage.names, stage.next, stage.uid) == (None, ("one", "two"), None, "decode")


def test_a_job_without_steps_is_one_stage() -> None:
    assert [stage.names for stage in stages_of(_job())] == [()]


def test_each_call_and_each_key_begins_a_stage() -> None:
    stages = stages_of(WHOLE)
    assert [stage.names for stage in stages] == [
        ("parse", "clean"),
        ("call", "trim"),
        ("hold",),
        ("count", "shape"),
    ]
    assert [stage.next and stage.next.name for stage in stages] == ["call", "hold", "count", None]
    assert [stage.uid for stage in stages] == ["decode", "step-call", "step-hold", "step-count"]


def test_a_step_that_holds_events_delays_those_after_it() -> None:
    assert [(stage.delay_ms, stage.steps_delay_ms) for stage in stages_of(WHOLE)] == [
        (0, 0),
        (0, 0),
        (0, 60_000),
        (60_000, 61_000),
    ]


def test_a_job_that_waits_for_others_runs_in_process_mode() -> None:
    assert mode_of(WHOLE) == "process"
    assert mode_of(_job(Each("one", _same))) == "thread"
    assert mode_of(_job(Each("one", _same)), "process") == "process"
    with pytest.raises(ConfigInvalid, match="process mode only"):
        mode_of(WHOLE, "thread")


def test_no_more_operators_read_than_there_are_partitions() -> None:
    assert [source_parallelism(4, partitions) for partitions in (0, 1, 3, 4, 9)] == [1, 1, 3, 4, 4]


def _node(number: int, *inputs: tuple[int, str]) -> dict[str, object]:
    return {
        "id": number,
        "type": f"operator {number}",
        "predecessors": [{"id": of, "ship_strategy": how} for of, how in inputs],
    }


def test_a_rebalance_before_the_first_exchange_by_key_is_found() -> None:
    plan = [_node(1), _node(2, (1, "REBALANCE")), _node(3, (2, "HASH"))]
    assert exchange_before_hash(plan) == "operator 1 → operator 2: REBALANCE"


def test_one_after_it_changes_nothing_that_is_promised() -> None:
    plan = [_node(1), _node(2, (1, "FORWARD")), _node(3, (2, "HASH")), _node(4, (3, "REBALANCE"))]
    assert exchange_before_hash(plan) is None


def test_one_on_a_second_way_is_found() -> None:
    plan = [_node(1), _node(2, (1, "HASH")), _node(3, (1, "FORWARD")), _node(4, (2, "FORWARD"), (3, "REBALANCE"))]
    assert exchange_before_hash(plan) == "operator 3 → operator 4: REBALANCE"
