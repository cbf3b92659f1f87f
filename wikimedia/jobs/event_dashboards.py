"""Tables and charts of streams of events, made of their schemas: nothing has to be written for another stream.

How this works: the first job adds up, by minute, all events of a stream and those with each value of each dimension.
The second one writes the charts of a stream in the language Vega-Lite, once for each version of its schema. A value
that was never there before is another colour of a chart; beyond 50 of a dimension, values are one. A late event, of
the last day, makes the rows of its minute again: `events` is their version.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.event import get_path
from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition, Window, tumbling
from headwater.jobs.operators.aggregates import Aggregate

from ..content import pages
from ..content.dashboards import OTHER, VALUES_MAX, Columns, columns_of, observed, options_of, vega_lite
from ..content.valid_events import document

STREAMS = options_of((Path(__file__).parent.parent / "dashboards.yaml").read_text("utf-8"))
# One event that stood for more would be most of its minute, or more than numbers can be.
RATE_MIN = 1e-9


@functools.cache
def columns(stream: str, uri: str) -> Columns:
    """The columns of the events of a stream with this schema."""
    return columns_of(document(uri), STREAMS[stream])


def items(event: Mapping[str, Any], context: Context) -> Iterator[dict[str, Any]]:
    """What an event adds to the roll-up; raises InvalidInput for one whose sampling rate is none."""
    stream = str(context.stream)
    weight, path = 1.0, STREAMS[stream].rate
    if path is not None:
        rate = get_path(event, path)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not RATE_MIN <= rate < math.inf:
            raise pages.InvalidInput(f"{path} is {rate!r:.100}; a part of all events is at least {RATE_MIN}.")
        weight = 1 / rate
    for item in observed(event, columns(stream, event["$schema"]), weight):
        yield {"stream": stream, **item}


def dimension(item: Mapping[str, Any], context: Context) -> list[str]:
    """The stream and the dimension."""
    return [item["stream"], item["dimension"]]


def bounded(state: Any, item: dict[str, Any], context: Context) -> Transition:
    """The item, with the value that all share who come too late; state: the values that are told apart."""
    known = state or []
    if item["value"] in known:
        return Transition(state, [item])
    if len(known) < VALUES_MAX:
        return Transition([*known, item["value"]], [item])
    return Transition(state, [{**item, "value": OTHER}])


def value(item: Mapping[str, Any], context: Context) -> list[str]:
    """The stream, the dimension and the value."""
    return [item["stream"], item["dimension"], item["value"]]


def added(sums: dict[str, float], item: Mapping[str, Any], at_ms: int) -> dict[str, float]:
    """The sums of the measures after one more event."""
    for path, number in item["sums"].items():
        sums[path] = sums.get(path, 0.0) + number
    return sums


def row(window: Window, context: Context) -> dict[str, Any]:
    """A minute of the events with one value."""
    stream, path, one = window.key
    counts = {"events": window.events, "extrapolated": round(window.extrapolated), "sums": window.sums}
    return {"dt": window.end, "minute": window.start, "stream": stream, "dimension": path, "value": one, **counts}


sums = Aggregate("sums", dict, added)
minutes = tumbling("1m", lateness="1d").count("events").sum("extrapolated", "weight")
minutes = dataclasses.replace(minutes, aggregates=(*minutes.aggregates, sums))
event_dashboards = Job(
    "event_dashboards",
    tuple(STREAMS),
    steps=(
        Dedupe().step("dedupe"),
        Each("items", items),
        PerKey("bounded", dimension, bounded),
        minutes.step("minutes", value),
        Each("row", row),
    ),
    output=ToStream("event_dashboards.rollup.v1", "1.0.0"),
    out_of_order_ms=60_000,
    summary="Streams by minute and by the values of their dimensions, which follow from their schemas.",
)


def schema(event: Mapping[str, Any], context: Context) -> list[str]:
    """The stream and the schema of the event."""
    return [str(context.stream), event["$schema"]]


def charts(state: Any, event: Mapping[str, Any], context: Context) -> Transition:
    """The charts of the stream, if its schema is new. State: that it is not."""
    if state is not None:
        return Transition(state)
    stream, uri = context.key
    found = columns(stream, uri)
    made = {
        "dt": event["meta"]["dt"],
        "stream": stream,
        "schema_uri": uri,
        "dimensions": list(found.dimensions),
        "measures": list(found.measures),
        "vega_lite": json.dumps(vega_lite(stream, found), sort_keys=True),
    }
    return Transition(True, events=[made])


event_dashboard_charts = Job(
    "event_dashboard_charts",
    tuple(STREAMS),
    steps=(PerKey("charts", schema, charts),),
    output=ToStream("event_dashboards.charts.v1", "1.0.0"),
    summary="The charts of streams, which follow from their schemas.",
)
