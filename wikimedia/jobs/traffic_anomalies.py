"""Minutes in which a stream has far more or far fewer events than in the minutes before."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from headwater.event import CANARY_DOMAIN, get_path
from headwater.jobs import Context, Dedupe, Job, PerKey, ToStream, Transition
from headwater.times import utc_text

from ..content.unusual import POINTS_MIN, unusual

MINUTE_MS = 60_000
# Of a stream that stood still, at most so many minutes are looked at.
SILENT_MINUTES_MAX = 10_080


def configured(file: Path) -> dict[str, dict[str, Any]]:
    """The counted streams. Raises ValueError for a number of points that is too small."""
    streams: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    for stream, options in streams.items():
        points = options.get("points")
        if not isinstance(points, int) or points < POINTS_MIN or options.keys() - {"points", "key"}:
            raise ValueError(f"{file.name}: {stream} has `points`, at least {POINTS_MIN}, and maybe `key`.")
    return streams


STREAMS = configured(Path(__file__).parent.parent / "anomalies.yaml")


def series(event: Mapping[str, Any], context: Context) -> list[str]:
    """The stream and, if its events are counted apart, the value of the field."""
    stream = event["meta"]["stream"]
    path = STREAMS[stream].get("key")
    value = None if path is None else get_path(event, path)
    return [stream, "" if value is None else str(value)]


def counted(state: Any, event: Mapping[str, Any], context: Context) -> Transition:
    """One event more in its minute, or a canary, which shows that nothing else was in the way of events.

    State: `next`, the first minute that is not compared yet; `counts` of the minutes from there; the minutes with
    `canaries`; and the numbers `before`. Minutes are counted from 1970.
    """
    minute = context.event_time_ms // MINUTE_MS
    is_canary = get_path(event, "meta.domain") == CANARY_DOMAIN
    if state is None:
        if is_canary:
            return Transition(None)
        state = {"next": minute, "counts": {}, "canaries": [], "before": [], "compared": False}
    if minute < state["next"]:
        if state["compared"]:
            return Transition(state, late=[] if is_canary else [event])
        state["next"] = minute
    if is_canary:
        state["canaries"] = sorted({*state["canaries"], minute})
    else:
        state["counts"][str(minute)] = state["counts"].get(str(minute), 0) + 1
    context.timer(f"end of {minute}", at_ms=(minute + 1) * MINUTE_MS)
    return Transition(state)


def compared(state: Any, timer: str, context: Context) -> Transition:
    """Compare the minutes that have ended since the last one; those without events only if they had a canary."""
    ended = context.event_time_ms // MINUTE_MS
    if ended <= state["next"]:
        return Transition(state)
    stream, key = context.key
    found = list(_anomalies(state, max(state["next"], ended - SILENT_MINUTES_MAX), ended, STREAMS[stream]["points"]))
    state["canaries"] = [minute for minute in state["canaries"] if minute >= ended]
    state |= {"next": ended, "compared": True}
    return Transition(state, events=[{"stream": stream, "key": key, **anomaly} for anomaly in found])


def _anomalies(state: dict[str, Any], first: int, ended: int, points: int) -> Iterator[dict[str, Any]]:
    for minute in range(first, ended):
        value = state["counts"].pop(str(minute), 0)
        if value == 0 and minute not in state["canaries"]:
            continue
        why = unusual(value, state["before"])
        if why is None:
            state["before"] = [*state["before"], value][-points:]
            continue
        yield {
            "dt": utc_text((minute + 1) * MINUTE_MS),
            "minute": utc_text(minute * MINUTE_MS),
            "value": value,
            "median": why.median,
            "mad": why.mad,
            "score": why.score,
        }


traffic_anomalies = Job(
    "traffic_anomalies",
    tuple(STREAMS),
    steps=(
        Dedupe().step("dedupe"),
        PerKey("minutes", series, counted, compared),
    ),
    output=ToStream("traffic.anomaly.v1", "1.0.0"),
    out_of_order_ms=10_000,
    late_stream="traffic.anomaly.late",
    canaries=True,
    summary="Minutes in which a stream has far more or far fewer events than in the minutes before.",
)
