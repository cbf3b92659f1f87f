"""A transaction of 100,000 rows passes a source of changes exactly, and is never in memory as a whole."""

from __future__ import annotations

import hashlib
import resource
from pathlib import Path
from typing import Any

import pytest

from contract.test_mysql_cdc import MariaDatabase
from contract.test_mysql_cdc import database as in_mariadb
from contract.test_postgres_cdc import Database
from contract.test_postgres_cdc import database as in_postgres
from headwater.connectors.contract import Source

__all__ = ["in_mariadb", "in_postgres"]

ROWS = 100_000
# With texts of 1,024 characters the rows are a hundred megabytes, and more as objects.
REPEATED = 32
# A source may hold 32 MB that were received and not read; the rest is what they need as objects, and the test itself.
GROWTH_BYTES_MAX = 80_000_000
CREATE = "CREATE TABLE big (id int PRIMARY KEY, note text NOT NULL)"
INSERTS = {
    "in_postgres": f"INSERT INTO big SELECT n, repeat(md5(n::text), {REPEATED}) FROM generate_series(1, {ROWS}) n",
    "in_mariadb": f"INSERT INTO big SELECT seq, REPEAT(MD5(seq), {REPEATED}) FROM seq_1_to_{ROWS}",
}
PAGE_BYTES = resource.getpagesize()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


class Reading:
    """What was read: each row is checked as it comes, so that only what the source holds is in memory."""

    def __init__(self) -> None:
        self.rows = 0
        self.ids: set[int] = set()
        self.resident_max = 0

    async def read(self, source: Source, until: int) -> str:
        """Read up to so many rows in all; returns the token after the last."""
        token = ""
        while self.rows < until:
            batch = await source.read(deliveries_max=min(1_000, until - self.rows), wait_seconds=20.0)
            assert batch.deliveries, f"nothing came after {self.rows} rows"
            for delivery in batch.deliveries:
                self._check(delivery.value, str(delivery.event_id))
            token = batch.token
            self.resident_max = max(self.resident_max, resident_bytes())
        return token

    def _check(self, value: Any, event_id: str) -> None:
        self.rows += 1
        assert (value["changelog_kind"], value["id"]) == ("insert", self.rows)
        assert value["note"] == hashlib.md5(str(self.rows).encode()).hexdigest() * REPEATED
        self.ids.add(hash(event_id))


@pytest.fixture(params=["in_postgres", "in_mariadb"])
def database(request: pytest.FixtureRequest) -> tuple[Database | MariaDatabase, str, str]:
    """A database, the name of its table in a source, and the transaction."""
    found = request.getfixturevalue(request.param)
    table = "public.big" if isinstance(found, Database) else f"{found.name}.big"
    return found, table, INSERTS[request.param]


@pytest.mark.real_server
@pytest.mark.timeout(300)
async def test_a_transaction_of_a_hundred_thousand_rows_is_read_exactly_and_never_held_as_a_whole(
    database: tuple[Database | MariaDatabase, str, str],
) -> None:
    where, table, insert = database
    where.run(CREATE)
    source = where.source(tables={table: {"stream": "big", "columns": ["id", "note"]}})
    await source.open(None)
    assert not (await source.read(deliveries_max=1, wait_seconds=0)).deliveries
    before = resident_bytes()
    where.run(insert)
    reading = Reading()
    token = await reading.read(source, 60_000)
    # In the middle of the transaction, as after a kill.
    await source.close()
    await source.open(token)
    await reading.read(source, ROWS)
    assert not (await source.read(deliveries_max=1, wait_seconds=0)).deliveries
    await source.close()
    assert (reading.rows, len(reading.ids)) == (ROWS, ROWS)
    assert reading.resident_max - before < GROWTH_BYTES_MAX
