"""What is known of a source: events and their times, what was withheld, and since when it waits for its upstream."""

from __future__ import annotations

import re

from headwater.connectors.source_spec import ConfiguredSource, SourceSpec
from headwater.errors import EventMalformed, SourceUnavailable
from headwater.jobs.job import Job, ToStream
from headwater.processing.source_status import SourceReport, SourceStatus, source_state
from headwater.telemetry import Telemetry

SPEC = SourceSpec("memory", "In memory.", object, lambda options, context: None)  # type: ignore[arg-type, return-value]
JOB = Job("source.feed", (), input=ConfiguredSource("feed", SPEC, None, "sources/feed.yaml:1"), output=ToStream("a"))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def metric(telemetry: Telemetry, name: str) -> float:
    found = re.search(rf'^{name}{{job="source.feed"}} (.*)$', telemetry.render().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_events_and_the_time_since_the_last_one_are_known() -> None:
    clock, telemetry = Clock(), Telemetry()
    status = SourceStatus(JOB, telemetry, clock)
    clock.now = 103.0
    status.answered(0)
    assert metric(telemetry, "headwater_source_seconds_since_event") == 3.0, "since the start"
    assert status.report().delivered_ms is None
    status.answered(7)
    clock.now = 108.0
    assert metric(telemetry, "headwater_source_seconds_since_event") == 5.0
    assert metric(telemetry, "headwater_source_events_total") == 7.0
    assert status.report() == SourceReport("feed", "memory", 7, 103_000)


def test_a_source_waits_while_its_upstream_does_not_answer_and_keeps_the_last_error() -> None:
    clock, telemetry = Clock(), Telemetry()
    status = SourceStatus(JOB, telemetry, clock)
    status.failed("broken", EventMalformed("broken"))
    assert status.report().waiting_since_ms is None
    status.failed("away", SourceUnavailable("away"))
    clock.now = 110.0
    status.failed("still away", SourceUnavailable("still away"))
    assert metric(telemetry, "headwater_source_waiting_seconds") == 10.0
    assert source_state("retrying", status.report()) == "waiting"
    assert source_state("paused", status.report()) == "paused"
    status.answered(0)
    assert metric(telemetry, "headwater_source_waiting_seconds") == 0.0
    assert source_state("running", status.report()) == "running"
    assert (status.report().last_error, status.report().last_error_ms) == ("still away", 110_000)


def test_what_was_withheld_is_counted_by_table_and_column() -> None:
    telemetry = Telemetry()
    status = SourceStatus(JOB, telemetry)
    status.withholds({("users", "email"): 3, ("secrets", "*"): 2})
    assert metric(telemetry, "headwater_source_values_withheld") == 5.0
    assert status.report().withheld == {"users.email": 3, "rows of secrets": 2}


def test_processes_of_one_source_are_counted_together() -> None:
    older = SourceReport("feed", "sse", 1, 10, {"a": 1}, 5, "old", 6)
    newer = SourceReport("feed", "sse", 2, 20, {"a": 1, "b": 2}, None, "new", 7)
    assert older + newer == newer + older == SourceReport("feed", "sse", 3, 20, {"a": 2, "b": 2}, 5, "new", 7)
    assert older.ended() == SourceReport("feed", "sse", 1, 10, {"a": 1}, None, "old", 6)
