"""What every `StateReader` must do, as tests: it reads the committed state of jobs without a coroutine.

class TestMyStateReader(StateReaderSuite):
    implementations = (MyStateReader,)

    @pytest.fixture
    def reader(self): ...   # of a place without any state

    @pytest.fixture
    def commit(self): ...   # stores changes there
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence

from headwater.log.contract import StateChange, StateReader
from headwater.testing.suites.contract_suite import ContractSuite

CommitState = Callable[[Sequence[StateChange]], Awaitable[None]]


class StateReaderSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (StateReader,)

    async def test_without_state_there_is_nothing(self, reader: StateReader) -> None:
        self.check_implementation(reader)
        assert dict(reader.get("n", [b"a"])) == {}
        assert list(reader.scan("n", b"", 10)) == []

    async def test_the_last_commit_is_read(self, reader: StateReader, commit: CommitState) -> None:
        await commit([StateChange("n", b"a", b"1"), StateChange("n", b"b", b""), StateChange("m", b"a", b"x")])
        assert dict(reader.get("n", [b"a", b"b", b"c"])) == {b"a": b"1", b"b": b""}
        await commit([StateChange("n", b"a", b"2"), StateChange("n", b"b", None)])
        assert dict(reader.get("n", [b"a", b"b"])) == {b"a": b"2"}
        assert dict(reader.get("m", [b"a"])) == {b"a": b"x"}

    async def test_a_scan_goes_on_behind_a_key_in_order(self, reader: StateReader, commit: CommitState) -> None:
        pairs = [(b"%03d" % number, b"v%d" % number) for number in range(25)]
        await commit([StateChange("n", key, value) for key, value in reversed(pairs)])
        found: list[tuple[bytes, bytes]] = []
        while some := reader.scan("n", found[-1][0] if found else b"", 7):
            found += some
        assert found == pairs

    async def test_many_keys_are_read_at_once(self, reader: StateReader, commit: CommitState) -> None:
        changes = [StateChange("n", b"%d" % number, b"v%d" % number) for number in range(1500)]
        await commit(changes)
        found = reader.get("n", [b"%d" % number for number in range(-5, 1500)])
        assert dict(found) == {change.key: change.value for change in changes}

    async def test_any_thread_may_read(self, reader: StateReader, commit: CommitState) -> None:
        await commit([StateChange("n", b"a", b"1")])
        found: list[dict[bytes, bytes]] = []

        def read() -> None:
            found.extend(dict(reader.get("n", [b"a"])) for _ in range(50))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [{b"a": b"1"}] * 200
