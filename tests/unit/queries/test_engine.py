"""DuckDB as the platform sets it up: UTC, windows aligned to the epoch, errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import QueryInvalid
from headwater.queries.engine import Engine
from headwater.queries.parsing import parse_query

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("sql"), memory_bytes_max=134_217_728)
    yield made
    made.close()


def rows(engine: Engine, text: str) -> list[tuple[object, ...]]:
    return list(engine.run(parse_query(text, ()).text, ()).rows())


times = st.datetimes(datetime(1969, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(times, st.sampled_from([("1 minute", 60), ("7 days", 604_800), ("90 seconds", 90)]))
def test_tumble_is_the_start_of_the_window_that_a_job_has(engine: Engine, at: datetime, size: tuple[str, int]) -> None:
    words, seconds = size
    start = EPOCH + timedelta(seconds=(at - EPOCH) // timedelta(seconds=1) // seconds * seconds)
    assert rows(engine, f"select tumble('{at.isoformat()}', '{words}')") == [(start,)]


@given(times, st.sampled_from([("5 minutes", "1 hour", 300, 3600), ("1 hour", "90 minutes", 3600, 5400)]))
def test_hop_gives_every_window_that_a_time_is_in(
    engine: Engine, at: datetime, windows: tuple[str, str, int, int]
) -> None:
    slide_words, size_words, slide, size = windows
    since = (at - EPOCH).total_seconds()
    last = int(since // slide * slide)
    # A window includes its start and excludes its end.
    wanted = [start for start in range(last, last - size - slide, -slide) if start <= since < start + size]
    query = f"select hop(t, '{slide_words}', '{size_words}') as s from (select '{at.isoformat()}' as t) order by s desc"
    assert rows(engine, query) == [(EPOCH + timedelta(seconds=start),) for start in wanted]


def test_hop_can_be_grouped_by_name_and_by_expression(engine: Engine) -> None:
    source = "(values (timestamptz '2026-01-01 00:07:00+00'), (timestamptz '2026-01-01 00:09:00+00')) as e(dt)"
    wanted = [(datetime(2026, 1, 1, 0, 0, tzinfo=UTC), 2), (datetime(2026, 1, 1, 0, 5, tzinfo=UTC), 2)]
    named = f"select hop(dt, '5 minutes', '10 minutes') as s, count(*) from {source} group by s order by s"
    repeated = (
        f"select hop(dt, '5 minutes', '10 minutes'), count(*) from {source} "
        "group by hop(dt, '5 minutes', '10 minutes') order by 1"
    )
    assert rows(engine, named) == wanted
    assert rows(engine, repeated) == wanted


def test_the_time_zone_is_utc(engine: Engine) -> None:
    assert rows(engine, "select cast('2026-01-01T00:30:00+01:00' as timestamptz)::varchar") == [
        ("2025-12-31 23:30:00+00",)
    ]


def test_an_unknown_name_gets_the_nearest_one(engine: Engine) -> None:
    with pytest.raises(QueryInvalid) as caught:
        engine.run('select * from "shop.ordr"', ["shop.order", "totals"])
    assert caught.value.hint == 'Did you mean "shop.order"?'


def test_a_value_of_another_type_is_an_error_and_not_null(engine: Engine, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"n": 1}\n{"n": "many"}\n')
    engine.view("typed", lines, {"n": "BIGINT"})
    with pytest.raises(QueryInvalid) as caught:
        rows(engine, "select * from typed")
    assert caught.value.hint is not None
    assert "--untyped" in caught.value.hint
    engine.view("untyped", lines, None)
    assert rows(engine, "select n->>'$' from untyped order by 1") == [("1",), ("many",)]
