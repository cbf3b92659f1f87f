"""Measures that a job's functions make, as `context.metrics`: counters, gauges and histograms by name."""

from __future__ import annotations

from headwater.errors import JobInvalid
from headwater.telemetry import Telemetry, bounded, declared


class JobMetrics:
    """Those of one job. A name is a label of three instruments, of which so many have series of their own, and no more.

    Raises JobInvalid for a name that is not text, and for a counter that would go down.
    """

    __slots__ = ("_counters", "_gauges", "_histograms", "_job")

    def __init__(self, telemetry: Telemetry, job: str) -> None:
        self._job = job
        self._counters = telemetry.counter(
            "headwater_job_counter", "What functions of jobs count.", (declared("job"), bounded("name"))
        )
        self._gauges = telemetry.gauge(
            "headwater_job_gauge", "The latest values that functions of jobs state.", (declared("job"), bounded("name"))
        )
        self._histograms = telemetry.histogram(
            "headwater_job_histogram", "What functions of jobs measure.", (declared("job"), bounded("name"))
        )

    def counter(self, name: str, amount: float = 1.0) -> None:
        """Add `amount`, not negative, to a counter."""
        if amount < 0:
            raise JobInvalid(f"context.metrics.counter({name!r}): {amount!r} is negative, and a counter only grows.")
        self._counters.labels(self._job, _checked(name)).inc(amount)

    def counted(self) -> dict[str, float]:
        """What was counted so far, by name."""
        samples = [sample for metric in self._counters.collect() for sample in metric.samples]
        return {
            sample.labels["name"]: sample.value
            for sample in samples
            if sample.name.endswith("_total") and sample.labels["job"] == self._job
        }

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._gauges.labels(self._job, _checked(name)).set(value)

    def histogram(self, name: str, value: float) -> None:
        """Observe a value, best in seconds: the buckets suit these."""
        self._histograms.labels(self._job, _checked(name)).observe(value)


def _checked(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise JobInvalid(f"context.metrics: {name!r} cannot name a measure; text can.")
    return name
