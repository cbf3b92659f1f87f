"""Changes of a table arrive in a table of another database, each once, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.test_mysql_cdc import MariaDatabase
from contract.test_postgres_cdc import Database
from end_to_end.capturing import (
    STREAM,
    Application,
    MariaShop,
    PostgresShop,
    Shop,
    count_of,
    make_project,
    rows,
    wait_for,
)
from end_to_end.running import RunningServer
from headwater.cli.init import write_project
from pages.blocks import Step, steps_of
from pages.following import blocks
from pages.outputs import differences
from servers.fixtures import ServerSession
from servers.mariadb import MariadbServer
from servers.opensearch import OpensearchServer
from servers.places import LOOPBACK
from servers.postgres import PostgresServer
from servers.run import Run

KILLS = int(os.environ.get("HEADWATER_CDC_KILLS", "5"))
RESTARTS = int(os.environ.get("HEADWATER_CDC_RESTARTS", "2"))
ROWS_BEFORE = 3_000
OWN_KILL_SECONDS_MAX = 30.0
# The platform runs this first: it kills itself where an environment variable says so, and notes it in a file.
KILLING = """
import os, signal

point, _, count = os.environ.get("KILL_AT", "").partition(":")
left = [int(count or 0)]


def reached(name):
    if name == point:
        left[0] -= 1
        if not left[0]:
            with open(os.environ["KILL_NOTES"], "a") as notes:
                notes.write(name + "\\n")
            os.kill(os.getpid(), signal.SIGKILL)


def install():
    from headwater.connectors.row_changes.capture import RowChangeSource
    from headwater.processing.embedded.connected.source import ConnectorSource

    start_stream, fetch, committed = RowChangeSource._start_stream, ConnectorSource._fetch, ConnectorSource.committed
    confirm, open_source = RowChangeSource.confirm, RowChangeSource.open

    async def starting_stream(self, place):
        reached("hand-over")
        await start_stream(self, place)
        reached("streaming")

    async def fetching(self, *arguments):
        await fetch(self, *arguments)
        if self._taken.ahead:
            if os.environ.get("CONFIRM_EARLY") and (token := self._taken.last_token):
                await self._connector.confirm(token)
            reached("read")

    async def committing(self, position):
        reached("committed")
        await committed(self, position)

    async def confirming(self, token):
        await confirm(self, token)
        reached("confirmed")

    async def opening(self, *arguments):
        await open_source(self, *arguments)
        reached("opened")

    RowChangeSource._start_stream, ConnectorSource._fetch = starting_stream, fetching
    ConnectorSource.committed, RowChangeSource.confirm, RowChangeSource.open = committing, confirming, opening


if point:
    install()
"""
# In the snapshot first, which these do not let it finish.
POINTS = ["read", "committed", "opened", "hand-over", "streaming", "confirmed"]

SEVERAL_TIMES = ("read", "committed", "confirmed")


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    database = Database(postgres)
    database.create()
    yield database
    database.drop()


@pytest.fixture
def new_shop(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Shop]]:
    """Makes a database of that kind with orders, on the shared server."""
    with contextlib.ExitStack() as ends:

        def make(kind: str) -> Shop:
            if kind == "postgres":
                server: PostgresServer = request.getfixturevalue("postgres")
                database = Database(server)
                database.create()
                ends.callback(database.drop)
                return PostgresShop(database.url, database.slot)
            mariadb: MariadbServer = request.getfixturevalue("mariadb")
            maria = MariaDatabase(mariadb)
            ends.callback(maria.drop)
            return MariaShop(maria.port, maria.name)

        yield make


class Platform:
    """A platform that reads the orders of a shop, and is killed."""

    def __init__(self, folder: Path, shop: Shop, **more: str) -> None:
        self.folder = folder
        self._notes = folder / "killed.txt"
        self._notes.touch()
        (folder / "before").mkdir()
        (folder / "before/sitecustomize.py").write_text(KILLING)
        path = f"{folder / 'before'}:{os.environ.get('PYTHONPATH', '')}"
        self._environment = {**shop.environment, "PYTHONPATH": path, "KILL_NOTES": str(self._notes), **more}
        self._server: RunningServer | None = None

    def start(self, kill_at: str = "") -> None:
        self._server = RunningServer(self.folder, environment={**self._environment, "KILL_AT": kill_at})

    def kill(self) -> None:
        assert self._server is not None
        self._server.process.send_signal(signal.SIGKILL)
        self._server.process.wait()
        self._server.process.stderr.close()  # type: ignore[union-attr]

    def stop(self) -> tuple[int, str]:
        return (1, "it never started") if self._server is None else self._server.stop()

    @property
    def own_kills(self) -> list[str]:
        return self._notes.read_text().split()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_after_kills_at_random_points_nothing_is_lost_and_nothing_is_there_twice(
    kind: str, new_shop: Callable[[str], Shop], tmp_path: Path
) -> None:
    chance = random.Random(14)
    shop = new_shop(kind)
    shop.create(ROWS_BEFORE)
    make_project(tmp_path, shop)
    application = Application(shop, chance)
    application.start()
    changes = tmp_path / "var/changes.db"
    platform = Platform(tmp_path, shop)
    points = itertools.cycle(POINTS)
    try:
        for number in range(KILLS):
            if number % 3 == 2:
                # From outside, or only its connections.
                platform.start()
                before = count_of(changes)
                if chance.random() < 0.7:
                    wait_for(lambda before=before: count_of(changes) > before, "changes arrive")  # type: ignore[misc]
                time.sleep(chance.random())
                if chance.random() < 0.3:
                    shop.end_streams()
            else:
                killed = len(platform.own_kills)
                point = next(points)
                platform.start(f"{point}:{chance.randrange(1, 4) if point in SEVERAL_TIMES else 1}")
                deadline = time.monotonic() + OWN_KILL_SECONDS_MAX
                while len(platform.own_kills) == killed and time.monotonic() < deadline:
                    time.sleep(0.02)
            platform.kill()
        platform.start()
        application.end()
        expected = shop.rows()
        query = "SELECT order_id, total, note FROM orders ORDER BY order_id"
        wait_for(lambda: rows(tmp_path / "var/orders.db", query) == expected, "the table is the same")
        # Another sink, which may be behind that one.
        last = last_change(application.totals)
        wait_for(lambda: bool(rows(changes, last)), "the last change arrives")
    finally:
        application.end()
        code, said = platform.stop()
    print(
        f"killed itself: {dict(Counter(platform.own_kills))}, and {KILLS - len(platform.own_kills)} times from outside"
    )
    assert code == 0, said
    check_changes(rows(changes, "SELECT id, total, kind, is_snapshot FROM changes"), application.totals)


def last_change(totals: int) -> str:
    return f"SELECT total FROM changes WHERE total = {totals} AND kind <> 'delete'"


def check_changes(found: list[tuple[Any, ...]], totals: int) -> None:
    """Each change since the snapshot was written once. Each has another total, in the order of the changes."""
    assert len({identity for identity, *_ in found}) == len(found), "nothing is there twice"
    written = sorted(total for _, total, kind, is_snapshot in found if kind != "delete" and not is_snapshot)
    assert written == list(range(written[0], totals + 1)), "nothing is lost since the snapshot"
    assert max((total for _, total, _, is_snapshot in found if is_snapshot), default=0) < written[0]


@pytest.mark.slow
def test_a_source_that_confirms_before_it_stores_is_found(new_shop: Callable[[str], Shop], tmp_path: Path) -> None:
    """The fault that the tests above are for: PostgreSQL forgets what was confirmed, and it is nowhere."""
    shop = new_shop("postgres")
    shop.create(0)
    make_project(tmp_path, shop)
    platform = Platform(tmp_path, shop, CONFIRM_EARLY="yes")
    changes = tmp_path / "var/changes.db"
    try:
        platform.start("none:1")
        shop.write(1, 1)
        wait_for(lambda: count_of(changes) == 1, "the first change arrives")
        platform.kill()
        platform.start("read:1")
        for number in range(2, 5):
            shop.write(number, number)
        wait_for(lambda: platform.own_kills == ["read"], "it kills itself")
        platform.kill()
        server = RunningServer(tmp_path, environment=shop.environment)
        try:
            wait_for(lambda: "after" in reason_of(server), "the source stops: its position is lost")
            assert count_of(changes) == 1
        finally:
            server.stop()
    finally:
        with contextlib.suppress(Exception):
            platform.kill()


def reason_of(server: RunningServer) -> str:
    """Why the source does not run."""
    found = httpx.get(f"{server.address}/v1/jobs", params={"name": "source.shop"}, timeout=30).json()["jobs"]
    return str(found)


@pytest.fixture
def own_server(server_session: ServerSession) -> Iterator[Callable[[str], PostgresServer | MariadbServer]]:
    """Starts a database server that may be killed."""
    with contextlib.ExitStack() as ends:

        def start(kind: str) -> PostgresServer | MariadbServer:
            server = server_session.available(kind, requirement=kind)
            assert isinstance(server, PostgresServer | MariadbServer)
            if isinstance(server, MariadbServer):
                server.flush_log_at_commit = 2
            run = Run.create(kind)
            ends.callback(run.remove)
            ends.callback(run.end_processes, grace_seconds=0)
            ends.callback(server.stop)
            run.set_ready(server.start(run))
            return server

        yield start


COPIES = """\
sinks:
  - connector: {connector}
    dsn: ${{env:SHOP_COPIES}}
    table: copied
    columns: {{id: [integer, order_id], total: integer, note: text, version: integer}}
    key: id
    version: version
    delete_when: {{changelog_kind: delete}}
  - connector: {connector}
    dsn: ${{env:SHOP_COPIES}}
    table: changes
    columns: {{id: [text, meta.id], total: integer, kind: [text, changelog_kind], is_snapshot: boolean}}
"""


@pytest.mark.slow
@pytest.mark.real_server
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_database_that_is_killed_is_waited_for_as_a_source_and_as_a_target(
    kind: str, own_server: Callable[[str], PostgresServer | MariadbServer], tmp_path: Path
) -> None:
    chance = random.Random(15)
    server = own_server(kind)
    shop: Shop
    if isinstance(server, PostgresServer):
        shop = PostgresShop(f"postgresql://test@{LOOPBACK}:{server.port}/postgres", "orders")
        copies = shop.environment["SHOP_DATABASE"]
    else:
        shop = MariaShop(server.port, "test")
        copies = f"{shop.environment['SHOP_DATABASE']}/test"
    shop.create(100)
    stream = STREAM.partition("sinks:")[0] + COPIES.format(connector="postgres" if kind == "postgres" else "mysql")
    make_project(tmp_path, shop, {"streams/shop.order_change.yaml": stream})
    application = Application(shop, chance)
    application.start()
    platform = RunningServer(tmp_path, environment={**shop.environment, "SHOP_COPIES": copies})
    count = "SELECT count(*) FROM changes"
    try:
        wait_for(lambda: shop.is_answering(count), "the tables are there")
        for _ in range(RESTARTS):
            before = shop.run(count)
            wait_for(lambda before=before: shop.run(count) > before, "changes arrive")  # type: ignore[misc]
            time.sleep(chance.random())
            server.kill()
            time.sleep(chance.random() * 3)
            server.start_again()
            wait_for(lambda: shop.is_answering(count), "the server answers")
        application.end()
        expected = shop.rows()
        query = "SELECT id, total, note FROM copied"
        wait_for(lambda: sorted(shop.run(query)) == expected, "the table is the same")
        # Another sink, which may be behind that one.
        last = last_change(application.totals)
        wait_for(lambda: bool(shop.run(last)), "the last change arrives")
    finally:
        application.end()
        code, said = platform.stop()
    assert code == 0, said
    check_changes(shop.run("SELECT id, total, kind, is_snapshot FROM changes"), application.totals)


def test_an_idle_platform_lets_the_database_delete_its_log(database: Database, tmp_path: Path) -> None:
    shop = PostgresShop(database.url, database.slot)
    shop.create(0)
    database.run("CREATE TABLE other (n int)")
    make_project(tmp_path, shop)
    server = RunningServer(tmp_path, environment=shop.environment)

    def kept() -> int:
        found = database.run(
            "SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::int8 FROM pg_replication_slots WHERE slot_name = %s",
            (database.slot,),
        )
        return int(found[0][0]) if found else 2**62

    try:
        wait_for(lambda: kept() < 2**62, "there is a slot")
        database.run("INSERT INTO other SELECT generate_series(1, 20000)")
        wait_for(lambda: kept() < 100_000, "the log is confirmed while nothing comes")
    finally:
        code, said = server.stop()
    assert code == 0, said


GUIDE = "docs/how-to/publish-database-changes.md"
STOPPED = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'headwater_shop'"


@pytest.mark.timeout(300)
def test_the_guide_leads_from_a_table_to_a_search_index(
    database: Database, opensearch: OpensearchServer, tmp_path: Path
) -> None:
    write_project(tmp_path / "project")
    address = f"http://{LOOPBACK}:{opensearch.port}"
    environment = {"SHOP_DATABASE": database.url, "SHOP_SEARCH": address}
    server: RunningServer | None = None
    try:
        for block in blocks(GUIDE):
            if "skip" in block.marks:
                continue
            if "file" in block.marks:
                file = tmp_path / "project" / block.marks["file"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text.replace("http://localhost:9200", address), encoding="utf-8")
                continue
            for step in steps_of(block):
                if step.command == "headwater up":
                    server = RunningServer(tmp_path / "project", environment=environment)
                else:
                    wait_for(partial(shows, step, tmp_path / "project", environment), f"{block.where}: {step.command}")
    finally:
        code, said = (1, "") if server is None else server.stop()
        database.run(STOPPED)
    assert code == 0, said


def shows(step: Step, folder: Path, environment: dict[str, str]) -> bool:
    """Whether a command of the guide succeeds and prints what is shown."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", step.command],
        cwd=folder,
        env={**os.environ, **environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode == 0 and (not step.shown or not differences(step.shown, ran.stdout + ran.stderr))
