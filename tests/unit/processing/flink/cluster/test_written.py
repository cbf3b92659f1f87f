"""What a job on Flink has written is counted from its streams: once, from its start on, and without other jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headwater.jobs import Context, Job, Window, job, tumbling
from headwater.log.contract import Record
from headwater.processing.failures.stored import error_of
from headwater.processing.flink.cluster.job_state import FlinkLook, report_of
from headwater.processing.flink.cluster.written import WrittenEvents, late_stream_alone
from headwater.testing.job_kit import JobKit

SINCE_MS = 0


@job(source="edits", sink="out", key="wiki", window=tumbling("10s").count("edits"), late="late_edits")
def counted(window: Window, context: Context) -> dict[str, Any]:
    return {"$schema": "/out/1.0.0", "edits": window.edits}


def edit(number: int, second: int, **fields: Any) -> dict[str, Any]:
    dt = f"2026-01-01T00:00:{second:02}Z"
    meta = {"id": f"id-{number}", "stream": "edits", "dt": dt}
    return {"$schema": "/edit/1.0.0", "meta": meta, "dt": dt, "wiki": "a", **fields}


def written_by(kit: JobKit, **changed: Any) -> WrittenEvents:
    of_job = counted.writes()
    places = {"errors": [of_job.errors], "late": [of_job.late], "since_ms": SINCE_MS, **changed}
    return WrittenEvents(kit.log, kit.job, **places)


async def run(kit: JobKit) -> None:
    """One event without a key fails, and two are late."""
    await kit.put(edit(1, 5), edit(2, 59), edit(3, 59, wiki=None))
    del_key = edit(4, 59)
    del del_key["wiki"]
    await kit.put(del_key)
    await kit.run()
    await kit.put(edit(5, 6), edit(6, 7))
    await kit.run()


async def test_errors_and_late_events_are_counted_from_their_streams() -> None:
    kit = JobKit(counted)
    await kit.open()
    written = written_by(kit)
    await written.look()
    assert (written.errors, written.late) == (0, 0)
    await run(kit)
    await written.look()
    expected = (len(await kit.errors()), len(await kit.events("late_edits")))
    assert min(expected) > 0
    assert (written.errors, written.late) == expected
    # Who begins to count later, as after a restart, finds the same.
    later = written_by(kit)
    await later.look()
    assert (later.errors, later.late) == expected


async def test_what_is_written_again_and_what_others_write_does_not_count() -> None:
    kit = JobKit(counted)
    await kit.open()
    await run(kit)
    written = written_by(kit)
    await written.look()
    before = (written.errors, written.late)
    found = await kit.log.read(await kit.log.first(["late_edits", counted.writes().errors]))
    await kit.log.append([Record(one.topic, one.value, one.key, one.headers) for one in found])
    foreign = next(one for one in found if one.topic == counted.writes().errors)
    await kit.log.append([Record(foreign.topic, foreign.value.replace(b'"counted"', b'"other"'), foreign.key)])
    await written.look()
    assert (written.errors, written.late) == before


async def test_the_report_says_which_events_fail() -> None:
    kit = JobKit(counted)
    await kit.open()
    await run(kit)
    written = written_by(kit)
    await written.look()
    last = written.last_error
    assert last is not None
    # Flink itself counts those since its last restart.
    look = FlinkLook(None, "running", None, errors=99, late=98)
    report = report_of(counted, look, 0, written, now_ms=last.at_ms + 59_000)
    assert (report.errors, report.late, report.skipped) == (written.errors, written.late, 0)
    assert report.trouble == f"events fail: {last.message}"
    assert [group.count for group in report.error_groups] == [written.errors]
    assert report_of(counted, look, 0, written, now_ms=last.at_ms + 61_000).trouble is None
    # What is wrong with the whole job comes first.
    restarting = replace(look, trouble="restarting: x", reason="x")
    assert report_of(counted, restarting, 0, written, now_ms=last.at_ms).trouble == "restarting: x"


async def test_without_streams_of_its_own_flinks_counters_are_reported() -> None:
    kit = JobKit(counted)
    await kit.open()
    await run(kit)
    written = written_by(kit, errors=(), late=())
    await written.look()
    look = FlinkLook(None, "running", None, errors=9, late=8)
    report = report_of(counted, look, 0, written)
    assert (report.errors, report.late, report.skipped, report.trouble) == (9, 8, 0, None)
    report = report_of(replace(counted, on_error="skip"), look, 0, written)
    assert (report.errors, report.late, report.skipped) == (0, 8, 9)


def test_a_stream_of_late_events_counts_if_no_other_job_writes_there() -> None:
    other: Job = replace(counted, name="other")
    assert late_stream_alone(counted, [counted]) == "late_edits"
    assert late_stream_alone(counted, [counted, other]) is None
    assert late_stream_alone(replace(counted, late_stream=None), [counted]) is None


async def test_errors_before_the_start_do_not_count() -> None:
    kit = JobKit(counted)
    await kit.open()
    await run(kit)
    (first, *_) = await kit.log.read(await kit.log.first([counted.writes().errors]))
    assert error_of(counted.name, first) is not None
    written = written_by(kit, since_ms=first.timestamp_ms + 3_600_000)
    await written.look()
    assert (written.errors, written.late) == (0, 0)
