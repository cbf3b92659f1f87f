"""Metrics counted from events: their configuration, their series, and the text that Prometheus reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from headwater.event import get_path

OTHER = "__other__"
SERIES_MAX = 1000
TYPES = ("counter", "gauge", "histogram")
# Greater numbers are not exact.
VALUE_MAX = 2**53 - 1
BUCKETS = (0.1, 1.0, 10.0, 100.0, 1000.0)

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_REQUIRED = ("name", "type", "stream")
_MEMBERS = {*_REQUIRED, "help", "where", "labels", "value", "buckets", "series_max"}


class InvalidMetric(ValueError):
    """The configuration of a metric, or a value for one, cannot be used."""

    error_type = "INVALID_INPUT"


@dataclass(frozen=True)
class EventMetric:
    """One metric: which events of which stream count, by which fields they are divided, and what is observed."""

    name: str
    type: str
    stream: str
    help: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str | None = None
    buckets: Sequence[float] = BUCKETS
    series_max: int = SERIES_MAX

    def counts(self, event: Mapping[str, Any]) -> bool:
        """Whether an event of its stream counts."""
        for path, wanted in self.where.items():
            value = get_path(event, path)
            if value not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True

    def labels_of(self, event: Mapping[str, Any]) -> dict[str, str]:
        """The values of the labels; empty where the event has no such field."""
        return {name: label_text(get_path(event, path)) for name, path in self.labels.items()}

    def value_of(self, event: Mapping[str, Any]) -> float | None:
        """What is added or observed; None if the event does not have it. Raises InvalidMetric if it is no number."""
        if self.value is None:
            return 1
        value = get_path(event, self.value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidMetric(f"{self.value} is {value!r:.100}, and the metric {self.name} needs a number.")
        if not abs(value) <= VALUE_MAX:
            raise InvalidMetric(f"{self.value} is {value!r:.100}; the metric {self.name} counts up to {VALUE_MAX:,}.")
        if self.type == "counter" and value < 0:
            raise InvalidMetric(f"{self.value} is {value!r}, and the counter {self.name} never goes down.")
        return value


def metrics_of(entries: Any) -> list[EventMetric]:
    """The metrics of a configuration. Raises InvalidMetric, which names the entry."""
    if not isinstance(entries, list):
        raise InvalidMetric("The metrics are a list.")
    metrics = [_metric(entry) for entry in entries]
    names = [metric.name for metric in metrics]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidMetric(f"Two metrics are called {twice[0]}.")
    return metrics


def _metric(entry: Any) -> EventMetric:
    if not isinstance(entry, dict) or not entry.keys() >= set(_REQUIRED):
        raise InvalidMetric(f"{entry!r:.200}: a metric has at least {', '.join(_REQUIRED)}.")
    if unknown := entry.keys() - _MEMBERS:
        raise InvalidMetric(f"{entry['name']}: {', '.join(sorted(unknown))} is none of {', '.join(sorted(_MEMBERS))}.")
    metric = EventMetric(**entry)
    if not _NAME.fullmatch(metric.name) or metric.type not in TYPES:
        raise InvalidMetric(f"{metric.name}: this is no name of a metric, or its type is none of {', '.join(TYPES)}.")
    if wrong := [label for label in metric.labels if not _LABEL.fullmatch(label)]:
        raise InvalidMetric(f"{metric.name}: {wrong[0]} cannot name a label.")
    if metric.type != "counter" and metric.value is None:
        raise InvalidMetric(f"{metric.name}: a {metric.type} needs `value`, the field that is observed.")
    if list(metric.buckets) != sorted({*metric.buckets}):
        raise InvalidMetric(f"{metric.name}: the bounds of the buckets rise.")
    return metric


def label_text(value: Any) -> str:
    """A field as the value of a label."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def observed(metric: EventMetric, series: dict[str, Any] | None, value: float, at_ms: int) -> dict[str, Any]:
    """One series of the metric after one more value. Raises InvalidMetric if its sum would be too great."""
    if metric.type == "gauge":
        return series if series is not None and series["at"] > at_ms else {"value": value, "at": at_ms}
    total = value if series is None else series["value"] + value
    if not abs(total) <= VALUE_MAX:
        raise InvalidMetric(f"{metric.value} is {value!r}; the metric {metric.name} would be more than {VALUE_MAX:,}.")
    if metric.type == "counter":
        return {"value": total}
    before = series or {"count": 0, "buckets": [0] * len(metric.buckets)}
    counts = [count + (value <= bound) for count, bound in zip(before["buckets"], metric.buckets, strict=True)]
    return {"value": total, "count": before["count"] + 1, "buckets": counts}


def exposition(samples: Iterable[Mapping[str, Any]]) -> str:
    """The last sample of each series in the text format of Prometheus."""
    families: dict[str, Metric] = {}
    last = {(sample["name"], json.dumps(sample["labels"], sort_keys=True)): sample for sample in samples}
    for sample in last.values():
        labels = sample["labels"]
        name, known = sample["name"], families.get(sample["name"])
        if known is None:
            known = families[name] = _FAMILIES[sample["type"]](name, sample.get("help", ""), labels=list(labels))
        values = [labels[label] for label in labels]
        if isinstance(known, HistogramMetricFamily):
            buckets = [(bound, count) for bound, count in sample["buckets"].items()]
            known.add_metric(values, [*buckets, ("+Inf", sample["count"])], sample["value"])
        else:
            known.add_metric(values, sample["value"])  # type: ignore[attr-defined]
    registry = CollectorRegistry()
    registry.register(_Collected(list(families.values())))
    return generate_latest(registry).decode()


_FAMILIES: Mapping[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class _Collected:
    """Families that are known already, as the client library reads them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
