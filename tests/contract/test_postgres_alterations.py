"""What the PostgreSQL source does when tables, identities and slots are altered while it reads."""

from __future__ import annotations

from typing import Any

import pytest

from contract.test_postgres_cdc import CaughtUp, Database, database
from contract.test_postgres_changes import ORDERS, TABLES, streaming, values, without
from headwater.errors import PositionLost, SourceRefused, SourceUnavailable
from headwater.testing.suites.source import read_all

__all__ = ["database"]


async def stop_of(source: CaughtUp) -> str:
    """What the source says when it stops."""
    while True:
        try:
            await source.read(deliveries_max=10, wait_seconds=20.0)
        except SourceUnavailable:
            continue
        except (SourceRefused, PositionLost) as error:
            return str(error)


async def test_a_table_that_is_renamed_stops_the_source(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
    batch = await source.read(deliveries_max=10, wait_seconds=20.0)
    database.run("ALTER TABLE orders RENAME TO former")
    database.run("INSERT INTO former VALUES (2, 'Bea', 2)")
    said = await stop_of(source)
    assert "public.orders" in said
    assert "public.former" in said
    # Nothing is left out: under its old name again, the table is read from there.
    database.run("ALTER TABLE former RENAME TO orders")
    await source.open(batch.token)
    assert [one["id"] for one in await values(source)] == [2]
    await source.close()


async def test_a_table_that_is_dropped_stops_the_source(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES, check_seconds=1.0)
    database.run("DROP TABLE orders")
    assert "public.orders" in await stop_of(source)


ALTERED = [
    ("int", "7", "numeric", "1.50", 7, 1.5),
    ("int", "7", "text", "'x'", 7, "x"),
    ("text", "'7'", "int", "8", "7", 8),
    ("text", "'[1]'", "jsonb", "'[1]'", "[1]", [1]),
    ("int", "7", "int[]", "'{8}'", 7, [8]),
    ("timestamp", "'2026-01-31 00:00:00'", "text", "'now'", "2026-01-31T00:00:00Z", "now"),
    ("text", "'calm'", "mood", "'happy'", "calm", "happy"),
]


@pytest.mark.parametrize("is_read_later", [False, True])
async def test_the_type_of_a_column_may_change_meanwhile(database: Database, is_read_later: bool) -> None:
    """Values are those of the type at that time, also when the source was not running then."""
    names = [f"c{number}" for number in range(len(ALTERED))]
    columns = ", ".join(f"{name} {one[0]}" for name, one in zip(names, ALTERED, strict=True))
    tables = {"public.orders": {"stream": "o", "columns": ["id", *names]}}
    source = await streaming(database, f"CREATE TABLE orders (id int PRIMARY KEY, {columns})", tables)
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    if is_read_later:
        await source.close()
    database.run(f"INSERT INTO orders VALUES (1, {', '.join(one[1] for one in ALTERED)})")
    found = [] if is_read_later else await values(source)
    database.run("CREATE TYPE mood AS ENUM ('happy', 'calm')")
    for name, one in zip(names, ALTERED, strict=True):
        database.run(f"ALTER TABLE orders DROP {name}")
        database.run(f"ALTER TABLE orders ADD {name} {one[2]}")
    database.run(f"INSERT INTO orders VALUES (2, {', '.join(one[3] for one in ALTERED)})")
    if is_read_later:
        await source.open(token)
    first, second = found + await values(source)
    assert [(one[0], first[name]) for name, one in zip(names, ALTERED, strict=True)] == [
        (one[0], one[4]) for one in ALTERED
    ]
    assert [(one[2], second[name]) for name, one in zip(names, ALTERED, strict=True)] == [
        (one[2], one[5]) for one in ALTERED
    ]
    await source.close()


IDENTITIES = [
    # alterations, what is declared besides columns, what is wrong ("" if nothing is)
    ("ALTER TABLE orders REPLICA IDENTITY DEFAULT", {}, ""),
    ("ALTER TABLE orders REPLICA IDENTITY FULL", {}, ""),
    ("ALTER TABLE orders REPLICA IDENTITY FULL", {"key": "code"}, ""),
    ("ALTER TABLE orders REPLICA IDENTITY USING INDEX by_both", {}, ""),
    ("ALTER TABLE orders REPLICA IDENTITY USING INDEX by_code", {"key": "code"}, ""),
    ("ALTER TABLE orders REPLICA IDENTITY USING INDEX by_code", {}, "id"),
    ("ALTER TABLE orders REPLICA IDENTITY DEFAULT", {"key": "code"}, "code"),
    ("ALTER TABLE orders REPLICA IDENTITY DEFAULT", {"key": ["id", "code"]}, "code"),
    ("ALTER TABLE orders REPLICA IDENTITY NOTHING", {}, "REPLICA IDENTITY FULL"),
    ("ALTER TABLE orders REPLICA IDENTITY USING INDEX by_code; DROP INDEX by_code", {}, "REPLICA IDENTITY FULL"),
]
CODED = (
    "CREATE TABLE orders (id int PRIMARY KEY, code text NOT NULL, total int);"
    "CREATE UNIQUE INDEX by_code ON orders (code); CREATE UNIQUE INDEX by_both ON orders (id, code)"
)


@pytest.mark.parametrize(("alter", "more", "wrong"), IDENTITIES)
async def test_every_deletion_says_which_row_went(
    database: Database, alter: str, more: dict[str, Any], wrong: str
) -> None:
    for statement in f"{CODED}; {alter}".split(";"):
        database.run(statement)
    source = database.source(tables={"public.orders": {"stream": "o", "columns": ["id", "code", "total"], **more}})
    if wrong:
        with pytest.raises(SourceRefused, match=f"(?s)public.orders.*{wrong}"):
            await source.open(None)
        assert database.run("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", (database.slot,)) == []
        return
    await source.open(None)
    await values(source)
    database.run("INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2)")
    database.run("UPDATE orders SET total = 3 WHERE id = 1")
    database.run("UPDATE orders SET id = 10, code = 'c' WHERE id = 1")
    database.run("DELETE FROM orders WHERE id = 2")
    found = await values(source)
    assert [one["changelog_kind"] for one in found] == ["insert", "insert", "update", "delete", "insert", "delete"]
    key = more.get("key", "id")
    expected = {"id": {"id": 1}, "code": {"code": "a"}}[key]
    assert without(found[3], "changelog_kind") == expected
    assert without(found[5], "changelog_kind") == {"id": {"id": 2}, "code": {"code": "b"}}[key]
    await source.close()


async def test_an_identity_that_changes_meanwhile_stops_the_source(database: Database) -> None:
    tables = {"public.orders": {"stream": "o", "columns": ["id", "code", "total"]}}
    for statement in CODED.split(";"):
        database.run(statement)
    source = database.source(tables=tables)
    await source.open(None)
    await values(source)
    database.run("INSERT INTO orders VALUES (1, 'a', 1)")
    assert len(await values(source)) == 1
    database.run("ALTER TABLE orders REPLICA IDENTITY USING INDEX by_code")
    database.run("DELETE FROM orders")
    said = await stop_of(source)
    assert "public.orders" in said
    assert "id" in said


async def test_a_key_and_a_large_value_that_stays_go_together(database: Database) -> None:
    database.run("CREATE TABLE pages (id int PRIMARY KEY, title text, body text)")
    database.run("ALTER TABLE pages ALTER body SET STORAGE EXTERNAL")
    body = "0123456789" * 10_000
    database.run("INSERT INTO pages VALUES (1, 'a', %s), (5, NULL, %s)", (body, body))
    source = database.source(tables={"public.pages": {"stream": "p", "columns": ["id", "title", "body"]}})
    await source.open(None)
    await values(source)
    database.run("UPDATE pages SET id = 2 WHERE id = 1")
    deleted, inserted = await values(source)
    assert without(deleted) == {"changelog_kind": "delete", "id": 1}
    assert without(inserted) == {"changelog_kind": "insert", "id": 2, "title": "a", "body": body}
    await source.close()


@pytest.mark.parametrize(
    "alter",
    [
        "ALTER TABLE pages RENAME body TO text",
        "ALTER TABLE pages DROP body",
        "ALTER TABLE pages RENAME id TO number",
        "ALTER TABLE pages ALTER id TYPE text",
        "REVOKE SELECT ON pages FROM test",
    ],
)
async def test_a_large_value_that_cannot_be_looked_up_any_more_is_absent(database: Database, alter: str) -> None:
    database.run("CREATE TABLE pages (id int PRIMARY KEY, title text, body text)")
    database.run("ALTER TABLE pages ALTER body SET STORAGE EXTERNAL")
    database.run("INSERT INTO pages VALUES (1, 'a', %s)", ("0123456789" * 10_000,))
    source = database.source(tables={"public.pages": {"stream": "p", "columns": ["id", "title", "body"]}})
    await source.open(None)
    await values(source)
    database.run("UPDATE pages SET title = 'b'")
    database.run(alter)
    (found,) = await values(source)
    assert without(found, "body") == {"changelog_kind": "update", "id": 1, "title": "b"}
    await source.close()


async def test_a_large_value_that_must_not_be_seen_by_now_is_absent(database: Database) -> None:
    """The flags of the change allow it, those of the row, which is looked at later, do not."""
    database.run("CREATE TABLE pages (id int PRIMARY KEY, title text, body text, flags int)")
    database.run("ALTER TABLE pages ALTER body SET STORAGE EXTERNAL")
    body, secret = "0123456789" * 10_000, "secret" * 10_000
    database.run("INSERT INTO pages VALUES (1, 'a', %s, 0), (2, 'a', %s, 0)", (body, body))
    rules = {"withhold": [{"columns": ["body"], "when": "flags & 1"}], "drop_when": "flags & 8"}
    table = {"stream": "p", "columns": ["id", "title", "body", "flags"], **rules}
    source = database.source(tables={"public.pages": table})
    await source.open(None)
    await values(source)
    database.run("UPDATE pages SET title = 'b'")
    database.run("UPDATE pages SET body = %s, flags = 1 WHERE id = 1", (secret,))
    database.run("UPDATE pages SET body = %s, flags = 8 WHERE id = 2", (secret,))
    found = await values(source)
    assert "secret" not in repr(found)
    assert [(one["changelog_kind"], one["id"]) for one in found] == [
        ("update", 1),
        ("update", 2),
        ("update", 1),
        ("delete", 2),
    ]
    assert "body" not in found[0]
    assert "body" not in found[1]
    assert found[2]["body"] is None
    await source.close()


async def test_rows_that_a_policy_hides_are_no_part_of_a_snapshot_in_silence(database: Database) -> None:
    database.run("DROP ROLE IF EXISTS reader")
    database.run("CREATE ROLE reader LOGIN REPLICATION")
    try:
        database.run(ORDERS)
        database.run("INSERT INTO orders VALUES (1, 'Ann', 1)")
        database.run("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
        database.run("GRANT SELECT ON orders TO reader")
        database.run(f"CREATE PUBLICATION {database.slot} FOR TABLE orders")
        database.url = database.url.replace("test@", "reader@")
        source = database.source(tables=TABLES)
        database.url = database.url.replace("reader@", "test@")
        await source.open(None)
        with pytest.raises(SourceRefused, match="row-level security"):
            await source.read(deliveries_max=10, wait_seconds=0.1)
        await source.close()
    finally:
        database.run("DROP OWNED BY reader")
        database.run("DROP ROLE reader")


async def test_names_may_need_quotes(database: Database) -> None:
    database.run('CREATE SCHEMA "Größe ""A"""')
    create = "(" + '"the Id" int PRIMARY KEY, "select" text, "a""b" int, "it\'s%s" int)'
    places = ['"Größe ""A"""."Order Items"', '"Größe ""A""".orders', "orders"]
    names = ['Größe "A".Order Items', 'Größe "A".orders', "public.orders"]
    columns = ["the Id", "select", 'a"b', "it's%s"]
    for place in places:
        database.run(f"CREATE TABLE {place} {create}")
        database.run(f'ALTER TABLE {place} ALTER "select" SET STORAGE EXTERNAL')
    body = "x" * 20_000
    for number, place in enumerate(places):
        database.run(f"INSERT INTO {place} VALUES ({number}, '{body}', NULL, 1)")
    source = database.source(
        tables={name: {"stream": f"s{number}", "columns": columns} for number, name in enumerate(names)}
    )
    await source.open(None)
    found = await read_all(source, deliveries_max=1)
    await source.open(found[0][1])
    assert [one.value["the Id"] for one, _ in await read_all(source)] == [1, 2]
    for place in places:
        database.run(f'UPDATE {place} SET "a""b" = 7')
    changed = [one for one, _ in await read_all(source)]
    assert [one.stream for one in changed] == ["s0", "s1", "s2"]
    assert [without(dict(one.value), "changelog_kind") for one in changed] == [
        {"the Id": number, "select": body, 'a"b': 7, "it's%s": 1} for number in range(3)
    ]
    await source.close()


KEYS = [
    ("bigint", ["-5", "9223372036854775807", "0"]),
    ("numeric", ["1.5", "123456789012345678901234567890.0000000001", "'NaN'", "-1"]),
    ("real", ["1.1", "'-Infinity'", "0.3", "1.10001"]),
    ("double precision", ["0.1", "0.30000000000000004", "1e300", "'NaN'"]),
    ("mood", ["'happy'", "'calm'", "'sad'"]),
    ("text", ["'a'", "'B'", "'ä'", "'it''s'", "''", "E'a\\\\b'", "'%s'"]),
    ('text COLLATE "C"', ["'a'", "'A'", "'ä'", "'😀'"]),
    ("char(4)", ["'a'", "'ab'", "'b'"]),
    ("boolean", ["true", "false"]),
    ("bytea", ["'\\x00'", "'\\xff00'", "''", "'\\x0000'"]),
    ("date", ["'2026-01-31'", "'infinity'", "'0044-03-15 BC'"]),
    ("timestamptz", ["'2026-01-31 12:30:00.000001+02'", "'infinity'", "'1999-01-01'"]),
    ("time", ["'09:00:00'", "'23:59:59.999999'"]),
    ("interval", ["'1 day'", "'-2 hours'", "'1 month 3 days'"]),
    ("uuid", ["'00000000-0000-4000-8000-000000000001'", "'ffffffff-0000-4000-8000-000000000001'"]),
    ("inet", ["'10.0.0.1'", "'::1'"]),
    ("integer[]", ["'{1,2}'", "'{}'", "'{1,NULL}'"]),
    ("age", ["41", "7"]),
]


async def test_a_snapshot_is_resumed_behind_every_kind_of_key(database: Database) -> None:
    database.run("CREATE TYPE mood AS ENUM ('happy', 'sad', 'calm')")
    database.run("CREATE DOMAIN age AS integer CHECK (VALUE > 0)")
    for number, (kind, given) in enumerate(KEYS):
        key = "k, b" if number % 2 else "k"
        database.run(f"CREATE TABLE t{number} (k {kind}, b serial, PRIMARY KEY ({key}))")
        for value in given:
            database.run(f"INSERT INTO t{number} (k) VALUES ({value})")
        table = {"stream": "s", "columns": ["k", "b"]}
        source = database.source(tables={f"public.t{number}": table}, publication=f"p{number}")
        await source.open(None)
        found = await read_all(source, deliveries_max=1)
        ids = [one.value["b"] for one, _ in found]
        assert sorted(ids) == list(range(1, len(given) + 1)), kind
        for at, (_, token) in enumerate(found[:2]):
            await source.open(token)
            rest = [one.value["b"] for one, _ in await read_all(source)]
            assert rest == ids[at + 1 :], f"{kind} {token}"
        await source.close()


async def test_prepared_transactions_and_savepoints_give_what_was_committed(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    database.run(
        "DO $$ BEGIN INSERT INTO orders VALUES (1, 'x', 1); BEGIN INSERT INTO orders VALUES (2, 'x', 1);"
        " RAISE EXCEPTION 'undone'; EXCEPTION WHEN OTHERS THEN NULL; END; INSERT INTO orders VALUES (3, 'x', 1); END $$"
    )
    assert [one["id"] for one in await values(source)] == [1, 3]
    await source.close()


async def test_a_slot_that_goes_while_it_is_read_stops_the_source(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    database.end_streams()
    database.drop_slot()
    assert "is gone" in await stop_of(source)
    await source.close()


async def test_a_slot_for_which_too_much_was_kept_stops_the_source(database: Database) -> None:
    source = await streaming(database, ORDERS, TABLES)
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    await source.close()
    database.run("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    try:
        database.run("SELECT pg_reload_conf()")
        for number in range(4):
            database.run(f"INSERT INTO orders VALUES ({number}, 'x', 1)")
            database.run("SELECT pg_switch_wal()")
        database.run("CHECKPOINT")
        for _ in range(2):
            with pytest.raises(PositionLost, match=r"max_slot_wal_keep_size.*new snapshot"):
                await source.open(token)
    finally:
        database.run("ALTER SYSTEM RESET max_slot_wal_keep_size")
        database.run("SELECT pg_reload_conf()")
    # A new snapshot replaces the slot.
    await source.open(None)
    assert [one["id"] for one in await values(source)] == [0, 1, 2, 3]
    await source.close()


@pytest.mark.parametrize("column", ["meta", "$schema"])
async def test_a_column_does_not_replace_what_belongs_to_the_event(database: Database, column: str) -> None:
    from headwater.errors import ConfigInvalid

    database.run(f'CREATE TABLE orders (id int PRIMARY KEY, "{column}" jsonb)')
    with pytest.raises(ConfigInvalid, match="fields"):
        database.source(tables={"public.orders": {"stream": "o", "columns": ["id", column]}})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"columns": ["id", "totl"]}, 'no column totl .*Did you mean "total"'),
        ({"fields": {"order_id": "id", "name": "{custmer}"}}, "no column custmer"),
        ({"columns": ["id", "total"], "drop_when": "totals = 1"}, "no column totals"),
        ({"columns": ["id", "total"], "withhold": [{"columns": "total", "when": "flag & 1"}]}, "no column flag"),
    ],
)
async def test_a_column_that_is_not_there_is_named_at_the_first_start(
    database: Database, table: dict[str, Any], message: str
) -> None:
    database.run(ORDERS)
    source = database.source(tables={"public.orders": {"stream": "o", **table}})
    with pytest.raises(SourceRefused, match=f"(?s){message}"):
        await source.open(None)
    assert database.run("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", (database.slot,)) == []


async def test_a_condition_on_a_column_that_was_dropped_withholds_every_row(database: Database) -> None:
    create = "CREATE TABLE orders (id int PRIMARY KEY, total int, flags int NOT NULL)"
    rules = {"columns": ["id", "total"], "drop_when": "flags & 1"}
    source = await streaming(database, create, {"public.orders": {"stream": "o", **rules}})
    token = (await source.read(deliveries_max=1, wait_seconds=0.0)).token
    await source.close()
    database.run("INSERT INTO orders VALUES (1, 1, 0), (2, 2, 1)")
    database.run("ALTER TABLE orders DROP flags")
    database.run("INSERT INTO orders VALUES (3, 3)")
    await source.open(token)
    assert [without(one) for one in await values(source)] == [
        {"changelog_kind": "insert", "id": 1, "total": 1},
        {"changelog_kind": "delete", "id": 2},
        {"changelog_kind": "delete", "id": 3},
    ]
    await source.close()
