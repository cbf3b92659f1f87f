"""What clients can see of the jobs: status and error of each; of jobs on private streams, only that one exists."""

from __future__ import annotations

import time
from typing import Any

from headwater.jobs.job import Job
from headwater.platform import Platform
from headwater.processing.failures.counts import ErrorGroup
from headwater.processing.latency import LatencyReport
from headwater.processing.sink_status import SinkReport, sink_state
from headwater.processing.source_status import SourceReport, source_state
from headwater.processing.stack import without_paths
from headwater.processing.status import JobReport
from headwater.streams.seen import SeenStreams
from headwater.times import utc_text

PRIVATE_NAME = "a job of private streams"
GROUPS_MAX = 5


def job_views(platform: Platform, seen: SeenStreams) -> list[dict[str, Any]]:
    """The jobs as `GET /v1/jobs` gives them, for a client that sees these streams.

    `trouble` is None for a job without errors.
    """
    return [_view(platform, job, seen) for job in platform.jobs]


def jobs_in_trouble(platform: Platform, seen: SeenStreams) -> list[dict[str, Any]]:
    """The jobs that have an error now."""
    return [job for job in job_views(platform, seen) if job["trouble"] is not None]


def _view(platform: Platform, job: Job, seen: SeenStreams) -> dict[str, Any]:
    report = platform.runners[job.name].report()
    name, place, trouble = job.name, report.place, report.trouble
    if not seen.visibility.names_job(job.name, seen.sight):
        name, place = PRIVATE_NAME, None
    # The text of an exception may contain part of an event.
    readable = seen.visibility.reads_job(job.name, seen.sight)
    shows = seen.reads(platform.streams.get(job.writes().errors))
    if report.trouble_of_process and not seen.sees_all:
        # It may name another job, or its file.
        trouble = None if trouble is None else trouble.partition(":")[0]
    if trouble is not None:
        trouble = without_paths(trouble, job.project) if readable else trouble.partition(":")[0]
    return {
        "name": name,
        "place": place,
        "state": report.state,
        "read": report.read,
        "written": report.written,
        "errors": report.errors,
        "late": report.late,
        "dropped": sum(report.dropped.values()),
        "skipped": report.skipped,
        "retried": report.retried,
        "restarts": report.restarts,
        "processes": list(report.processes),
        "watermark": report.watermark,
        "lag": report.lag,
        "lag_seconds": None if report.lag_seconds is None else round(report.lag_seconds, 3),
        "latency": {"p50_ms": _rounded(report.latency, 0.5), "p99_ms": _rounded(report.latency, 0.99)},
        "state_keys": report.state_keys,
        "state_bytes": report.state_bytes,
        "trouble": trouble,
        "error_groups": [_group(job, one, shows=shows) for one in report.error_groups[:GROUPS_MAX]] if readable else [],
        "in_flight": report.calls.in_flight,
        "waiting": report.calls.waiting,
        "parked": report.calls.parked,
        "sink": None if report.sink is None else _sink(job, report.state, report.lag, report.sink, readable=readable),
        "source": None if report.source is None else _source(job, report, report.source, readable=readable),
    }


def _sink(job: Job, state: str, lag: int | None, sink: SinkReport, *, readable: bool) -> dict[str, Any]:
    """How the sink is doing. Its last error, as the text of any, is for those who may read what the job reads."""
    return {
        "name": sink.name if readable else None,
        "connector": sink.connector,
        "state": sink_state(state, sink),
        "waiting_since": _time(sink.waiting_since_ms),
        "rows_written": sink.written,
        "rows_deleted": sink.deleted,
        "rows_rejected": sink.rejected,
        "rows_discarded": sink.discarded,
        "lag_events": lag,
        "lag_seconds": round(sink.lag_seconds(time.time()), 3),
        "last_commit": _time(sink.last_commit_ms),
        "complete_until": _time(sink.complete_ms),
        "last_error": _last_error(job, sink.last_error, readable=readable),
        "last_error_at": _time(sink.last_error_ms),
    }


def _source(job: Job, report: JobReport, source: SourceReport, *, readable: bool) -> dict[str, Any]:
    """How the source is doing; what it has withheld names columns, and is for those who may read what it writes."""
    since = source.delivered_ms
    return {
        "name": source.name if readable else None,
        "connector": source.connector,
        "state": source_state(report.state, source),
        "waiting_since": _time(source.waiting_since_ms),
        "delivered": source.delivered,
        "stored": report.written,
        "refused": report.errors + report.skipped,
        "withheld": dict(source.withheld) if readable else {},
        "values_withheld": sum(source.withheld.values()),
        "lag_events": report.lag,
        "last_event": _time(since),
        "seconds_since_event": None if since is None else round(max(0.0, time.time() - since / 1000), 3),
        "last_error": _last_error(job, source.last_error, readable=readable),
        "last_error_at": _time(source.last_error_ms),
    }


def _last_error(job: Job, text: str | None, *, readable: bool) -> str | None:
    if text is None:
        return None
    return without_paths(text, job.project) if readable else text.partition(":")[0]


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else utc_text(at_ms)


def _rounded(latency: LatencyReport, share: float) -> float | None:
    found = latency.percentile_ms(share)
    return None if found is None else float(f"{found:.2g}")


def _group(job: Job, one: ErrorGroup, *, shows: bool) -> dict[str, Any]:
    """The errors of one cause since the process started, and the command that processes the events again, or None.

    `shows`: whether the client may read them at the path in `details`.
    """
    command = f"headwater errors redrive {job.name} --group {one.group}"
    return {
        "group": one.group,
        "error_type": one.kind,
        "count": one.count,
        "first": utc_text(one.first_ms),
        "last": utc_text(one.last_ms),
        "message": one.message,
        "redrive": None if job.on_error == "skip" else command,
        "details": f"/v1/errors/{one.group}" if shows and job.on_error != "skip" else None,
    }
