"""What the OpenAPI document says of monitoring: canaries, complete hours, and counts that agree."""

from __future__ import annotations

from headwater.monitoring.health import CONDITIONS
from headwater.web.openapi.parts import JSON, answer, operation, problems, query, several
from headwater.web.openapi.value_schemas import (
    Node,
    listed,
    mapped,
    moment,
    number,
    one_of,
    record,
    ref,
    text,
    truth,
    whole,
)

TAG = "Monitoring"
STATES = ("complete", "empty", "missing", "unknown", "open")


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    return {
        "canaries": record(
            {
                "at": moment("When this was so."),
                "sending": truth("Whether this process sends canaries."),
                "conditions": mapped(whole(), "How many streams are in each condition."),
                "streams": listed(_health()),
            }
        ),
        "completeness": record(
            {
                "by": one_of(("event", "receipt")),
                "counted_until": _time("All that was received until then is counted; null: nothing yet."),
                "streams": listed(
                    record(
                        {
                            "stream": text(),
                            "whole": truth("Whether all these hours are complete or empty."),
                            "max_lateness_seconds": number("How late an event may come to its hour."),
                            "hours": listed(_hour()),
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
                "agrees": truth("Whether no hour differs."),
                "compared": whole("How many hours of streams were compared."),
                "hours": listed(_reconciled()),
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
            several("stream", "Only these streams."),
            several("condition", "Only streams in these conditions.", one_of(tuple(CONDITIONS))),
        ],
    )


def _completeness() -> Node:
    return operation(
        "completeness",
        TAG,
        "Whether the hours of streams are complete",
        {"200": answer("The hours, and whether batch work may begin", {JSON: ref("completeness")}), **_refusals()},
        parameters=[
            several("stream", "The streams; at least one.") | {"required": True},
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
            several("stream", "The streams; all where none is named."),
            query("differing", "Only hours in which the counts differ.", truth()),
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
            "up": truth("Whether its canaries arrive."),
            "hops": mapped(_time(), "Hop → when the newest canary that passed it was sent."),
            "error": text("What became of the last canary, where it did not arrive."),
        },
        optional=("error",),
    )
    ahead = record(
        {
            "hours": whole("Of so many last hours this is said."),
            "events": whole("Events that said they happened after their receipt."),
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
            "events_last_hour": whole("By receipt, in the last whole hour."),
            "required_within_seconds": number("How soon a canary has to arrive.", nullable=True),
            "clock_ahead": ahead,
            "topics": listed(topic),
        },
        optional=("clock_ahead",),
    )


def _hour() -> Node:
    counted = {
        "state": one_of(STATES),
        "events": whole(),
        "late": whole("After the hour was closed."),
        "canaries": whole(),
    }
    partition = record({"topic": text(), "partition": whole(), **counted})
    return record(
        {
            "hour": moment(),
            **counted,
            "whole": truth("Complete or empty."),
            "reason": text("Why it is neither."),
            "partitions": listed(partition),
        },
        optional=("reason",),
    )


def _reconciled() -> Node:
    return record(
        {
            "stream": text(),
            "hour": moment(),
            "accepted": whole("By the intakes; null before they were counted.", nullable=True),
            "written": whole("By jobs, and as error events."),
            "stored": whole("By the log's own account; null where it has none.", nullable=True),
            "delivered": whole("To the reader that counts."),
            "duplicates": whole(),
            "refused": whole(),
            "agrees": truth(),
            "differences": mapped(whole(), "Which counts differ by more than may be, and by how much."),
            "notes": listed(text()),
        }
    )


def _time(description: str = "") -> Node:
    return moment(description, nullable=True)
