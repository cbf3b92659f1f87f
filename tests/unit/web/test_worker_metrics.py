"""The metrics of several workers in one text: every sample says whose it is, and every family is described once."""

from __future__ import annotations

from headwater.telemetry import Telemetry, bounded, closed
from headwater.web.workers import merged


def telemetry(accepted: int) -> str:
    made = Telemetry()
    made.counter("events", "Events judged.", (bounded("stream"), closed("outcome"))).labels(
        'a "b" {c}', "accepted"
    ).inc(accepted)
    made.gauge("backlog", "Bytes that wait.").set(accepted * 2)
    made.histogram("seconds", "How long.", buckets=(0.1,)).observe(0.05)
    return made.render().decode()


def test_each_sample_says_which_worker_it_is_of() -> None:
    lines = "".join(merged([telemetry(3), telemetry(4)])).splitlines()
    assert 'events_total{worker="0",outcome="accepted",stream="a \\"b\\" {c}"} 3.0' in lines
    assert 'events_total{worker="1",outcome="accepted",stream="a \\"b\\" {c}"} 4.0' in lines
    assert 'backlog{worker="1"} 8.0' in lines
    assert 'seconds_bucket{worker="0",le="0.1"} 1.0' in lines


def test_a_family_is_described_once_and_its_samples_stand_together() -> None:
    text = "".join(merged([telemetry(1), telemetry(2), telemetry(3)]))
    lines = text.splitlines()
    assert lines.count("# TYPE events_total counter") == 1
    start = lines.index("# TYPE events_total counter") + 1
    assert [line.split("{")[0] for line in lines[start : start + 3]] == ["events_total"] * 3
    # Every sample of the three, in a text that Prometheus' own parser takes.
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert [sample.labels["worker"] for sample in families["backlog"].samples] == ["0", "1", "2"]


def test_a_worker_that_is_down_is_reported_and_the_others_are_there() -> None:
    lines = "".join(merged([telemetry(1), None])).splitlines()
    assert 'headwater_worker_up{worker="0"} 1.0' in lines
    assert 'headwater_worker_up{worker="1"} 0.0' in lines
    assert 'backlog{worker="0"} 2.0' in lines
    assert not any(line.startswith('backlog{worker="1"') for line in lines)
