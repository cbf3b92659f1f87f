"""How a job on Flink is doing, in the words of all jobs: its state, its counts, and what is wrong with it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from headwater.errors import HeadwaterError
from headwater.jobs.job import Job
from headwater.jobs.steps import NO_WATERMARK
from headwater.processing.failures.counts import largest_first
from headwater.processing.flink.cluster.answers import FlinkJob, Vertex, latest_reason
from headwater.processing.flink.cluster.client import FlinkCluster
from headwater.processing.flink.cluster.written import WrittenEvents
from headwater.processing.status import ERROR_SECONDS, JobReport, State, lag_seconds
from headwater.times import utc_text

# A job that has failed and was restarted is reported as failing for so long.
FAILURE_SECONDS = 60.0
_STATES: Mapping[str, State] = {
    "RESTARTING": "restarting",
    "FAILING": "restarting",
    "FAILED": "failed",
    "CANCELLING": "stopped",
    "CANCELED": "stopped",
    "FINISHED": "stopped",
    "SUSPENDED": "stopped",
}
# Since the last restart: what Flink's source has read and its sink has sent, and what our operators count.
_COUNTERS = re.compile(
    r"^Source__.*\.(?P<read>numRecordsIn)$|\.(?P<written>numRecordsSend)$"
    r"|\.headwater\.(?:(?P<errors>errors)|(?P<late>late))$"
)
# How the trouble of a job begins of which events fail.
EVENTS_FAIL = "events fail"


@dataclass(frozen=True, slots=True)
class FlinkLook:
    """What a look at the cluster has found of a job. `found` None: it knows no such job."""

    found: FlinkJob | None
    state: State
    trouble: str | None
    reason: str | None = None
    read: int = 0
    written: int = 0
    errors: int = 0
    late: int = 0
    restarts: int = 0
    watermark_ms: int = NO_WATERMARK
    parallelism: int = 0


async def look_at(cluster: FlinkCluster, name: str, *, now_ms: float | None = None) -> FlinkLook:
    """How the job of this name is doing there; errors of the cluster are what is wrong with it."""
    try:
        found = await cluster.newest(name)
        if found is None:
            return FlinkLook(None, "stopped", f"the Flink cluster at {cluster.url} has no job of this name")
        return await _look(cluster, found, time.time() * 1000 if now_ms is None else now_ms)
    except HeadwaterError as error:
        return FlinkLook(None, "elsewhere", f"it is not known how it is doing: {error.message}")


async def _look(cluster: FlinkCluster, job: FlinkJob, now_ms: float) -> FlinkLook:
    vertices = await cluster.vertices(job)
    state = _STATES.get(job.state, "starting")
    if job.state == "RUNNING":
        # A restarted job is said to run while its parts are being started.
        runs = all(one.state in ("RUNNING", "FINISHED") for one in vertices)
        state = "running" if runs else "starting"
    failures = await cluster.failures(job, limit=3)
    reason = latest_reason(failures)
    trouble = None
    if state in ("restarting", "failed"):
        trouble = f"{state}: {reason or 'Flink gives no reason'}"
    elif failures and not job.has_ended and now_ms - failures[0].at_ms < FAILURE_SECONDS * 1000:
        trouble = f"started again: {reason}"
    elif job.state in ("CANCELED", "SUSPENDED"):
        trouble = f"stopped: it was {job.state.lower()} on Flink"
    numbers = {} if job.has_ended else await cluster.metrics(job, ["numRestarts"])
    counts = Counter[str]() if job.has_ended else await _counts(cluster, job, vertices)
    return FlinkLook(
        found=job,
        state=state,
        trouble=trouble,
        reason=reason,
        read=counts["read"],
        written=counts["written"],
        errors=counts["errors"],
        late=counts["late"],
        restarts=int(numbers.get("numRestarts", 0)),
        watermark_ms=NO_WATERMARK if job.has_ended else await _watermark_ms(cluster, job, vertices),
        parallelism=max((one.parallelism for one in vertices), default=0),
    )


async def _counts(cluster: FlinkCluster, job: FlinkJob, vertices: tuple[Vertex, ...]) -> Counter[str]:
    counts = Counter[str]()
    for vertex in vertices:
        for name, total in (await cluster.vertex_sums(job, vertex, _COUNTERS)).items():
            counter = _COUNTERS.search(name)
            if counter is not None and counter.lastgroup is not None:
                counts[counter.lastgroup] += int(total)
    return counts


async def _watermark_ms(cluster: FlinkCluster, job: FlinkJob, vertices: tuple[Vertex, ...]) -> int:
    """The least of the parts that have one: those that read give theirs to the next."""
    found = [
        time_ms for one in vertices if one.inputs and (time_ms := await cluster.watermark_ms(job, one)) is not None
    ]
    # The end of all times is that of a job whose input has ended.
    return min((one for one in found if one < 2**62), default=NO_WATERMARK)


def report_of(
    job: Job, look: FlinkLook, lag: int | None, written: WrittenEvents | None = None, *, now_ms: float | None = None
) -> JobReport:
    """The report of a job on Flink. `lag`: the records it has not processed; `written`: its error events and late
    events; None if that is not known.
    """
    errors = None if written is None else written.errors
    late = None if written is None else written.late
    reason, trouble = look.reason, look.trouble
    last = None if written is None else written.last_error
    if last is not None and (time.time() * 1000 if now_ms is None else now_ms) - last.at_ms < ERROR_SECONDS * 1000:
        reason = reason if trouble is not None else last.message
        trouble = trouble or f"{EVENTS_FAIL}: {last.message}"
    skips = job.on_error == "skip"
    failed = look.errors if errors is None else errors
    return JobReport(
        name=job.name,
        place=None if job.place is None else str(job.place),
        state=look.state,
        read=look.read,
        written=look.written,
        errors=0 if skips else failed,
        late=look.late if late is None else late,
        skipped=failed if skips else 0,
        restarts=look.restarts,
        watermark=None if look.watermark_ms == NO_WATERMARK else utc_text(look.watermark_ms),
        position=None,
        last_error=reason,
        trouble=trouble,
        error_groups=() if written is None else largest_first(written.groups.groups.values()),
        lag=lag,
        lag_seconds=lag_seconds(lag, look.watermark_ms),
    )


def without_lag(look: FlinkLook, reason: str) -> FlinkLook:
    """The look at a job of which the lag cannot be read."""
    return look if look.trouble is not None else replace(look, trouble=f"its lag is not known: {reason}")
