"""Which streams a query names, and `hop` as a lateral join."""

from __future__ import annotations

import pytest

from headwater.errors import QueryInvalid
from headwater.queries.parsing import parse_query

KNOWN = ("shop.order.v1", "totals")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('select * from "shop.order.v1"', ["shop.order.v1"]),
        ("select * from shop.order.v1", ["shop.order.v1"]),
        ("select * from Shop.Order.V1", ["shop.order.v1"]),
        ('select * from totals join "shop.order.v1" using (item)', ["totals", "shop.order.v1"]),
        ('select * from totals where item in (select item from "shop.order.v1")', ["totals", "shop.order.v1"]),
        ('with one as (select * from "shop.order.v1") select * from one', ["shop.order.v1"]),
        ("with totals as (select 1 as a) select * from totals", []),
        ("with other as (select * from totals), totals as (select 1) select * from other", ["totals"]),
        ("with recursive totals as (select 1 as a union all select a from totals) select * from totals", []),
        ("select * from (with totals as (select 1) select * from totals) join totals using (a)", ["totals"]),
        ('describe "shop.order.v1"', ["shop.order.v1"]),
        ('from "shop.order.v1" select count(*)', ["shop.order.v1"]),
        ("select * from 'totals.parquet'", []),
        ("select 'totals'", []),
        ("select * from elsewhere", []),
    ],
)
def test_the_streams_and_tables_that_a_query_names_are_found(text: str, names: list[str]) -> None:
    assert sorted(parse_query(text, KNOWN).names) == sorted(names)


def test_text_that_needs_no_change_is_not_changed() -> None:
    text = 'select  count(*)\nfrom "shop.order.v1" -- all of them'
    assert parse_query(text, KNOWN).text == text
    assert parse_query(text + "\n;", KNOWN).text == text + "\n"


@pytest.mark.parametrize(
    "text", ["selec 1", "select (1", "select 1; select 2", "", "-- nothing", "select hop(a, '1 h')"]
)
def test_what_cannot_be_run_is_refused(text: str) -> None:
    with pytest.raises(QueryInvalid) as caught:
        parse_query(text, KNOWN)
    assert caught.value.message.endswith(".")
