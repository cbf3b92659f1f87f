"""Counts what lookups do, for Prometheus."""

from __future__ import annotations

from headwater.telemetry import Telemetry, closed


class Measures:
    """The instruments of lookups of one process."""

    def __init__(self, telemetry: Telemetry) -> None:
        requests = telemetry.counter(
            "headwater_lookup_requests", "Requests of jobs to other services, by outcome.", [closed("outcome")]
        )
        self._outcomes = {
            outcome: requests.labels(outcome)
            for outcome in ("answered", "refused", "throttled", "unavailable", "withheld")
        }
        self._cached = telemetry.counter("headwater_lookup_cache_asked", "Lookups that may be answered by the cache.")
        self.in_flight = 0
        gauge = telemetry.gauge("headwater_lookups_in_flight", "Requests of jobs to other services in flight.")
        gauge.set_function(lambda: self.in_flight)
        self._seconds = telemetry.histogram(
            "headwater_lookup_seconds", "Duration of requests of jobs to other services."
        )

    def began(self) -> None:
        """A request is sent."""
        self.in_flight += 1

    def ended(self, seconds: float) -> None:
        """Its answer was read, or it failed."""
        self.in_flight -= 1
        self._seconds.observe(seconds)

    def answered(self) -> None:
        self._outcomes["answered"].inc()

    def refused(self) -> None:
        """It is wrong, or what it asks for does not exist."""
        self._outcomes["refused"].inc()

    def unavailable(self, *, throttled: bool) -> None:
        """It may succeed later; `throttled`: there were too many."""
        self._outcomes["throttled" if throttled else "unavailable"].inc()

    def withheld(self) -> None:
        """It was not sent, because too many retries failed."""
        self._outcomes["withheld"].inc()

    def cached(self) -> None:
        """It may be answered by the cache."""
        self._cached.inc()
