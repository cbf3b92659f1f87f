"""What the MariaDB source makes of tables, types, and everything that can happen to them and to the binary log."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import Any

import pytest

from contract.test_mysql_cdc import CaughtUp, MariaDatabase, database
from headwater.connectors.contract import Delivery
from headwater.errors import PositionLost, SourceRefused, SourceUnavailable
from headwater.testing.suites.source import read_all, read_phases

__all__ = ["database"]

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, customer text, total decimal(12,2))"


def tables(database: MariaDatabase, **more: Any) -> dict[str, Any]:
    return {f"{database.name}.orders": {"stream": "orders", "columns": ["id", "customer", "total"], **more}}


async def values(source: CaughtUp) -> list[dict[str, Any]]:
    return [dict(delivery.value) for delivery, _ in await read_all(source)]


def without(event: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("meta", "dt", "version", *names)}


async def streaming(database: MariaDatabase, create: str = ORDERS, **more: Any) -> CaughtUp:
    """An open source whose snapshot is over."""
    database.run(create)
    source = database.source(tables=tables(database, **more))
    await source.open(None)
    assert await values(source) == []
    return source


async def test_rows_and_their_changes_become_events_of_a_stream(database: MariaDatabase) -> None:
    database.run(ORDERS, "INSERT INTO orders VALUES (1, 'Ann', 12.50), (2, NULL, -0.10)")
    source = database.source(tables=tables(database))
    await source.open(None)
    found = await read_all(source)
    database.run("UPDATE orders SET total = 13 WHERE id = 1")
    database.run("DELETE FROM orders WHERE id = 2")
    database.run("UPDATE orders SET id = 3 WHERE id = 1")
    found += await read_all(source)
    assert [without(dict(one.value)) for one, _ in found] == [
        {"changelog_kind": "insert", "id": 1, "customer": "Ann", "total": 12.5},
        {"changelog_kind": "insert", "id": 2, "customer": None, "total": -0.1},
        {"changelog_kind": "update", "id": 1, "customer": "Ann", "total": 13},
        {"changelog_kind": "delete", "id": 2},
        {"changelog_kind": "delete", "id": 1},
        {"changelog_kind": "insert", "id": 3, "customer": "Ann", "total": 13},
    ]
    versions = [one.value["version"] for one, _ in found]
    assert versions == sorted(versions)
    assert versions[1] < versions[2]
    ids = [one.event_id for one, _ in found]
    assert len(set(ids)) == len(ids)
    await source.close()


VALUES = [
    ("tinyint", "-7", -7),
    ("tinyint(1)", "1", True),
    ("tinyint unsigned", "255", 255),
    ("smallint", "-30000", -30000),
    ("mediumint unsigned", "16777215", 16777215),
    ("int", "-2147483648", -2147483648),
    ("bigint unsigned", "18446744073709551615", 18446744073709551615),
    ("decimal(6,2)", "-12.30", -12.3),
    ("decimal(10,0)", "7", 7),
    ("float", "1.1", 1.1),
    ("double", "0.1", 0.1),
    ("varchar(20)", "'ü😀'", "ü😀"),
    ("char(4)", "'ab'", "ab"),
    ("text", "REPEAT('x', 70000 % 300)", "x" * 100),
    ("varchar(10) CHARACTER SET latin1", "'é'", "é"),
    ("json", """'{"a": [1, null]}'""", {"a": [1, None]}),
    ("enum('a','b')", "'b'", "b"),
    ("set('x','y','z')", "'z,x'", ["x", "z"]),
    ("set('x','y')", "''", []),
    ("bit(3)", "b'101'", 5),
    ("bit(12)", "b'100000000001'", 2049),
    ("year", "2026", 2026),
    ("date", "'2026-01-31'", "2026-01-31"),
    ("date", "'0000-00-00'", None),
    ("time", "'-01:02:03'", "-01:02:03"),
    ("time(3)", "'120:00:00.5'", "120:00:00.500000"),
    ("datetime", "'2026-01-31 12:30:00'", "2026-01-31T12:30:00Z"),
    ("datetime(6)", "'2026-01-31 12:30:00.123456'", "2026-01-31T12:30:00.123456Z"),
    ("timestamp NULL", "'2026-01-31 12:30:00'", "2026-01-31T12:30:00Z"),
    ("varbinary(4)", "x'00ff'", "AP8="),
    ("binary(4)", "x'00ff'", "AP8AAA=="),
    ("blob", "x'00ff'", "AP8="),
]


async def test_values_are_the_same_as_a_snapshot_and_as_a_change(database: MariaDatabase) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(VALUES))
    database.run(f"CREATE TABLE all_types (id int PRIMARY KEY, {columns})")
    insert = f"INSERT INTO all_types VALUES (%s, {', '.join(text for _, text, _ in VALUES)})"
    setup = "SET time_zone = '+00:00', sql_mode = ''"
    database.run(setup, insert.replace("%s", "1"))
    names = ["id", *(f"c{number}" for number in range(len(VALUES)))]
    source = database.source(tables={f"{database.name}.all_types": {"stream": "types", "columns": names}})
    await source.open(None)
    found = await values(source)
    database.run(setup, insert.replace("%s", "2"))
    found += await values(source)
    first, second = ([event[name] for name in names[1:]] for event in found)
    expected = [value for _, _, value in VALUES]
    assert [(VALUES[at][0], one) for at, one in enumerate(first)] == [(kind, value) for kind, _, value in VALUES]
    assert list(map(repr, second)) == list(map(repr, expected))
    await source.close()


async def test_tables_may_change_their_columns_meanwhile(database: MariaDatabase) -> None:
    source = await streaming(database)
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
    database.run("ALTER TABLE orders ADD secret text AFTER id")
    database.run("INSERT INTO orders VALUES (2, 'hidden', 'Bea', 2)")
    database.run("ALTER TABLE orders DROP customer")
    database.run("INSERT INTO orders VALUES (3, 'hidden', 3)")
    database.run("ALTER TABLE orders CHANGE total sum decimal(12,2)")
    database.run("INSERT INTO orders VALUES (4, 'hidden', 4)")
    assert [without(one, "changelog_kind") for one in await values(source)] == [
        {"id": 1, "customer": "Ann", "total": 1},
        {"id": 2, "customer": "Bea", "total": 2},
        {"id": 3, "total": 3},
        {"id": 4},
    ]
    orders = f"{database.name}.orders"
    assert source.withheld == {(orders, "secret"): 3, (orders, "sum"): 1}
    await source.close()


async def test_a_transaction_is_resumed_in_the_middle(database: MariaDatabase) -> None:
    source = await streaming(database)
    inserts = [f"INSERT INTO orders VALUES ({n}, 'x', {n}), ({n + 50}, 'x', {n})" for n in range(1, 5)]
    database.run(*inserts, "UPDATE orders SET id = id + 100 WHERE id > 52")
    database.run("INSERT INTO orders VALUES (0, 'last', 0)")
    found = await read_all(source)
    ids = [delivery.event_id for delivery, _ in found]
    assert len(ids) == 13
    for number, (_, token) in enumerate(found):
        if number % 3 == 0:
            await source.open(token)
            assert [delivery.event_id for delivery, _ in await read_all(source, deliveries_max=4)] == ids[number + 1 :]
    await source.close()


async def test_a_snapshot_is_resumed_without_what_came_later(database: MariaDatabase) -> None:
    database.run(ORDERS, "CREATE TABLE notes (a varchar(20), b int, PRIMARY KEY (b, a))")
    database.run(
        "INSERT INTO orders VALUES (1, 'x', 1), (2, 'x', 2), (3, 'x', 3), (4, 'x', 4), (5, 'x', 5), (6, 'x', 6)"
    )
    for number in range(1, 7):
        database.run("INSERT INTO notes VALUES (%s, %s)", values=(f"it's {number}", number // 2))
    both = {**tables(database), f"{database.name}.notes": {"stream": "notes", "columns": ["a", "b"]}}
    source = database.source(tables=both)
    await source.open(None)
    found = await read_phases(source, deliveries_max=4)
    assert [phase for _, _, phase in found] == ["snapshot"] * 12
    ids = [delivery.event_id for delivery, _, _ in found]
    assert len(set(ids)) == 12
    database.run("UPDATE orders SET customer = 'y' WHERE id = 5", "DELETE FROM notes WHERE b = 2")
    database.run("INSERT INTO orders VALUES (7, 'z', 7)")
    for number in (0, 4, 7, 11):
        await source.open(found[number][1])
        rest = await read_phases(source, deliveries_max=4)
        read = [delivery.event_id for delivery, _, phase in rest if phase == "snapshot"]
        gone = {one.event_id for one, _, _ in found[number + 1 :] if is_changed(one)}
        assert read == [one for one in ids[number + 1 :] if one not in gone]
        changes = [delivery.value["changelog_kind"] for delivery, _, phase in rest if phase == "stream"]
        assert changes == ["update", "delete", "delete", "insert"]
    await source.close()


async def test_a_snapshot_is_resumed_while_rows_are_changed(database: MariaDatabase) -> None:
    database.run(ORDERS, *(f"INSERT INTO orders VALUES ({number}, 'x', 1)" for number in range(300)))
    source = database.source(tables=tables(database))
    await source.open(None)
    batch = await source.read(deliveries_max=100, wait_seconds=1.0)
    await source.close()
    ended = threading.Event()

    def change() -> None:
        for number in itertools.count():
            if ended.is_set():
                return
            database.run(f"UPDATE orders SET total = {number} WHERE id = {number % 300}")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            await source.open(batch.token)
    finally:
        ended.set()
        thread.join()
    found = [delivery.value for delivery, _ in await read_all(source)]
    assert {event["id"] for event in found} >= set(range(100, 300))
    ((expected,),) = database.run("SELECT max(total) FROM orders")
    assert max(event["total"] for event in found) == expected
    await source.close()


def is_changed(delivery: Delivery) -> bool:
    value = delivery.value
    return (delivery.stream == "orders" and value["id"] == 5) or (delivery.stream == "notes" and value["b"] == 2)


async def test_a_log_that_was_purged_stops_the_source(database: MariaDatabase) -> None:
    source = await streaming(database)
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    await source.close()
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
    database.purge()
    with pytest.raises(PositionLost, match="new snapshot"):
        await source.open(token)
    await source.close()


async def test_a_token_of_another_server_is_refused(database: MariaDatabase) -> None:
    source = await streaming(database)
    with pytest.raises(PositionLost):
        await source.open('my1.{"gtid":"0-7-99999999"}')
    await source.close()


@pytest.mark.parametrize(
    ("create", "columns", "message"),
    [
        ("CREATE TABLE orders (n int)", ["n"], "no primary key"),
        ("SELECT 1", ["n"], "there is no table"),
        ("CREATE TABLE orders (n int PRIMARY KEY, u uuid)", ["n", "u"], "type uuid, which cannot be read"),
    ],
)
async def test_a_table_that_cannot_be_read_is_refused_up_front(
    database: MariaDatabase, create: str, columns: list[str], message: str
) -> None:
    database.run(create)
    source = database.source(tables=tables(database) | {f"{database.name}.orders": {"stream": "o", "columns": columns}})
    with pytest.raises(SourceRefused, match=message):
        await source.open(None)


async def test_a_server_that_does_not_log_names_of_columns_is_refused(database: MariaDatabase) -> None:
    database.run(ORDERS)
    source = database.source(tables=tables(database))
    database.run("SET GLOBAL binlog_row_metadata = MINIMAL")
    try:
        with pytest.raises(SourceRefused, match=r"binlog_row_metadata=MINIMAL.*Configure binlog_row_metadata=FULL"):
            await source.open(None)
    finally:
        database.run("SET GLOBAL binlog_row_metadata = FULL")


async def test_a_connection_that_is_lost_is_made_again(database: MariaDatabase) -> None:
    source = await streaming(database)
    database.run(*(f"INSERT INTO orders VALUES ({n}, 'x', {n})" for n in range(1, 6)))
    batch = await source.read(deliveries_max=2, wait_seconds=10.0)
    found = [delivery.value["id"] for delivery in batch.deliveries]
    for number, *_ in database.run("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump'"):
        with contextlib.suppress(Exception):
            database.run(f"KILL {number}")
    while len(found) < 5:
        with contextlib.suppress(SourceUnavailable):
            found += [one.value["id"] for one in (await source.read(deliveries_max=2, wait_seconds=5.0)).deliveries]
    assert found == [1, 2, 3, 4, 5]
    database.run("INSERT INTO orders VALUES (6, 'x', 6)")
    while len(found) < 6:
        with contextlib.suppress(SourceUnavailable):
            found += [one.value["id"] for one in (await source.read(deliveries_max=2, wait_seconds=5.0)).deliveries]
    assert found == [1, 2, 3, 4, 5, 6]
    await source.close()


async def test_a_truncated_table_is_an_event_or_reported(database: MariaDatabase) -> None:
    source = await streaming(database, kinds={"truncate": "emptied"})
    database.run("TRUNCATE orders")
    (event,) = await values(source)
    assert without(event) == {"changelog_kind": "emptied"}
    await source.close()


async def test_the_token_moves_while_only_other_tables_change(database: MariaDatabase) -> None:
    source = await streaming(database)
    before = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    database.run("CREATE TABLE other (n int)")
    database.run("INSERT INTO other VALUES (1)")
    after = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    assert after != before
    await source.close()
