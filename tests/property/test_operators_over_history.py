"""Operators give the same over history, sorted and in batches of any length, as live: the same events and ids.

Also several of them one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.jobs import Dedupe, Each, Join, PerKey, Rate, Reorder, session, sliding, tumbling
from headwater.jobs.steps import Context, Step
from property.folding import Folded, Folding, Sent, cut

DISORDER_MS = 200


def by_key(event: Any, context: Context) -> Any:
    return event.left["key"] if hasattr(event, "left") else event["key"]


def counted(name: str, windows: Any) -> PerKey:
    made: PerKey = windows.count("n").count_distinct("units", "unit").step(name, by_key)
    return made


def as_event(window: Any, context: Context) -> dict[str, Any]:
    return {"key": window.key, "start": window.start_ms, **window.values}


# Those that have the same outcome in whatever order the events of several partitions come.
CHAINS: dict[str, tuple[Step, ...]] = {
    "tumbling": (counted("window", tumbling(0.5)),),
    "sliding": (counted("window", sliding(1, 0.3)),),
    "session": (counted("window", session(0.4)),),
    "reorder": (Reorder("rev", 2).step("reorder", by_key),),
    "join": (Join("other", 0.3).step("join", by_key),),
    "left join": (Join("other", 0.3, "left").step("join", by_key),),
    "reorder, then windows": (Reorder("rev", 2).step("reorder", by_key), counted("window", tumbling(0.5))),
    "left join, then windows": (
        Join("other", 0.3, "left").step("join", by_key),
        tumbling(0.5).count("n").step("window", by_key),
    ),
    "windows of windows": (
        counted("small", tumbling(0.2)),
        Each("as event", as_event),
        sliding(1, 0.5).sum("n", "n").step("window", by_key),
    ),
    "reorder, join, sessions": (
        Reorder("rev", 2).step("reorder", by_key),
        Join("other", 0.3).step("join", by_key),
        session(0.4).count("n").step("window", by_key),
    ),
}
# Those for which the order of the events of a key matters: each key has a partition.
IN_ORDER: dict[str, tuple[Step, ...]] = {
    "dedupe": (Dedupe("unit", 0.4).step("dedupe"),),
    "rate": (Rate(2, 0.3).step("rate", by_key),),
    "dedupe, rate, then windows": (
        Dedupe("unit", 0.4).step("dedupe"),
        Rate(1, 0.1).step("rate", by_key),
        counted("window", tumbling(0.5)),
    ),
}


@st.composite
def events(draw: st.DrawFn) -> list[Sent]:
    """At most DISORDER_MS out of order by `rev`."""
    found = []
    for number in range(draw(st.integers(1, 20))):
        at, partition = draw(st.integers(0, 40)) * 50, draw(st.integers(0, 1))
        value = {"key": draw(st.sampled_from("xy")), "rev": at // 100, "unit": draw(st.integers(0, 3)), "n": number}
        found.append(Sent(partition, at, value, draw(st.sampled_from(["in", "other"]))))
    return found


def shown(folded: Folded) -> list[Any]:
    assert (folded.failures, folded.late) == ([], [])
    return sorted((element.lineage_id, element.event_time_ms, repr(element.value)) for element in folded.passed)


def over_history(steps: Sequence[Step], sent: Sequence[Sent], data: st.DataObject) -> Folded:
    numbered = sorted(enumerate(sent), key=lambda one: one[1].at)
    size = data.draw(st.sampled_from([1, 3, 100]))
    return Folding(*steps, history=True).run([numbered[at : at + size] for at in range(0, len(numbered), size)])


@pytest.mark.parametrize("chain", CHAINS)
@given(events(), st.data())
def test_history_gives_the_same_as_a_live_run_in_any_order(chain: str, sent: list[Sent], data: st.DataObject) -> None:
    steps = CHAINS[chain]
    batches = data.draw(cut(sent, disorder_ms=DISORDER_MS))
    restarts = data.draw(st.lists(st.integers(0, 8), max_size=2))
    live = Folding(*steps, out_of_order_ms=DISORDER_MS).run(batches, restarts)
    assert shown(live) == shown(over_history(steps, sent, data))


@pytest.mark.parametrize("chain", IN_ORDER)
@given(events(), st.data())
def test_history_gives_the_same_as_a_live_run_with_the_keys_in_order(
    chain: str, sent: list[Sent], data: st.DataObject
) -> None:
    steps = IN_ORDER[chain]
    sent = sorted((one._replace(value={**one.value, "unit": one.value["key"]}) for one in sent), key=lambda one: one.at)
    sent = [one._replace(partition="xy".index(one.value["key"])) for one in sent]
    live = Folding(*steps).run(data.draw(cut(sent)), data.draw(st.lists(st.integers(0, 8), max_size=2)))
    assert shown(live) == shown(over_history(steps, sent, data))
