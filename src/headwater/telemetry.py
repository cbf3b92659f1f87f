"""What the platform counts and times about itself, and how it tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

__all__ = ["CONTENT_TYPE", "SECONDS_BUCKETS", "Counter", "Gauge", "Histogram", "Telemetry"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# From an append that shared somebody's commit to a request that met a full disk.
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# No stream or job has such a name.
CONCEALED = "(private)"

Instrument = TypeVar("Instrument", bound=MetricWrapperBase)


class _Concealing(CollectorRegistry):
    """A registry without some values of labels."""

    def __init__(self, registry: CollectorRegistry, conceals: Callable[[str, str], bool]) -> None:
        super().__init__()
        self._whole = registry
        self._conceals = conceals

    def collect(self) -> Iterator[Metric]:
        for metric in self._whole.collect():
            told = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
            for sample in metric.samples:
                if not any(self._conceals(name, value) for name, value in sample.labels.items()):
                    told.samples.append(sample)
                elif metric.type in ("counter", "histogram") and not sample.name.endswith("_created"):
                    labels = {n: CONCEALED if self._conceals(n, value) else value for n, value in sample.labels.items()}
                    key = (sample.name, tuple(labels.items()))
                    counted[key] = counted.get(key, 0.0) + sample.value
            told.samples += [Sample(name, dict(labels), value) for (name, labels), value in counted.items()]
            yield told


class Telemetry:
    """The instruments of one platform. Two platforms in one process do not see each other's.

    Asking again for a name gives the instrument made the first time, so rooms need not pass instruments around;
    asking for it with another kind or other labels is a mistake in the program and raises ValueError.
    On a hot path keep the child that `.labels(...)` returns: finding it takes a lock.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._instruments: dict[str, tuple[tuple[str, ...], MetricWrapperBase]] = {}
        ProcessCollector(registry=self._registry)

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:  # noqa: A002 - Prometheus' own word
        """A number that only grows; rendered with the suffix `_total`."""
        names = tuple(labels)
        known = self._known(name, names, Counter)
        return known or self._keep(name, names, Counter(name, help, names, registry=self._registry))

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:  # noqa: A002 - Prometheus' own word
        """A number that goes up and down."""
        names = tuple(labels)
        known = self._known(name, names, Gauge)
        return known or self._keep(name, names, Gauge(name, help, names, registry=self._registry))

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002 - Prometheus' own word
        labels: Sequence[str] = (),
        buckets: Sequence[float] = SECONDS_BUCKETS,
    ) -> Histogram:
        """How often a measured value fell into each bucket; the buckets suit seconds unless given."""
        names = tuple(labels)
        known = self._known(name, names, Histogram)
        made = known or Histogram(name, help, names, buckets=tuple(buckets), registry=self._registry)
        return self._keep(name, names, made)

    def value(self, sample: str, labels: Mapping[str, str] | None = None) -> float | None:
        """The present value of one sample, such as `events_total`, or None where it was never set."""
        return self._registry.get_sample_value(sample, dict(labels or {}))

    def render(self, conceals: Callable[[str, str], bool] | None = None) -> bytes:
        """Everything, in the Prometheus text format (`CONTENT_TYPE`).

        Samples with a label (name, value) that `conceals` says may not be told are counted together, under one value
        for all; those that are no counts are left out.
        """
        return generate_latest(self._registry if conceals is None else _Concealing(self._registry, conceals))

    def _known(self, name: str, labels: tuple[str, ...], kind: type[Instrument]) -> Instrument | None:
        if name not in self._instruments:
            return None
        labels_then, instrument = self._instruments[name]
        if not isinstance(instrument, kind) or labels_then != labels:
            raise ValueError(
                f"{name} is already a {type(instrument).__name__} with the labels {list(labels_then)}; "
                f"it cannot also be a {kind.__name__} with {list(labels)}"
            )
        return instrument

    def _keep(self, name: str, labels: tuple[str, ...], instrument: Instrument) -> Instrument:
        self._instruments[name] = (labels, instrument)
        return instrument
