"""`@table`: of all events of a key the newest gives the row, in whatever order and how often they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.jobs import Job, table
from headwater.jobs.apply import Application
from headwater.jobs.cells import NO_CELL, Cell
from headwater.jobs.scope import Scope
from headwater.jobs.steps import Element, PerKey, Results
from headwater.jobs.tables.reader import TableReader
from headwater.testing.run_job import JobTest, run

Event = dict[str, Any]


@table(
    source="pages",
    key=("wiki", "page.id"),
    version="revision.id",
    delete=lambda event: event["kind"] == "delete",
    where=lambda event: event["kind"] != "protect",
)
def newest_pages(event: Event) -> Event | None:
    """The newest revision of each page."""
    if event["kind"] == "silent":
        return None
    return {"title": event["title"], "revision": event["revision"]["id"]}


def change(revision: Any, kind: str = "edit", *, page: int = 1, second: int = 0, title: str = "") -> Event:
    at = f"2026-01-01T00:00:{second:02}Z"
    return {
        "wiki": "enwiki",
        "page": {"id": page},
        "revision": {"id": revision},
        "kind": kind,
        "title": title or f"r{revision}",
        "dt": at,
        "meta": {"dt": at},
    }


def titles(job: Job, *events: Event) -> list[str]:
    outcome = run(job, events)
    assert outcome.errors == []
    return [row["title"] for row in outcome.rows]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([change(1), change(2)], ["r2"]),
        ([change(2), change(1)], ["r2"]),
        ([change(1), change(1)], ["r1"]),
        # Of one version the later event counts, of one moment the first that arrived.
        ([change(1, second=1, title="b"), change(1, title="a")], ["b"]),
        ([change(1, title="a"), change(1, second=1, title="b")], ["b"]),
        ([change(1, title="a"), change(1, title="b")], ["a"]),
        ([change(2), change(2, "delete", second=1)], []),
        ([change(2, "delete", second=1), change(2), change(1)], []),
        ([change(3, "delete"), change(2), change(4)], ["r4"]),
        ([change(2), change(1, "delete")], ["r2"]),
        ([change(1), change(2, "silent")], ["r1"]),
        ([change(2, "silent"), change(1)], ["r1"]),
        ([change(1), change(2, "protect")], ["r1"]),
        ([change(1, page=2), change(1, page=10)], ["r1", "r1"]),
        # Numbers are in order of their values, texts in that of their code points, whatever Python type they have.
        ([change(10), change(9), change(9.5)], ["r10"]),
        ([change("10"), change("9")], ["r9"]),
    ],
)
def test_which_rows_there_are(events: list[Event], expected: list[str]) -> None:
    assert titles(newest_pages, *events) == expected


def test_a_row_has_its_key_and_what_the_function_returned() -> None:
    outcome = run(newest_pages, [change(1, page=10), change(2, page=9)])
    assert outcome.rows == [
        {"wiki": "enwiki", "id": 10, "title": "r1", "revision": 1},
        {"wiki": "enwiki", "id": 9, "title": "r2", "revision": 2},
    ]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.51Z"),
        ("2026-01-01T00:00:00.123456788Z", "2026-01-01T00:00:00.123456789Z"),
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:01Z"),
        ("2026-01-01T00:00:00.9Z", "2026-01-01T00:00:01Z"),
        ("2026-01-01", "2026-01-02"),
        ("r1", "r2"),
    ],
)
def test_a_version_that_is_a_time_is_compared_as_one(earlier: str, later: str) -> None:
    for order in ((earlier, later), (later, earlier)):
        assert titles(newest_pages, *(change(one) for one in order)) == [f"r{later}"]


def test_one_moment_written_differently_is_one_version() -> None:
    events = [change("2026-01-01T01:00:00+01:00", title="a"), change("2026-01-01T00:00:00.000Z", title="b")]
    assert titles(newest_pages, *events) == ["a"]


@pytest.mark.parametrize("version", [None, True, [], {}, [[1]], float("nan")])
def test_what_is_no_version_is_an_error_event(version: Any) -> None:
    @table(source="pages", key="k", version=lambda event: version if event["bad"] else 1)
    def rows(event: Event) -> Event:
        return {"n": event["n"]}

    outcome = run(rows, [{"k": 1, "n": 1, "bad": False}, {"k": 1, "n": 2, "bad": True}])
    assert len(outcome.errors) == 1
    assert [row["n"] for row in outcome.rows] == [1]


def test_versions_that_cannot_be_compared_are_error_events_and_say_what_to_do() -> None:
    outcome = run(newest_pages, [change(1), change("2"), change(2)])
    assert [row["title"] for row in outcome.rows] == ["r2"]
    assert "['2'] cannot be compared with [1]" in outcome.errors[0]["message"]
    assert "headwater job reset" in str(outcome.errors[0])


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([{"page": {"id": 1}}], "wiki is absent"),
        ([{**change(1), "revision": {}}], "revision.id is absent, and decides which event of a key is the newest"),
    ],
)
def test_an_event_without_a_key_or_a_version_is_an_error_event(events: list[Event], reason: str) -> None:
    events = [{"kind": "edit", "title": "", "meta": {}, **event} for event in events]
    assert reason in run(newest_pages, events).errors[0]["message"]


@pytest.mark.parametrize("row", [5, "text", ["a"], {1, 2}])
def test_what_is_no_row_is_an_error_event_and_the_row_stays(row: Any) -> None:
    @table(source="pages", key="k", version="v")
    def rows(event: Event) -> Any:
        return {"v": 1} if event["v"] == 1 else row

    outcome = run(rows, [{"k": 1, "v": 1}, {"k": 1, "v": 2}])
    assert len(outcome.errors) == 1
    assert outcome.rows == [{"k": 1, "v": 1}]


def test_a_key_with_null_is_an_error_event() -> None:
    @table(source="pages", key=lambda event: [event["k"], 1])
    def rows(event: Event) -> Event:
        return {"v": 1}

    outcome = run(rows, [{"k": None}, {"k": 1}])
    assert ["without null" in one["message"] for one in outcome.errors] == [True]
    assert outcome.rows == [{"key": [1, 1], "v": 1}]


def test_without_a_version_the_latest_event_time_counts_and_of_one_time_the_last_event() -> None:
    @table(source="pages", key="page.id")
    def rows(event: Event) -> Event:
        return {"title": event["title"]}

    assert titles(rows, change(1, second=2, title="b"), change(2, second=1, title="a")) == ["b"]
    assert titles(rows, change(1, title="a"), change(1, title="b")) == ["b"]


def test_a_version_of_several_parts_is_compared_part_by_part() -> None:
    @table(source="pages", key="k", version=("major", "minor"))
    def rows(event: Event) -> Event:
        return {"title": event["t"]}

    def one(major: int, minor: int) -> Event:
        return {"k": 1, "major": major, "minor": minor, "t": f"{major}.{minor}"}

    assert titles(rows, one(1, 9), one(2, 0), one(1, 10)) == ["2.0"]


def test_the_function_may_take_the_context_and_read_other_tables() -> None:
    @table(source="pages", key="k", settings={"prefix": "x"})
    def rows(event: Event, context: Any) -> Event:
        found = context.table("names").get(event["k"])
        return {"title": f"{context.settings['prefix']}{found['name']}"}

    outcome = run(rows, [{"k": 1}], tables={"names": {1: {"name": "one"}}})
    assert [row["title"] for row in outcome.rows] == ["xone"]
    assert rows.tables == ("names",)


def test_an_older_event_does_not_bring_a_deleted_row_back_while_its_tombstone_lives() -> None:
    @table(
        source="pages", key="page.id", version="revision.id", delete=lambda e: e["kind"] == "delete", tombstone_ttl="1h"
    )
    def rows(event: Event) -> Event:
        return {"title": event["title"]}

    with JobTest(rows, at="2026-01-01T01:00:00Z") as test:
        test.put(change(1), change(3, "delete"))
        assert test.process().rows == []
        test.put(change(2))
        test.advance("59m")
        test.put(change(2))
        found = test.process()
        assert (found.rows, len(found.state)) == ([], 1)
        assert test.advance("2m").state == {}
        # After that nobody knows that the row was ever there.
        test.put(change(2))
        assert [row["title"] for row in test.process().rows] == ["r2"]


def test_a_row_that_came_back_outlives_its_tombstone() -> None:
    with JobTest(newest_pages, at="2026-01-01T01:00:00Z") as test:
        test.put(change(1, "delete"), change(2))
        test.process()
        found = test.advance("8d")
        assert [row["title"] for row in found.rows] == ["r2"]
        test.put(change(1))
        assert [row["title"] for row in test.process().rows] == ["r2"]


# The same as an oracle would: over all events at once, without a state.
KINDS = ("edit", "delete", "silent", "protect")
EVENTS = st.lists(
    st.builds(
        change,
        st.integers(1, 4),
        st.sampled_from(KINDS),
        page=st.integers(1, 2),
        second=st.integers(0, 3),
    ),
    max_size=12,
    # No two events that no rule tells apart.
    unique_by=lambda event: (event["page"]["id"], event["revision"]["id"], event["dt"]),
)


def oracle(events: Sequence[Event]) -> dict[int, str]:
    found = {}
    for page in (1, 2):
        counted = [one for one in events if one["page"]["id"] == page and one["kind"] in ("edit", "delete")]
        newest = max(counted, key=lambda one: (one["revision"]["id"], one["dt"]), default=None)
        if newest is not None and newest["kind"] == "edit":
            found[page] = newest["title"]
    return found


def folded(job: Job, events: Sequence[Event]) -> dict[int, str]:
    """The rows after these events, through the steps without a runner."""
    where, step = job.steps
    assert isinstance(step, PerKey)
    results = Results()
    apply = Application(results, 0, Scope(job.name, clock=lambda: 0.0))
    cells: dict[bytes, Cell] = {}
    for number, event in enumerate(events):
        passed = where.apply(event, None)  # type: ignore[union-attr,arg-type]
        if passed is not None:
            element = Element(passed, int(passed["dt"][-3:-1]) * 1000, str(number), "pages")
            found = apply.key(step, element)
            assert found is not None
            key, context = found
            cells[key] = apply.event(step, key, element, cells.get(key, NO_CELL), context)
    assert results.failures == []
    assert job.materialized is not None
    present = {key: encoded for key, cell in cells.items() if (encoded := cell.encode()) is not None}
    reader = TableReader(
        job.materialized,
        lambda namespace, keys: {key: present[key] for key in keys if key in present},
        lambda namespace, after, rows_max: sorted(one for one in present.items() if one[0] > after)[:rows_max],
    )
    rows = {key[1]: row["title"] for key, row in reader.scan()}
    assert rows == {key[1]: row["title"] for key, row in reader}
    assert rows == {page: row["title"] for page in (1, 2) if (row := reader.get(("enwiki", page)))}
    return rows


@given(st.data())
def test_any_order_with_any_repeats_gives_the_table_of_the_oracle(data: st.DataObject) -> None:
    events = data.draw(EVENTS)
    shuffled = data.draw(
        st.permutations([*events, *data.draw(st.lists(st.sampled_from(events), max_size=5))] if events else [])
    )
    assert folded(newest_pages, shuffled) == oracle(events)


TIMES = st.datetimes().map(lambda at: at.isoformat() + "Z") | st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.5Z",
        "2026-01-01T00:00:00.50Z",
        "2026-01-01T01:30:00.25+01:30",
        "2025-12-31T23:59:60Z",
        "2026-01-01 00:00:00Z",
    ]
)


@given(st.lists(TIMES | st.text(max_size=5), min_size=2, max_size=6))
def test_the_order_of_versions_is_total(texts: list[str]) -> None:
    """The newest of all is the one that no order of arrival changes."""
    events = [change(text, title=str(number)) for number, text in enumerate(texts)]
    newest = {folded(newest_pages, [*events[start:], *events[:start]])[1] for start in range(len(events))}
    # Those of one version differ only in which came first.
    assert len({_moment(texts[int(number)]) for number in newest}) == 1


def _moment(text: str) -> Any:
    from headwater.jobs.tables.newest import _sortable

    return _sortable(text)


def test_sorting_times_as_text_would_be_wrong() -> None:
    times = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"]
    assert sorted(times) != times
    assert all(_moment(one) < _moment(other) for one, other in pairwise(times))


@table(
    source="pages",
    key=("wiki", "page.id"),
    version="revision.id",
    replaces=lambda event: [event["wiki"], event["was"]] if "was" in event else None,
)
def moving_pages(event: Event) -> Event:
    return {"title": event["title"]}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([change(1), {**change(2, page=8), "was": 1}], [(8, "r2")]),
        ([change(3), {**change(2, page=8), "was": 1}], [(1, "r3"), (8, "r2")]),
        ([{**change(2), "was": 1}], [(1, "r2")]),
        ([{**change(2), "was": 1.0}], [(1, "r2")]),
    ],
)
def test_an_event_may_delete_the_row_of_another_key(events: list[Event], expected: list[tuple[int, str]]) -> None:
    for order in (events, events[::-1]):
        outcome = run(moving_pages, order)
        assert outcome.errors == []
        assert [(row["id"], row["title"]) for row in outcome.rows] == expected


def test_a_replaced_key_of_another_form_is_an_error_event() -> None:
    @table(source="pages", key=("wiki", "page.id"), replaces=lambda event: event["wiki"])
    def rows(event: Event) -> Event:
        return {"title": event["title"]}

    outcome = run(rows, [change(1)])
    assert "A key of the table rows has (wiki, id); 'enwiki' does not fit." in outcome.errors[0]["message"]
    assert outcome.rows == []


def test_an_event_that_cannot_be_processed_is_skipped_if_the_table_wants_that() -> None:
    @table(source="pages", key="k", version="v", on_error="skip")
    def rows(event: Event) -> Event:
        return {"n": 1 // event["v"]}

    outcome = run(rows, [{"k": 1, "v": 0}, {"k": 1, "v": 1}, {"k": 2}])
    assert (outcome.errors, outcome.rows) == ([], [{"k": 1, "n": 1}])
