"""Reading materialized tables: rows by key, scans in order, and which jobs read which tables."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Context, Job, job, table
from headwater.jobs.cells import Cell
from headwater.jobs.job import tables_named
from headwater.jobs.tables.materialized import ROW, VERSION, MaterializedTable
from headwater.jobs.tables.reader import CELLS_MAX, TableReader, Tables
from headwater.testing.memory_tables import tables_in_memory
from headwater.testing.run_job import run

PAGES = MaterializedTable("pages", ("wiki", "id"))


def reader_of(cells: dict[bytes, bytes | None], made: MaterializedTable = PAGES) -> TableReader:
    present = {key: cell for key, cell in cells.items() if cell is not None}
    return TableReader(
        made,
        lambda namespace, keys: {key: present[key] for key in keys if key in present},
        lambda namespace, after, rows_max: sorted(one for one in present.items() if one[0] > after)[:rows_max],
    )


def filled(*keys: tuple[Any, ...], deleted: tuple[tuple[Any, ...], ...] = ()) -> TableReader:
    rows = {PAGES.encoded(key): Cell.of({VERSION: [1], ROW: {"n": key[1]}}).encode() for key in keys}
    return reader_of(rows | {PAGES.encoded(key): Cell.of({VERSION: [1]}).encode() for key in deleted})


def test_a_row_is_found_by_its_key_in_any_spelling_and_is_a_copy() -> None:
    reader = filled(("enwiki", 1), deleted=(("enwiki", 2),))
    for key in (("enwiki", 1), ["enwiki", 1], ("enwiki", 1.0)):
        assert reader.get(key) == {"n": 1}
    reader.get(("enwiki", 1))["n"] = 5
    assert reader.get(("enwiki", 1)) == {"n": 1}
    assert reader.get(("enwiki", 2)) is None
    assert reader.get(("enwiki", "1")) is None
    assert reader.get(("dewiki", 1), {}) == {}


@pytest.mark.parametrize("key", ["enwiki", ("enwiki",), ("enwiki", 1, 2), 5, None])
def test_a_key_of_another_form_names_the_parts(key: Any) -> None:
    with pytest.raises(JobInvalid, match=r"A key of the table pages has \(wiki, id\); .* does not fit"):
        filled().get(key)


def test_a_key_that_is_no_json_is_refused() -> None:
    with pytest.raises(JobInvalid, match="is no key of the table pages"):
        filled().get((object(), 1))


def test_a_key_of_one_part_is_a_value_whether_it_is_in_a_list_or_not() -> None:
    single = MaterializedTable("one", ("id",), key_is_list=False)
    listed = MaterializedTable("one", ("id",), key_is_list=True)
    for made, encoded in ((single, b"5"), (listed, b"[5]")):
        reader = reader_of({encoded: Cell.of({ROW: {"n": 1}}).encode()}, made)
        assert reader.get(5) == reader.get((5,)) == reader.get([5]) == {"n": 1}
        assert reader.scan() == [((5,), {"n": 1})]


def test_keys_made_by_a_function_are_any_json() -> None:
    made = MaterializedTable("any")
    keys = [5, "a", ["a", 1], {"b": 1, "a": 2}]
    reader = reader_of({made.encoded(key): Cell.of({ROW: {"n": 1}}).encode() for key in keys}, made)
    assert all(reader.get(key) for key in keys)
    assert reader.get({"a": 2, "b": 1}) == {"n": 1}
    assert made.flat(reader.scan(prefix=("a",))[0]) == {"key": ["a", 1], "n": 1}


def test_a_scan_is_in_order_of_the_keys_and_goes_on_behind_one() -> None:
    keys = [("enwiki", number) for number in (10, 1, 2)]
    reader = filled(*keys, ("dewiki", 7), ("enwikiquote", 1), deleted=(("enwiki", 11),))
    assert [one.key for one in reader.scan()] == [("dewiki", 7), *keys, ("enwikiquote", 1)]
    assert [one.key for one in reader.scan(rows_max=2)] == [("dewiki", 7), ("enwiki", 10)]
    assert [one.key for one in reader.scan(after=("enwiki", 10), rows_max=2)] == [("enwiki", 1), ("enwiki", 2)]
    assert [one.key for one in reader.scan(prefix=("enwiki",))] == keys
    assert [one.key for one in reader.scan(prefix=("enwiki",), after=("enwiki", 1))] == [("enwiki", 2)]
    assert [one.key for one in reader.scan(prefix=("enwiki", 10))] == [("enwiki", 10)]
    assert reader.scan(prefix=("frwiki",)) == []
    with pytest.raises(JobInvalid, match="begins with"):
        reader.scan(prefix=("enwiki", 1, 2))


def test_a_page_has_a_bounded_amount_of_work_and_says_where_the_next_begins() -> None:
    deleted = tuple(("enwiki", number) for number in range(30))
    reader = filled(("zuwiki", 1), deleted=deleted)
    pages, after = 0, b""
    found: list[Any] = []
    while True:
        page = reader.page(after=after, rows_max=10)
        pages += 1
        found += page.rows
        if page.after is None:
            break
        after = page.after
    assert ([one.key for one in found], pages) == ([("zuwiki", 1)], 4)
    assert [one.key for one in reader.scan(rows_max=10)] == [("zuwiki", 1)]
    assert CELLS_MAX >= 1000


def test_a_name_that_no_table_has_names_the_nearest() -> None:
    tables = Tables({"pages": PAGES}, lambda made: reader_of({}, made))
    assert tables("pages") is tables("pages")
    for name, hint in (("page", "Did you mean 'pages'?"), ("something", "Known: pages.")):
        with pytest.raises(JobInvalid) as refused:
            tables(name)
        assert refused.value.hint == hint
    with pytest.raises(JobInvalid) as refused:
        Tables({}, reader_of)("pages")  # type: ignore[arg-type]
    assert refused.value.hint == "Declare one with @table(source=…, key=…)."


def helper(context: Context) -> Any:
    return context.table("by_helper")


class Caller:
    def __call__(self, event: Any, context: Context) -> Any:
        return context.table("by_object").get(1)


def in_a_list(event: Any, ctx: Context) -> Any:
    return [ctx.table("inner").get(number) for number in range(2)]


def by_helper(event: Any, context: Context) -> Any:
    return helper(context).get(1)


async def by_async(event: Any, c: Context) -> Any:
    return c.table("of_second_parameter").get(1)


def of_another_object(event: Any, context: Context) -> Any:
    return event["document"].table("perhaps")


def computed(event: Any, context: Context) -> Any:
    return context.table(event["name"])


@pytest.mark.parametrize(
    ("function", "settings", "read", "named"),
    [
        (in_a_list, {}, ("inner",), ("inner",)),
        (by_helper, {}, ("by_helper",), ("by_helper",)),
        (Caller(), {"name": "calling"}, ("by_object",), ("by_object",)),
        (by_async, {}, ("of_second_parameter",), ("of_second_parameter",)),
        (of_another_object, {}, (), ("perhaps",)),
        (computed, {}, (), ()),
        (computed, {"tables": "declared"}, ("declared",), ("declared",)),
        (in_a_list, {"tables": ("declared", "inner")}, ("declared", "inner"), ("declared", "inner")),
        (in_a_list, {"state": int, "key": "k"}, ("inner",), ("inner",)),
    ],
)
def test_the_tables_that_a_job_reads_are_known(
    function: Any, settings: dict[str, Any], read: tuple[str, ...], named: tuple[str, ...]
) -> None:
    made = job(source="in", sink="out", **settings)(function)
    assert made.tables == read
    assert tables_named(made).names == named


def test_the_tables_of_a_later_part_and_of_its_timers_are_known_too() -> None:
    @job(source="in", sink="out")
    async def reading(event: Any, context: Context) -> Any:
        return context.table("one")

    @reading.then(state=int, key="k")
    def counted(event: Any, context: Context) -> Any:
        return context.table("two")

    @reading.on_timer("over")
    def over(context: Context) -> Any:
        return context.table("three")

    assert set(reading.tables) == {"one", "two", "three"}


def out(**fields: Any) -> dict[str, Any]:
    return {"$schema": "/out/1.0.0", **fields}


@job(source="in", sink="out", tables="names")
def named(event: Any, context: Context) -> Any:
    names = context.table("names")
    return out(name=(names.get(event["k"]) or {}).get("name"), count=len(names.scan()))


@job(source="in", sink="out")
async def awaited(event: Any, context: Context) -> Any:
    return out(name=context.table("names").get(event["k"], {}).get("name"))


@awaited.then(state=int, key="k")
def counted(event: Any, context: Context) -> Any:
    context.state += 1
    return {**event, "again": context.table("names").get((event["name"] or "", 1))}


def test_a_test_gives_the_rows_of_tables() -> None:
    outcome = run(named, [{"k": 1}, {"k": 2}], tables={"names": {1: {"name": "one"}}})
    assert outcome.values == [{"name": "one", "count": 1}, {"name": None, "count": 1}]


def test_a_test_without_the_table_gets_an_error_that_says_so() -> None:
    for tables, hint in (
        (None, "Give the test one: tables={NAME: {KEY: ROW}}."),
        ({"name": {}}, "Did you mean 'name'?"),
    ):
        errors = run(named, [{"k": 1}], tables=tables).errors
        assert "There is no materialized table 'names'" in errors[0]["message"]
        assert hint in errors[0]["message"]


def test_a_test_may_hand_in_a_reader_of_its_own() -> None:
    class Always:
        def get(self, key: Any, default: Any = None) -> Any:
            return {"name": str(key)}

        def scan(self) -> list[Any]:
            return []

    assert run(named, [{"k": 7}], tables={"names": Always()}).values == [{"name": "7", "count": 0}]
    assert tables_in_memory({"t": Always()})("t").get(1) == {"name": "1"}


@table(source="in", key="k")
def kept(event: Any) -> Any:
    return {"k": event["k"]}


def test_nothing_comes_behind_a_table() -> None:
    made: Job = kept
    for more in (made.then, lambda: made.branch("b")):
        with pytest.raises(JobInvalid, match="keeps a table and passes no events on"):
            more()
    with pytest.raises(JobInvalid, match="this part keeps no state"):
        made.on_timer("t")
