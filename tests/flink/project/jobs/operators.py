"""A job for each thing that a job can have. All give the same on Flink as embedded, error events included."""

from __future__ import annotations

import asyncio
from typing import Any

from headwater.jobs import (
    Context,
    Dedupe,
    Join,
    NotYet,
    Pair,
    Rate,
    Reorder,
    Retry,
    Window,
    job,
    session,
    sliding,
    tumbling,
)

Event = dict[str, Any]


def result(page: str, **value: Any) -> Event:
    return {"page": page, "value": value}


@job(source="edits", sink="cleaned", outputs="shouted")
def cleaned(edit: Event, context: Context) -> list[Event] | None:
    """Without a key: filters, makes several events of one, emits to another stream, and fails for some."""
    if edit["number"] % 7 == 0:
        return None
    if edit["number"] % 11 == 0:
        raise ValueError(f"{edit['number']} is a multiple of eleven")
    if edit["number"] % 13 == 0:
        # Not what the schema allows.
        return [{"page": 13, "value": {}}]
    if edit["number"] % 5 == 0:
        context.emit(result(edit["page"], loud=edit["page"].upper()), to="shouted")
    edit["bytes"] += 1
    return [result(edit["page"], number=edit["number"], part=part, bytes=edit["bytes"]) for part in range(2)]


@job(source="edits", sink="called", key="page", concurrency=20, retry=Retry("30s", "0.02s", "0.1s"), timeout="5s")
async def called(edit: Event, context: Context) -> Event:
    """Waits for another service: with retries, and failures that are given up."""
    await asyncio.sleep(0.001 * (edit["number"] % 5))
    if edit["number"] % 17 == 0 and context.attempt < 3:
        raise NotYet("it is not there yet")
    if edit["number"] % 19 == 0:
        raise LookupError(f"no user of {edit['page']}")
    return result(edit["page"], number=edit["number"], attempt=context.attempt)


@called.then(key="page", state=dict)
def called_in_order(done: Event, context: Context) -> Event:
    """Behind the calls, by key: the order of the calls of a page is that of its events."""
    seen = context.state.get("numbers", [])
    context.state["numbers"] = [*seen, done["value"]["number"]][-5:]
    return result(done["page"], **done["value"], last=context.state["numbers"])


@job(source="edits", sink="counted", key="page", state=dict, state_ttl="2h")
def counted(edit: Event, context: Context) -> Event:
    """State by key, which is deleted after a time; a function that fails changes nothing of it."""
    state = context.state
    state["edits"] = state.get("edits", 0) + 1
    state["users"] = sorted({*state.get("users", []), edit["user"]})
    if edit["number"] % 23 == 0:
        raise RuntimeError("the state stays as it was")
    return result(edit["page"], number=edit["number"], edits=state["edits"], users=state["users"])


@counted.then(key="page", state=int)
def counted_twice(made: Event, context: Context) -> Event:
    """A second state behind the first."""
    context.state += made["value"]["edits"]
    return result(made["page"], **made["value"], sum=context.state)


@job(
    source="edits",
    sink="per_minute",
    key="page",
    window=tumbling("1m").count("edits").sum("size", "bytes"),
    out_of_order="20s",
    late="late_edits",
    idle="never",
)
def per_minute(window: Window, context: Context) -> Event:
    """A window for each minute, and a stream for what comes too late."""
    return result(window.key, start=window.start, edits=window.edits, bytes=window.size)


@job(
    source="edits",
    sink="per_session",
    key="page",
    window=session("90s").count("edits"),
    out_of_order="20s",
    idle="never",
)
def per_session(window: Window, context: Context) -> Event:
    return result(window.key, start=window.start, end=window.end, edits=window.edits)


@job(
    source="edits",
    sink="per_slide",
    key="page",
    window=sliding("2m", "1m").count("edits"),
    out_of_order="20s",
    idle="never",
)
def per_slide(window: Window, context: Context) -> Event:
    return result(window.key, start=window.start, edits=window.edits)


@job(source="edits", sink="distinct", dedupe=Dedupe("page", "10s", clock="event"), out_of_order="20s")
def distinct(edit: Event, context: Context) -> Event:
    """By what is also the key of the stream: which of two events in different partitions came first is not promised."""
    return result(edit["page"], user=edit["user"], number=edit["number"])


@job(source="edits", sink="woken", key="page", state=dict, out_of_order="20s", idle="never")
def woken(edit: Event, context: Context) -> None:
    """Timers with names: one that is moved by each event, one that stays, and one that is cancelled at once."""
    context.state["last"] = edit["number"]
    context.timer("quiet", after="45s")
    if "first" not in context.state:
        context.state["first"] = edit["number"]
        context.timer("hour", after="3m")
        context.timer("never", after="1m")
    context.cancel("never")


@woken.on_timer("quiet")
def quiet(context: Context) -> Event:
    return result(context.key, timer="quiet", last=context.state["last"], at=context.event_time_ms)


@woken.on_timer("hour")
def hour(context: Context) -> Event:
    return result(context.key, timer="hour", first=context.state["first"], at=context.event_time_ms)


@woken.on_timer("never")
def never(context: Context) -> Event:
    raise RuntimeError("it was cancelled")


@job(
    source="edits", sink="ordered", key="page", reorder=Reorder("number", hold="30s"), out_of_order="20s", idle="never"
)
def ordered(edit: Event, context: Context) -> Event:
    return result(edit["page"], number=edit["number"])


@ordered.then(key="page", state=list)
def ordered_and_kept(made: Event, context: Context) -> Event:
    """Behind a step that holds events, so that the watermark is earlier here."""
    context.state = [*context.state, made["value"]["number"]][-4:]
    return result(made["page"], numbers=context.state)


@job(
    source="edits",
    sink="joined",
    key="page",
    join=Join("views", within="20s", how="left"),
    out_of_order="20s",
    idle="never",
)
def joined(pair: Pair, context: Context) -> Event:
    edit, view = pair
    return result(edit["page"], edit=edit["number"], view=None if view is None else view["number"])


@job(source="edits", sink="limited", key="page", rate=Rate(2, "1m"), out_of_order="20s", idle="never")
def limited(edit: Event, context: Context) -> Event:
    return result(edit["page"], number=edit["number"])
