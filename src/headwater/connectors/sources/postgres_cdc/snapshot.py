"""Reads the rows that were there before the stream of changes begins, table by table, in the order of their keys.

How this works: PostgreSQL takes a snapshot when it creates a slot: the stream has every change that is not in it. While
the connection lasts, that snapshot is read, whatever changes meanwhile. A snapshot cannot be kept for longer; when the
source is opened again, the rest is read as it is by then, without the rows that a transaction wrote which was not
committed in the snapshot: each row has the number of its transaction, and the stream has the change. Where that cannot
be known, a row is read here and comes in the stream as well; the version that it has here is the lower one.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from headwater.connectors.row_changes.capture import Step
from headwater.connectors.row_changes.change import RowChange
from headwater.connectors.sources.postgres_cdc.connection import Session
from headwater.connectors.sources.postgres_cdc.preparation import Table
from headwater.connectors.sources.postgres_cdc.token import Place, SnapshotPlace, lsn_text
from headwater.connectors.sources.postgres_cdc.values import TypeCatalogue
from headwater.errors import PositionLost

CURSOR = "headwater_snapshot"
# A snapshot lists the transactions that were open; a longer list is left out of tokens.
SEEN_CHARS_MAX = 4_000
XIDS = 2**32


class Snapshot:
    """The rows of `tables`, of which `keys` declares other keys than the primary ones. One task uses it."""

    def __init__(
        self, session: Session, tables: Sequence[Table], types: TypeCatalogue, keys: dict[str, tuple[str, ...]]
    ) -> None:
        self._session = session
        self._tables = tuple(tables)
        self._types = types
        self._keys = keys
        self._place: Place | None = None
        self._filter: sql.Composable = sql.SQL("")
        self._open_table: str | None = None
        self._timestamp_ms = 0

    async def begin(self, system: str, lsn: int, exported: str) -> None:
        """Read the snapshot of that name, taken at `lsn`."""
        await self._session.rows("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        await self._session.rows(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
        ((seen,),) = await self._session.rows("SELECT pg_current_snapshot()::text")
        if len(seen) > SEEN_CHARS_MAX:
            _, last, _ = seen.split(":", 2)
            # Transactions in between are taken for committed ones: their rows are read here and in the stream.
            seen = f"{last}:{last}:"
        await self._begun(Place(system, lsn, lsn, snapshot=self._start(0, seen)))

    async def resume(self, place: Place) -> None:
        """Read on. Raises PositionLost if the rest cannot be found any more."""
        snapshot = place.snapshot
        assert snapshot is not None
        table = next((one for one in self._tables if one.name == snapshot.table), None)
        if table is None or (snapshot.file and snapshot.file != table.file):
            raise PositionLost(
                f"The snapshot of the table {snapshot.table} cannot be resumed: it is not read any more, or its rows "
                "were all rewritten.",
                hint="Begin again with a new snapshot.",
            )
        await self._session.rows("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        ((newest,),) = await self._session.rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric::int8")
        # A cluster that has used up its 32 bits once may have old rows whose number looks like a new one: all are read.
        if newest < XIDS:
            form = sql.SQL("pg_visible_in_snapshot(xmin::text::xid8, {}::pg_snapshot)")
            self._filter = form.format(sql.Literal(snapshot.seen))
        await self._begun(place)

    async def read(self, rows_max: int) -> list[Step[Place]]:
        """The next rows; none at the end of the snapshot, when `place` is that of the stream."""
        while (place := self._place) is not None and (at := place.snapshot) is not None:
            number = next(index for index, table in enumerate(self._tables) if table.name == at.table)
            table = self._tables[number]
            await self._open_cursor(table, at)
            fetch = sql.SQL("FETCH {} FROM {}").format(sql.Literal(rows_max), sql.Identifier(CURSOR))
            rows = await self._session.texts(fetch)
            if rows:
                return [self._read(table, at, row) for row in rows]
            await self._close_cursor()
            following = self._start(number + 1, at.seen) if number + 1 < len(self._tables) else None
            self._place = Place(place.system, place.first_lsn, place.lsn, snapshot=following)
        return []

    @property
    def place(self) -> Place:
        """The place after what was read."""
        assert self._place is not None
        return self._place

    async def end(self) -> None:
        """Let go of the snapshot, so that the server can clean up."""
        await self._close_cursor()
        await self._session.rows("COMMIT")

    async def _begun(self, place: Place) -> None:
        ((now_ms,),) = await self._session.rows("SELECT (extract(epoch FROM now()) * 1000)::int8")
        self._timestamp_ms = now_ms
        self._place = place

    def _start(self, number: int, seen: str) -> SnapshotPlace:
        table = self._tables[number]
        return SnapshotPlace(seen, table.name, file=0 if table.key else table.file)

    async def _open_cursor(self, table: Table, at: SnapshotPlace) -> None:
        if self._open_table == table.name:
            return
        columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        order: list[sql.Composable] = [sql.Identifier(name) for name in table.key] or [sql.SQL("ctid")]
        conditions = [self._filter] if self._filter != sql.SQL("") else []
        if at.after is not None:
            after = sql.SQL(", ").join(map(sql.Literal, at.after))
            left = sql.SQL(", ").join(order)
            cast = sql.SQL("") if table.key else sql.SQL("::tid")
            form = "({}) > ({})" if len(order) > 1 else "{} > {}{}"
            conditions.append(sql.SQL(form).format(left, after, *([] if len(order) > 1 else [cast])))
        statement = sql.SQL("DECLARE {} NO SCROLL CURSOR FOR SELECT {}{} FROM {}{}{}{}").format(
            sql.Identifier(CURSOR),
            columns,
            sql.SQL("") if table.key else sql.SQL(", ctid"),
            # Tables that inherit from it have changes of their own.
            sql.SQL("") if table.is_partitioned else sql.SQL("ONLY "),
            table.identifier,
            sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
            sql.SQL(" ORDER BY ") + sql.SQL(", ").join(order) if table.key else sql.SQL(""),
        )
        # Without a key rows are read in the order of their places, from the first one on.
        await self._session.rows("SET LOCAL synchronize_seqscans = off")
        await self._session.rows(statement)
        self._open_table = table.name

    async def _close_cursor(self) -> None:
        if self._open_table is not None:
            await self._session.rows(sql.SQL("CLOSE {}").format(sql.Identifier(CURSOR)))
            self._open_table = None

    def _read(self, table: Table, at: SnapshotPlace, values: tuple[str | None, ...]) -> Step[Place]:
        place = self.place
        texts = dict(zip(table.columns, values, strict=False))
        after = tuple(str(texts[name]) for name in table.key) or (str(values[-1]),)
        row = {
            name: None if (text := texts[name]) is None else self._types.convert(oid)(text)
            for name, oid in zip(table.columns, table.types, strict=True)
        }
        change = RowChange(
            table.name,
            "insert",
            row,
            self._keys.get(table.name) or table.key,
            place.first_lsn,
            lsn_text(place.first_lsn) + ("" if table.key else f" {after[0]}"),
            timestamp_ms=self._timestamp_ms,
            is_snapshot=True,
        )
        snapshot = SnapshotPlace(at.seen, at.table, after, at.file)
        self._place = Place(place.system, place.first_lsn, place.lsn, snapshot=snapshot)
        return Step(change, self._place)
