"""The project of the job campaign: streams in, jobs with operators, state, timers and lookups, and all that they write.

How this works: `edits` and `views` have one partition each, so that what is made of them in event time does not depend
on how they are read; `spread` has three, whose jobs processes may share. A job whose event time decides gets no event
that may be late, except for those that count late events.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from headwater.testing.service_kit import write_project

SERVICE = "campaign-intake"
EDITS, VIEWS, SPREAD = "edits", "views", "spread"
# Partitions of each input.
INPUTS = {EDITS: 1, VIEWS: 1, SPREAD: 3}
# Each stream that a job writes, by the job; late events are in a stream of their own.
OUTPUTS = {
    "passed": ("passed", "copies"),
    "kept": ("kept",),
    "asked": ("asked", "answers"),
    "parked": ("parked",),
    "asked_minutes": ("asked_minutes",),
    "chained": ("chained",),
    "totals": ("totals", "large"),
    "quiet": ("quiet",),
    "reminders": ("reminders",),
    "tumbled": ("tumbled", "tumbled_late"),
    "slid": ("slid",),
    "visits": ("visits",),
    "joined": ("joined",),
    "ordered": ("ordered",),
    "unique": ("unique",),
    "paced": ("paced",),
}
STREAMS = tuple(stream for streams in OUTPUTS.values() for stream in streams)
ERRORS = tuple(f"{job}.error" for job in OUTPUTS)
# Jobs that are reset and rewound; the others are exactly once all the same.
RESET, REWOUND = "totals", "kept"
PAUSED = ("tumbled", "joined", "asked", "passed")

JOBS = """
from dataclasses import dataclass
from headwater.errors import AnswerInvalid
from headwater.jobs import Dedupe, Join, NotYet, Rate, Reject, Reorder, Retry, job, session, sliding, table, tumbling


def on_time(event):
    return not event["is_late"]


@job(source="spread", sink="passed", outputs=("copies",), where=lambda event: event["number"] % 7 != 3)
def passed(event, context):
    number = event["number"]
    if number % 17 == 5:
        raise ValueError("this number is not accepted")
    for copy in range(number % 3):
        context.emit({"user": event["user"], "number": number, "copy": copy}, to="copies")
    return {"user": event["user"], "number": number}


@job(source="spread", sink="kept")
def kept(event, context):
    return {"user": event["user"], "number": event["number"]}


async def looked_up(event, context, timeout=0.3):
    job = context.log.name.rpartition(".")[2]
    url = f"{context.settings['service']}/{job}/{event['number']}"
    answer = await context.http.get(url, timeout=timeout, accept=(404,), attempts=1)
    if answer.status == 404:
        raise Reject("there is no such number")
    try:
        found = answer.json()
    except AnswerInvalid as error:
        raise NotYet("the answer is not JSON") from error
    if "error" in found:
        raise NotYet(found["error"]["code"])
    return found["value"]


@job(source="spread", sink="asked", outputs=("answers",), key="user", concurrency=16, timeout="5s",
     retry=Retry(within="120s", base="20ms", max="200ms"), settings={"service": ""})
async def asked(event, context):
    value = await looked_up(event, context)
    context.emit({"user": event["user"], "number": event["number"], "value": value}, to="answers")
    return {"user": event["user"], "number": event["number"], "value": value}


@asked.then(key="user", state=int)
def asked_numbered(event, context):
    context.state += 1
    return {**event, "position": context.state}


@job(source="spread", sink="parked", key="user", concurrency=16, timeout="30s", settings={"service": ""},
     retry=Retry(within="30ms", base="10ms", max="20ms", park="60ms,90ms,120ms,120ms,120ms", hold_key=True))
async def parked(event, context):
    # It gives up after a few attempts: those that a busy machine makes slow must not be among them.
    return {"user": event["user"], "number": event["number"], "value": await looked_up(event, context, timeout=25.0)}


@job(source="edits", key="user", concurrency=16, sink="asked_minutes", settings={"service": ""},
     retry=Retry(within="120s", base="20ms", max="200ms"))
async def asked_minutes(event, context):
    return {**event, "size": await looked_up(event, context)}


@asked_minutes.then(key="user", window=tumbling("1m", lateness="1d").count("edits").sum("size", "size"))
def asked_minute(window, context):
    return {"user": window.key, "start": window.start, "edits": window.edits, "size": window.size}


@job(source="asked", sink="chained", key="user", state=int)
def chained(event, context):
    context.state += 1
    return {"user": event["user"], "number": event["number"], "position": context.state}


@dataclass
class Total:
    edits: int = 0
    size: int = 0


@job(source="edits", sink="totals", outputs=("large",), key="user", state=Total)
def totals(event, context):
    context.state.edits += 1
    context.state.size += event["size"]
    if event["size"] % 10 == 9:
        context.emit({"user": event["user"], "number": event["number"]}, to="large")
    if event["size"] % 50 == 7:
        raise ValueError("this size is not accepted")
    return {"user": event["user"], "number": event["number"], "edits": context.state.edits, "size": context.state.size}


@job(source="edits", sink="quiet", key="user", state=list)
def quiet(event, context):
    context.state.append(event["number"])
    context.timer("quiet", after="90s")


@quiet.on_timer("quiet")
def was_quiet(context):
    numbers, context.state = context.state, []
    return {"user": context.key, "numbers": numbers}


@job(source="edits", sink="reminders", key="user", state=list)
def reminders(event, context):
    if not context.state:
        context.timer("due", after="300ms", clock="wall")
    context.state.append(event["number"])


@reminders.on_timer("due")
def remind(context):
    numbers, context.state = context.state, []
    return {"user": context.key, "numbers": numbers}


@job(source="edits", sink="tumbled", key="user", late="tumbled_late", out_of_order="20s", idle="1h",
     window=tumbling("1m", lateness="30s").count("edits").sum("size", "size"))
def tumbled(window, context):
    return {"user": window.key, "start": window.start, "edits": window.edits, "size": window.size}


@job(source="edits", sink="slid", key="user", out_of_order="20s", idle="200ms",
     window=sliding("2m", "1m", lateness="1d").count("edits").count_distinct("sizes", "size").max("newest", "number"))
def slid(window, context):
    return {"user": window.key, "start": window.start, "edits": window.edits, "sizes": window.sizes,
            "newest": window.newest}


@job(source="edits", sink="visits", key="user", where=on_time, out_of_order="20s", idle="1h",
     window=session("50s").count("edits").first("first", "number").top_k("top", "size", 2))
def visits(window, context):
    return {"user": window.key, "start": window.start, "end": window.end, "edits": window.edits, "first": window.first,
            "top": window.top}


# One of its two streams may be read ahead of the other by the events of one request.
@job(source="edits", sink="joined", key="user", where=on_time, out_of_order="60s", idle="1h",
     join=Join("views", within="30s", how="left"))
def joined(pair, context):
    edit, view = pair
    return {"user": edit["user"], "number": edit["number"], "view": None if view is None else view["number"]}


@job(source="edits", sink="ordered", key="user", where=on_time, out_of_order="20s", idle="1h",
     reorder=Reorder("rev", "60s", ttl="3650d"))
def ordered(event, context):
    return {"user": event["user"], "number": event["number"]}


@job(source="edits", sink="unique", key="user", dedupe=Dedupe("uid", ttl="3650d", clock="event"), state=int)
def unique(event, context):
    context.state += 1
    return {"user": event["user"], "uid": event["uid"], "number": event["number"], "position": context.state}


@job(source="edits", sink="paced", key="user", where=on_time, out_of_order="20s", idle="1h",
     rate=Rate(2, "1m", over="delay"))
def paced(event, context):
    return {"user": event["user"], "number": event["number"]}


latest = table("latest", source="totals", key="user", version="number",
               columns={"user": "text", "number": "integer", "edits": "integer"})
"""


def write_job_project(directory: Path, service_url: str) -> None:
    """Write the files; nothing is started. `service_url`: what the jobs with lookups ask."""
    names = (*INPUTS, *STREAMS)
    write_project(directory, [_schema(name) for name in names], [_stream(name) for name in names])
    (directory / "jobs").mkdir(exist_ok=True)
    (directory / "jobs" / "jobs.py").write_text(JOBS, encoding="utf-8")
    (directory / "headwater.yaml").write_text(yaml.safe_dump(_configuration(service_url)), encoding="utf-8")


def _schema(name: str) -> dict[str, Any]:
    return {
        "title": name,
        "$id": f"/{name}/1.0.0",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "required": ["$schema", "meta", "user"],
        "properties": {
            "$schema": _TEXT,
            "meta": {
                "type": "object",
                "required": ["stream"],
                "properties": {
                    "stream": _TEXT,
                    "id": _TEXT,
                    "dt": {"type": "string", "format": "date-time", "maxLength": 64},
                },
            },
            "user": _TEXT,
            "uid": _TEXT,
            **dict.fromkeys(("number", "rev", "size", "edits"), _INTEGER),
        },
    }


_TEXT: Mapping[str, Any] = {"type": "string", "maxLength": 400}
_INTEGER: Mapping[str, Any] = {"type": "integer", "minimum": -(2**53), "maximum": 2**53}


def _stream(name: str) -> dict[str, Any]:
    return {
        "stream": name,
        "schema_title": EDITS if name == "tumbled_late" else name,
        "transport": {
            "partitions": INPUTS.get(name, 2 if name == "asked" else 1),
            "message_key_fields": {"user": "user"},
            "retention": "3650d",
        },
        "produce": {"destination_event_service": SERVICE},
        "monitor": {"canary": {"enabled": False}},
    }


def _configuration(service_url: str) -> dict[str, Any]:
    settings = {job: {"service": service_url} for job in ("asked", "parked", "asked_minutes")}
    return {
        "log": {"url": "sqlite:///var/events.db", "durability": "os"},
        "intake": {"service_name": SERVICE},
        "jobs": {"settings": settings},
        "monitoring": {"canaries": False},
        # Its failures are many, and are to reach the jobs.
        "lookups": {"retries_percent_max": 1000, "pause_seconds_max": 0.2, "requests_per_host_max": 128},
    }
