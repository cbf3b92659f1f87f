"""Windows equal what plain Python computes from the same events, for any interleaving of partitions, any batches and
restarts."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.jobs import Window, session, sliding, tumbling
from headwater.jobs.operators.windows import Windows
from property.folding import START, Folding, Sent, cut

Spans = Callable[[list[int]], Iterable[tuple[int, int]]]
VALUES = st.sampled_from(["a", "b", "c", 1, 2, 7, 1.5, True, "1"])
EVENTS = st.lists(
    st.builds(
        lambda partition, at, key, value, size: Sent(partition, at, {"key": key, "value": value, "size": size}),
        st.integers(0, 2),
        # Often exactly a size, a slide or a gap apart.
        st.integers(0, 40).map(lambda at: at * 100),
        st.sampled_from("xy"),
        VALUES,
        st.integers(-5, 50),
    ),
    min_size=1,
    max_size=25,
)


def tumbling_spans(size: int) -> Spans:
    return lambda times: {((START + at) // size * size, (START + at) // size * size + size) for at in times}


def sliding_spans(size: int, slide: int) -> Spans:
    def spans(times: list[int]) -> Iterable[tuple[int, int]]:
        for at in times:
            start = (START + at) // slide * slide
            while start > START + at - size:
                yield start, start + size
                start -= slide

    return lambda times: set(spans(times))


def session_spans(gap: int) -> Spans:
    def spans(times: list[int]) -> Iterable[tuple[int, int]]:
        some: list[int] = []
        for at in sorted(times):
            if some and at - some[-1] >= gap:
                yield START + some[0], START + some[-1] + gap
                some = []
            some.append(at)
        yield START + some[0], START + some[-1] + gap

    return spans


KINDS = {
    "tumbling": (tumbling(0.5), tumbling_spans(500)),
    "sliding": (sliding(1, 0.3), sliding_spans(1_000, 300)),
    "sliding by panes": (sliding(1, 0.5), sliding_spans(1_000, 500)),
    "session": (session(0.4), session_spans(400)),
}


def with_all(windows: Windows) -> Windows:
    return (
        windows.count("n")
        .sum("bytes", "size")
        .mean("mean", "size")
        .min("least", "size")
        .max("most", "size")
        .first("first", "value")
        .last("last", "value")
        .collect("some", "value", 3)
        .count_distinct("kinds", "value")
        .top_k("top", "value", 2)
    )


def order(value: Any) -> tuple[int, Any]:
    return (0 if isinstance(value, bool) else 2 if isinstance(value, str) else 1, value)


def aggregated(events: Sequence[Sent]) -> dict[str, Any]:
    sizes = [sent.value["size"] for sent in events]
    dated = sorted(((sent.at, order(sent.value["value"]), sent.value["value"]) for sent in events), key=lambda x: x[:2])
    counts = Counter(order(sent.value["value"]) for sent in events)
    top = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:2]
    return {
        "n": len(events),
        "bytes": sum(sizes),
        "mean": fmean(sizes),
        "least": min(sizes),
        "most": max(sizes),
        "first": dated[0][2],
        "last": dated[-1][2],
        "some": [one[2] for one in dated[:3]],
        "kinds": len(counts),
        "top": [{"value": value, "count": n} for (_, value), n in top],
    }


def expected(events: Sequence[Sent], spans: Spans) -> dict[tuple[str, int, int], dict[str, Any]]:
    found = {}
    for key in {sent.value["key"] for sent in events}:
        mine = [sent for sent in events if sent.value["key"] == key]
        for start, end in spans([sent.at for sent in mine]):
            found[key, start, end] = aggregated([sent for sent in mine if start <= START + sent.at < end])
    return found


def shown(windows: Sequence[Window]) -> dict[tuple[str, int, int], dict[str, Any]]:
    return {(window.key, window.start_ms, window.end_ms): dict(window.values) for window in windows}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_windows_are_those_of_plain_python_in_any_order_of_partitions(kind: str, data: st.DataObject) -> None:
    windows, spans = KINDS[kind]
    events = data.draw(EVENTS)
    disorder = data.draw(st.sampled_from([0, 700]))
    batches = data.draw(cut(events, disorder_ms=disorder))
    restarts = data.draw(st.lists(st.integers(0, 8), max_size=3))
    step = with_all(windows).step("window", lambda event, context: event["key"])
    folded = Folding(step, out_of_order_ms=disorder).run(batches, restarts)
    assert (folded.failures, folded.late) == ([], [])
    assert shown(folded.values()) == expected(events, spans)
    # In bound, each window is emitted once, those of a key in order.
    assert len(folded.passed) == len(expected(events, spans))
    of_key = defaultdict(list)
    for window in folded.values():
        of_key[window.key].append(window.end_ms)
    assert all(ends == sorted(ends) for ends in of_key.values())


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_any_two_runs_over_the_same_events_give_the_same_windows_with_the_same_ids(
    kind: str, data: st.DataObject
) -> None:
    windows, _ = KINDS[kind]
    events = data.draw(EVENTS)
    step = with_all(windows).step("window", lambda event, context: event["key"])
    one, other = (
        Folding(step, out_of_order_ms=500).run(data.draw(cut(events, disorder_ms=500)), restarts)
        for restarts in ([], [1, 2, 3])
    )
    assert sorted(one.ids()) == sorted(other.ids())
    assert len(set(one.ids())) == len(one.ids())


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_late_events_and_corrections_end_in_windows_of_all_events_that_were_not_late(
    kind: str, data: st.DataObject
) -> None:
    windows, spans = KINDS[kind]
    events = data.draw(EVENTS)
    batches = data.draw(cut(events, disorder_ms=3_000))
    lateness = data.draw(st.sampled_from([0, 400]))
    described = dataclasses.replace(windows, lateness_ms=lateness)
    step = with_all(described).step("window", lambda event, context: event["key"])
    folded = Folding(step).run(batches)
    assert folded.failures == []
    late = {element.lineage_id for element in folded.late}
    on_time = [sent for number, sent in enumerate(events) if f"id-{number}/0" not in late]
    last: dict[tuple[str, int], dict[str, Any]] = {}
    for window in folded.values():
        last[window.key, window.end_ms] = {"start": window.start_ms, **window.values}
    found = {(key, end): one for (key, end), one in last.items()}
    if kind == "tumbling":
        wanted = expected(on_time, spans)
        assert found == {(key, end): {"start": start, **one} for (key, start, end), one in wanted.items()}
    assert len(set(folded.ids())) == len(folded.ids())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_kept_of_windows_that_are_closed(kind: str) -> None:
    windows, _ = KINDS[kind]
    events = [Sent(0, at, {"key": "xy"[at % 2], "value": f"v{at}", "size": 1}) for at in range(0, 3_000, 7)]
    ends = [Sent(0, 60_000, {"key": "end", "value": "v", "size": 1})]
    step = with_all(windows).step("window", lambda event, context: event["key"])
    numbered = list(enumerate([*events, *ends]))
    folded = Folding(step).run([numbered[start : start + 50] for start in range(0, len(numbered), 50)] + [[]])
    assert folded.failures == []
    # Of the last event only.
    assert max(folded.states.values(), default=0) <= 12
