"""The job event_metrics: the facts of a real day, labels, the limit of series, and the text that Prometheus reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from headwater.jobs.rows import KeyRows
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, in_project, job_named, partitioned, read, run, run_files
from wikimedia.project import interleaved as shuffled

JOB = "event_metrics"
DAY = "derived/recentchange_2016-06-27.jsonl.gz"
EDITS = "mediawiki_edits_total"

metrics = in_project("content.metrics")


@requires_fixtures(FIXTURES)
async def test_the_edits_of_a_real_day_are_those_of_the_golden_also_as_text() -> None:
    facts: Any = read("golden/recentchange_2016.facts.json")
    events = partitioned(at_least_one(read(DAY)), ["wiki"], 2)

    ran = await run(job_named(JOB), shuffled(events, seed=8))

    assert ran.errors == []
    parsed = {family.name: family for family in text_string_to_metric_families(metrics.exposition(ran.outputs))}
    samples = parsed["mediawiki_edits"].samples
    assert {sample.name for sample in samples} == {EDITS}
    assert sum(sample.value for sample in samples) == facts["events"]
    assert sum(sample.value for sample in samples if sample.labels["bot"] == "true") == facts["bots"]
    for wiki, count in at_least_one(facts["edits_by_wiki_top10"]):
        assert sum(sample.value for sample in samples if sample.labels["wiki"] == wiki) == count


def test_changes_of_pages_are_counted_and_their_sizes_observed(tmp_path: Path) -> None:
    events = [change(1, "x", kind="create"), change(2, "x"), change(3, "x", kind="move"), change(4, "x")]
    for event, size in zip(events, (50, 1000, 7, None), strict=True):
        event["meta"]["stream"] = "mediawiki.page_change.v1"
        if size is not None:
            event["revision"]["rev_size"] = size
    broken = change(5, "x")
    broken["meta"]["stream"] = "mediawiki.page_change.v1"
    broken["revision"]["rev_size"] = "large"
    ran = run_files(JOB, [*events, broken], tmp_path)
    found = {(row["name"], *row["labels"].values()): row for row in ran.outputs}
    assert {key: row["value"] for key, row in found.items()} == {
        ("mediawiki_page_changes_total", "examplewiki", "create"): 1,
        ("mediawiki_page_changes_total", "examplewiki", "edit"): 2,
        ("mediawiki_page_changes_total", "examplewiki", "move"): 1,
        ("mediawiki_revision_bytes", "examplewiki"): 1050,
    }
    sizes = found["mediawiki_revision_bytes", "examplewiki"]
    assert (sizes["count"], sizes["buckets"]["100"], sizes["buckets"]["1000"]) == (2, 1, 2)
    assert len(ran.errors) == 1
    assert 'mediawiki_revision_bytes_bucket{le="+Inf",wiki="examplewiki"} 2.0' in metrics.exposition(ran.outputs)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(None, ""), (True, "true"), (False, "false"), ("a", "a"), (5, "5"), (5.0, "5"), (0.5, "0.5"), (0, "0")],
        *[("__other__", "__other__"), (["é", 1], '["é", 1]')],
    ],
)
def test_fields_as_labels(value: Any, text: str) -> None:
    metric = metrics.metrics_of([{"name": "m", "type": "counter", "stream": "s", "labels": {"l": "a.b"}}])[0]
    assert metric.labels_of({"a": {"b": value}} if value is not None else {}) == {"l": text}


def test_of_several_samples_of_a_series_the_last_one_is_shown() -> None:
    samples = [{"name": "m_total", "type": "counter", "labels": {"l": "a"}, "value": value} for value in (1, 2)]
    assert [line for line in metrics.exposition(samples).splitlines() if line[0] != "#"] == ['m_total{l="a"} 2.0']


@pytest.mark.parametrize("value", [2**53, -(2**53), float("inf"), float("nan")])
def test_a_number_that_is_not_exact_is_refused(value: float) -> None:
    metric = metrics.EventMetric("g", "gauge", "s", value="v")
    with pytest.raises(metrics.InvalidMetric):
        metric.value_of({"v": value})


def test_a_sum_that_would_not_be_exact_is_refused_and_stays_as_it_was() -> None:
    counter = metrics.EventMetric("c", "counter", "s", value="v")
    series = metrics.observed(counter, None, 2**53 - 1, 0)
    with pytest.raises(metrics.InvalidMetric):
        metrics.observed(counter, series, 1, 0)
    assert series["value"] == 2**53 - 1


def test_the_first_sets_of_labels_are_kept_and_all_others_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = in_project("jobs.event_metrics")
    metric = metrics.EventMetric("m", "counter", "s", labels={"l": "x"}, series_max=2)
    monkeypatch.setitem(module.METRICS, "m", metric)
    context = module.Context(1000, key="m", timers={}, rows=KeyRows())
    state = None
    for label in ["a", "b" * 2000, "c", "d", "a", "__other__", "c"]:
        state = module.counted(state, {"name": "m", "labels": {"l": label}, "value": 1}, context).state
    made = module.written(state, "write", context).events
    assert sorted((row["labels"]["l"], row["value"]) for row in made) == [("__other__", 4), ("a", 2), ("b" * 2000, 1)]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 5), min_size=1, max_size=6))
def test_every_text_as_a_label_is_read_back(series: dict[str, int]) -> None:
    samples = [
        {"name": "m_total", "type": "counter", "labels": {"l": text}, "value": value} for text, value in series.items()
    ]
    (family,) = text_string_to_metric_families(metrics.exposition(samples))
    read_back = {sample.labels["l"]: sample.value for sample in family.samples if sample.name == "m_total"}
    assert read_back == series


@pytest.mark.parametrize(
    "entries",
    [
        {},
        [{"name": "m", "type": "counter"}],
        [{"name": "m-m", "type": "counter", "stream": "s"}],
        [{"name": "m", "type": "summary", "stream": "s"}],
        [{"name": "m", "type": "gauge", "stream": "s"}],
        [{"name": "m", "type": "counter", "stream": "s", "labels": {"__l": "x"}}],
        [{"name": "m", "type": "counter", "stream": "s", "label": {}}],
        [{"name": "m", "type": "histogram", "stream": "s", "value": "x", "buckets": [2, 1]}],
        [{"name": "m", "type": "counter", "stream": "s"}] * 2,
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(entries: Any) -> None:
    with pytest.raises(metrics.InvalidMetric):
        metrics.metrics_of(entries)


def test_a_gauge_has_the_value_of_the_newest_event_and_a_counter_adds_up() -> None:
    gauge = metrics.EventMetric("g", "gauge", "s", value="v")
    series = None
    for value, at in ((1, 10), (2, 30), (3, 20)):
        series = metrics.observed(gauge, series, value, at)
    assert series["value"] == 2
    counter: Event = metrics.observed(metrics.EventMetric("c", "counter", "s"), {"value": 4}, 0.5, 0)
    assert counter["value"] == 4.5
