"""The OpenAPI description of events that jobs could not process: their causes, one of them, and their redrive."""

from __future__ import annotations

from headwater.web.openapi.parts import JSON, answer, content, needing_key, operation, path, problems, query, repeated
from headwater.web.openapi.value_schemas import Node, array_of, boolean, integer, map_of, moment, record, ref, text

TAG = "Failures"

_COMPLETE = "Whether all errors were read; if not, ask for fewer jobs, or with `since`."


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    return {"failure_group": _group(), "failure": _failure(), "redriven": _redriven()}


def paths() -> dict[str, Node]:
    """Path → operations."""
    return {
        "/v1/errors": {"get": _groups()},
        "/v1/errors/{name}": {"get": _one()},
        "/v1/errors/redrive": {"post": _redrive()},
    }


def _groups() -> Node:
    listed = record(
        {
            "jobs": array_of(text(), "The jobs whose errors were read."),
            "groups": array_of(ref("failure_group"), "By job, and the most frequent first."),
            "next": text("The `after` of the next page; null at the end.", nullable=True),
            "complete": boolean(_COMPLETE),
        }
    )
    return operation(
        "listFailures",
        TAG,
        "The causes for which jobs could not process events",
        {
            "200": answer("Those of the jobs whose error streams the client may read", {JSON: listed}),
            **problems(
                {
                    "400": "A filter or a time is invalid",
                    "401": "The errors of a job need an API key",
                    "403": "The API key is not good for the errors of a job",
                    **_common("Unknown job"),
                }
            ),
        },
        parameters=[
            repeated("job", "Only this job."),
            query("group", "Only errors of this cause."),
            repeated("where", "Only errors that match: a filter, in which `event` is what failed, or `PATH=TEXT`."),
            query("since", "Only events that failed since this time.", text()),
            query("until", "Only events that failed before this time.", text()),
            query("limit", "How many groups at most.", integer(minimum=1, maximum=1000, default=100)),
            query("after", "The `next` of the page before."),
        ],
    )


def _one() -> Node:
    shown = "The newest error of the group, or the one with this id, with the event if the client may read it"
    return operation(
        "getFailure",
        TAG,
        "One error, with the event that failed",
        {
            "200": answer(shown, {JSON: ref("failure")}),
            **problems(
                {
                    "401": "The errors of the job need an API key",
                    "403": "The API key is not good for the errors of the job",
                    **_common("There is no such error, or the client may not read it"),
                }
            ),
        },
        parameters=[
            path("name", "A group, the id of an error event, or that of the event that failed."),
            repeated("job", "Only errors of this job."),
        ],
    )


def _redrive() -> Node:
    body = {
        "job": text("The job that is to process its events again."),
        "group": text("Only errors of this cause."),
        "where": array_of(text(), "Only errors that match all of these filters, as of `GET /v1/errors`."),
        "since": text("Only events that failed since this time."),
        "until": text("Only events that failed before this time."),
        "limit": integer("How many events at most.", minimum=1, maximum=10_000, default=1000),
    }
    described = operation(
        "redriveFailures",
        TAG,
        "Let a job process events again that failed",
        {
            "200": answer("What would be redriven (dry_run)", {JSON: ref("redriven")}),
            "202": answer("These are durable; the job processes them within seconds", {JSON: ref("redriven")}),
            **problems(
                {
                    "400": "A filter or a time is invalid",
                    "413": "The body is over the limit",
                    "422": "The request is invalid; nothing was redriven",
                    "507": "The disk is full",
                    **_common("Unknown job"),
                }
            ),
        },
        parameters=[query("dry_run", "Only count what would be redriven.", boolean())],
        requestBody={
            "required": True,
            "content": content({JSON: record(body, optional=tuple(name for name in body if name != "job"))}),
        },
    )
    return needing_key(described, "streams:write")


def _common(unknown: str) -> dict[str, str]:
    return {
        "404": unknown,
        "429": "Too many such requests are waiting",
        "503": "The log does not answer, or errors are being redriven by another process",
    }


def _group() -> Node:
    return record(
        {
            "job": text(),
            "group": text("The cause."),
            "error_type": text("The class of the cause."),
            "step": text("The step of the job."),
            "exception": text("The class of the exception."),
            "count": integer("How many error events are in the log."),
            "redriven": integer("How many of them were redriven."),
            "compact": integer("How many of them have no stack, because there were too many in a minute."),
            "first": moment("When the first of them failed."),
            "last": moment("When the last of them failed."),
            "message": text("Of the last of them."),
            "sample": text("The id of the last error event."),
            "first_ms": integer("`first` in epoch milliseconds."),
            "last_ms": integer("`last` in epoch milliseconds."),
        }
    )


def _failure() -> Node:
    any_value: Node = {"description": "Any JSON value.", "nullable": True}
    event = record(
        {
            "id": text("`meta.id`.", nullable=True),
            "stream": text("The stream that it was read from.", nullable=True),
            "place": text("`topic/partition/offset`.", nullable=True),
            "key": text("The key that the step keeps state by, as JSON.", nullable=True),
            "bytes": integer(),
            "value": any_value,
            "raw": text("Its text."),
            "missing": text("Why it is not here.", nullable=True),
        }
    )
    redrive = record(
        {
            "redrive": text("The id of the redrive."),
            "by": text("Who did it."),
            "at": moment(),
            "filter": map_of(any_value),
            "mapper": text("The function that changed the events.", nullable=True),
        }
    )
    return record(
        {
            "job": text(),
            "group": text("The cause."),
            "id": text("The id of the error event."),
            "error_type": text("The class of the cause."),
            "exception": text("The class of the exception.", nullable=True),
            "step": text("The step of the job.", nullable=True),
            "message": text(),
            "stack": text(nullable=True),
            "at": text("When it failed.", nullable=True),
            "attempt": integer("Which attempt this was, counted from 1."),
            "first_failed_at": text(nullable=True),
            "found": integer("How many errors have this name."),
            "error_event": text("Where the error event is: `topic/partition/offset`."),
            "event": event,
            "continues_with": text("The step that a redrive continues with; null: the first.", nullable=True),
            "input": any_value,
            "redrives": array_of(redrive, "Who has redriven it."),
            "complete": boolean(_COMPLETE),
        }
    )


def _redriven() -> Node:
    reason = record({"error": text("The id of an error event."), "reason": text()})
    return record(
        {
            "job": text(),
            "dry_run": boolean(),
            "errors": integer("Error events about the events that are redriven."),
            "events": integer("Events that the job processes again."),
            "redriven_before": integer("Errors that were redriven before, and are not again."),
            "left_out": integer("Always 0: only the command line changes events on the way."),
            "impossible": integer("Errors that cannot be redriven."),
            "reasons": array_of(reason, "Why, for the first of them."),
            "complete": boolean("Whether there are no further errors; if not, repeat the request: it continues."),
        }
    )
