"""What the platform counts and measures about itself, and how it is exported to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import msgspec
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

__all__ = [
    "CONTENT_TYPE",
    "LABELLED_MAX",
    "OTHERS",
    "SECONDS_BUCKETS",
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "Label",
    "Telemetry",
    "bounded",
    "closed",
    "declared",
]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# From an append that joined another's commit to a request during a full disk.
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# A name that no stream or job can have.
CONCEALED = "(private)"
# The label value that counts all names that are too many or too long for series of their own.
OTHERS = "(others)"
# The most series an instrument has for names that no file declares, and how long such a name may be.
LABELLED_MAX = 20_000
LABEL_CHARS_MAX = 256

Instrument = TypeVar("Instrument", bound=MetricWrapperBase)


class Values(Enum):
    """Who determines the values of a label."""

    PROGRAM = "a closed set in the program"
    FILES = "names in the files of the project"
    ANYBODY = "names that producers and clients choose"


@dataclass(frozen=True, slots=True)
class Label:
    """A label of an instrument: its name, and the origin of its values."""

    name: str
    values: Values


def closed(name: str) -> Label:
    """A label whose values are fixed in the program: outcomes, states, error codes."""
    return Label(name, Values.PROGRAM)


def declared(name: str) -> Label:
    """A label whose values are names in the project's files, such as those of declared streams and of jobs."""
    return Label(name, Values.FILES)


def bounded(name: str) -> Label:
    """A label whose values producers and clients choose, such as members of families.

    Names given to `Telemetry.expect` always have a series; of all others `LABELLED_MAX` have one, and the rest is
    counted as `OTHERS`.
    """
    return Label(name, Values.ANYBODY)


class Histogram(prometheus_client.Histogram):
    """A histogram that also takes what was counted elsewhere."""

    def observe_counts(self, counts: Iterable[tuple[int, int]], total: float) -> None:
        """Add so many values to each of these buckets, by index; `total` is the sum of all values."""
        self._sum.inc(total)
        for index, count in counts:
            self._buckets[index].inc(count)


class _Bounding(MetricWrapperBase):
    """An instrument with labels whose values producers and clients choose."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._children: dict[tuple[object, ...], Any] = {}
        self._bounded: Sequence[int] = ()
        self._expected: set[str] = set()
        self._unexpected = 0

    def bound(self, places: Sequence[int], expected: set[str]) -> None:
        """Bound the number of values of the labels at these places, except for the expected ones."""
        self._bounded, self._expected = places, expected

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Any:
        if labelkwargs:
            labelvalues = tuple(labelkwargs[name] for name in self._labelnames)
        child = self._children.get(labelvalues)
        if child is not None:
            return child
        values = [str(value) for value in labelvalues]
        strange = [place for place in self._bounded if values[place] not in self._expected]
        long = [place for place in strange if len(values[place]) > LABEL_CHARS_MAX]
        for place in strange if self._unexpected >= LABELLED_MAX else long:
            values[place] = OTHERS
        found = super().labels(*values)
        if OTHERS not in values:
            self._unexpected += bool(strange)
            self._children[labelvalues] = found
        return found


class _BoundedCounter(_Bounding, Counter):
    pass


class _BoundedGauge(_Bounding, Gauge):
    pass


class _BoundedHistogram(_Bounding, Histogram):
    pass


class Family(msgspec.Struct, frozen=True):
    """The samples of one instrument at one moment, of this process or of another: (name, labels, value) each."""

    name: str
    documentation: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


# Measures of which several processes cannot be added up: which of their values counts. Zero stands for none.
_COMBINED: Mapping[str, Callable[[float, float], float]] = {
    "headwater_job_circuit_open": max,
    "headwater_job_in_trouble": max,
    "headwater_job_lag_seconds": max,
    "headwater_job_stopped": max,
    "headwater_sink_lag_seconds": max,
    "headwater_sink_last_commit_timestamp_seconds": max,
    "headwater_lake_complete_timestamp_seconds": max,
    "headwater_sink_waiting_seconds": max,
    "headwater_job_watermark_seconds": lambda one, other: min(one, other) if one and other else one or other,
}
# About one process, so that they would mean nothing among those of another.
_OWN_PREFIX = "process_"


def combined(families: Iterable[Family]) -> Iterator[Family]:
    """The families of several processes, those of one name as one: equal samples are added up."""
    found: dict[str, list[Family]] = {}
    for family in families:
        found.setdefault(family.name, []).append(family)
    for name, parts in found.items():
        values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        combine = _COMBINED.get(name)
        for sample, labels, value in (one for part in parts for one in part.samples):
            key = sample, tuple(labels.items())
            if sample.endswith("_created"):
                values[key] = min(value, values.get(key, value))
            elif combine is not None:
                values[key] = combine(value, values[key]) if key in values else value
            else:
                values[key] = values.get(key, 0.0) + value
        samples = [(sample, dict(labels), value) for (sample, labels), value in values.items()]
        yield Family(name, parts[0].documentation, parts[0].type, samples)


def families_of(registry: CollectorRegistry) -> Iterator[Family]:
    """What the instruments of a registry have now, without those about the process itself."""
    for metric in registry.collect():
        if not metric.name.startswith(_OWN_PREFIX):
            samples = [(one.name, dict(one.labels), float(one.value)) for one in metric.samples]
            yield Family(metric.name, metric.documentation, metric.type, samples)


class _Including(CollectorRegistry):
    """A registry together with the families of other processes."""

    def __init__(self, registry: CollectorRegistry, others: Iterable[Family]) -> None:
        super().__init__()
        self._whole = registry
        self._others = others

    def collect(self) -> Iterator[Metric]:
        others: dict[str, list[Family]] = {}
        for family in self._others:
            others.setdefault(family.name, []).append(family)
        for metric in self._whole.collect():
            if metric.name not in others:
                yield metric
                continue
            samples = [(one.name, dict(one.labels), float(one.value)) for one in metric.samples]
            own = Family(metric.name, metric.documentation, metric.type, samples)
            yield from map(_metric, combined([own, *others.pop(metric.name)]))
        yield from map(_metric, combined(one for parts in others.values() for one in parts))


def _metric(family: Family) -> Metric:
    made = Metric(family.name, family.documentation, family.type)
    made.samples += [Sample(name, labels, value) for name, labels, value in family.samples]
    return made


class _Concealing(CollectorRegistry):
    """A registry without the series of concealed label values."""

    def __init__(self, registry: CollectorRegistry, conceals: Callable[[str, str], bool]) -> None:
        super().__init__()
        self._whole = registry
        self._conceals = conceals

    def collect(self) -> Iterator[Metric]:
        for metric in self._whole.collect():
            shown = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
            for sample in metric.samples:
                if not any(self._conceals(name, value) for name, value in sample.labels.items()):
                    shown.samples.append(sample)
                elif metric.type in ("counter", "histogram") and not sample.name.endswith("_created"):
                    labels = {n: CONCEALED if self._conceals(n, value) else value for n, value in sample.labels.items()}
                    key = (sample.name, tuple(labels.items()))
                    counted[key] = counted.get(key, 0.0) + sample.value
            shown.samples += [Sample(name, dict(labels), value) for (name, labels), value in counted.items()]
            yield shown


class Telemetry:
    """The instruments of one platform. Two platforms in one process have separate instruments.

    Every label says where its values come from. Asking again for a name gives the instrument made the first time, so
    rooms need not pass instruments around; asking for it with another kind or other labels is a mistake in the program
    and raises ValueError. On a hot path keep the child that `.labels(...)` returns: finding it takes a lock.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._instruments: dict[str, tuple[tuple[Label, ...], MetricWrapperBase]] = {}
        self._expected: set[str] = set()
        self._others: Callable[[], Iterable[Family]] = tuple
        ProcessCollector(registry=self._registry)

    @property
    def instruments(self) -> Mapping[str, tuple[Label, ...]]:
        """The instruments there are, by name, each with its labels."""
        return {name: labels for name, (labels, _) in self._instruments.items()}

    def expect(self, names: Iterable[str]) -> None:
        """Give these names, such as those of declared streams, series of their own whatever other names occur."""
        self._expected.update(names)

    def include(self, others: Callable[[], Iterable[Family]]) -> None:
        """Add what other processes have measured for this platform to everything that is rendered from now on."""
        self._others = others

    def families(self) -> list[Family]:
        """What the instruments have now, for another process; without what is about this process itself."""
        return list(families_of(self._registry))

    def counter(self, name: str, help: str, labels: Sequence[Label] = ()) -> Counter:  # noqa: A002 - Prometheus' own word
        """A number that only grows; rendered with the suffix `_total`."""
        return self._instrument(Counter, _BoundedCounter, name, help, labels)

    def gauge(self, name: str, help: str, labels: Sequence[Label] = ()) -> Gauge:  # noqa: A002 - Prometheus' own word
        """A number that goes up and down."""
        return self._instrument(Gauge, _BoundedGauge, name, help, labels)

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002 - Prometheus' own word
        labels: Sequence[Label] = (),
        buckets: Sequence[float] = SECONDS_BUCKETS,
    ) -> Histogram:
        """How often a measured value fell into each bucket; the buckets suit seconds unless given."""
        return self._instrument(Histogram, _BoundedHistogram, name, help, labels, buckets=tuple(buckets))

    def value(self, sample: str, labels: Mapping[str, str] | None = None) -> float | None:
        """The current value of one sample, such as `events_total`, or None if it was never set."""
        return self._registry.get_sample_value(sample, dict(labels or {}))

    def render(self, conceals: Callable[[str, str], bool] | None = None) -> bytes:
        """All samples in the Prometheus text format (`CONTENT_TYPE`).

        Samples with a label (name, value) for which `conceals` is true are added up under one common value; those that
        are not counts are left out.
        """
        others = list(self._others())
        registry = _Including(self._registry, others) if others else self._registry
        return generate_latest(registry if conceals is None else _Concealing(registry, conceals))

    def _instrument(
        self,
        kind: type[Instrument],
        bounding: type[Instrument],
        name: str,
        documentation: str,
        labels: Sequence[Label],
        **settings: Any,
    ) -> Instrument:
        """The instrument of this name, created if there is none. Raises ValueError if it exists with another kind or
        labels.
        """
        labels = tuple(labels)
        names = [label.name for label in labels]
        if name in self._instruments:
            labels_then, known = self._instruments[name]
            if not isinstance(known, kind) or labels_then != labels:
                raise ValueError(
                    f"{name} is already a {type(known).__name__.removeprefix('_Bounded')} with the labels "
                    f"{[label.name for label in labels_then]}; it cannot also be a {kind.__name__} with {names}, or "
                    f"take their values from elsewhere"
                )
            return known
        places = [place for place, label in enumerate(labels) if label.values is Values.ANYBODY]
        made = (bounding if places else kind)(name, documentation, names, registry=self._registry, **settings)
        if isinstance(made, _Bounding):
            made.bound(places, self._expected)
        self._instruments[name] = (labels, made)
        return made
