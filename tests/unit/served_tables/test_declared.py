"""The files of served tables: what they may say, and what is wrong with others, at which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import ConfigInvalid
from headwater.jobs import Job, table
from headwater.served_tables.declared import ServedTable, served_tables


@table(source="shop.order", key=("shop", "number"))
def orders(event: dict[str, object]) -> dict[str, object]:
    """The orders."""
    return {"text": event["text"]}


@table(source="shop.order", key=lambda event: [event["shop"], event["number"]])
def made(event: dict[str, object]) -> dict[str, object]:
    return {"text": event["text"]}


JOBS: list[Job] = [orders, made]


def declared(directory: Path, text: str, name: str = "orders") -> ServedTable:
    served = directory / "served_tables"
    served.mkdir(exist_ok=True)
    (served / f"{name}.yaml").write_text(text, encoding="utf-8")
    (found,) = served_tables(served, JOBS, directory)
    return found


def test_an_empty_file_serves_the_table_of_its_name_by_its_key(tmp_path: Path) -> None:
    served = declared(tmp_path, "")
    assert (served.path, served.key, served.equals) == ("/v1/served/orders", ("shop", "number"), ("shop", "number"))
    assert (served.summary, served.fields, served.sorted_by, served.is_restricted) == ("The orders.", None, None, False)
    assert served.rows_default == 100


def test_it_says_which_fields_there_are_and_how_rows_are_sorted(tmp_path: Path) -> None:
    served = declared(
        tmp_path, "table: orders\nfields: {price: number}\nequals: [shop]\norder: -price\nrows_max: 10\n", "cheap"
    )
    assert served.fields == ("shop", "number", "price")
    assert (served.sorted_by, served.is_descending, served.rows_default) == ("price", True, 10)


def test_keys_made_by_a_function_get_names(tmp_path: Path) -> None:
    served = declared(tmp_path, "key: [shop, number]\n", "made")
    assert served.table.encoded(("north", 1)) == b'["north",1]'
    assert declared(tmp_path, "key: id\n", "made").table.encoded("north") == b'"north"'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("tabel: orders\n", 1, 'unknown key "tabel".*Did you mean "table"'),
        ("table: order\n", 1, "there is no materialized table 'order'.*Did you mean \"orders\""),
        ("summary: x\nfields: [price]\nequals: [prize]\n", 3, "unknown field 'prize' in equals.*\"price\""),
        ("fields: [price]\nranges: [prize]\n", 2, "unknown field 'prize' in ranges"),
        ("fields: [price]\norder: -prize\n", 2, "unknown field 'prize' in order"),
        ("fields: [price]\ndistinct: {shops: shap}\n", 2, "unknown field 'shap' in distinct"),
        ("required: [text]\n", 1, "unknown field 'text' in required"),
        ("fields: {price: numbr}\n", 1, "fields.price must be"),
        ("fields: {tags: list}\nequals: [tags]\n", 1, "tags is a list, which cannot be asked for"),
        ("equals: [limit]\n", 1, "'limit' cannot be asked for"),
        ("key: [a, b]\n", 1, "the parts of the key are called shop, number"),
        ("table: made\n", 1, "a function makes the keys of made: name their parts"),
        ("rows_max: 0\n", 1, "rows_max must be at least 1"),
        ("rows_max: 5\nrows_default: 10\n", 2, "rows_default must be at most rows_max, 5"),
        ("roles: [checkuser]\n", 1, "needs a stream for its audit"),
        ("roles: [Check User]\naudit: x\n", 1, "'Check User' cannot name a role"),
        ("audit: x\n", 1, "only requests for a table with roles are audited"),
        ("ranges: [number]\nbounds_exist: true\n", 2, "can only be rows if number is in `ranges`, and shop required"),
        ("[1]\n", 1, "must be a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=f"(?s)served_tables/orders.yaml:{line}: .*{message}"):
        declared(tmp_path, text)


def test_what_is_invalid_is_left_out_if_it_is_to_be(tmp_path: Path) -> None:
    declared(tmp_path, "")
    (tmp_path / "served_tables" / "other.yaml").write_text("table: nothing\n", encoding="utf-8")
    (tmp_path / "served_tables" / "Orders.yml").write_text("table: orders\n", encoding="utf-8")
    refused: list[ConfigInvalid] = []
    found = list(served_tables(tmp_path / "served_tables", JOBS, tmp_path, refused.append))
    assert len(found) == 1
    assert sorted(Path(error.file or "").name for error in refused) == ["orders.yaml", "other.yaml"]


def test_without_the_directory_nothing_is_served(tmp_path: Path) -> None:
    assert list(served_tables(tmp_path / "absent", JOBS, tmp_path)) == []
