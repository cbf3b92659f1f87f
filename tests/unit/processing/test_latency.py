"""Latencies of jobs: counted for a whole commit at once, as if each event had been counted alone."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from headwater.log.contract import StoredRecord
from headwater.processing.latency import BOUNDS_MS, BUCKETS, NO_LATENCY, PERIOD_SECONDS, Latency, counts_of
from headwater.telemetry import Telemetry
from headwater.testing.clock import ManualClock

NOW_MS = 1_700_000_000_000


def record(latency_ms: int) -> StoredRecord:
    return StoredRecord("in", 0, 0, NOW_MS - latency_ms, None, (), b"{}")


@given(st.lists(st.integers(-5_000, 10**9), min_size=1, max_size=60))
def test_buckets_are_those_of_each_latency_alone(latencies: list[int]) -> None:
    received = sorted(NOW_MS - one for one in latencies)
    found = dict(counts_of(received, NOW_MS, BOUNDS_MS))
    expected: dict[int, int] = {}
    for one in latencies:
        index = bisect_left(BOUNDS_MS, one)
        expected[index] = expected.get(index, 0) + 1
    assert found == expected


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60))
def test_the_metric_is_that_of_each_latency_alone(latencies: list[int]) -> None:
    telemetry, alone = Telemetry(), Telemetry()
    Latency.of(telemetry, "job", ManualClock()).committed([record(one) for one in latencies], NOW_MS)
    each = alone.histogram("headwater_job_latency_seconds", "", (), BUCKETS)
    for one in latencies:
        each.observe(one / 1000)
    for bound in (*BUCKETS, float("inf")):
        text = "+Inf" if bound == float("inf") else str(bound)
        sample = "headwater_job_latency_seconds_bucket"
        assert telemetry.value(sample, {"job": "job", "le": text}) == alone.value(sample, {"le": text})
    found = telemetry.value("headwater_job_latency_seconds_sum", {"job": "job"})
    assert found is not None
    assert abs(found - sum(latencies) / 1000) < 0.001 * len(latencies)


@given(st.lists(st.integers(2, 10**7), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
def test_percentiles_are_within_a_fifth(latencies: list[int], share: float) -> None:
    latency = Latency.of(Telemetry(), "job", ManualClock())
    latency.committed([record(one) for one in latencies], NOW_MS)
    found = latency.report().percentile_ms(share)
    exact = sorted(latencies)[max(0, -int(-share * len(latencies) // 1) - 1)]
    assert found is not None
    assert exact / 1.21 <= found <= exact * 1.21


def test_old_latencies_are_forgotten_and_parts_are_added_up() -> None:
    clock = ManualClock()
    latency = Latency.of(Telemetry(), "job", clock)
    assert latency.report().percentile_ms(0.5) is None
    latency.committed([record(100)] * 3, NOW_MS)
    clock.advance(PERIOD_SECONDS + 1)
    latency.committed([record(5_000)], NOW_MS)
    both = latency.report()
    assert sum(both.counts) == 4
    clock.advance(PERIOD_SECONDS)
    assert sum(latency.report().counts) == 1
    clock.advance(3 * PERIOD_SECONDS)
    assert latency.report().percentile_ms(0.99) is None
    assert sum((both + both).counts) == 8
    assert (both + NO_LATENCY, NO_LATENCY + both) == (both, both)
    latency.committed([], NOW_MS)
