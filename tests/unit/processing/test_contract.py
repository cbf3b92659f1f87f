"""Which jobs a runner refuses, by each of its features."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs.decorators import table
from headwater.jobs.job import Job, ToStream
from headwater.jobs.outcomes import Retry
from headwater.jobs.sql.flink import flink_sql
from headwater.jobs.steps import Await, Context
from headwater.processing.contract import RunnerFeatures, require_supported
from headwater.testing.suites.runner import AWAITING, COUNTING, FILLING, JOB, LISTING, WAITING
from headwater.testing.suites.runner import KINDS as SUITE_KINDS

EVERYTHING = RunnerFeatures(
    streams=True,
    keyed_state=True,
    tables=True,
    tables_with_state=True,
    fires_when_idle=True,
    shares_partitions=True,
    awaits=True,
    parks=True,
    reads_tables=True,
    keeps_tables=True,
    flink_sql=True,
)
FILLING_WITH_STATE = SUITE_KINDS[-1]


async def _called(event: Any, context: Context) -> Any:
    return event


PARKING = Job("parking", ("edits",), (Await("call", _called, retry=Retry(park="1m")),), ToStream("passed"))
READING = Job("reading", ("edits",), (), ToStream("passed"), tables=("pages",))
NEVER_IDLE = dataclasses.replace(WAITING, idle_ms=None)


@table(source="edits", key="page")
def pages(event: Any, context: Context) -> Any:
    return event


@flink_sql(source="edits", sink="passed:1.0.0")
def queried() -> str:
    return "select * from `edits`"


KINDS = (*SUITE_KINDS, PARKING, READING, pages, NEVER_IDLE, queried)


def test_a_runner_with_all_features_runs_every_kind_of_job() -> None:
    assert [EVERYTHING.unsupported_reasons(job) for job in KINDS] == [()] * len(KINDS)


@pytest.mark.parametrize(
    ("feature", "refused"),
    [
        ("streams", (JOB, COUNTING, LISTING, WAITING, AWAITING, PARKING, READING, pages, NEVER_IDLE, queried)),
        ("awaits", (AWAITING, PARKING)),
        ("keyed_state", (COUNTING, LISTING, WAITING, FILLING_WITH_STATE, PARKING, pages, NEVER_IDLE)),
        ("tables", (FILLING, FILLING_WITH_STATE)),
        ("tables_with_state", (FILLING_WITH_STATE,)),
        ("fires_when_idle", (WAITING,)),
        ("shares_partitions", ()),
        ("parks", (PARKING,)),
        ("reads_tables", (READING,)),
        ("keeps_tables", (pages,)),
        ("flink_sql", (queried,)),
    ],
)
def test_without_a_feature_the_jobs_that_need_it_are_refused(feature: str, refused: tuple[Job, ...]) -> None:
    without = dataclasses.replace(EVERYTHING, **{feature: False})
    found = {index: len(without.unsupported_reasons(job)) for index, job in enumerate(KINDS)}
    assert found == {index: int(job in refused) for index, job in enumerate(KINDS)}


def test_every_feature_is_asked_about() -> None:
    asked = test_without_a_feature_the_jobs_that_need_it_are_refused.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {feature for feature, _ in asked} == {field.name for field in dataclasses.fields(RunnerFeatures)}


def test_a_refusal_names_all_reasons_and_the_place_of_the_job() -> None:
    nothing = RunnerFeatures(**dict.fromkeys((field.name for field in dataclasses.fields(RunnerFeatures)), False))
    reasons = nothing.unsupported_reasons(FILLING_WITH_STATE)
    # A table keeps no state on any log, so that the log is not blamed too.
    assert len(reasons) == 2
    with pytest.raises(JobInvalid) as refused:
        require_supported(FILLING_WITH_STATE, reasons)
    assert [reason for reason in reasons if reason not in refused.value.message] == []
    assert refused.value.line is not None
    require_supported(JOB, ())
