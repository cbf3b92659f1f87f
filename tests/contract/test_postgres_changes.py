"""What the PostgreSQL source makes of tables, types, and everything that can happen to them and to its slot."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from contract.test_postgres_cdc import CaughtUp, Database, database
from headwater.connectors.contract import Delivery
from headwater.errors import ConfigInvalid, PositionLost, SourceRefused, SourceUnavailable
from headwater.testing.suites.source import read_all, read_phases

__all__ = ["database"]

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric(12,2))"
TABLES = {"public.orders": {"stream": "orders", "columns": ["id", "customer", "total"]}}


async def values(source: CaughtUp) -> list[dict[str, Any]]:
    return [dict(delivery.value) for delivery, _ in await read_all(source)]


def without(event: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("meta", "dt", "version", *names)}


async def streaming(database: Database, create: str, tables: dict[str, Any], **more: Any) -> CaughtUp:
    """An open source whose snapshot is over."""
    database.run(create)
    source = database.source(tables=tables, **more)
    await source.open(None)
    assert await values(source) == []
    return source


async def test_rows_and_their_changes_become_events_of_a_stream(database: Database) -> None:
    database.run(ORDERS)
    database.run("INSERT INTO orders VALUES (1, 'Ann', 12.50), (2, NULL, 0.10)")
    source = database.source(tables=TABLES)
    await source.open(None)
    found = await read_all(source)
    database.run("UPDATE orders SET total = 13 WHERE id = 1")
    database.run("DELETE FROM orders WHERE id = 2")
    database.run("UPDATE orders SET id = 3 WHERE id = 1")
    found += await read_all(source)
    assert [without(dict(one.value)) for one, _ in found] == [
        {"changelog_kind": "insert", "id": 1, "customer": "Ann", "total": 12.5},
        {"changelog_kind": "insert", "id": 2, "customer": None, "total": 0.1},
        {"changelog_kind": "update", "id": 1, "customer": "Ann", "total": 13},
        {"changelog_kind": "delete", "id": 2},
        {"changelog_kind": "delete", "id": 1},
        {"changelog_kind": "insert", "id": 3, "customer": "Ann", "total": 13},
    ]
    versions = [one.value["version"] for one, _ in found]
    assert versions == sorted(versions)
    assert versions[1] < versions[2]
    assert {one.stream for one, _ in found} == {"orders"}
    ids = [one.event_id for one, _ in found]
    assert len(set(ids)) == len(ids)
    assert [one.value["meta"] for one, _ in found] == [{"stream": "orders", "id": one} for one in ids]
    await source.close()


VALUES = [
    ("smallint", "-7", -7),
    ("integer", "2147483647", 2147483647),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("numeric", "'1234567890123456789.50'", None),
    ("numeric(8,2)", "5", 5.0),
    ("numeric", "'NaN'", "NaN"),
    ("real", "1.5", 1.5),
    ("double precision", "0.1", 0.1),
    ("boolean", "true", True),
    ("text", "E'ü\\t😀'", "ü\t😀"),
    ("varchar(5)", "'abc'", "abc"),
    ("char(4)", "'ab'", "ab  "),
    ("json", """'{"a": [1, null, 9007199254740993]}'""", {"a": [1, None, 9007199254740993]}),
    ("jsonb", "'[true]'", [True]),
    ("jsonb", "'null'", None),
    ("uuid", "'00000000-0000-4000-8000-000000000001'", "00000000-0000-4000-8000-000000000001"),
    ("date", "'2026-01-31'", "2026-01-31"),
    ("time", "'12:30:00.5'", "12:30:00.5"),
    ("timestamp", "'2026-01-31 12:30:00.123456'", "2026-01-31T12:30:00.123456Z"),
    ("timestamptz", "'2026-01-31 12:30:00+02'", "2026-01-31T10:30:00Z"),
    ("timestamptz", "'infinity'", "infinity"),
    ("interval", "'1 day 2 hours'", "P1DT2H"),
    ("bytea", "'\\x00ff'", "AP8="),
    ("integer[]", "'{1,NULL,3}'", [1, None, 3]),
    ("text[]", """'{"a,b","c\\"d",NULL,"NULL",""}'""", ["a,b", 'c"d', None, "NULL", ""]),
    ("integer[][]", "'{{1,2},{3,4}}'", [[1, 2], [3, 4]]),
    ("integer[]", "'[0:1]={5,6}'", [5, 6]),
    ("timestamptz[]", "'{2026-01-31 12:30:00+00}'", ["2026-01-31T12:30:00Z"]),
    ("mood", "'happy'", "happy"),
    ("mood[]", "'{happy,sad}'", ["happy", "sad"]),
    ("age", "41", 41),
    ("age[]", "'{41}'", [41]),
    ("inet", "'10.0.0.1'", "10.0.0.1"),
    ("box[]", "'{(1,1),(0,0)}'", ["(1,1),(0,0)"]),
]


async def test_values_are_the_same_as_a_snapshot_and_as_a_change(database: Database) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(VALUES))
    database.run("CREATE TYPE mood AS ENUM ('happy', 'sad')")
    database.run("CREATE DOMAIN age AS integer CHECK (VALUE > 0)")
    database.run(f"CREATE TABLE all_types (id int PRIMARY KEY, {columns})")
    insert = f"INSERT INTO all_types VALUES (%s, {', '.join(text.replace('%', '%%') for _, text, _ in VALUES)})"
    database.run(insert, (1,))
    names = ["id", *(f"c{number}" for number in range(len(VALUES)))]
    source = database.source(tables={"public.all_types": {"stream": "types", "columns": names}})
    await source.open(None)
    found = await values(source)
    database.run(insert, (2,))
    found += await values(source)
    first, second = ([event[name] for name in names[1:]] for event in found)
    assert list(map(repr, first)) == list(map(repr, second))
    expected = [value for _, _, value in VALUES]
    assert str(getattr(first[3], "text", "")) == "1234567890123456789.50"
    assert [one for number, one in enumerate(first) if number != 3] == [
        one for number, one in enumerate(expected) if number != 3
    ]
    await source.close()


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
async def test_a_large_value_that_did_not_change_stays_in_the_event(database: Database, identity: str) -> None:
    create = "CREATE TABLE pages (id int PRIMARY KEY, title text, body text)"
    tables = {"public.pages": {"stream": "pages", "columns": ["id", "title", "body"]}}
    database.run(create)
    database.run(f"ALTER TABLE pages REPLICA IDENTITY {identity}")
    database.run("ALTER TABLE pages ALTER body SET STORAGE EXTERNAL")
    body = "0123456789" * 10_000
    database.run("INSERT INTO pages VALUES (1, 'a', %s)", (body,))
    source = database.source(tables=tables)
    await source.open(None)
    await values(source)
    database.run("UPDATE pages SET title = 'b' WHERE id = 1")
    (event,) = await values(source)
    assert without(event) == {"changelog_kind": "update", "id": 1, "title": "b", "body": body}
    # Of a row that is gone by the time it is looked at, the value is not known.
    database.run("UPDATE pages SET title = 'c' WHERE id = 1")
    database.run("DELETE FROM pages WHERE id = 1")
    changed, deleted = await values(source)
    assert without(changed, "body") == {"changelog_kind": "update", "id": 1, "title": "c"}
    assert ("body" in changed) is (identity == "FULL")
    assert without(deleted) == {"changelog_kind": "delete", "id": 1}
    await source.close()


async def test_tables_may_change_their_columns_meanwhile(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
    database.run("ALTER TABLE orders ADD secret text")
    database.run("INSERT INTO orders VALUES (2, 'Bea', 2, 'hidden')")
    database.run("ALTER TABLE orders DROP customer")
    database.run("INSERT INTO orders VALUES (3, 3, 'hidden')")
    database.run("ALTER TABLE orders RENAME total TO sum")
    database.run("INSERT INTO orders VALUES (4, 4, 'hidden')")
    assert [without(one, "changelog_kind") for one in await values(source)] == [
        {"id": 1, "customer": "Ann", "total": 1},
        {"id": 2, "customer": "Bea", "total": 2},
        {"id": 3, "total": 3},
        {"id": 4},
    ]
    assert source.withheld == {("public.orders", "secret"): 3, ("public.orders", "sum"): 1}
    await source.close()


async def test_a_transaction_is_resumed_in_the_middle(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    database.run("INSERT INTO orders SELECT n, 'x', n FROM generate_series(1, 10) n")
    database.run("UPDATE orders SET id = id + 100 WHERE id > 8")
    found = await read_all(source)
    ids = [delivery.event_id for delivery, _ in found]
    assert len(ids) == 14
    for number, (_, token) in enumerate(found):
        if number % 3 == 0:
            await source.open(token)
            assert [delivery.event_id for delivery, _ in await read_all(source, deliveries_max=4)] == ids[number + 1 :]
    await source.close()


async def test_a_snapshot_is_resumed_without_what_came_later(database: Database) -> None:
    database.run(ORDERS)
    database.run("CREATE TABLE notes (a text, b int, PRIMARY KEY (b, a))")
    database.run("CREATE TABLE loose (n int)")
    database.run("ALTER TABLE loose REPLICA IDENTITY FULL")
    database.run("INSERT INTO orders SELECT n, 'x', n FROM generate_series(1, 6) n")
    database.run("INSERT INTO notes SELECT 'it''s ' || n, n / 2 FROM generate_series(1, 6) n")
    database.run("INSERT INTO loose SELECT generate_series(1, 6)")
    tables = {
        **TABLES,
        "public.notes": {"stream": "notes", "columns": ["a", "b"]},
        "public.loose": {"stream": "loose", "columns": ["n"]},
    }
    source = database.source(tables=tables)
    await source.open(None)
    found = await read_phases(source, deliveries_max=4)
    assert [phase for _, _, phase in found] == ["snapshot"] * 18
    ids = [delivery.event_id for delivery, _, _ in found]
    assert len(set(ids)) == 18
    # What changes after the snapshot comes in the stream, and once.
    database.run("UPDATE orders SET customer = 'y' WHERE id = 5")
    database.run("DELETE FROM notes WHERE b = 2")
    database.run("INSERT INTO orders VALUES (7, 'z', 7)")
    for number, (_, token, _) in enumerate(found):
        if number % 5 == 0:
            await source.open(token)
            rest = await read_phases(source, deliveries_max=4)
            read = [delivery for delivery, _, phase in rest if phase == "snapshot"]
            gone = {one.event_id for one, _, _ in found[number + 1 :] if is_changed(one)}
            assert [one.event_id for one in read] == [one for one in ids[number + 1 :] if one not in gone]
            changes = [delivery.value["changelog_kind"] for delivery, _, phase in rest if phase == "stream"]
            assert changes == ["update", "delete", "delete", "insert"]
    await source.close()


def is_changed(delivery: Delivery) -> bool:
    value = delivery.value
    return (delivery.stream == "orders" and value["id"] == 5) or (delivery.stream == "notes" and value["b"] == 2)


async def test_an_idle_source_lets_the_server_delete_its_log(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    database.run("CREATE TABLE other (n int)")

    def kept() -> int:
        ((lag,),) = database.run(
            "SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::int8 FROM pg_replication_slots WHERE slot_name = %s",
            (database.slot,),
        )
        return int(lag)

    database.run("INSERT INTO other SELECT generate_series(1, 20000)")
    assert kept() > 1_000_000
    batch = await source.read(deliveries_max=10, wait_seconds=0.0)
    assert list(batch.deliveries) == []
    assert kept() > 1_000_000, "nothing is confirmed before it is stored"
    await source.confirm(batch.token)
    await source.close()
    assert kept() < 100_000
    # The token of nothing is one to resume from.
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
    await source.open(batch.token)
    assert [without(one)["id"] for one in await values(source)] == [1]
    await source.close()


async def test_what_is_not_confirmed_is_kept_by_the_server(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    for number in range(5):
        database.run("INSERT INTO orders VALUES (%s, 'x', 0)", (number,))
    found = await read_all(source)
    await source.close()
    await source.open(found[0][1])
    assert [one["id"] for one in await values(source)] == [1, 2, 3, 4]
    await source.close()


@pytest.mark.parametrize(
    ("create", "table", "message"),
    [
        ("CREATE TABLE bare (n int)", {"columns": ["n"]}, "no primary key.*REPLICA IDENTITY FULL"),
        ("SELECT 1", {"columns": ["n"]}, "there is no table public.bare"),
        ("CREATE TABLE bare (n int PRIMARY KEY)", {"columns": ["n"], "key": "m"}, "no column m"),
        (
            "CREATE TABLE bare (n int PRIMARY KEY); ALTER TABLE bare REPLICA IDENTITY NOTHING",
            {"columns": ["n"]},
            "nothing",
        ),
    ],
)
async def test_a_table_that_cannot_be_read_is_refused_up_front(
    database: Database, create: str, table: dict[str, Any], message: str
) -> None:
    database.run(create)
    if "key" in table:
        table["columns"] = ["n", "m"]
    source = database.source(tables={"public.bare": {"stream": "bare", **table}})
    with pytest.raises(SourceRefused, match=message):
        await source.open(None)
    assert database.run("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", (database.slot,)) == []


async def test_a_key_that_is_not_listed_is_refused(database: Database) -> None:
    database.run(ORDERS)
    source = database.source(tables={"public.orders": {"stream": "orders", "columns": ["total"]}})
    with pytest.raises(ConfigInvalid, match="identified by id"):
        await source.open(None)


async def test_a_publication_that_lacks_a_table_is_named(database: Database) -> None:
    database.run(ORDERS)
    database.run("CREATE TABLE other (n int PRIMARY KEY)")
    database.run(f"CREATE PUBLICATION {database.slot} FOR TABLE other")
    source = database.source(tables=TABLES)
    with pytest.raises(SourceRefused, match=f"ALTER PUBLICATION {database.slot} ADD TABLE public.orders"):
        await source.open(None)


async def test_a_publication_that_is_dropped_stops_the_source(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    database.run(f"DROP PUBLICATION {database.slot}")
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
    with pytest.raises((PositionLost, SourceRefused), match="publication"):
        await source.read(deliveries_max=1, wait_seconds=10.0)
    with pytest.raises((PositionLost, SourceRefused), match="publication"):
        await source.open(token)
    await source.close()


async def test_a_slot_that_is_dropped_stops_the_source_and_says_what_to_do(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    await source.close()
    database.drop_slot()
    with pytest.raises(PositionLost, match=r"gone.*headwater sources reset"):
        await source.open(token)
    # One that is created anew does not have what was changed meanwhile.
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
    database.run("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (database.slot,))
    with pytest.raises(PositionLost, match="begins at"):
        await source.open(token)


async def test_a_slot_in_use_is_waited_for_and_then_refused(database: Database) -> None:
    first = await streaming(database, ORDERS, TABLES)
    token = (await first.read(deliveries_max=1, wait_seconds=0.0)).token
    second = database.source(tables=TABLES, slot_wait_seconds=0.2)
    with pytest.raises(SourceRefused, match=r"read by the process [0-9]+ \(headwater, from 127.0.0.1"):
        await second.open(token)
    third = database.source(tables=TABLES, slot_wait_seconds=30.0)
    opening = asyncio.ensure_future(third.open(token))
    await asyncio.sleep(0.1)
    await first.close()
    await opening
    await third.close()


async def test_a_connection_that_is_lost_is_made_again(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    database.run("INSERT INTO orders SELECT n, 'x', n FROM generate_series(1, 5) n")
    batch = await source.read(deliveries_max=2, wait_seconds=10.0)
    database.run(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", (database.slot,)
    )
    found = [one["id"] for one in (delivery.value for delivery in batch.deliveries)]
    while len(found) < 5:
        with contextlib.suppress(SourceUnavailable):
            found += [one.value["id"] for one in (await source.read(deliveries_max=2, wait_seconds=5.0)).deliveries]
    assert found == [1, 2, 3, 4, 5]
    await source.close()


async def test_a_truncated_table_is_reported_or_is_an_event(database: Database) -> None:
    database.run("CREATE TABLE other (n int PRIMARY KEY)")
    tables = {**TABLES, "public.other": {"stream": "other", "columns": ["n"], "kinds": {"truncate": "emptied"}}}
    source = await streaming(database, ORDERS, tables)
    database.run("TRUNCATE orders, other")
    (event,) = await values(source)
    assert without(event) == {"changelog_kind": "emptied"}
    assert source.withheld == {("public.orders", "*"): 1}
    await source.close()


async def test_two_tokens_of_different_clusters_are_told_apart(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    await source.close()
    system = token.partition('"system":"')[2].partition('"')[0]
    with pytest.raises(PositionLost, match="another database cluster"):
        await source.open(token.replace(system, "1"))


async def test_partitions_are_rows_of_the_whole_table(database: Database) -> None:
    database.run("CREATE TABLE parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)")
    database.run("CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')")
    database.run("INSERT INTO parted VALUES (1, '2026-01-05')")
    source = database.source(tables={"public.parted": {"stream": "parted", "columns": ["id", "day"]}})
    await source.open(None)
    found = await values(source)
    database.run("INSERT INTO parted VALUES (2, '2026-01-06')")
    found += await values(source)
    assert [without(one, "changelog_kind") for one in found] == [
        {"id": 1, "day": "2026-01-05"},
        {"id": 2, "day": "2026-01-06"},
    ]
    await source.close()


async def test_the_probe_says_what_it_found(database: Database) -> None:
    database.run(ORDERS)
    source = database.source(tables=TABLES)
    assert await source.probe() == [
        "public.orders: 3 columns, identified by id",
        f"the replication slot {database.slot} will be created",
    ]
