"""What must be right in a PostgreSQL database before its changes are read: settings, tables, publication and slot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from headwater.connectors.sources.postgres_cdc.connection import Session
from headwater.connectors.sources.postgres_cdc.token import lsn_text, read_lsn
from headwater.errors import PositionLost, SourceRefused

PLUGIN = "pgoutput"
FULL, NOTHING = "f", "n"
NEW_SNAPSHOT = "`headwater sources reset {source}` lets it begin again with a new snapshot; what was stored stays."

_TABLE = """
SELECT c.oid::int8, c.relkind::text, c.relreplident::text, pg_relation_filenode(c.oid)::int8,
       has_table_privilege(c.oid, 'SELECT'),
       ARRAY(SELECT a.attname::text FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
             WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.place),
       ARRAY(SELECT a.attname::text FROM pg_index i CROSS JOIN unnest(i.indkey) AS k (number)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
             WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             ORDER BY a.attnum),
       ARRAY(SELECT a.atttypid::int8 FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             ORDER BY a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')
"""
IDENTIFY = "Run `ALTER TABLE {table} REPLICA IDENTITY FULL`, or declare the columns of its replica identity as `key`."
_PUBLISHED = "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalogue describes it.

    `number` stays when it is renamed; `file` changes when all rows are rewritten. `identifying` are the columns that an
    update or a deletion is logged with.
    """

    name: str
    number: int
    identity: str
    key: tuple[str, ...]
    identifying: tuple[str, ...]
    columns: tuple[str, ...]
    types: tuple[int, ...]
    file: int
    is_partitioned: bool

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(*self.name.split(".", 1))


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot. `confirmed_lsn`: everything before it was confirmed, and may be gone."""

    name: str
    confirmed_lsn: int
    active_pid: int | None


async def check_server(session: Session) -> None:
    """Raises SourceRefused if the server does not write what logical replication needs."""
    ((level,),) = await session.rows("SHOW wal_level")
    if level != "logical":
        raise SourceRefused(
            f"The PostgreSQL server has wal_level={level}, which does not have the changes of rows.",
            hint="Run `ALTER SYSTEM SET wal_level = logical`, and restart the server.",
        )
    ((may,),) = await session.rows("SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user")
    if not may:
        # Providers of PostgreSQL have roles of their own for this, so that the server decides in the end.
        roles = await session.rows(
            "SELECT 1 FROM pg_roles r WHERE rolname IN ('rds_replication', 'azure_pg_admin', 'cloudsqlsuperuser')"
            " AND pg_has_role(r.oid, 'MEMBER')"
        )
        if not roles:
            ((user,),) = await session.rows("SELECT current_user::text")
            raise SourceRefused(
                f"The user {user} may not read changes.", hint=f"Run `ALTER ROLE {user} REPLICATION` as a superuser."
            )


async def read_tables(session: Session, names: Sequence[str], keys: Mapping[str, tuple[str, ...]]) -> dict[str, Table]:
    """The tables of these names. `keys`: those that the project declares.

    Raises SourceRefused for a table that does not exist, that may not be read, or whose updates cannot be published,
    naming every one of them.
    """
    found, wrong = {}, []
    for name in names:
        rows = await session.rows(_TABLE, name.split(".", 1))
        if not rows:
            wrong.append((f"there is no table {name}", "Create it, or remove it from `tables`."))
            continue
        number, kind, identity, file, may_read, key, identifying, columns, types = rows[0]
        logged = tuple(columns if identity == FULL else identifying)
        table = Table(
            name,
            number,
            identity,
            tuple(key),
            logged,
            tuple(columns),
            tuple(types),
            file or 0,
            is_partitioned=kind == "p",
        )
        found[name] = table
        if not may_read:
            wrong.append((f"the table {name} may not be read", f"Run `GRANT SELECT ON {name} TO` the user."))
        if not logged:
            why = "has no primary key" if identity == "d" else "has the replica identity `nothing`"
            fix = f"`ALTER TABLE {name} REPLICA IDENTITY FULL`"
            wrong.append((f"the table {name} {why}, so that updates and deletions would fail", f"Run {fix}."))
        elif unlogged := not_logged(keys.get(name) or table.key, logged):
            wrong.append((f"the table {name} {unlogged}", IDENTIFY.format(table=name)))
        if missing := [column for column in keys.get(name, ()) if column not in columns]:
            wrong.append((f"the table {name} has no column {missing[0]}, which is declared as its key", "Correct it."))
    if wrong:
        raise SourceRefused(
            f"In PostgreSQL {'; '.join(what for what, _ in wrong)}.", hint=" ".join(fix for _, fix in wrong)
        )
    return found


def not_logged(key: Sequence[str], logged: Collection[str]) -> str:
    """What is wrong if deletions are not logged with the whole key of a table; "" if nothing is."""
    missing = [column for column in key if column not in logged]
    if not missing:
        return ""
    return (
        f"is identified by {', '.join(key)}, but its replica identity has only {', '.join(logged)}, so that deletions "
        f"do not say {missing[0]}"
    )


async def name_of_table(session: Session, number: int) -> str | None:
    """`schema.table`; None if there is no table of that number any more."""
    rows = await session.rows(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = %s",
        [number],
    )
    return str(rows[0][0]) if rows else None


def table_is_renamed(name: str, now: str | None) -> SourceRefused:
    """The error of a table that has another name by now, or none."""
    return SourceRefused(
        f"The table {name} was renamed to {now}." if now else f"The table {name} was renamed and dropped.",
        hint="Give it its name back, or change `tables` of the source; it then continues where it is.",
    )


async def ensure_publication(session: Session, publication: str, tables: Collection[str]) -> None:
    """Create the publication, unless there is one that has these tables. Raises SourceRefused if it lacks some."""
    if not await session.rows("SELECT 1 FROM pg_publication WHERE pubname = %s", [publication]):
        listed = sql.SQL(", ").join(sql.Identifier(*name.split(".", 1)) for name in sorted(tables))
        statement = sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)")
        await session.rows(statement.format(sql.Identifier(publication), listed))
        return
    await check_publication(session, publication, tables)


async def check_publication(session: Session, publication: str, tables: Collection[str]) -> None:
    """Raises SourceRefused if the publication is gone, lacks one of the tables, or one of the operations."""
    row = await session.rows(
        "SELECT pubinsert AND pubupdate AND pubdelete FROM pg_publication WHERE pubname = %s", [publication]
    )
    if not row:
        raise SourceRefused(
            f"The publication {publication} is gone, so that no changes arrive.",
            hint="It must exist as long as its slot: begin again with a new snapshot, which creates both.",
        )
    if not row[0][0]:
        raise SourceRefused(
            f"The publication {publication} does not publish every operation.",
            hint=f"Run `ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate')`.",
        )
    published = {name for (name,) in await session.rows(_PUBLISHED, [publication])}
    if missing := sorted(set(tables) - published):
        listed = ", ".join(missing)
        raise SourceRefused(
            f"The publication {publication} does not have {listed}, so that their changes do not arrive.",
            hint=f"Run `ALTER PUBLICATION {publication} ADD TABLE {listed}`. Rows that were changed meanwhile are not "
            "read: to have them, begin again with a new snapshot.",
        )


async def find_slot(session: Session, slot: str, *, invalid_too: bool = False) -> Slot | None:
    """The slot; None if there is none.

    Raises SourceRefused for one of another kind, and PositionLost for one that was invalidated, unless `invalid_too`.
    """
    rows = await session.rows(
        "SELECT to_jsonb(s) || jsonb_build_object('here', s.database = current_database())"
        " FROM pg_replication_slots s WHERE slot_name = %s",
        [slot],
    )
    if not rows:
        return None
    known: dict[str, Any] = rows[0][0]
    if known["plugin"] != PLUGIN or not known["here"]:
        raise SourceRefused(
            f"The replication slot {slot} is not one of this source: its plugin is {known['plugin']}, and its database "
            f"{known['database']}.",
            hint="Choose another name with `slot`.",
        )
    reason = known.get("invalidation_reason")
    if not invalid_too and (known.get("wal_status") == "lost" or reason or known.get("conflicting")):
        why = reason or "more of the log was to be kept for it than max_slot_wal_keep_size allows"
        raise PositionLost(
            f"PostgreSQL has invalidated the replication slot {slot} ({why}): changes are lost.",
            hint="Raise max_slot_wal_keep_size if it was that, and begin again with a new snapshot "
            "(`headwater sources reset`); what was stored stays.",
        )
    return Slot(slot, read_lsn(known["confirmed_flush_lsn"] or "0/0"), known["active_pid"])


def check_position(slot: Slot | None, name: str, lsn: int, source: str) -> None:
    """Raises PositionLost if the slot is gone, or no longer has what follows `lsn`."""
    hint = NEW_SNAPSHOT.format(source=source)
    if slot is None:
        raise PositionLost(
            f"The replication slot {name} is gone: what was changed since {lsn_text(lsn)} cannot be read.", hint=hint
        )
    if slot.confirmed_lsn > lsn:
        raise PositionLost(
            f"The replication slot {name} begins at {lsn_text(slot.confirmed_lsn)}, after {lsn_text(lsn)}, where this "
            "source is to resume: another client read from it, or it was created again.",
            hint=hint,
        )


async def active_client(session: Session, slot: str) -> str:
    """Who reads from the slot, for people."""
    rows = await session.rows(
        "SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'local') FROM pg_replication_slots s"
        " JOIN pg_stat_activity a ON a.pid = s.active_pid WHERE s.slot_name = %s",
        [slot],
    )
    if not rows:
        return "another client"
    pid, application, address = rows[0]
    return f"the process {pid} ({application or 'unnamed'}, from {address})"


async def drop_slot(session: Session, slot: str) -> None:
    """Raises SlotInUse."""
    await session.rows("SELECT pg_drop_replication_slot(%s)", [slot])
