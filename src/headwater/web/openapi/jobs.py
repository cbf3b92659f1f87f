"""The OpenAPI description of jobs: how they are, and how to pause, resume, reset and rewind one."""

from __future__ import annotations

from headwater.web.openapi.parts import JSON, answer, content, needing_key, operation, path, problems, query, repeated
from headwater.web.openapi.value_schemas import (
    Node,
    array_of,
    boolean,
    integer,
    moment,
    number,
    one_of,
    record,
    ref,
    text,
)

TAG = "Jobs"


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    changed: dict[str, Node] = {
        "job": text("The name of the job."),
        "do": _verb(),
        "consequences": array_of(text(), "What a reset or a rewind deletes, and what it leaves; else empty."),
    }
    return {
        "jobs": record({"jobs": array_of(_job())}),
        "job_changed": record(changed),
        "job_change_tried": record({"dry_run": boolean("Always true."), **changed}),
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    return {"/v1/jobs": {"get": _jobs()}, "/v1/jobs/{name}": {"post": _change()}}


def _jobs() -> Node:
    return operation(
        "listJobs",
        TAG,
        "How the jobs are, and what is measured of them",
        {
            "200": answer("The jobs that the client may know of", {JSON: ref("jobs")}),
            **problems({"401": "The API key is not valid", "404": "Unknown job"}),
        },
        parameters=[repeated("name", "Only this job.")],
    )


def _job() -> Node:
    counts = {
        "read": "Events that were read since the process started.",
        "written": "Events and rows that were written.",
        "errors": "Events that could not be processed.",
        "late": "Events that came too late.",
        "dropped": "Events that a step dropped.",
        "skipped": "Events that could not be processed and were left out.",
        "retried": "Calls that were made again.",
        "restarts": "Restarts after failures.",
        "state_keys": "Keys of which state is kept.",
        "state_bytes": "Bytes of that state.",
        "in_flight": "Events that were read and are not committed.",
        "waiting": "Those of them that wait to be tried again.",
        "parked": "Events that are to be tried again much later.",
    }
    milliseconds = {"p50_ms": "the median", "p99_ms": "the 99th percentile"}
    return record(
        {
            "name": text("The name; that of a job on private streams is not shown."),
            "place": text("Where it is defined.", nullable=True),
            "state": text("Such as `running`, `paused`, `restarting`, `stopped_on_error`."),
            "trouble": text("What is wrong with it now.", nullable=True),
            "processes": array_of(
                integer(), "The numbers of the processes that it runs in; empty: the platform's own."
            ),
            "watermark": text("Event time up to which it is complete.", nullable=True),
            "lag": integer("Records of its sources that it has not processed, when it was last looked.", nullable=True),
            "lag_seconds": number("How far the watermark is behind the clock; 0 if it lags not.", nullable=True),
            "latency": record(
                {
                    name: number(f"From receipt to commit, {what} of the last minutes.", nullable=True)
                    for name, what in milliseconds.items()
                }
            ),
            **{name: integer(description) for name, description in counts.items()},
            "sink": {**_sink(), "nullable": True, "description": "Of a job that writes by a sink."},
            "source": {**_source(), "nullable": True, "description": "Of a job that reads another system."},
            "error_groups": array_of(
                record(
                    {
                        "group": text("The cause."),
                        "error_type": text("The class of the cause."),
                        "count": integer("Since the process started."),
                        "first": moment("The first of them."),
                        "last": moment("The last of them."),
                        "message": text("Of the last of them."),
                        "redrive": text(
                            "The command that processes the events again; null if they were skipped.", nullable=True
                        ),
                        "details": text("The path of the last of them, if the client may read it.", nullable=True),
                    }
                ),
                "The causes of failures, the most frequent first.",
            ),
        }
    )


def _sink() -> Node:
    counts = {
        "rows_written": "Rows that were written, with those deleted, since the process started.",
        "rows_deleted": "Those of them that were deleted.",
        "rows_rejected": "Events that could not be written.",
        "rows_discarded": "Rows that the contract of the sink has left out.",
    }
    times = {
        "waiting_since": "Since when its target takes nothing; null if it does.",
        "last_commit": "When it wrote last.",
        "complete_until": "Of the lake: until when all hours are complete; null if that is not known.",
        "last_error_at": "When it failed last.",
    }
    return record(
        {
            "name": text("The name of its table; that of a sink on private streams is not shown.", nullable=True),
            "connector": text("Such as `sqlite`; `tables`: the database of the project's tables."),
            "state": text("That of its job, or `waiting`: its target takes nothing."),
            **{name: integer(description) for name, description in counts.items()},
            "lag_events": integer("Events that it has not written, when it was last looked.", nullable=True),
            "lag_seconds": number("The age of the oldest of them; 0 if there is none."),
            "last_error": text("The last error, with its reason.", nullable=True),
            **{name: moment(description, nullable=True) for name, description in times.items()},
        }
    )


def _source() -> Node:
    counts = {
        "delivered": "Events that its connector has delivered since the process started.",
        "stored": "Events that it has stored.",
        "refused": "Events that were not valid: error events, or skipped.",
        "values_withheld": "Values, rows and tables that it left out since no rule shows them.",
    }
    times = {
        "waiting_since": "Since when its upstream does not answer; null if it does.",
        "last_event": "When its connector delivered an event last.",
        "last_error_at": "When it failed last.",
    }
    withheld = {"type": "object", "additionalProperties": integer("How often."), "description": "By table and column."}
    return record(
        {
            "name": text("That of a source on private streams is not shown.", nullable=True),
            "connector": text("Such as `kafka`."),
            "state": text("That of its job, or `waiting`: its upstream does not answer."),
            **{name: integer(description) for name, description in counts.items()},
            "withheld": withheld,
            "lag_events": integer("Events that were not delivered yet, if the upstream reports them.", nullable=True),
            "seconds_since_event": number("Since `last_event`; null before the first.", nullable=True),
            "last_error": text("The last error, with its reason.", nullable=True),
            **{name: moment(description, nullable=True) for name, description in times.items()},
        }
    )


def _change() -> Node:
    body = {
        "do": _verb(),
        "to": moment("For `rewind`: the time of receipt from which on the job processes everything again."),
        "position": text(
            "For `rewind` of a source, instead of `to`: the position of its upstream after which it continues, if its"
            " connector can begin there.",
            minLength=1,
            maxLength=2_000,
        ),
    }
    described = operation(
        "changeJob",
        TAG,
        "Pause, resume, reset or rewind a job",
        {
            "200": answer("The consequences (dry_run)", {JSON: ref("job_change_tried")}),
            "202": answer("The request is durable; the job does so within seconds", {JSON: ref("job_changed")}),
            **problems(
                {
                    "404": "Unknown job",
                    "413": "The body is over the limit",
                    "422": "The request is invalid; nothing was changed",
                    "503": "The log cannot be written at the moment",
                    "507": "The disk is full; nothing was stored",
                }
            ),
        },
        parameters=[
            path("name", "The name of the job."),
            query("dry_run", "Report the consequences, and change nothing.", boolean()),
        ],
        requestBody={"required": True, "content": content({JSON: record(body, optional=("to", "position"))})},
    )
    return needing_key(described, "streams:write")


def _verb() -> Node:
    return one_of(("pause", "resume", "reset", "rewind"))
