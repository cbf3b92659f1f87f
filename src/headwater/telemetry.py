"""What the platform counts and times about itself, and how it tells Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics import MetricWrapperBase

__all__ = ["CONTENT_TYPE", "SECONDS_BUCKETS", "Counter", "Gauge", "Histogram", "Telemetry"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# From an append that shared somebody's commit to a request that met a full disk.
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Instrument = TypeVar("Instrument", bound=MetricWrapperBase)


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

    def render(self) -> bytes:
        """Everything, in the Prometheus text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)

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
