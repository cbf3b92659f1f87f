"""Counting and timing: instruments by name, one registry per platform."""

import pytest

from headwater.telemetry import Telemetry


def test_two_platforms_in_one_process_count_apart() -> None:
    one, other = Telemetry(), Telemetry()
    one.counter("events", "Events.").inc()
    other.counter("events", "Events.")
    assert (one.value("events_total"), other.value("events_total")) == (1.0, 0.0)


def test_asking_again_gives_the_same_instrument() -> None:
    telemetry = Telemetry()
    assert telemetry.gauge("open", "Open.", ["kind"]) is telemetry.gauge("open", "Open.", ["kind"])
    assert telemetry.histogram("wait_seconds", "Wait.") is telemetry.histogram("wait_seconds", "Wait.")


def test_one_name_cannot_be_two_kinds_or_have_other_labels() -> None:
    telemetry = Telemetry()
    telemetry.counter("events", "Events.", ["stream"])
    with pytest.raises(ValueError, match="already a Counter"):
        telemetry.gauge("events", "Events.", ["stream"])
    with pytest.raises(ValueError, match="stream"):
        telemetry.counter("events", "Events.")


def test_rendering_is_prometheus_text_with_labels_and_buckets() -> None:
    telemetry = Telemetry()
    telemetry.counter("events", "Events.", ["stream"]).labels("a").inc(3)
    telemetry.histogram("wait_seconds", "Wait.").observe(0.02)
    text = telemetry.render().decode()
    assert 'events_total{stream="a"} 3.0' in text
    assert 'wait_seconds_bucket{le="0.025"} 1.0' in text
    assert "process_resident_memory_bytes" in text
