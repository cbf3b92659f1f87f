"""Everything that reads the state of jobs without a coroutine keeps the contract, also while another process writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from contract.kinds_of_logs import OnOracleLog, OnSqlite
from headwater.errors import LogUnavailable, StateUnavailable
from headwater.log.contract import Commit, Log, StateChange, StateReader
from headwater.log.open import state_reader_at
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.state import OpenState
from headwater.processing.stores.state_file import StateFile, StateFileReader
from headwater.testing.oracle_log import OracleState
from headwater.testing.suites.state_reader import CommitState, StateReaderSuite


class InLog(StateReaderSuite):
    @pytest.fixture
    def reader(self, log: Log) -> StateReader:
        return log.state_reader()

    @pytest.fixture
    def commit(self, log: Log) -> CommitState:
        async def commit(changes: Sequence[StateChange]) -> None:
            await log.append((), commit=Commit("g", "t", tuple(changes)))

        return commit

    async def test_a_closed_log_is_not_read(self, log: Log, reader: StateReader) -> None:
        await log.close()
        with pytest.raises(LogUnavailable):
            reader.get("n", [b"a"])


class TestInOracleLog(OnOracleLog, InLog):
    implementations = (OracleState,)


class TestInSqliteLog(OnSqlite, InLog):
    implementations = (OpenState,)


class TestInFileOfLog(StateReaderSuite):
    """As another process reads it, which has not opened the log."""

    implementations = (OpenState,)

    @pytest.fixture
    async def log(self, tmp_path: Path) -> AsyncIterator[SqliteLog]:
        log = SqliteLog(tmp_path / "events.db", durability="os")
        await log.open()
        yield log
        await log.close()

    @pytest.fixture
    def reader(self, log: SqliteLog, tmp_path: Path) -> StateReader:
        return state_reader_at(tmp_path / "events.db")

    @pytest.fixture
    def commit(self, log: SqliteLog) -> CommitState:
        async def commit(changes: Sequence[StateChange]) -> None:
            await log.append((), commit=Commit("g", "t", tuple(changes)))

        return commit


class InStateFile(StateReaderSuite):
    @pytest.fixture
    def file(self, tmp_path: Path) -> Iterator[StateFile]:
        file = StateFile(tmp_path / "j.db", durability="os")
        yield file
        file.close()

    @pytest.fixture
    def commit(self, file: StateFile) -> CommitState:
        async def commit(changes: Sequence[StateChange]) -> None:
            file.commit([], "hw1", changes, arrived=file.number)

        return commit


class TestByItsWriter(InStateFile):
    implementations = (StateFile,)

    @pytest.fixture
    def reader(self, file: StateFile) -> StateReader:
        return file


class TestInStateFile(InStateFile):
    implementations = (StateFileReader,)

    @pytest.fixture
    def reader(self, file: StateFile) -> Iterator[StateReader]:
        reader = StateFileReader(file.path)
        yield reader
        reader.close()

    async def test_what_is_not_committed_is_not_read(self, reader: StateReader, file: StateFile) -> None:
        file.commit([], "hw1", [StateChange("n", b"a", b"1")], arrived=0)
        file.begin_replacing()
        file.put("n", [(b"a", b"2")])
        assert dict(reader.get("n", [b"a"])) == {b"a": b"1"}
        file.undo_replacing()

    async def test_it_reads_when_the_writer_is_gone_and_when_the_file_is_another(
        self, reader: StateReader, file: StateFile, commit: CommitState
    ) -> None:
        await commit([StateChange("n", b"a", b"1")])
        file.close()
        assert dict(reader.get("n", [b"a"])) == {b"a": b"1"}
        for path in file.path.parent.glob("j.db*"):
            path.unlink()
        assert dict(reader.get("n", [b"a"])) == {}
        other = StateFile(file.path, durability="os")
        other.commit([], "hw1", [StateChange("n", b"a", b"other")], arrived=0)
        assert dict(reader.get("n", [b"a"])) == {b"a": b"other"}
        other.close()


def test_a_file_without_a_commit_is_asked_about(tmp_path: Path) -> None:
    def absent() -> None:
        raise StateUnavailable("it is elsewhere")

    reader = StateFileReader(tmp_path / "j.db", absent)
    with pytest.raises(StateUnavailable, match="elsewhere"):
        reader.get("n", [b"a"])
    file = StateFile(tmp_path / "j.db", durability="os")
    with pytest.raises(StateUnavailable, match="elsewhere"):
        reader.scan("n", b"", 1)
    file.commit([], "hw1", [], arrived=0)
    assert reader.get("n", [b"a"]) == {}
    file.close()


def test_what_is_no_state_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_bytes(b"no database, " * 200)
    with pytest.raises(StateUnavailable, match="cannot be used"):
        StateFileReader(tmp_path / "j.db").get("n", [b"a"])


OTHER = """
import sqlite3, sys
from pathlib import Path
from headwater.errors import StateUnavailable
from headwater.processing.stores.state_file import StateFile, StateFileReader
path = Path(sys.argv[1])
print(StateFileReader(path).get("n", [b"a"]))
try:
    StateFile(path)
except StateUnavailable as error:
    print("refused" if "in use" in str(error) else error)
# As versions before the lock next to the file open it.
old = sqlite3.connect(path, isolation_level=None, timeout=0.1)
try:
    old.execute("PRAGMA locking_mode = EXCLUSIVE")
    old.execute("PRAGMA journal_mode = WAL")
    old.execute("BEGIN IMMEDIATE")
    print("taken")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_another_process_reads_but_cannot_take_the_file(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "j.db", durability="os")
    file.commit([], "hw1", [StateChange("n", b"a", b"1")], arrived=0)
    shown = subprocess.run(
        [sys.executable, "-c", OTHER, str(file.path)], capture_output=True, text=True, check=True, env=os.environ
    )
    assert shown.stdout.splitlines() == ["{b'a': b'1'}", "refused", "database is locked"]
    file.close()


def test_a_file_that_an_earlier_version_holds_is_in_use(tmp_path: Path) -> None:
    import sqlite3

    StateFile(tmp_path / "j.db", durability="os").close()
    old = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
    old.execute("PRAGMA locking_mode = EXCLUSIVE")
    old.execute("BEGIN IMMEDIATE")
    old.execute("COMMIT")
    with pytest.raises(StateUnavailable, match="in use by another process"):
        StateFile(tmp_path / "j.db", durability="os")
    old.close()
    StateFile(tmp_path / "j.db", durability="os").close()
