"""A job whose window was changed: open windows of the former one are errors, never results that mix both."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Job, job, session, sliding, tumbling
from headwater.jobs.operators.accumulation import Accumulation, form_of
from headwater.jobs.operators.windows import Tumbling, Windows
from headwater.testing.run_job import JobTest

WINDOW = tumbling("1h")
# Each with values of another meaning.
AGGREGATES = {
    "count": WINDOW.count("n"),
    "sum": WINDOW.sum("n", "v"),
    "sum of another": WINDOW.sum("n", "w"),
    "mean": WINDOW.mean("n", "v"),
    "min": WINDOW.min("n", "v"),
    "max": WINDOW.max("n", "v"),
    "first": WINDOW.first("n", "v"),
    "last": WINDOW.last("n", "v"),
    "collect": WINDOW.collect("n", "v"),
    "count_distinct": WINDOW.count_distinct("n", "v"),
    "top_k": WINDOW.top_k("n", "v", 2),
    "percentiles": WINDOW.percentiles("n", "v"),
    "two": WINDOW.count("n").sum("m", "v"),
    "two in another order": WINDOW.sum("m", "v").count("n"),
}


def kept_by(window: Tumbling, values: list[Any] | None = None) -> Accumulation:
    return Accumulation(window.aggregates, None, values=values, form=form_of("tumbling 1", window.aggregates))


@pytest.mark.parametrize(("before", "after"), list(product(AGGREGATES, AGGREGATES)))
def test_values_are_continued_by_the_same_aggregates_only(before: str, after: str) -> None:
    made = kept_by(AGGREGATES[before])
    made.add({"v": 1, "w": 2}, 0)
    if before == after:
        assert kept_by(AGGREGATES[after], made.values).results() == made.results()
    else:
        with pytest.raises(JobInvalid, match="another size or other aggregates"):
            kept_by(AGGREGATES[after], made.values)


@pytest.mark.parametrize("name", AGGREGATES)
def test_values_that_were_stored_without_a_form_are_continued_where_their_number_fits(name: str) -> None:
    window = AGGREGATES[name]
    stored = Accumulation(window.aggregates, None).values
    assert kept_by(window, stored).results() == Accumulation(window.aggregates, None).results()
    with pytest.raises(JobInvalid, match="another size or other aggregates"):
        kept_by(window, [*stored, 0])


def of(window: Windows) -> Job:
    @job(name="windows", source="edits", sink="out", key="wiki", window=window)
    def windows(window: Any, context: Any) -> Any:
        return {"$schema": "/out/1.0.0", "end": window.end, **window.values}

    return windows


def edit(second: int) -> dict[str, Any]:
    return {"meta": {"id": str(second), "dt": f"2026-01-31T12:00:{second:02}Z"}, "wiki": "en", "v": 5}


COUNTED = tumbling("1h").count("n")
SLID = sliding("1h", "30m").count("n")
LASTING = session("1h").count("n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (COUNTED, tumbling("30m").count("n")),
        (COUNTED, tumbling("1h").count("n").sum("v", "v")),
        (COUNTED, SLID),
        (COUNTED, LASTING),
        (SLID, sliding("1h", "20m").count("n")),
        (SLID, sliding("1h", "30m").sum("n", "v")),
        (SLID, COUNTED),
        (SLID, LASTING),
        (LASTING, session("2h").count("n")),
        (LASTING, session("1h").sum("n", "v")),
        (LASTING, COUNTED),
        (LASTING, SLID),
    ],
    ids=lambda window: f"{type(window).__name__}",
)
def test_an_open_window_of_the_former_kind_is_an_error_and_can_be_finished_by_undoing_the_change(
    before: Windows, after: Windows
) -> None:
    with JobTest(of(before)) as test:
        test.put(edit(1), edit(2))
        test.process()
        test.restart(of(after))
        test.put(edit(3))
        made = test.finish()
        errors = [error["message"] for error in made.errors]
        assert errors
        assert all("another size or other aggregates" in message for message in errors)
        # Whatever there is counts the one event that came after the change.
        assert {value["n"] for value in made.values} <= {1, 5}


@pytest.mark.parametrize(
    "after", [tumbling("1h", lateness="1h").count("n"), tumbling("1h").count("renamed"), tumbling("1h").count("n")]
)
def test_a_window_is_continued_if_only_its_lateness_or_the_names_of_results_change(after: Windows) -> None:
    with JobTest(of(COUNTED)) as test:
        test.put(edit(1))
        test.process()
        test.restart(of(after))
        test.put(edit(2))
        made = test.finish()
        assert made.errors == []
        assert [list(value.values())[-1] for value in made.values] == [2]
