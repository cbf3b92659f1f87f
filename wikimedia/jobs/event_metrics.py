"""Metrics counted from the events of any stream, as `metrics.yaml` says."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition
from headwater.schemas.json_value import identity
from headwater.times import utc_text

from ..content.metrics import OTHER, EventMetric, metrics_of, observed

# Every so often the values are written, by the time of the events.
EVERY_MS = 86_400_000
NAME_BYTES_MAX = 500

METRICS = {
    metric.name: metric
    for metric in metrics_of(yaml.safe_load((Path(__file__).parent.parent / "metrics.yaml").read_text("utf-8")))
}
BY_STREAM: dict[str, list[EventMetric]] = {}
for one in METRICS.values():
    BY_STREAM.setdefault(one.stream, []).append(one)


def values(event: Mapping[str, Any], context: Context) -> Iterator[dict[str, Any]]:
    """What an event adds to the metrics of its stream."""
    for metric in BY_STREAM[event["meta"]["stream"]]:
        value = metric.value_of(event) if metric.counts(event) else None
        if value is not None:
            yield {"name": metric.name, "labels": metric.labels_of(event), "value": value}


def name(value: Mapping[str, Any], context: Context) -> str:
    """The metric: it is a limit of each how many series there are."""
    return str(value["name"])


def counted(state: Any, value: Mapping[str, Any], context: Context) -> Transition:
    """The series of a metric after one more value. Those above the limit share one.

    State: until when is counted, and how many `series` there are besides the shared one; each is a row.
    """
    assert context.rows is not None
    metric = METRICS[value["name"]]
    state = state or {"until": context.event_time_ms, "series": 0}
    state["until"] = max(state["until"], context.event_time_ms)
    labels = value["labels"]
    key, others = row_name(labels), row_name(dict.fromkeys(labels, OTHER))
    if key not in context.rows and key != others:
        if state["series"] < metric.series_max:
            state["series"] += 1
        else:
            key, labels = others, dict.fromkeys(labels, OTHER)
    known = context.rows[key]["is"] if key in context.rows else None
    context.rows[key] = {"labels": labels, "is": observed(metric, known, value["value"], context.event_time_ms)}
    if "write" not in context.timers:
        context.timer("write", at_ms=context.event_time_ms - context.event_time_ms % EVERY_MS + EVERY_MS)
    return Transition(state)


def row_name(labels: Mapping[str, str]) -> str:
    """The name of the row of a series: its labels or, where they are longer than a name may be, their digest."""
    encoded = identity(labels)
    return encoded.decode() if len(encoded) <= NAME_BYTES_MAX else hashlib.sha256(encoded).hexdigest()


def written(state: Any, timer: str, context: Context) -> Transition:
    """A sample of each series, with all that was counted from the beginning."""
    assert context.rows is not None
    metric = METRICS[context.key]
    common = {"dt": utc_text(state["until"]), "name": metric.name, "type": metric.type, "help": metric.help}
    return Transition(state, events=[{**common, **_sample(metric, series)} for series in context.rows.values()])


def _sample(metric: EventMetric, series: Mapping[str, Any]) -> dict[str, Any]:
    sample = {"labels": series["labels"], "value": series["is"]["value"]}
    if metric.type == "histogram":
        counts = series["is"]["buckets"]
        buckets = {str(bound): count for bound, count in zip(metric.buckets, counts, strict=True)}
        sample |= {"count": series["is"]["count"], "buckets": buckets}
    return sample


event_metrics = Job(
    "event_metrics",
    tuple(BY_STREAM),
    steps=(Dedupe().step("dedupe"), Each("values", values), PerKey("series", name, counted, written, keeps_rows=True)),
    output=ToStream("metrics.samples.v1", "1.0.0"),
    out_of_order_ms=60_000,
    summary="Metrics counted from the events of any stream.",
)
