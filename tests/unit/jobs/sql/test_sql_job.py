"""Continuous SQL gives what DuckDB gives for the same events at rest, and refuses what never ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import JobInvalid
from headwater.jobs import Job, sql_job
from headwater.queries.engine import Engine
from headwater.queries.parsing import parse_query
from headwater.testing.run_job import run

TYPES = {
    "dt": "TIMESTAMPTZ",
    "wiki": "VARCHAR",
    "user": "VARCHAR",
    "bytes": "BIGINT",
    "ratio": "DOUBLE",
    "bot": "BOOLEAN",
}
TYPES["page"] = "STRUCT(title VARCHAR, tags VARCHAR[])"


# Each example has many events; a query in DuckDB and a run of a job take a while.
FEW = settings(max_examples=6, suppress_health_check=list(HealthCheck))


def job_of(query: str, **arguments: Any) -> Job:
    @sql_job(sink="out", name="made", **arguments)
    def made() -> str:
        return query

    return made


def at(second: int) -> str:
    return f"2026-01-31T12:{second // 60:02}:{second % 60:02}Z"


def event(number: int, second: int, stream: str = "edits", **fields: Any) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if value is not None}
    return {"$schema": "/out/1.0.0", "meta": {"id": f"{stream}-{number}", "stream": stream}, "dt": at(second), **kept}


def by_job(query: str, events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The events that the job makes, without their envelope."""
    outcome = run(job_of(query.replace(" from ", """, '/out/1.0.0' as "$schema" from """, 1)), events)
    assert outcome.errors == [], outcome.errors[0]["message"]
    return sorted(orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() for value in outcome.values)


def by_duckdb(query: str, events: Sequence[Mapping[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directory = tmp_path_factory.mktemp("oracle")
    engine = Engine(directory, memory_bytes_max=134_217_728)
    try:
        for stream in ("edits", "views"):
            lines = directory / f"{stream}.jsonl"
            lines.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in events if one["meta"]["stream"] == stream))
            engine.view(stream, lines, TYPES)
        result = engine.run(parse_query(query, ("edits", "views")).text, ())
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows()]
    finally:
        engine.close()
    plain = [{name: _plain(value) for name, value in row.items() if value is not None} for row in rows]
    return sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode() for row in plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    if type(value).__name__ == "Decimal":
        return int(value) if value == int(value) else float(value)
    return value


def edits() -> st.SearchStrategy[list[dict[str, Any]]]:
    fields = st.fixed_dictionaries(
        {
            "wiki": st.sampled_from(["enwiki", "dewiki", None]),
            "user": st.sampled_from(["Ada", "bo%b", "", None, "ädä"]),
            "bytes": st.one_of(st.none(), st.integers(-50, 50)),
            "ratio": st.one_of(st.none(), st.sampled_from([0.5, -1.25, 2.0])),
            "bot": st.sampled_from([True, False, None]),
            "page": st.sampled_from([None, {"title": "Tea", "tags": ["a", "b"]}, {"title": "Rice", "tags": []}]),
        }
    )
    return st.lists(st.tuples(st.integers(0, 600), fields), max_size=40).map(
        lambda made: [event(number, second, **one) for number, (second, one) in enumerate(made)]
    )


PROJECTIONS = [
    "select wiki, bytes + 1 as more, bytes * 2 - 3 as less, -bytes as minus, abs(bytes) as size from edits",
    "select lower(user) as low, upper(wiki) as up, length(user) as chars, wiki || '/' || user as both from edits",
    "select page.title as title, page.tags[1] as tag, e.page.title as again from edits as e",
    "select coalesce(user, wiki, 'nobody') as who, cast(bytes as varchar) as text from edits",
    "select case when bytes > 10 then 'big' when bytes < 0 then 'less' else 'small' end as size from edits",
    "select case wiki when 'enwiki' then 1 when 'dewiki' then 2 end as number from edits",
    "select bytes / 4 as quarter, ratio * 2 as twice from edits where bot",
    "select user from edits where not bot and wiki = 'enwiki'",
    "select user from edits where bot is null or bytes is not null and bytes >= 3",
    "select user from edits where wiki in ('enwiki', 'frwiki') and user like 'A%'",
    "select user from edits where user ilike 'a_a' or bytes between -5 and 5",
    "select user from edits where bytes not in (1, 2) and ratio <> 0.5 and starts_with(user, 'A')",
]
WINDOWS = [
    "select wiki, tumble(dt, '1 minute') as start, count(*) as n, sum(bytes) as bytes from edits group by wiki, start",
    "select tumble(dt, '1 minute') as start, count(user) as users, count(distinct user) as different, "
    "avg(bytes) as mean, min(bytes) as least, max(user) as last from edits group by 1",
    "select wiki, bot, hop(dt, '1 minute', '2 minutes') as start, count(*) filter (where bytes > 0) as grown, "
    "sum(bytes * 2) + 1 as twice from edits where user is not null group by all",
    "select lower(wiki) as w, tumble(dt, interval 5 minutes) as start, count(*) as n from edits "
    "group by lower(wiki), tumble(dt, interval 5 minutes) having count(*) > 1 and w is not null",
]
JOINS = [
    "select e.wiki as wiki, v.bytes as views, e.user as user from edits e join views v on e.wiki = v.wiki "
    "and v.dt between e.dt - interval '1 minute' and e.dt + interval '1 minute'",
    "select e.wiki as wiki, v.bytes as views, e.user as user from edits e join views v on v.wiki = e.wiki "
    "and e.user = v.user and v.dt between e.dt - interval '2 minutes' and e.dt + interval '2 minutes' "
    "and v.bytes > e.bytes where not e.bot",
    "select e.wiki as wiki, v.bytes as views, e.user as user from edits e left join views v "
    "on coalesce(e.wiki, 'none') = v.wiki "
    "and v.dt between e.dt - interval '1 minute' and e.dt + interval '1 minute'",
]


@pytest.mark.parametrize("query", PROJECTIONS)
@FEW
@given(events=edits())
def test_filters_and_projections_give_what_duckdb_gives(
    query: str, events: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert by_job(query, events) == by_duckdb(query, events, tmp_path_factory)


@pytest.mark.parametrize("query", WINDOWS)
@FEW
@given(events=edits())
def test_windows_give_what_duckdb_gives(
    query: str, events: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = [orjson.loads(one) for one in by_job(query, events)]
    for one in made:
        one.pop("dt")
    lines = sorted(orjson.dumps(one, option=orjson.OPT_SORT_KEYS).decode() for one in made)
    assert lines == by_duckdb(query, events, tmp_path_factory)


@pytest.mark.parametrize("query", JOINS)
@FEW
@given(left=edits(), right=edits())
def test_joins_give_what_duckdb_gives(
    query: str, left: list[dict[str, Any]], right: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    views = [{**one, "meta": {"id": f"view-{number}", "stream": "views"}} for number, one in enumerate(right)]
    assert by_job(query, [*left, *views]) == by_duckdb(query, [*left, *views], tmp_path_factory)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("select wiki from edits order by wiki", "ORDER BY needs all rows"),
        ("select wiki from edits limit 3", "LIMIT needs an end"),
        ("select distinct wiki from edits", "SELECT DISTINCT would have to remember all rows"),
        ("select wiki, count(*) as n from edits group by wiki", "GROUP BY without a window"),
        ("select count(*) as n from edits", "Aggregates need a GROUP BY with a window"),
        ("select row_number() over (order by dt) as n from edits", "is a function over all rows"),
        ("select * from edits e join views v on e.wiki = v.wiki", "needs a bound in time"),
        ("with a as (select * from edits) select * from a", "WITH has no counterpart"),
        ("select * from (select * from edits)", "a query inside"),
        ("select bytes + 1 from edits", "needs a name"),
        ("select user, tumble(dt, '1 minute') as s from edits group by s", "neither aggregated nor in the GROUP BY"),
        ("select tumble(other, '1 minute') as s, count(*) as n from edits group by s", "is not the event time"),
        ("select tumble(dt, '1 month') as s, count(*) as n from edits group by s", "is not a duration"),
        ("select regexp_matches(user, 'a') as m from edits", "no counterpart"),
        ("select cast(user as timestamp) as t from edits", "casts to a type"),
        ("insert into a select * from edits", "is not a SELECT"),
        ("select wiki from edits e, views v", "is not an inner or a left join with ON"),
        ("selec 1", "cannot be parsed"),
    ],
)
def test_what_cannot_be_continuous_is_refused_with_the_reason(query: str, why: str) -> None:
    with pytest.raises(JobInvalid) as caught:
        job_of(query)
    assert why in str(caught.value)
    assert caught.value.file is not None


def test_a_value_of_the_wrong_type_is_an_error_event() -> None:
    outcome = run(job_of("select bytes + 1 as more from edits"), [event(1, 1, bytes="many")])
    assert outcome.values == []
    assert "'many' is not a number" in outcome.errors[0]["message"]


def test_the_star_passes_events_on_and_fields_are_known_to_the_check() -> None:
    made = job_of("select * from edits where page.title = 'Tea'")
    assert made.fields_read == ("page.title",)
    kept = event(1, 1, page={"title": "Tea"})
    assert [value["page"] for value in run(made, [kept, event(2, 2, page={"title": "Rice"})]).values] == [
        {"title": "Tea"}
    ]


def test_a_left_join_makes_an_error_event_of_what_lacks_the_field_it_joins_by() -> None:
    query = (
        "select e.user as user from edits e left join views v on e.wiki = v.wiki "
        "and v.dt between e.dt - interval '1 minute' and e.dt + interval '1 minute'"
    )
    outcome = run(job_of(query), [event(1, 1, user="Ada")])
    assert outcome.values == []
    assert "by which the streams are joined is absent" in outcome.errors[0]["message"]
