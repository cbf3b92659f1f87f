"""Rows of served tables: by values and bounds, in pages and in order, counted, and no more read than allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import FilterInvalid, RowsTooMany, RowUnknown
from headwater.jobs import table
from headwater.jobs.cells import Cell
from headwater.jobs.tables.materialized import ROW, VERSION
from headwater.jobs.tables.reader import TableReader
from headwater.served_tables.asked import asked_of
from headwater.served_tables.declared import ServedTable, served_tables
from headwater.served_tables.kinds import type_in_schema
from headwater.served_tables.reading import ServedReader
from headwater.served_tables.tables import ServedTables

Rows = Mapping[tuple[Any, ...], Mapping[str, Any] | None]


@table(source="shop.order", key=("shop", "number"))
def orders(event: dict[str, Any]) -> dict[str, Any]:
    """The orders."""
    return {}


@table(source="shop.order", key="name")
def names(event: dict[str, Any]) -> dict[str, Any]:
    return {}


TYPES = "fields: {shop: text, number: integer, price: number, at: time, note: text, is_new: boolean}\n"


class Shop:
    """A served table of rows in memory, and how many keys were read."""

    def __init__(self, directory: Path, text: str, rows: Rows, name: str = "orders") -> None:
        directory.mkdir(exist_ok=True)
        (directory / f"{name}.yaml").write_text(text, encoding="utf-8")
        (self.served,) = served_tables(directory, [orders, names], directory)
        made = self.served.table
        cells = sorted(
            (made.encoded(key), Cell.of({VERSION: [1]} | ({} if row is None else {ROW: row})).encode())
            for key, row in rows.items()
        )
        self.keys_read = 0

        def scan(namespace: str, after: bytes, rows_max: int) -> list[tuple[bytes, bytes]]:
            found = [one for one in cells if one[0] > after][:rows_max]
            self.keys_read += len(found)
            return found

        self.clock = 0.0
        self.type_of = ServedTables([self.served], lambda stream: None).type_of(self.served)
        reader = TableReader(made, lambda _, keys: {key: dict(cells)[key] for key in keys if key in dict(cells)}, scan)
        self.reader = ServedReader(self.served, reader, self.type_of, self.now)

    def now(self) -> float:
        self.clock += 1e-6
        return self.clock

    def page(self, **asked: str) -> tuple[list[Any], str | None]:
        parsed = asked_of(self.served, [(name.replace("__", "."), text) for name, text in asked.items()], self.type_of)
        found = self.reader.page(parsed)
        return [json.loads(row) for row in found.rows], parsed.after(found.place)

    def all(self, **asked: str) -> list[Any]:
        """All rows, page by page."""
        rows, after = self.page(**asked)
        while after is not None:
            more, after = self.page(**asked, after=after)
            rows += more
        return rows

    def counts(self, **asked: str) -> dict[str, int]:
        items = [(name.replace("__", "."), text) for name, text in asked.items()]
        return self.reader.counts(asked_of(self.served, items, self.type_of))


def numbers(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    return [(row["shop"], row["number"]) for row in rows]


MANY: Rows = {
    (shop, number): {"price": number / 2, "note": f"n{number % 3}", "is_new": number > 5, "secret": "x"}
    for shop in ("east", "north", "south")
    for number in range(12)
}


def test_rows_have_the_key_and_the_fields_of_the_file(tmp_path: Path) -> None:
    shop = Shop(tmp_path, TYPES, {("north", 1): {"price": 2.5, "secret": "x"}})
    assert shop.page() == ([{"shop": "north", "number": 1, "price": 2.5}], None)
    assert shop.page(fields="price,number")[0] == [{"number": 1, "price": 2.5}]
    whole = Shop(tmp_path, "", {("north", 1): {"price": 2.5, "secret": "x"}})
    assert whole.page()[0] == [{"shop": "north", "number": 1, "price": 2.5, "secret": "x"}]


@pytest.mark.parametrize("limit", ["1", "2", "5", "7", "1000"])
def test_pages_follow_one_another_in_order_of_the_json_of_the_keys(limit: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path, TYPES, {**MANY, ("north", 3): None})
    expected = sorted((key for key in MANY if key != ("north", 3)), key=json.dumps)
    assert numbers(shop.all(limit=limit)) == expected
    assert numbers(shop.all(limit=limit, shop="south")) == [key for key in expected if key[0] == "south"]


def test_the_last_page_is_known_to_be_the_last(tmp_path: Path) -> None:
    assert Shop(tmp_path, TYPES, MANY).page(shop="north", limit="12")[1] is None


def test_first_parts_of_the_key_are_found_without_reading_others(tmp_path: Path) -> None:
    rows = {(f"s{number:04}", 1): {"price": 1} for number in range(2_000)}
    shop = Shop(tmp_path, TYPES, rows)
    assert len(shop.page(shop="s1234")[0]) == 1
    assert shop.keys_read <= 50
    assert len(shop.page(shop="s1234", number="1")[0]) == 1
    assert shop.keys_read <= 100
    assert shop.page(shop="s")[0] == []


def test_values_and_bounds_are_of_the_type_of_their_field(tmp_path: Path) -> None:
    rows: Rows = {
        ("a", 1): {"price": 10, "at": "2026-01-31T12:00:00Z"},
        ("a", 2): {"price": 9.5, "at": "2026-01-31T13:00:00.5+01:00"},
        ("a", 3): {"price": "9", "at": "never"},
        ("a", 4): {"price": True},
        ("a", 5): {"price": None, "is_new": True},
        ("a", 6): {"is_new": "true"},
    }
    shop = Shop(tmp_path, f"{TYPES}equals: [price, is_new, number]\nranges: [price, at, number]\n", rows)
    for asked, expected in (
        ({"price": "1e1"}, [1]),
        ({"price__gte": "9.5"}, [1, 2]),
        ({"price__gt": "9.5", "price__lte": "10"}, [1]),
        ({"price__lt": "10"}, [2]),
        ({"at__gt": "2026-01-31T12:00:00Z"}, [2]),
        ({"at__gte": "2026-01-31T11:00:00-01:00"}, [1, 2]),
        ({"is_new": "true"}, [5]),
        ({"number__gte": "2", "number__lt": "4"}, [2, 3]),
    ):
        assert [row["number"] for row in shop.page(**asked)[0]] == expected, asked


def test_a_field_of_unknown_type_is_json_or_text(tmp_path: Path) -> None:
    rows: Rows = {("a", 1): {"x": 5}, ("a", 2): {"x": "5"}, ("a", 3): {"x": [5]}, ("a", 4): {"x": None}}
    shop = Shop(tmp_path, "equals: [x]\n", rows)
    assert [row["number"] for row in shop.page(x="5")[0]] == [1, 2]
    assert [row["number"] for row in shop.page(x="[5]")[0]] == [3]
    assert [row["number"] for row in shop.page(x="null")[0]] == []


TEXTS = st.text(st.sampled_from('ab"\\\n !#Z[]~ü'), max_size=4)


@given(keys=st.sets(TEXTS, max_size=30), lower=st.none() | TEXTS, upper=st.none() | TEXTS, strict=st.booleans())
def test_a_range_of_texts_misses_none_whatever_characters_they_have(
    keys: set[str], lower: str | None, upper: str | None, strict: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shop = Shop(
        tmp_path_factory.getbasetemp() / "ranges",
        "fields: {name: text}\nranges: [name]\nrows_max: 3\n",
        {(key,): {"n": 1} for key in keys} | {(f"{key}\x01",): None for key in keys},
        "names",
    )
    least, most = ("name__gt", "name__lt") if strict else ("name__gte", "name__lte")
    asked = ({} if lower is None else {least: lower}) | ({} if upper is None else {most: upper})
    fits = {
        key
        for key in keys
        if (lower is None or (key > lower if strict else key >= lower))
        and (upper is None or (key < upper if strict else key <= upper))
    }
    found = [row["name"] for row in shop.all(**asked)]
    assert (set(found), len(found)) == (fits, len(fits))


def test_a_text_is_found_below_one_that_continues_it_with_a_space(tmp_path: Path) -> None:
    rows: Rows = {(name,): {"n": 1} for name in ("", "a", "a b", "a!", 'a"', "b")}
    shop = Shop(tmp_path, "fields: {name: text}\nranges: [name]\n", rows, "names")
    found = {row["name"] for row in shop.all(name__lt="a b")}
    assert found == {"", "a"}
    assert {row["name"] for row in shop.all(name__gte="a", name__lte="a!")} == {"a", "a b", "a!"}


def test_a_range_of_texts_reads_no_others(tmp_path: Path) -> None:
    rows = {(f"2026-01-{day:02}T{hour:02}",): {"n": 1} for day in range(1, 32) for hour in range(24)}
    shop = Shop(tmp_path, "fields: {name: text}\nranges: [name]\n", rows, "names")
    assert len(shop.page(name__gte="2026-01-07", name__lt="2026-01-08")[0]) == 24
    assert shop.keys_read < 150


@pytest.mark.parametrize("order", ["price", "-price", "note", "-note"])
@pytest.mark.parametrize("limit", ["1", "4", "100"])
def test_rows_are_sorted_by_a_field_and_then_by_key_over_pages(order: str, limit: str, tmp_path: Path) -> None:
    rows: Rows = {**MANY, ("west", 1): {"price": "text"}, ("west", 2): {"price": None}, ("west", 3): {}}
    shop = Shop(tmp_path, f"{TYPES}order: {order}\n", rows)
    found = shop.all(limit=limit)
    field = order.removeprefix("-")
    in_order = sorted(rows, key=json.dumps)

    def rank(key: tuple[Any, ...]) -> tuple[Any, ...]:
        value = (rows[key] or {}).get(field)
        return (1, value, "") if isinstance(value, float) else (2, 0, value) if isinstance(value, str) else (3, 0, "")

    def least_is_last(key: tuple[Any, ...]) -> tuple[Any, ...]:
        return (0, 0, "") if rank(key)[0] == 3 else rank(key)

    expected = sorted(in_order, key=least_is_last, reverse=True) if order[0] == "-" else sorted(in_order, key=rank)
    assert numbers(found) == expected


def test_rows_are_counted_and_their_different_values(tmp_path: Path) -> None:
    shop = Shop(tmp_path, f"{TYPES}distinct: {{notes: note}}\nranges: [number]\n", MANY)
    assert shop.counts() == {"rows": 36, "notes": 3}
    assert shop.counts(shop="north", number__gte="10") == {"rows": 2, "notes": 2}
    assert shop.counts(shop="west") == {"rows": 0, "notes": 0}


def test_a_page_ends_when_enough_is_read_and_the_next_goes_on(tmp_path: Path) -> None:
    rows = {("a", number): {"note": "rare" if number == 990 else "x"} for number in range(1_000)}
    shop = Shop(tmp_path, f"{TYPES}equals: [note]\nrows_read_max: 120\n", rows)
    found, after = shop.page(note="rare")
    assert (found, shop.keys_read) == ([], 120)
    assert after is not None
    assert numbers(shop.all(note="rare")) == [("a", 990)]
    slow = Shop(tmp_path, f"{TYPES}read_seconds_max: 0.01\n", rows)
    slow.now = lambda: 5.0  # type: ignore[method-assign]
    times = iter([0.0, 1.0])
    slow.reader._clock = lambda: next(times)
    assert len(slow.page(limit="1000")[0]) == 50


@pytest.mark.parametrize("limit", ["rows_read_max: 20", "read_seconds_max: 0.01"])
def test_what_needs_all_rows_is_refused_if_they_are_too_many(limit: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path, f"{TYPES}order: price\n{limit}\n", {("a", n): {"price": n} for n in range(100)})
    times = iter(range(100))
    shop.reader._clock = lambda: float(next(times))
    for ask in (shop.page, shop.counts):
        with pytest.raises(RowsTooMany, match=rf"one request may read .*{limit.split(':', maxsplit=1)[0]}") as refused:
            ask()
        assert "shop, number" in (refused.value.hint or "")


def test_a_page_ends_after_the_row_that_is_too_large(tmp_path: Path) -> None:
    rows = {("a", number): {"note": "x" * 600} for number in range(5)}
    for more in ("", "order: note\n"):
        shop = Shop(tmp_path, f"{TYPES}response_bytes_max: 1024\n{more}", rows)
        assert len(shop.page()[0]) == 2
        assert len(shop.all()) == 5


def test_a_row_is_found_by_the_parts_of_its_key(tmp_path: Path) -> None:
    shop = Shop(tmp_path, TYPES, {("a/b", 1): {"price": 1}, ("a", 2): None})
    assert json.loads(shop.reader.row(["a/b", "1"])) == {"shop": "a/b", "number": 1, "price": 1}
    for key in (["a", "2"], ["a", "3"]):
        with pytest.raises(RowUnknown, match="has no row with the key a/"):
            shop.reader.row(key)
    with pytest.raises(FilterInvalid, match="number must be a whole number, not 'x'"):
        shop.reader.row(["a", "x"])
    with pytest.raises(FilterInvalid, match="A key of orders is shop/number, not 1 parts"):
        shop.reader.row(["a"])
    untyped = Shop(tmp_path, "", {("a", 5): {"price": 1}})
    assert json.loads(untyped.reader.row(["a", "5"]))["number"] == 5


def test_bounds_may_have_to_be_rows(tmp_path: Path) -> None:
    text = f"{TYPES}ranges: [number]\nrequired: [shop]\nbounds_exist: true\ndistinct: {{notes: note}}\n"
    shop = Shop(tmp_path, text, {**MANY, ("north", 3): None})
    assert shop.counts(shop="north", number__gt="2", number__lt="8")["rows"] == 4
    with pytest.raises(FilterInvalid, match="There is no number 3 of shop north"):
        shop.counts(shop="north", number__gt="3", number__lt="8")
    with pytest.raises(RowUnknown, match="no row with the key west"):
        shop.page(shop="west", number__gt="3")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"shap": "x"}, "has no parameter 'shap'.*Did you mean \"shop\""),
        ({"price": "1"}, "has no parameter 'price'.*price.gt"),
        ({"price__ge": "1"}, "has no parameter 'price.ge'"),
        ({"shop": "x" * 1_001}, "at most 1,000 characters"),
        ({"shop": "a", "number": "1.5"}, "number must be a whole number, not '1.5'"),
        ({"price__gt": "nan"}, "price.gt must be a number"),
        ({"at__gt": "yesterday"}, "at.gt must be a time"),
        ({"limit": "0"}, "limit must be a number from 1 to 1,000"),
        ({"limit": "²"}, "limit must be a number"),
        ({"fields": "prize"}, "have no field 'prize'.*\"price\""),
        ({"format": "csv"}, "format must be json or jsonl"),
        ({"after": "!"}, "after must be the `next` of a page"),
        ({"after": "AAAA"}, "after must be the `next` of a page"),
    ],
)
def test_what_cannot_be_asked_is_said(asked: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(FilterInvalid) as refused:
        Shop(tmp_path, f"{TYPES}ranges: [price, at]\n", MANY).page(**asked)
    assert re.search(message, str(refused.value)), str(refused.value)


def test_a_place_is_of_the_question_it_was_given_for(tmp_path: Path) -> None:
    shop = Shop(tmp_path, f"{TYPES}required: [shop]\n", MANY)
    _, after = shop.page(shop="north", limit="2")
    assert after is not None
    assert len(shop.page(shop="north", limit="5", fields="price", after=after)[0]) == 5
    with pytest.raises(FilterInvalid, match="after must be the `next`"):
        shop.page(shop="south", after=after)
    with pytest.raises(FilterInvalid, match="needs the parameter shop"):
        shop.page()


def test_types_come_from_the_file_or_the_schemas_of_the_streams(tmp_path: Path) -> None:
    schema = {
        "properties": {
            "number": {"type": ["integer", "null"]},
            "shop": {"type": "string", "description": "Where."},
            "at": {"type": "string", "format": "date-time"},
            "price": {"type": ["number", "string"]},
            "page": {"properties": {"id": {"type": "integer"}}},
        }
    }
    served: ServedTable = Shop(tmp_path, "fields: {number: text, at: any}\n", {}).served
    type_of = ServedTables([served], lambda stream: schema if stream == "shop.order" else None).type_of(served)
    assert [type_of(name).kind for name in ("number", "shop", "at", "price", "x")] == ["text", "text", "any"] + [
        "any"
    ] * 2
    assert type_of("shop").description == "Where."
    assert type_in_schema(schema, "page.id").kind == "integer"
    assert type_in_schema(schema, "at").kind == "time"
    assert type_in_schema(None, "at").kind == "any"
