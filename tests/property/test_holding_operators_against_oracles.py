"""Reordering, rate limits, joins and dedupe equal what plain Python computes, for any interleaving of partitions, any
batches and restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headwater.jobs import Dedupe, Join, Rate, Reorder
from headwater.jobs.steps import Context
from property.folding import Folding, Sent, cut

RESTARTS = st.lists(st.integers(0, 8), max_size=3)


def by_key(event: Any, context: Context) -> Any:
    return event["key"]


def numbers(values: Sequence[Any]) -> list[int]:
    """The number of each event, which is in its id."""
    return [int(value["meta"]["id"].removeprefix("id-")) for value in values]


def sent(partition: int, at: int, key: str, **more: Any) -> Sent:
    return Sent(partition, at, {"key": key, **more})


@st.composite
def revisions(draw: st.DrawFn) -> list[Sent]:
    """Events of several streams whose order by revision differs from that by time by at most 500 ms."""
    found = []
    for key in "xy":
        at, rev = 0, 0
        for _ in range(draw(st.integers(0, 10))):
            at += draw(st.integers(0, 6)) * 50
            rev += draw(st.integers(0, 2))
            shifted = at + draw(st.integers(0, 5)) * 50
            found.append(sent(draw(st.integers(0, 2)), shifted, key, rev=rev))
    return found or [sent(0, 0, "x", rev=1)]


@given(revisions(), st.data())
def test_reordered_events_are_in_order_of_field_and_time(events: list[Sent], data: st.DataObject) -> None:
    batches = data.draw(cut(events, disorder_ms=200))
    step = Reorder("rev", 0.5).step("reorder", by_key)
    folded = Folding(step, out_of_order_ms=200).run(batches, data.draw(RESTARTS))
    assert (folded.failures, folded.late) == ([], [])
    for key in "xy":
        mine = [n for n, one in enumerate(events) if one.value["key"] == key]
        # Of the same revision and time, the id decides: any order, but always the same.
        passed = [n for n in numbers(folded.values()) if n in mine]
        assert [(events[n].value["rev"], events[n].at) for n in passed] == sorted(
            (events[n].value["rev"], events[n].at) for n in mine
        )
        assert sorted(passed) == mine
    times = {element.lineage_id: element.event_time_ms for element in folded.passed}
    assert times == {f"id-{n}/0": one.element(n).event_time_ms for n, one in enumerate(events)}


@given(revisions(), st.data())
def test_reordering_twice_gives_the_same_order(events: list[Sent], data: st.DataObject) -> None:
    step = Reorder("rev", 0.5).step("reorder", by_key)
    runs = [Folding(step, out_of_order_ms=200).run(data.draw(cut(events, disorder_ms=200))) for _ in range(2)]
    for key in "xy":
        one, other = ([e.lineage_id for e in run.passed if e.value["key"] == key] for run in runs)
        assert one == other


LIMITED = st.lists(st.builds(sent, st.just(0), st.integers(0, 300), st.sampled_from("xy")), min_size=1, max_size=25)


def at_a_rate(events: Sequence[Sent], n: int, per: int, *, delay: bool) -> list[tuple[int, int]]:
    """(number, time) of what is passed on, by trying each time."""
    passed: list[tuple[int, int]] = []
    for number, one in enumerate(events):
        times = [at for _, at in passed]
        at = max([one.at, *times])
        while sum(at - per < other <= at for other in times) >= n:
            if not delay:
                break
            at += 1
        else:
            passed.append((number, at))
    return passed


@given(LIMITED, st.integers(1, 3), st.sampled_from([1, 40, 100]), st.sampled_from(["delay", "drop"]), st.data())
def test_a_rate_is_exact_in_any_period(events: list[Sent], n: int, per: int, over: Any, data: st.DataObject) -> None:
    # A partition for each key, and each in order.
    events = sorted((one._replace(partition="xy".index(one.value["key"])) for one in events), key=lambda one: one.at)
    batches = data.draw(cut(events))
    folded = Folding(Rate(n, per / 1000, over).step("rate", by_key)).run(batches, data.draw(RESTARTS))
    assert (folded.failures, folded.late) == ([], [])
    wanted = 0
    for key in "xy":
        mine = [number for number, one in enumerate(events) if one.value["key"] == key]
        expected = at_a_rate([events[number] for number in mine], n, per, delay=over == "delay")
        passed = [element for element in folded.passed if element.value["key"] == key]
        assert numbers([element.value for element in passed]) == [mine[number] for number, _ in expected]
        if over == "delay":
            assert [e.event_time_ms - events[0].element(0).event_time_ms + events[0].at for e in passed] == [
                at for _, at in expected
            ]
        wanted += len(expected)
    assert folded.dropped.get("rate", 0) == len(events) - wanted


JOINED = st.lists(
    st.builds(
        lambda partition, at, key, stream: Sent(partition, at, {"key": key}, stream),
        st.integers(0, 2),
        # Often exactly `within` apart.
        st.integers(0, 20).map(lambda at: at * 50),
        st.sampled_from("xy"),
        st.sampled_from(["in", "other"]),
    ),
    min_size=1,
    max_size=20,
)


@given(JOINED, st.sampled_from([1, 100, 400]), st.sampled_from(["inner", "left"]), st.data())
def test_joined_are_exactly_the_pairs_within_the_time(
    events: list[Sent], within: int, how: Any, data: st.DataObject
) -> None:
    disorder = data.draw(st.sampled_from([0, 200]))
    batches = data.draw(cut(events, disorder_ms=disorder))
    step = Join("other", within / 1000, how).step("join", by_key)
    folded = Folding(step, out_of_order_ms=disorder).run(batches, data.draw(RESTARTS))
    assert (folded.failures, folded.late) == ([], [])
    left = [n for n, one in enumerate(events) if one.stream == "in"]
    pairs = {
        (n, other)
        for n in left
        for other, one in enumerate(events)
        if one.stream == "other" and one.value["key"] == events[n].value["key"] and abs(one.at - events[n].at) <= within
    }
    if how == "left":
        matched = {n for n, _ in pairs}
        pairs |= {(n, None) for n in left if n not in matched}
    found = [tuple(None if side is None else numbers([side])[0] for side in pair) for pair in folded.values()]
    assert sorted(found, key=str) == sorted(pairs, key=str)
    assert sorted(folded.ids(), key=str) == sorted(
        (f"id-{n}+{'' if other is None else f'id-{other}'}" for n, other in pairs), key=str
    )


REPEATED = st.lists(
    st.builds(
        lambda at, unit: Sent(0, at, {"unit": unit}), st.integers(0, 20).map(lambda at: at * 50), st.sampled_from("abc")
    ),
    min_size=1,
    max_size=20,
)


@given(REPEATED, st.sampled_from([100, 400]), st.data())
def test_an_event_is_dropped_if_its_id_was_passed_on_within_the_time(
    events: list[Sent], ttl: int, data: st.DataObject
) -> None:
    events.sort(key=lambda one: one.at)
    folded = Folding(Dedupe("unit", ttl / 1000).step("dedupe")).run(data.draw(cut(events)), data.draw(RESTARTS))
    first: dict[str, int] = {}
    passed = []
    for number, one in enumerate(events):
        unit = one.value["unit"]
        if unit not in first or one.at - first[unit] >= ttl:
            first[unit] = one.at
            passed.append(number)
    assert numbers(folded.values()) == passed
    assert folded.dropped.get("duplicate", 0) == len(events) - len(passed)
