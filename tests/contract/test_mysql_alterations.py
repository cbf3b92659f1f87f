"""What the MariaDB source does when tables are altered while it reads, and when rows are logged in unusual ways."""

from __future__ import annotations

from typing import Any

import pytest

from contract.test_mysql_cdc import CaughtUp, MariaDatabase, database
from contract.test_mysql_changes import streaming, values, without
from headwater.connectors.sources.mysql_cdc import server
from headwater.connectors.sources.mysql_cdc.snapshot import Snapshot
from headwater.connectors.sources.mysql_cdc.token import Place
from headwater.errors import SourceRefused
from headwater.testing.suites.source import read_all

__all__ = ["database"]


async def stopped_by(source: CaughtUp, database: MariaDatabase, *statements: str) -> str:
    """What the source says when it stops after these statements."""
    database.run(*statements)
    while True:
        try:
            await source.read(deliveries_max=10, wait_seconds=20.0)
        except SourceRefused as error:
            return str(error)


@pytest.mark.parametrize(
    "statement",
    [
        "RENAME TABLE orders TO former",
        "ALTER TABLE orders ADD note text, RENAME former",
        "RENAME TABLE other TO third, orders TO former",
        "DROP TABLE IF EXISTS other, orders",
        "/* of an application */ RENAME TABLE `orders` TO `former`",
    ],
)
async def test_a_table_that_is_renamed_or_dropped_stops_the_source(database: MariaDatabase, statement: str) -> None:
    database.run("CREATE TABLE other (n int)")
    source = await streaming(database)
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
    batch = await source.read(deliveries_max=10, wait_seconds=20.0)
    assert [one.value["id"] for one in batch.deliveries] == [1]
    said = await stopped_by(source, database, statement)
    assert f"{database.name}.orders" in said
    assert "renamed or dropped" in said
    # Nothing is left out: once the table is there again, it continues before what stopped it.
    database.run("DROP TABLE IF EXISTS former, orders")
    database.run("CREATE TABLE orders (id int PRIMARY KEY, customer text, total decimal(12,2))")
    database.run("INSERT INTO orders VALUES (2, 'Bea', 2)")
    await source.open(batch.token)
    assert [without(one, "changelog_kind")["id"] for one in await values(source)] == [2]
    await source.close()


async def test_a_table_that_is_replaced_by_another_one_goes_on(database: MariaDatabase) -> None:
    source = await streaming(database)
    database.run("CREATE TABLE new (id int PRIMARY KEY, customer text, total decimal(12,2), note text)")
    database.run("RENAME TABLE orders TO former, new TO orders")
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1, 'x')")
    assert [without(one, "changelog_kind") for one in await values(source)] == [
        {"id": 1, "customer": "Ann", "total": 1}
    ]
    await source.close()


ALTERED = [
    ("int", "7", "decimal(10,2)", "1.50", 7, 1.5),
    ("int", "7", "varchar(20)", "'x'", 7, "x"),
    ("varchar(20)", "'7'", "int", "8", "7", 8),
    ("int", "7", "double", "1.5", 7, 1.5),
    ("tinyint(1)", "1", "int", "5", True, 5),
    ("text", "'[1]'", "json", "'[1]'", "[1]", [1]),
    ("varchar(20)", "'ab'", "varbinary(20)", "x'00ff'", "ab", "AP8="),
    ("enum('a','b')", "'b'", "enum('z','a','b')", "'z'", "b", "z"),
    ("date", "'2026-01-31'", "datetime", "'2026-01-31 01:02:03'", "2026-01-31", "2026-01-31T01:02:03Z"),
    ("datetime", "'2026-01-31 01:02:03'", "varchar(30)", "'now'", "2026-01-31T01:02:03Z", "now"),
    ("time", "'01:02:03'", "int", "3", "01:02:03", 3),
    ("bit(8)", "b'101'", "int", "3", 5, 3),
    ("year", "2026", "text", "'y'", 2026, "y"),
    ("set('a','b')", "'b'", "text", "'t'", ["b"], "t"),
    ("int unsigned", "4000000000", "bigint unsigned", "18446744073709551615", 4000000000, 18446744073709551615),
]


@pytest.mark.parametrize("is_read_later", [False, True])
async def test_the_type_of_a_column_may_change_meanwhile(database: MariaDatabase, is_read_later: bool) -> None:
    """Values are those of the type at that time; if the source did not run then, as far as the log says it."""
    names = [f"c{number}" for number in range(len(ALTERED))]
    columns = ", ".join(f"{name} {one[0]}" for name, one in zip(names, ALTERED, strict=True))
    create = f"CREATE TABLE orders (id int PRIMARY KEY, {columns})"
    database.run(create)
    source = database.source(tables={f"{database.name}.orders": {"stream": "o", "columns": ["id", *names]}})
    await source.open(None)
    batch = await source.read(deliveries_max=1, wait_seconds=0.0)
    if is_read_later:
        await source.close()
    setup = "SET time_zone = '+00:00', sql_mode = ''"
    database.run(setup, f"INSERT INTO orders VALUES (1, {', '.join(one[1] for one in ALTERED)})")
    found = [] if is_read_later else await values(source)
    database.run(setup, "DELETE FROM orders")
    altered = ", ".join(f"MODIFY {name} {one[2]}" for name, one in zip(names, ALTERED, strict=True))
    database.run(setup, f"ALTER TABLE orders {altered}")
    database.run(setup, f"INSERT INTO orders VALUES (2, {', '.join(one[3] for one in ALTERED)})")
    if is_read_later:
        await source.open(batch.token)
    found += await values(source)
    first, deleted, second = found
    assert deleted["changelog_kind"] == "delete"
    # The log has neither the width of integers nor which texts are JSON.
    later: dict[str, Any] = {"text": [1], "tinyint(1)": 1, "bit(8)": "00000101"} if is_read_later else {}
    assert [(one[0], first[name]) for name, one in zip(names, ALTERED, strict=True)] == [
        (one[0], later.get(one[0], one[4])) for one in ALTERED
    ]
    assert [(one[2], second[name]) for name, one in zip(names, ALTERED, strict=True)] == [
        (one[2], one[5]) for one in ALTERED
    ]
    await source.close()


async def test_a_table_is_described_once_for_each_of_its_forms(
    database: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await streaming(database)
    asked: list[str] = []
    described = source._described
    monkeypatch.setattr(source, "_described", lambda table: asked.append(table) or described(table))
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    await source.open(token)
    database.run("ALTER TABLE orders ADD note text")
    database.run(*(f"INSERT INTO orders VALUES ({number}, 'x', 1, 'n')" for number in range(30)))
    database.run("ALTER TABLE orders DROP note, DROP customer")
    database.run(*(f"INSERT INTO orders VALUES ({number}, 1)" for number in range(30, 60)))
    assert len(await values(source)) == 60
    # Once for each statement that alters it, and once for each form.
    assert len(asked) <= 4
    await source.close()


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (("SET SESSION binlog_format = STATEMENT", "INSERT INTO orders VALUES (1, 'x', 1)"), "binlog_format"),
        (("SET SESSION binlog_format = STATEMENT", "UPDATE orders SET total = 2"), "binlog_format"),
        (("SET SESSION binlog_format = STATEMENT", "/* why */ DELETE FROM orders"), "binlog_format"),
        (("SET SESSION binlog_row_image = MINIMAL", "UPDATE orders SET total = 2"), "binlog_row_image"),
        (("SET SESSION binlog_row_image = NOBLOB", "UPDATE orders SET total = 2"), "binlog_row_image"),
    ],
)
async def test_rows_that_are_not_logged_whole_stop_the_source(
    database: MariaDatabase, statements: tuple[str, ...], message: str
) -> None:
    source = await streaming(database)
    database.run("INSERT INTO orders VALUES (9, 'before', 1)")
    await values(source)
    assert message in await stopped_by(source, database, *statements)
    await source.close()


async def test_the_key_of_a_deleted_row_is_enough(database: MariaDatabase) -> None:
    source = await streaming(database)
    database.run("INSERT INTO orders VALUES (9, 'before', 1)")
    database.run("SET SESSION binlog_row_image = MINIMAL", "DELETE FROM orders")
    assert [without(one)["id"] for one in await values(source)] == [9, 9]
    await source.close()


async def test_tables_that_are_not_read_may_have_anything(database: MariaDatabase) -> None:
    database.run(
        "CREATE TABLE odd (id int PRIMARY KEY, u uuid, i inet6, p point, g geometry, t text COMPRESSED,"
        " b varchar(100) COMPRESSED, v varchar(20) INVISIBLE, s set('a','b') CHARACTER SET latin1)"
    )
    source = await streaming(database)
    insert = (
        "INSERT INTO odd (id, u, i, p, g, t, b, v) VALUES ({}, uuid(), '::1', point(1, 2), point(1, 2), 't', 'b', 'v')"
    )
    database.run(insert.format(1), "INSERT INTO orders VALUES (1, 'x', 1)", insert.format(2), "DELETE FROM odd")
    assert [one["id"] for one in await values(source)] == [1]
    await source.close()


async def test_columns_that_are_not_listed_may_have_any_type(database: MariaDatabase) -> None:
    create = "CREATE TABLE orders (id int PRIMARY KEY, u uuid, i inet6, p point, g geometry, customer text, total int)"
    source = await streaming(database, create)
    insert = "INSERT INTO orders VALUES ({}, uuid(), '::1', point(1, 2), point(1, 2), 'é', 5)"
    database.run(insert.format(1), insert.format(2), "UPDATE orders SET total = 6 WHERE id = 2")
    assert [without(one, "changelog_kind") for one in await values(source)] == [
        {"id": 1, "customer": "é", "total": 5},
        {"id": 2, "customer": "é", "total": 5},
        {"id": 2, "customer": "é", "total": 6},
    ]
    await source.close()


async def test_names_may_need_quotes(database: MariaDatabase) -> None:
    name = f"{database.name}-shöp"
    database.run(f"CREATE DATABASE `{name}`")
    try:
        database.run(f"CREATE TABLE `{name}`.`order ``items``` (`the id` int PRIMARY KEY, `näme` text, `select` int)")
        database.run(f"CREATE TABLE `{name}`.orders LIKE `{name}`.`order ``items```")
        database.run("CREATE TABLE orders (`the id` int PRIMARY KEY, `näme` text, `select` int)")
        both = {
            f"{schema}.{table}": {"stream": f"s{number}", "columns": ["the id", "näme", "select"], "kinds": kinds}
            for number, (schema, table) in enumerate(
                [(name, "order `items`"), (name, "orders"), (database.name, "orders")]
            )
            for kinds in [{"truncate": "emptied"}]
        }
        places = [f"`{name}`.`order ``items```", f"`{name}`.orders", "orders"]
        for number, place in enumerate(places):
            database.run(f"INSERT INTO {place} VALUES ({number}, 'ä', 1)")
        source = database.source(tables=both)
        await source.open(None)
        found = await read_all(source)
        for number, place in enumerate(places):
            database.run(f"INSERT INTO {place} VALUES ({number + 10}, 'ä', 1)")
            database.run(f"/* x */ TRUNCATE TABLE {place}")
        found += await read_all(source)
        told = [(one.stream, one.value.get("the id"), one.value["changelog_kind"]) for one, _ in found]
        assert told == [
            ("s0", 0, "insert"),
            ("s1", 1, "insert"),
            ("s2", 2, "insert"),
            ("s0", 10, "insert"),
            ("s0", None, "emptied"),
            ("s1", 11, "insert"),
            ("s1", None, "emptied"),
            ("s2", 12, "insert"),
            ("s2", None, "emptied"),
        ]
        await source.close()
    finally:
        database.run(f"DROP DATABASE `{name}`")


# The type of a key, and values in SQL that have the order of the index or another one.
KEYS = [
    ("bigint unsigned", ["0", "9223372036854775808", "18446744073709551615", "7"]),
    ("int", ["-5", "-4", "0", "3"]),
    ("decimal(40,10)", ["1.5", "123456789012345678901234567890.0000000001", "123456789012345678901234567890", "-1"]),
    ("float", ["1.1", "1.2", "-0.3", "1e10", "1.10001"]),
    ("double", ["0.1", "0.30000000000000004", "-1e-10", "1e300"]),
    ("enum('z','b','a')", ["'a'", "'b'", "'z'"]),
    ("set('z','b','a')", ["'a'", "'z,b'", "'z'", "''"]),
    ("bit(40)", ["b'1'", "b'1111111111111111111111111111111111111111'", "b'100000000'", "b'0'"]),
    ("year", ["2026", "1999", "2000"]),
    ("date", ["'2026-01-31'", "'0000-00-00'", "'1999-12-31'", "'2026-00-01'"]),
    ("time(6)", ["'-100:00:00.5'", "'09:00:00'", "'120:00:00.000001'", "'-00:00:01'", "'00:00:00'"]),
    ("datetime(6)", ["'2026-01-31 12:30:00.000001'", "'2026-01-31 12:30:00'", "'0000-00-00 00:00:00'"]),
    ("timestamp(3)", ["'2026-01-31 12:30:00.5'", "'2026-01-31 12:30:00'"]),
    ("varchar(20)", ["'a'", "'B'", "'ä'", "'it''s'", "''", "'a b'"]),
    ("varchar(20) COLLATE utf8mb4_bin", ["'a'", "'A'", "'ä'", "'😀'", "'%'"]),
    ("varchar(20) CHARACTER SET latin1", ["'a'", "'é'", "'Z'"]),
    ("char(4)", ["'a'", "'b'", "'ab'"]),
    ("varbinary(10)", ["x'00'", "x'ff00'", "x''", "x'0000'"]),
    ("binary(4)", ["x'00'", "x'ff00'", "x'0001'"]),
    ("tinyint(1)", ["0", "1", "7"]),
]


async def test_a_snapshot_is_read_row_by_row_behind_every_kind_of_key(database: MariaDatabase) -> None:
    connection = server.connect(server.Address.parse(database.url), 10.0)
    for kind, given in KEYS:
        database.run(
            "SET sql_mode = '', time_zone = '+00:00'",
            f"CREATE OR REPLACE TABLE orders (a int, k {kind}, b int AUTO_INCREMENT, PRIMARY KEY (a, k, b), KEY (b))",
            *(f"INSERT INTO orders (a, k) VALUES (1, {value})" for value in given),
        )
        name = f"{database.name}.orders"
        snapshot = Snapshot(connection, server.read_tables(connection, {name: frozenset("akb")}, {}), {})
        await snapshot.begin()
        found: list[int] = []
        while rows := await snapshot.read(1):
            found += [change.row["b"] for change, _ in rows if change is not None]
            snapshot.place = Place.parse(rows[-1].place.token())
            assert len(found) <= len(given), f"{kind}: {snapshot.place}"
        assert sorted(found) == list(range(1, len(given) + 1)), kind
        await snapshot.end()
    connection.close()


ODD = [
    ("bit(64)", "b'1000000000000000000000000000000000000000000000000000000000000001'", 2**63 + 1),
    ("bigint unsigned", "NULL", None),
    ("datetime", "'0000-00-00 00:00:00'", None),
    ("timestamp NULL", "'0000-00-00 00:00:00'", None),
    ("date", "'2026-00-00'", None),
    ("datetime", "'2026-01-00 00:00:00'", None),
    ("datetime(6)", "'9999-12-31 23:59:59.999999'", "9999-12-31T23:59:59.999999Z"),
    ("year", "0", 0),
    ("time(6)", "'-838:59:59'", "-838:59:59"),
    ("time(6)", "'-00:00:00.000001'", "-00:00:00.000001"),
    ("time(3)", "'-01:59:59.75'", "-01:59:59.750000"),
    ("time(1)", "'-00:01:00.5'", "-00:01:00.500000"),
    ("time(6)", "'-10:00:00'", "-10:00:00"),
    ("enum('a','b')", "''", ""),
    ("enum('it''s','ü')", "'ü'", "ü"),
    ("set('it''s','ü','x')", "'it''s,ü'", ["it's", "ü"]),
    ("set('a','b')", "NULL", None),
    ("json", "'\"x\"'", "x"),
    ("json", "'null'", None),
    ("json", "NULL", None),
    ("decimal(65,30)", "-0.000000000000000000000000000001", -1e-30),
    ("decimal(10,5)", "-0", 0.0),
    ("double", "1e308", 1e308),
    ("float", "16777216", 16777200.0),
    ("tinyint(1)", "-1", -1),
    ("binary(3)", "x'610000'", "YQAA"),
    ("varbinary(3)", "x'6100'", "YQA="),
    ("char(4) CHARACTER SET utf8mb3", "'é '", "é"),
    ("text CHARACTER SET utf16", "'é😀'", "é😀"),
    ("varchar(10) CHARACTER SET cp1251", "'я'", "я"),
    ("varchar(10) CHARACTER SET ucs2", "'é'", "é"),
    ("varchar(10) CHARACTER SET utf32", "'é😀'", "é😀"),
    ("enum('é','b') CHARACTER SET latin1", "'é'", "é"),
    ("set('é','b') CHARACTER SET latin1", "'é,b'", ["é", "b"]),
    ("longblob", "repeat('x', 3)", "eHh4"),
    ("mediumtext", "''", ""),
    ("text", "'null'", "null"),
    ("varchar(300)", "repeat('é', 300)", "é" * 300),
]


async def test_unusual_values_are_the_same_as_a_snapshot_and_as_a_change(database: MariaDatabase) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(ODD))
    database.run(f"CREATE TABLE odd (id int PRIMARY KEY, {columns})")
    insert = f"INSERT INTO odd VALUES ({{}}, {', '.join(text for _, text, _ in ODD)})"
    setup = "SET time_zone = '+00:00', sql_mode = ''"
    database.run(setup, insert.format(1))
    names = ["id", *(f"c{number}" for number in range(len(ODD)))]
    source = database.source(tables={f"{database.name}.odd": {"stream": "types", "columns": names}})
    await source.open(None)
    found = await values(source)
    database.run(setup, insert.format(2))
    found += await values(source)
    first, second = ([(ODD[at][0], repr(event[name])) for at, name in enumerate(names[1:])] for event in found)
    assert second == first
    assert first == [(kind, repr(value)) for kind, _, value in ODD]
    await source.close()
