"""Counting and timing: instruments by name, one registry per platform."""

import pytest

from headwater import telemetry as telemetry_module
from headwater.telemetry import OTHERS, Telemetry, bounded, closed, declared


def test_two_platforms_in_one_process_count_apart() -> None:
    one, other = Telemetry(), Telemetry()
    one.counter("events", "Events.").inc()
    other.counter("events", "Events.")
    assert (one.value("events_total"), other.value("events_total")) == (1.0, 0.0)


def test_asking_again_gives_the_same_instrument() -> None:
    telemetry = Telemetry()
    assert telemetry.gauge("open", "Open.", [closed("kind")]) is telemetry.gauge("open", "Open.", [closed("kind")])
    assert telemetry.histogram("wait_seconds", "Wait.") is telemetry.histogram("wait_seconds", "Wait.")


def test_one_name_cannot_be_two_kinds_or_have_other_labels() -> None:
    telemetry = Telemetry()
    telemetry.counter("events", "Events.", [declared("stream")])
    with pytest.raises(ValueError, match="already a Counter"):
        telemetry.gauge("events", "Events.", [declared("stream")])
    with pytest.raises(ValueError, match="stream"):
        telemetry.counter("events", "Events.")


def test_rendering_is_prometheus_text_with_labels_and_buckets() -> None:
    telemetry = Telemetry()
    telemetry.counter("events", "Events.", [declared("stream")]).labels("a").inc(3)
    telemetry.histogram("wait_seconds", "Wait.").observe(0.02)
    text = telemetry.render().decode()
    assert 'events_total{stream="a"} 3.0' in text
    assert 'wait_seconds_bucket{le="0.025"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_one_name_cannot_take_its_labels_from_two_places() -> None:
    telemetry = Telemetry()
    telemetry.counter("events", "Events.", [declared("stream")])
    with pytest.raises(ValueError, match="from elsewhere"):
        telemetry.counter("events", "Events.", [bounded("stream")])


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram"])
def test_of_names_that_anybody_chooses_so_many_have_a_series(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_module, "LABELLED_MAX", 10)
    telemetry = Telemetry()
    telemetry.expect(["declared"])
    made = getattr(telemetry, kind)("met", "Met.", [bounded("stream"), closed("how")])
    for number in range(1_000):
        child = made.labels(f"name.{number}", "well")
        child.observe(1) if kind == "histogram" else child.inc()
    made.labels("declared", "well")
    made.labels(stream="x" * 10_000, how="well")
    series = {sample.labels["stream"] for metric in made.collect() for sample in metric.samples}
    assert series == {*(f"name.{number}" for number in range(10)), OTHERS, "declared"}


def test_too_long_a_name_has_no_series_and_what_has_one_keeps_it() -> None:
    telemetry = Telemetry()
    made = telemetry.gauge("met", "Met.", [bounded("stream")])
    made.labels("x" * 300).inc()
    made.labels("y" * 300).inc()
    made.labels("short").inc()
    made.labels("x" * 300).dec()
    made.labels("short").dec()
    assert telemetry.value("met", {"stream": OTHERS}) == 1
    assert telemetry.value("met", {"stream": "short"}) == 0


def test_what_other_processes_measure_is_added_to_what_is_rendered() -> None:
    def measured(job: str, number: int) -> Telemetry:
        telemetry = Telemetry()
        telemetry.counter("job_events", "Events.", (declared("job"),)).labels(job).inc(number)
        telemetry.gauge("headwater_job_watermark_seconds", "Until.", (declared("job"),)).labels("a").set(number)
        telemetry.gauge(f"only_{job}", "One.").set(number)
        return telemetry

    own, others = measured("a", 1), [measured("a", 20), measured("b", 5)]
    own.include(lambda: [family for one in others for family in one.families()])
    text = own.render().decode()
    assert 'job_events_total{job="a"} 21.0\n' in text
    assert 'job_events_total{job="b"} 5.0\n' in text
    # A job is complete up to where its slowest part is.
    assert 'headwater_job_watermark_seconds{job="a"} 1.0\n' in text
    assert "only_b 5.0\n" in text
    assert text.count("# TYPE job_events_total counter") == 1
    assert text.count("\nprocess_cpu_seconds_total") == 1
    concealed = own.render(lambda name, value: value == "b").decode()
    assert 'job="b"' not in concealed
    assert 'job_events_total{job="(private)"} 5.0' in concealed
