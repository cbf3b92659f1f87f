"""The job queue of wikis: which jobs have to run, and running them by requests to an executor.

How this works: the first job drops what need not run and divides the rest into lanes and shards. It remembers what it
has passed on in the transaction that writes it, so that a crash neither loses a job nor passes it on twice. For each
lane another job sends them. One that has to wait, for its time or because it failed, is parked and holds up no other.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.errors import LookupUnavailable
from headwater.event import get_path
from headwater.jobs import Await, Context, Dedupe, Each, Job, Postpone, Reject, Retry, ToStream
from headwater.jobs.durations import milliseconds
from headwater.jobs.rules.executing import CallRefused, GivenUp
from headwater.jobs.rules.repeats import now_ms, repeats
from headwater.times import time_ms

from ..content import pages
from ..content.job_types import LANES, queue_of

QUEUE = queue_of((Path(__file__).parent.parent / "job_queue.yaml").read_text("utf-8"))
RETRIES = "cpjobqueue.retry.v1"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
# An older root event belongs to work that was given up long ago.
ROOT_AGE_MS_MAX = 7 * DAY_MS
# A failed job runs again so long after its failure.
DELAYS_MS = (60_000, 360_000)
# While the wiki is read-only, a job waits at least so long, and at most twice.
READ_ONLY_MS = 30_000
IGNORED = frozenset((412,))
REASON_CHARS_MAX = 1_000
# How often it was called for without a failure; only the job itself writes it, into its state.
WAITS = "waits"
CONCURRENCY_MAX, MARGIN_MS = 10_000, 30_000


def partitioned(lane: str) -> str:
    """The stream of a lane."""
    return f"cpjobqueue.partitioned.{lane}"


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The job, with what its id is within its wiki; raises InvalidInput if it lacks what every job has."""
    pages.field(event, "type", str)
    pages.field(event, "database", str)
    event_id = get_path(event, "meta.id")
    return event if event_id is None else {**event, "known_as": [get_path(event, "meta.domain"), event_id]}


def not_abandoned(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The job, unless its root event is too old."""
    text = get_path(event, "root_event.dt")
    at = time_ms(text) if isinstance(text, str) else None
    if at is None or now_ms(context) - at <= ROOT_AGE_MS_MAX:
        return event
    context.metrics.counter("abandoned")
    return None


def divided(event: dict[str, Any], context: Context) -> None:
    """Pass the job on, in its lane and shard."""
    event.pop("known_as", None)
    found = {"type": event["type"], "database": event["database"], "shard": QUEUE.shard(event["database"])}
    lane = QUEUE.type(event["type"]).lane
    context.emit({**found, "lane": lane, "stream": str(context.stream), "job": event}, to=partitioned(lane))


job_queue_admission = Job(
    "job_queue_admission",
    QUEUE.streams,
    steps=(
        Each("checked", checked),
        Dedupe("known_as", HOUR_MS / 1000).step("repeated_id"),
        *repeats(HOUR_MS)[1:2],
        *repeats(DAY_MS)[2:],
        Each("not_abandoned", not_abandoned),
        Each("divided", divided),
    ),
    outputs=tuple(ToStream(partitioned(lane), "1.0.0") for lane in LANES),
    summary="Drops jobs of wikis that need not run, and divides the others into lanes and shards.",
)


def claim(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The job to run; raises InvalidInput for an event that is none."""
    job = pages.field(event, "job", dict)
    pages.field(job, "type", str)
    return {"job": job, "stream": pages.field(event, "stream", str)}


def turn(item: Mapping[str, Any], context: Context) -> list[Any]:
    """Jobs of a type take turns in as many rows as may run at a time."""
    kind = item["job"]["type"]
    rows = QUEUE.type(kind).concurrency
    return [kind, zlib.crc32(context.lineage_id.encode()) % rows]


async def execute(item: dict[str, Any], context: Context) -> None:
    """Run the job. Raises Postpone, CallRefused, GivenUp."""
    job, waits = item["job"], item.get(WAITS, 0)
    until = time_ms(job["delay_until"]) if isinstance(job.get("delay_until"), str) else None
    wait_ms = 0 if until is None or waits else until - now_ms(context)
    if wait_ms > 0:
        raise Postpone("It is not its time yet.", after=wait_ms / 1000, event={**item, WAITS: 1})
    status, is_read_only, reason = await _answered(job, context)
    if is_read_only:
        context.metrics.counter("read_only")
        after_ms = READ_ONLY_MS + zlib.crc32(f"{context.lineage_id}{waits}".encode()) % (READ_ONLY_MS + 1)
        # It has failed as often as before.
        raise Postpone(reason, after=after_ms / 1000, event={**item, WAITS: waits + 1})
    if status is not None and (status < 400 or status in IGNORED):
        context.metrics.counter(f"executed.{job['type']}")
        return
    context.metrics.counter(f"failed.{job['type']}")
    if status is not None and status < 500:
        raise CallRefused(reason)
    failures = context.attempt - waits
    if failures > len(DELAYS_MS):
        raise GivenUp(f"{reason} Executions that failed: {failures}.")
    retry = {
        "emitter_id": f"cpjobqueue#{job['type']}",
        "retries_left": len(DELAYS_MS) - failures + 1,
        "original_event": job,
        "reason": reason[:REASON_CHARS_MAX],
        **({} if status is None else {"error_status": status}),
    }
    context.emit(retry, to=RETRIES)
    raise Postpone(reason, after=DELAYS_MS[failures - 1] / 1000)


async def _answered(job: Mapping[str, Any], context: Context) -> tuple[int | None, bool, str]:
    """Status, None without an answer; whether the wiki is read-only; and what to say of it."""
    url = context.settings["executor"]
    if not url:
        raise Reject("The job job_queue knows no executor; set `executor` to its address.")
    try:
        answer = await context.http.request(
            "POST",
            url,
            json=job,
            headers={"Idempotency-Key": context.idempotency_key},
            accept=range(400, 600),
            attempts=1,
            timeout=min(QUEUE.type(job["type"]).timeout_ms, milliseconds(context.settings["timeout_max"])) / 1000,
        )
    except (LookupUnavailable, ConnectionError, TimeoutError) as error:
        return getattr(error, "status", None), False, str(error)
    is_read_only = answer.status >= 400 and answer.headers.get("X-Readonly", "").lower() in ("1", "true")
    return answer.status, is_read_only, f"{job['type']} was answered {answer.status}."


def executing(name: str, lane: str) -> Job:
    """The job that runs what is in a lane."""
    types = QUEUE.of_lane(lane)
    return Job(
        name,
        (partitioned(lane),),
        steps=(
            Each("claim", claim),
            Await(
                "execute",
                execute,
                concurrency=min(CONCURRENCY_MAX, sum(one.concurrency for one in types)),
                retry=Retry(within=0, park=[delay / 1000 for delay in DELAYS_MS]),
                timeout_ms=max(one.timeout_ms for one in types) + MARGIN_MS,
                key=turn,
            ),
        ),
        outputs=(ToStream(RETRIES, "1.0.0"),),
        settings={"executor": "", "timeout_max": "20m"},
        summary=f"Runs the jobs of wikis that are in the lane {lane}.",
    )


job_queue = executing("job_queue", "default")
job_queue_low = executing("job_queue_low", "low")
