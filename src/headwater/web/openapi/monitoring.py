"""What the OpenAPI document says of monitoring: canaries, complete hours, and counts that agree."""

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
                "at": moment("When this was so."),
                "sending": boolean("Whether this process sends canaries."),
                "conditions": map_of(integer(), "How many streams are in each condition."),
                "streams": array_of(_health()),
            }
        ),
        "completeness": record(
            {
                "by": one_of(("event", "receipt")),
                "counted_until": _time("All that was received until then is counted; null: nothing yet."),
                "streams": array_of(
                    record(
                        {
                            "stream": text(),
                            "whole": boolean("Whether all these hours are complete or empty."),
                            "max_lateness_seconds": number("How late an event may come to its hour."),
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
                "counted_until": _time("All that was received until then is counted; null: nothing yet."),
                "agrees": boolean("Whether no hour differs."),
                "compared": integer("How many hours of streams were compared."),
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
        "How the streams are, and how far their canaries come",
        {
            "200": answer("The streams", {JSON: ref("canaries")}),
            **problems({"400": "There is no such condition", "404": "There is no such stream"}),
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
        {"200": answer("The hours, and whether batch work may begin", {JSON: ref("completeness")}), **_refusals()},
        parameters=[
            repeated("stream", "The streams; at least one.") | {"required": True},
            query("by", "Hours of the events' own time, or of receipt.", one_of(("event", "receipt"))),
            *_hours(),
        ],
    )


def _reconciliation() -> Node:
    return operation(
        "reconciliation",
        TAG,
        "What was accepted, stored and delivered, by hour of receipt",
        {"200": answer("The counts", {JSON: ref("reconciliation")}), **_refusals()},
        parameters=[
            repeated("stream", "The streams; all where none is named."),
            query("differing", "Only hours in which the counts differ.", boolean()),
            *_hours(),
        ],
    )


def _hours() -> list[Node]:
    return [
        query("hour", "One hour, such as `2026-01-31T13`, in UTC."),
        query("from", "The first hour; without it, 24 hours before `to`."),
        query("to", "The hour after the last one; without it, up to now."),
    ]


def _refusals() -> dict[str, Node]:
    return problems(
        {
            "400": "What is asked for cannot be read",
            "404": "There is no such stream, or none is named",
            "413": "More hours of streams than one answer holds (20,000)",
        }
    )


def _health() -> Node:
    topic = record(
        {
            "topic": text(),
            "prefix": text("The datacenter's prefix, empty where there is none."),
            "up": boolean("Whether its canaries arrive."),
            "hops": map_of(_time(), "Hop → when the newest canary that passed it was sent."),
            "error": text("What became of the last canary, where it did not arrive."),
        },
        optional=("error",),
    )
    ahead = record(
        {
            "hours": integer("Of so many last hours this is said."),
            "events": integer("Events that said they happened after their receipt."),
            "seconds_max": number("By how much at most."),
        }
    )
    ahead["description"] = "Clocks of its producers that run ahead; absent where none does."
    return record(
        {
            "stream": text(),
            "condition": one_of(tuple(CONDITIONS)),
            "reason": text("Why it is in this condition, in a sentence."),
            "last_canary": _time(),
            "last_event": _time(),
            "events_last_hour": integer("By receipt, in the last whole hour."),
            "required_within_seconds": number("How soon a canary has to arrive.", nullable=True),
            "clock_ahead": ahead,
            "topics": array_of(topic),
        },
        optional=("clock_ahead",),
    )


def _hour() -> Node:
    counted = {
        "state": one_of(STATES),
        "events": integer(),
        "late": integer("After the hour was closed."),
        "canaries": integer(),
    }
    partition = record({"topic": text(), "partition": integer(), **counted})
    return record(
        {
            "hour": moment(),
            **counted,
            "whole": boolean("Complete or empty."),
            "reason": text("Why it is neither."),
            "partitions": array_of(partition),
        },
        optional=("reason",),
    )


def _reconciled() -> Node:
    return record(
        {
            "stream": text(),
            "hour": moment(),
            "accepted": integer("By the intakes; null before they were counted.", nullable=True),
            "written": integer("By jobs, and as error events."),
            "stored": integer("By the log's own account; null where it has none.", nullable=True),
            "delivered": integer("To the reader that counts."),
            "duplicates": integer(),
            "refused": integer(),
            "agrees": boolean(),
            "differences": map_of(integer(), "Which counts differ by more than may be, and by how much."),
            "notes": array_of(text()),
        }
    )


def _time(description: str = "") -> Node:
    return moment(description, nullable=True)
