"""What every `JobStore` must do, as tests: an implementation's test is a subclass with fixtures for a log and stores.

class TestLogStore(JobStoreSuite):
    implementations = (LogStore,)

    @pytest.fixture
    async def log(self): ...   # yields an open, empty log

    @pytest.fixture
    def new_store(self, log):   # makes a closed store of the same job, as another process would
        return lambda: LogStore(log, "job.j")

The job reads partition 0 of the topic `in`, and writes the topic `out`; the suite makes both. Features that a store
lacks are declared as attributes of the subclass, and not tested.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Literal

import pytest

from headwater.errors import HeadwaterError, StateUnavailable, TopicUnknown, WriterFenced
from headwater.log.contract import Log, Position, Record, StateChange, TopicSettings
from headwater.processing.stores.contract import JobStore, ReplacesRefused
from headwater.testing.suites.contract_suite import ContractSuite
from headwater.testing.suites.log import read_all, records, values

NewStore = Callable[[], JobStore]


def token(offset: int) -> str:
    """The position of a job that has read this many records."""
    return Position({("in", 0): offset}).token()


async def repeated(attempt: Callable[[], Awaitable[None]]) -> None:
    """Make an attempt as a runner does: retry if the error is retriable."""
    try:
        await attempt()
    except HeadwaterError as error:
        if not error.retriable:
            raise
        await attempt()


class JobStoreSuite(ContractSuite):
    """Subclass it; see the module.

    `keeps_state`: whether it has keyed state. `second_opener`: what happens to two processes with the same job: the
    first is "fenced", or the second is "refused"; "unknown" if the log belongs to one process anyway.
    """

    contracts = (JobStore, ReplacesRefused)
    keeps_state: ClassVar[bool] = True
    second_opener: ClassVar[Literal["fenced", "refused", "unknown"]] = "unknown"

    @pytest.fixture
    async def topics(self, log: Log) -> None:
        await log.ensure_topic("in", TopicSettings())
        await log.ensure_topic("out", TopicSettings())
        await log.append(records("in", 100))

    @pytest.fixture
    async def store(self, new_store: NewStore, topics: None) -> JobStore:
        """A store that is not yet open; the test closes it, like all stores of the suite."""
        return new_store()

    @pytest.fixture
    def lose_answer(self) -> Callable[[], None] | None:
        """Lets the next commit to the log succeed without a response to its writer; None if that is impossible."""
        return None

    def change(self, *changes: StateChange) -> Sequence[StateChange]:
        return changes if self.keeps_state else ()

    def test_the_suite_is_run_on_what_it_names(self, new_store: NewStore) -> None:
        self.check_implementation(new_store())

    async def test_it_says_whether_it_keeps_state(self, store: JobStore) -> None:
        assert store.keeps_state is self.keeps_state

    async def test_a_new_job_begins_at_the_beginning_and_without_state(self, store: JobStore) -> None:
        found = await store.open()
        # A store of one partition may return where that begins.
        assert found in (None, token(0))
        assert await store.state_get("n", [b"k"]) == {}
        await store.close()

    async def test_records_token_and_state_are_there_after_reopening(
        self, log: Log, store: JobStore, new_store: NewStore
    ) -> None:
        await store.open()
        for number in range(3):
            changes = self.change(StateChange("n", b"k", b"%d" % number), StateChange("m", b"%d" % number, b""))
            await store.commit(records("out", 2, start=2 * number), token(number + 1), changes)
        await store.flush()
        await store.close()
        assert values(await read_all(log, ["out"])) == [r.value for r in records("out", 6)]
        again = new_store()
        assert await again.open() == token(3)
        if self.keeps_state:
            assert await again.state_get("n", [b"k", b"absent"]) == {b"k": b"2"}
            assert await again.state_get("m", [b"0", b"1", b"2"]) == {b"0": b"", b"1": b"", b"2": b""}
        await again.close()

    async def test_a_store_can_be_opened_again_after_it_was_closed(self, log: Log, store: JobStore) -> None:
        for number in range(4):
            assert await store.open() in ([None, token(0)] if number == 0 else [token(number)])
            await store.commit(records("out", 1, start=number), token(number + 1), ())
            await store.flush()
            await store.close()
            await store.close()
        assert values(await read_all(log, ["out"])) == [r.value for r in records("out", 4)]

    async def test_what_was_committed_arrives_once_and_in_order_though_nobody_waited_for_it(
        self, log: Log, new_store: NewStore, topics: None
    ) -> None:
        for number in range(0, 30, 3):
            store = new_store()
            assert await store.open() in ([None, token(0)] if number == 0 else [token(number)])
            for n in range(number, number + 3):
                await store.commit(records("out", 4, start=4 * n), token(n + 1), ())
            # As at the end of a process: not flushed.
            await store.close()
        last = new_store()
        assert await last.open() == token(30)
        await last.flush()
        await last.close()
        assert values(await read_all(log, ["out"])) == [r.value for r in records("out", 120)]

    async def test_a_commit_without_records_moves_the_token(
        self, log: Log, store: JobStore, new_store: NewStore
    ) -> None:
        await store.open()
        await store.commit([], token(7), ())
        await store.flush()
        await store.close()
        again = new_store()
        assert await again.open() == token(7)
        await again.close()
        assert await read_all(log, ["out"]) == []

    async def test_commits_at_the_same_position_are_all_kept(self, log: Log, store: JobStore) -> None:
        await store.open()
        for number in range(5):
            await store.commit(records("out", 1, start=number), token(1), self.change(StateChange("n", b"k", b"v")))
        await store.flush()
        await store.close()
        assert values(await read_all(log, ["out"])) == [r.value for r in records("out", 5)]

    async def test_settling_makes_everything_readable(self, log: Log, store: JobStore) -> None:
        await store.open()
        await store.flush()
        for number in range(60):
            await store.commit(records("out", 3, start=3 * number), token(number + 1), ())
        await store.flush()
        assert values(await read_all(log, ["out"])) == [r.value for r in records("out", 180)]
        await store.close()

    async def test_state_is_replaced_deleted_and_kept_apart_by_namespace(self, store: JobStore) -> None:
        self.needs_state()
        await store.open()
        first = [StateChange("n", b"a", b"1"), StateChange("n", b"b", b"2"), StateChange("m", b"a", b"other")]
        await store.commit([], token(1), first)
        await store.commit([], token(2), [StateChange("n", b"a", None), StateChange("n", b"b", b"3")])
        await store.commit([], token(3), [StateChange("n", b"absent", None), StateChange("n", b"\x00\xff", b"\x00")])
        keys = [b"a", b"b", b"absent", b"\x00\xff"]
        assert await store.state_get("n", keys) == {b"b": b"3", b"\x00\xff": b"\x00"}
        assert await store.state_get("m", keys) == {b"a": b"other"}
        # Of several changes of one key in a commit the last one counts.
        steps: dict[bytes, list[bytes | None]] = {
            b"put, deleted": [b"1", None],
            b"put twice": [b"1", b"2"],
            b"deleted, put": [None, b"2"],
            b"put, deleted, put": [b"1", None, b"3"],
            b"put, put, deleted": [b"1", b"2", None],
        }
        kept = {key: values[-1] for key, values in steps.items() if values[-1] is not None}
        for number in (4, 5):
            several = [StateChange("steps", key, value) for key, values in steps.items() for value in values]
            await store.commit([], token(number), several)
            assert await store.state_get("steps", list(steps)) == kept
            assert dict(await store.state_scan("steps")) == kept
        await store.close()

    async def test_state_is_scanned_in_key_order(self, store: JobStore) -> None:
        self.needs_state()
        pairs = [(b"%03d" % number, b"v%d" % number) for number in range(25)]
        await store.open()
        await store.commit([], token(1), [StateChange("n", key, value) for key, value in reversed(pairs)])
        found: list[tuple[bytes, bytes]] = []
        while some := await store.state_scan("n", after=found[-1][0] if found else b"", rows_max=7):
            assert len(some) <= 7
            found += some
        assert found == pairs
        assert list(await store.state_scan("other")) == []
        alike = [
            key + b"\0" + name for key in (b'"a"', b'"a!"', b'"a\xff"', b"1", b"12") for name in (b"", b"\0", b"x")
        ]
        await store.commit([], token(2), [StateChange("rows", key, b"1") for key in alike])
        for key in (b'"a"', b"1", b"12"):
            two = [name for name, _ in await store.state_scan("rows", after=key + b"\0", rows_max=2)]
            assert two == [key + b"\0\0", key + b"\0x"]
        await store.close()

    async def test_many_keys_are_looked_up_at_once(self, store: JobStore) -> None:
        self.needs_state()
        changes = [StateChange("n", b"%d" % number, b"v%d" % number) for number in range(1_500)]
        await store.open()
        await store.commit([], token(1), changes)
        found = await store.state_get("n", [b"%d" % number for number in range(-5, 1_500)])
        assert found == {change.key: change.value for change in changes}
        await store.close()

    async def test_a_commit_that_fails_leaves_nothing(self, log: Log, store: JobStore, new_store: NewStore) -> None:
        if isinstance(store, ReplacesRefused):
            pytest.skip("this store commits records before the log has stored them")
        await store.open()
        await store.commit(records("out", 1), token(1), self.change(StateChange("n", b"k", b"1")))
        with pytest.raises(TopicUnknown):
            await store.commit(
                [*records("out", 1), Record("missing", b"x")], token(2), self.change(StateChange("n", b"k", b"2"))
            )
        await store.close()
        again = new_store()
        assert await again.open() == token(1)
        if self.keeps_state:
            assert await again.state_get("n", [b"k"]) == {b"k": b"1"}
        await again.commit(records("out", 1, start=1), token(2), ())
        await again.close()
        assert values(await read_all(log, ["out"])) == [b"out 0", b"out 1"]

    async def test_a_record_that_the_log_will_never_take_is_replaced_or_left_out(
        self, log: Log, store: JobStore
    ) -> None:
        if not isinstance(store, ReplacesRefused) or not log.features.refuses_records:
            pytest.skip("this store learns of refusals when it commits")
        if log.features.compacts_without_keys:
            pytest.skip("this log refuses no record for its key")
        refused: list[tuple[bytes, str]] = []

        async def instead(record: Record, error: HeadwaterError) -> Sequence[Record]:
            refused.append((record.value, error.code))
            return [Record("in", b"instead of " + record.value)] if record.value == b"out 1" else []

        store.on_refused = instead
        await log.ensure_topic("out", TopicSettings(compact=True))
        await store.open()
        await store.commit([Record("out", b"kept", b"k"), *records("out", 3)], token(1), ())
        await store.flush()
        await store.close()
        assert refused == [(b"out %d" % number, "key_field_missing") for number in range(3)]
        assert values(await read_all(log, ["out"])) == [b"kept"]
        assert values(await read_all(log, ["in"]))[100:] == [b"instead of out 1"]

    async def test_a_commit_whose_end_was_not_heard_is_not_made_twice(
        self, log: Log, store: JobStore, new_store: NewStore, lose_answer: Callable[[], None] | None
    ) -> None:
        if lose_answer is None:
            pytest.skip("this log always knows the outcome of a commit")
        await store.open()
        for number in range(3):
            lose_answer()
            changes = self.change(StateChange("n", b"k", b"%d" % number))
            made = functools.partial(store.commit, records("out", 2, start=2 * number), token(number + 1), changes)
            await repeated(made)
            await repeated(store.flush)
        await store.close()
        again = new_store()
        assert await again.open() == token(3)
        await again.flush()
        await again.close()
        assert values(await read_all(log, ["out"])) == [r.value for r in records("out", 6)]

    async def test_a_job_belongs_to_one_process(self, log: Log, store: JobStore, new_store: NewStore) -> None:
        if self.second_opener == "unknown":
            pytest.skip("the log belongs to one process")
        await store.open()
        await store.commit(records("out", 1), token(1), ())
        await store.flush()
        other = new_store()
        if self.second_opener == "refused":
            with pytest.raises(StateUnavailable):
                await other.open()
            await store.close()
            assert await other.open() == token(1)
            await other.commit(records("out", 1, start=1), token(2), ())
        else:
            assert await other.open() == token(1)
            await other.commit(records("out", 1, start=1), token(2), ())
            with pytest.raises(WriterFenced):
                await store.commit(records("out", 1, start=7), token(8), ())
            await store.close()
        await other.flush()
        await other.close()
        assert values(await read_all(log, ["out"])) == [b"out 0", b"out 1"]

    def needs_state(self) -> None:
        if not self.keeps_state:
            pytest.skip("this store keeps no state")
