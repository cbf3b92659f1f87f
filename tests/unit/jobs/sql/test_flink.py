"""`@flink_sql` makes a job of a query in Flink's dialect, and refuses what could not run, at its line."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from headwater.catalog.job_diagram import diagram_of, diagram_text
from headwater.errors import JobInvalid
from headwater.jobs import Job, flink_sql, job
from headwater.processing.contract import RunnerFeatures
from headwater.processing.flink.features import FEATURES
from headwater.streams.registry import StreamRegistry


def host_of(uri: str) -> str | None:
    return uri or None


def unsaid(uri):  # type: ignore[no-untyped-def]
    return uri


def day_of(at: datetime.datetime) -> datetime.date:
    return at.date()


def query_of(**arguments: Any) -> Job:
    @flink_sql(**{"source": "shop.orders:1.0.0", "sink": "shop.totals:1.1.0", **arguments})
    def totals() -> str:
        """Totals of orders."""
        return " SELECT shop, COUNT(*) AS orders FROM `shop.orders` GROUP BY shop; "

    return totals


def test_a_query_is_a_job_with_its_streams() -> None:
    made = query_of(source=["shop.orders:1.0.0", "shop.rates"], functions={"host_of": host_of}, out_of_order="5s")
    assert made.reads() == ("shop.orders", "shop.rates")
    assert made.writes().streams == ("shop.totals", "totals.error")
    assert made.output_version("shop.totals") == "1.1.0"
    assert (made.name, made.summary, made.out_of_order_ms) == ("totals", "Totals of orders.", 5_000)
    assert made.query is not None
    assert made.query.text == "SELECT shop, COUNT(*) AS orders FROM `shop.orders` GROUP BY shop"
    assert made.query.versions == (("shop.orders", "1.0.0"), ("shop.rates", None))
    assert made.query.functions["host_of"].result == "STRING"


def test_results_of_functions_are_annotated_or_written() -> None:
    made = query_of(functions={"day_of": day_of, "parts": (unsaid, "ARRAY<STRING>")})
    assert made.query is not None
    assert {name: one.result for name, one in made.query.functions.items()} == {
        "day_of": "DATE",
        "parts": "ARRAY<STRING>",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sink": None}, "`sink` is missing"),
        ({"source": ()}, "`source` is one stream or several"),
        ({"source": ["shop.orders:1.0.0", "shop.orders"]}, "names a stream twice"),
        ({"source": "shop.orders:new"}, "not 'shop.orders:new'"),
        ({"functions": [host_of]}, "`functions` is a mapping"),
        ({"functions": {"a b": host_of}}, "'a b' cannot name a function"),
        ({"functions": {"host": "text"}}, "host is 'text', not a function"),
        ({"functions": {"unsaid": unsaid}}, "unsaid does not say of what type"),
        ({"lateness": "5s"}, "lateness"),
    ],
)
def test_what_could_not_run_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(JobInvalid, match=message) as caught:
        query_of(**arguments)
    assert caught.value.line is not None


def test_a_function_that_returns_no_query_is_refused() -> None:
    decorate: Callable[[Any], Job] = flink_sql(source="shop.orders", sink="shop.totals")
    with pytest.raises(JobInvalid, match="not the text of a query"):
        decorate(lambda: None)


def test_nothing_but_flink_runs_it() -> None:
    made = query_of()
    embedded = RunnerFeatures(
        streams=True,
        keyed_state=True,
        tables=True,
        tables_with_state=True,
        fires_when_idle=True,
        shares_partitions=False,
        awaits=True,
    )
    [reason] = embedded.unsupported_reasons(made)
    assert reason == "it is in Flink's SQL, which only Flink runs: headwater job run totals --on flink"
    assert FEATURES.unsupported_reasons(made) == ()


def test_the_diagram_of_a_query_has_its_streams_and_functions() -> None:
    text = diagram_text(diagram_of(query_of(functions={"host_of": host_of}), StreamRegistry()))
    assert text.index("shop.orders") < text.index("Flink SQL, calls host_of") < text.index("shop.totals")


def test_a_job_of_a_function_has_no_query() -> None:
    @job(source="shop.orders", sink="shop.totals")
    def same(event: Any, context: Any) -> Any:
        return event

    assert same.query is None
