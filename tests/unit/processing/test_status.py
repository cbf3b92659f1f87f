"""What is reported about a failing job: at once, then at growing intervals with counts, and when it is over."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from headwater.connectors.contract import Column, TableShape
from headwater.jobs import Job
from headwater.jobs.job import ToTable
from headwater.jobs.place import Place
from headwater.jobs.steps import Element, Failure, Results
from headwater.processing.announcing import INTERVALS_SECONDS, KINDS_MAX, QUIET_SECONDS, Announcement, Announcements
from headwater.processing.calls_status import CallsReport
from headwater.processing.embedded.partitioned import sum_of_reports
from headwater.processing.failures.counts import ErrorGroup
from headwater.processing.latency import LatencyReport
from headwater.processing.sink_status import SinkReport
from headwater.processing.source_status import SourceReport
from headwater.processing.status import ERROR_SECONDS, RESTART_SECONDS, JobReport, RunnerStatus
from headwater.telemetry import Telemetry


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


JOB = Job("failing", ("a",), place=Place("jobs/x.py", 7))
SINK_JOB = Job("sink.t", ("a",), output=ToTable(TableShape("t", (Column("id", "text", "id"),))))
FULL = JobReport(
    name="sink.t",
    place=None,
    state="frozen",
    read=9,
    written=8,
    errors=7,
    late=6,
    restarts=5,
    watermark=None,
    position=None,
    last_error=None,
    trouble="frozen: no such column",
    calls=CallsReport(1, 2, 3, 4, 5, "away"),
    emitted={"a": 1},
    dropped={"repeat": 2},
    error_groups=(ErrorGroup("g", "kind", "step", "ValueError", "no", "id", 7, 1, 2, 3),),
    skipped=4,
    retried=3,
    latency=LatencyReport((1,) * len(RunnerStatus(SINK_JOB, Telemetry()).report().latency.counts)),
    lag=2,
    lag_seconds=1.5,
    state_keys=1,
    state_bytes=2,
    sink=SinkReport("t", "tables", 4, 3, 2, 1, 50, 60, "no such column", 70, 80),
    source=SourceReport("t", "sse", 4, 3, {"email: no rule": 2}, 1, "no answer", 2),
)


def failed(*errors: BaseException) -> Results:
    return Results(failures=[Failure(Element(None, 0, "c"), "function", error) for error in errors])


def test_the_first_of_a_kind_is_announced_then_others_at_growing_distances_with_counts() -> None:
    clock = Clock()
    announcements = Announcements(clock)
    assert announcements.of("a") == Announcement(1, 1)
    assert announcements.of("b") == Announcement(1, 1), "another kind is another matter"
    said_at = []
    for _ in range(10_000):
        clock.now += 1
        if announcements.of("a", 2) is not None:
            said_at.append(clock.now - 1000)
    distances = [later - earlier for earlier, later in zip([0.0, *said_at], said_at, strict=False)]
    assert distances[: len(INTERVALS_SECONDS)] == list(INTERVALS_SECONDS)
    clock.now += 3600
    assert announcements.of("a") == Announcement(2 * 10_000 + 1 - 2 * int(said_at[-1]), 2 * 10_000 + 2)


def test_after_a_long_quiet_or_an_end_the_next_one_is_the_first_again() -> None:
    clock = Clock()
    announcements = Announcements(clock)
    announcements.of("a", 5)
    assert announcements.of("a") is None
    clock.now += QUIET_SECONDS + 1
    assert announcements.of("a") == Announcement(1, 1)
    announcements.forget("a")
    assert announcements.of("a") == Announcement(1, 1)


def test_kinds_without_end_are_one_kind() -> None:
    announcements = Announcements(Clock())
    said = [announcements.of(f"kind {number}") for number in range(1000)]
    assert sum(one is not None for one in said) == KINDS_MAX + 1


def test_failing_events_are_reported_with_place_count_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    clock = Clock()
    status = RunnerStatus(JOB, Telemetry(), clock=clock)
    for _ in range(50):
        status.committed(0, failed(ValueError("no"), SystemExit(2)), "t")
    assert len(caplog.messages) == 2
    assert (
        "job failing (jobs/x.py:7): 1 event could not be processed; see `headwater errors list failing`"
        in caplog.messages[0]
    )
    assert "function: ValueError: no" in caplog.messages[0]
    clock.now += INTERVALS_SECONDS[0]
    status.committed(0, failed(ValueError("no")), "t")
    assert "50 events could not be processed since the last message, 51 in all" in caplog.messages[2]


def test_a_job_counts_as_failing_while_events_fail_and_a_while_longer() -> None:
    clock = Clock()
    status = RunnerStatus(JOB, Telemetry(), clock=clock)
    status.running()
    assert status.report().trouble is None
    status.committed(0, failed(ValueError("no")), "t")
    status.read(1, 0)
    clock.now += ERROR_SECONDS + 1
    assert status.report().trouble == "events fail: ValueError: no", "the last event failed"
    status.committed(1, Results(), "t")
    status.read(1, 0)
    assert status.report().trouble is None
    status.committed(0, failed(ValueError("no")), "t")
    status.read(1, 0)
    status.committed(1, Results(), "t")
    status.read(1, 0)
    assert status.report().trouble is not None, "a moment ago events failed"
    clock.now += ERROR_SECONDS + 1
    assert status.report().trouble is None


def test_a_job_that_cannot_start_is_reported_once_then_rarely_and_when_it_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    clock = Clock()
    status = RunnerStatus(JOB, Telemetry(), clock=clock)
    for _ in range(20):
        status.restarting(JOB.invalid("no such stream"), 0.5)
    assert len(caplog.messages) == 1
    assert "job failing (jobs/x.py:7) cannot start; the next attempt is in 0.5 s: JobInvalid" in caplog.messages[0]
    status.running()
    assert status.report().trouble == "started again: JobInvalid: jobs/x.py:7: no such stream"
    clock.now += RESTART_SECONDS + 1
    assert status.report().trouble is None
    status.restarting(JOB.invalid("no such stream"), 60)
    assert "has ended (21 times so far); the next attempt is in 60.0 s" in caplog.messages[1]
    status.committed(1, Results(), "t")
    assert "works again, after 21 restarts" in caplog.messages[2]
    assert status.report().trouble is None


def test_error_events_that_are_refused_are_reported_rarely(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    status = RunnerStatus(JOB, Telemetry(), clock=clock)
    for _ in range(100):
        status.error_event_refused(ValueError("too long"))
    clock.now += INTERVALS_SECONDS[0]
    status.error_event_refused(ValueError("too long"))
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "1 error event was not stored in failing.error: ValueError: too long",
        "100 error events were not stored in failing.error: ValueError: too long",
    ]


def test_the_gauge_of_failing_jobs_follows() -> None:
    clock, telemetry = Clock(), Telemetry()
    status = RunnerStatus(JOB, telemetry, clock=clock)
    value = lambda: telemetry.value("headwater_job_in_trouble", {"job": "failing"})  # noqa: E731 - asked three times
    assert value() == 0
    status.restarting(ValueError("x"), 1)
    assert value() == 1
    status.running()
    clock.now += RESTART_SECONDS + 1
    assert value() == 0


# What a host of several processes says for all of them, and what a part has in common with the whole.
OF_THE_WHOLE = {"name", "place", "state", "position", "watermark", "processes", "trouble_of_process", "last_error"}


@pytest.mark.parametrize("field", [one.name for one in dataclasses.fields(JobReport) if one.name not in OF_THE_WHOLE])
def test_the_report_of_a_part_is_in_that_of_the_whole(field: str) -> None:
    empty = RunnerStatus(SINK_JOB, Telemetry()).report()
    assert getattr(FULL, field) != getattr(empty, field), f"give {field} a value"
    for total in (sum_of_reports(empty, FULL), sum_of_reports(FULL, empty)):
        assert getattr(total, field) == getattr(FULL, field)


def test_sinks_are_counted_together_and_the_last_error_is_the_newer_one() -> None:
    older = SinkReport("t", "sqlite", 1, 2, 3, 4, 50, 60, "old", 70, 80)
    newer = SinkReport("t", "sqlite", 10, 20, 30, 40, 40, 90, "new", 100, None)
    assert older + newer == newer + older == SinkReport("t", "sqlite", 11, 22, 33, 44, 40, 90, "new", 100, 80)
    assert older.ended() == SinkReport("t", "sqlite", 1, 2, 3, 4, None, 60, "old", 70, None)


def test_what_flink_counts_from_zero_after_a_restart_is_added() -> None:
    telemetry = Telemetry()
    status = RunnerStatus(JOB, telemetry)
    for errors in (5, 7, 0, 2, 3):
        status.elsewhere(dataclasses.replace(FULL, name="failing", state="running", errors=errors))
        assert status.report().errors == errors
    shown = telemetry.render().decode()
    assert 'headwater_job_events_total{job="failing",what="errors"} 10.0' in shown
    # It did not change.
    assert 'headwater_job_events_total{job="failing",what="read"} 9.0' in shown
