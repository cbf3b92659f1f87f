"""The OpenAPI description of monitoring: canaries, complete hours, and reconciliation."""

from __future__ import annotations

from headwater.monitoring.health import CONDITIONS
from headwater.web.openapi.parts import JSON, answer, operation, problems, query, repeated
from headwater.web.openapi.value_schemas import (
    Node,
    array_of,
    boolean,
    integer,
    map_of,
    moment,
    number,
    one_of,
    record,
    ref,
    text,
)

TAG = "Monitoring"
STATES = ("complete", "empty", "missing", "unknown", "open")


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    return {
        "canaries": record(
            {
                "at": moment("The time of this report."),
                "sending": boolean("Whether this process sends canaries."),
                "conditions": map_of(integer(), "Number of streams in each condition."),
                "streams": array_of(_health()),
            }
        ),
        "completeness": record(
            {
                "by": one_of(("event", "receipt")),
                "counted_until": _time("Everything received before this time is counted; null: nothing yet."),
                "streams": array_of(
                    record(
                        {
                            "stream": text(),
                            "whole": boolean("Whether all these hours are complete or empty."),
                            "max_lateness_seconds": number("How late an event of an hour may arrive."),
                            "hours": array_of(_hour()),
                        }
                    )
                ),
            }
        ),
        "reconciliation": record(
            {
                "from": moment("The first hour."),
                "to": moment("The hour after the last one."),
                "counted_until": _time("Everything received before this time is counted; null: nothing yet."),
                "agrees": boolean("Whether no hour differs."),
                "compared": integer("Number of stream hours that were compared."),
                "hours": array_of(_reconciled()),
            }
        ),
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    return {
        "/v1/canaries": {"get": _canaries()},
        "/v1/completeness": {"get": _completeness()},
        "/v1/reconciliation": {"get": _reconciliation()},
    }


def _canaries() -> Node:
    return operation(
        "canaries",
        TAG,
        "The condition of streams, and how far their canaries get",
        {
            "200": answer("The streams", {JSON: ref("canaries")}),
            **problems({"400": "Unknown condition", "404": "Unknown stream"}),
        },
        parameters=[
            repeated("stream", "Only these streams."),
            repeated("condition", "Only streams in these conditions.", one_of(tuple(CONDITIONS))),
        ],
    )


def _completeness() -> Node:
    return operation(
        "completeness",
        TAG,
        "Whether the hours of streams are complete",
        {"200": answer("The hours, and whether batch jobs may start", {JSON: ref("completeness")}), **_refusals()},
        parameters=[
            repeated("stream", "The streams; at least one.") | {"required": True},
            query("by", "Hours of event time, or of the time of receipt.", one_of(("event", "receipt"))),
            *_hours(),
        ],
    )


def _reconciliation() -> Node:
    return operation(
        "reconciliation",
        TAG,
        "Counts of accepted, stored and delivered events, by hour of receipt",
        {"200": answer("The counts", {JSON: ref("reconciliation")}), **_refusals()},
        parameters=[
            repeated("stream", "The streams; all by default."),
            query("differing", "Only hours in which the counts differ.", boolean()),
            *_hours(),
        ],
    )


def _hours() -> list[Node]:
    return [
        query("hour", "One hour, such as `2026-01-31T13`, in UTC."),
        query("from", "The first hour (default: 24 hours before `to`)."),
        query("to", "The hour after the last one (default: now)."),
    ]


def _refusals() -> dict[str, Node]:
    return problems(
        {
            "400": "Invalid parameters",
            "404": "Unknown stream, or none is named",
            "413": "More stream hours than one response can hold (20,000)",
        }
    )


def _health() -> Node:
    topic = record(
        {
            "topic": text(),
            "prefix": text("The datacenter prefix, empty if there is none."),
            "up": boolean("Whether its canaries arrive."),
            "hops": map_of(_time(), "Hop → when the newest canary that passed it was sent."),
            "error": text("What happened to the last canary, if it did not arrive."),
        },
        optional=("error",),
    )
    ahead = record(
        {
            "hours": integer("The number of hours this covers."),
            "events": integer("Events whose event time is after their receipt."),
            "seconds_max": number("The largest difference."),
        }
    )
    ahead["description"] = "Producers' clocks that run ahead; absent if none does."
    return record(
        {
            "stream": text(),
            "condition": one_of(tuple(CONDITIONS)),
            "reason": text("Why it is in this condition, in a sentence."),
            "last_canary": _time(),
            "last_event": _time(),
            "events_last_hour": integer("By receipt, in the last complete hour."),
            "required_within_seconds": number("The time within which a canary must arrive.", nullable=True),
            "clock_ahead": ahead,
            "topics": array_of(topic),
        },
        optional=("clock_ahead",),
    )


def _hour() -> Node:
    counted = {
        "state": one_of(STATES),
        "events": integer(),
        "late": integer("Events that arrived after the hour was closed."),
        "canaries": integer(),
    }
    partition = record({"topic": text(), "partition": integer(), **counted})
    return record(
        {
            "hour": moment(),
            **counted,
            "whole": boolean("Complete or empty."),
            "reason": text("The reason if it is neither."),
            "partitions": array_of(partition),
        },
        optional=("reason",),
    )


def _reconciled() -> Node:
    return record(
        {
            "stream": text(),
            "hour": moment(),
            "accepted": integer("By the intakes; null before counting started.", nullable=True),
            "written": integer("By jobs, and as error events."),
            "stored": integer("By the log's own count; null if it has none.", nullable=True),
            "delivered": integer("To the counting reader."),
            "duplicates": integer(),
            "refused": integer(),
            "agrees": boolean(),
            "differences": map_of(integer(), "Which counts differ by more than is allowed, and by how much."),
            "notes": array_of(text()),
        }
    )


def _time(description: str = "") -> Node:
    return moment(description, nullable=True)
