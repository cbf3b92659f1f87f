"""What a log with `Features.shares_partitions` must do beyond `LogSuite`, as tests: several processes on one log.

class TestKafkaLog(GroupLogSuite):
    implementations = (KafkaLog, KafkaMembership)

    @pytest.fixture
    async def new_log(self): ...   # makes open logs, each as another process has it, all with the same content
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from headwater.errors import WriterFenced
from headwater.log.contract import Commit, Log, Membership, Record, TopicPartition, TopicSettings
from headwater.testing.suites.contract_suite import ContractSuite
from headwater.testing.suites.log import needs, read_all, records, values

# Members of a real group learn of a change within seconds.
BALANCED_SECONDS_MAX = 40.0

NewLog = Callable[[], Awaitable[Log]]


class GroupLogSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (Membership,)

    @pytest.fixture
    async def log(self, new_log: NewLog) -> Log:
        log = await new_log()
        await log.ensure_topic("a", TopicSettings(partitions=4))
        return log

    @pytest.fixture
    async def other(self, log: Log, new_log: NewLog) -> Log:
        return await new_log()

    async def test_the_suite_is_run_on_what_it_names(self, log: Log) -> None:
        self.check_implementation(log)
        assert log.features.shares_partitions
        async with joined(log) as [member]:
            self.check_implementation(member)

    async def test_what_one_process_appends_and_commits_the_other_reads(self, log: Log, other: Log) -> None:
        await log.append(records("a", 5), commit=Commit("g", "one"))
        await log.commit("h", "two")
        assert sorted(values(await read_all(other, ["a"]))) == [r.value for r in records("a", 5)]
        assert [await other.committed(group) for group in ("g", "h", "absent")] == ["one", "two", None]

    async def test_groups_with_a_token_are_listed(self, log: Log, other: Log) -> None:
        assert list(await log.groups()) == []
        await log.commit("z", "1")
        await log.append((), commit=Commit("b/a/0", "2"))
        await log.claim("claimed only")
        assert list(await log.groups()) == list(await other.groups()) == ["b/a/0", "z"]

    async def test_a_group_belongs_to_the_process_that_claimed_it_last(self, log: Log, other: Log) -> None:
        assert await log.claim("g") is None
        await log.append(records("a", 1), commit=Commit("g", "one"))
        await log.append((), commit=Commit("another", "1"))
        assert await other.claim("g") == "one"
        for _ in range(2):
            with pytest.raises(WriterFenced):
                await log.append(records("a", 1, start=7), commit=Commit("g", "seven"))
        await log.append(records("a", 1, start=1), commit=Commit("another", "2"))
        await other.append(records("a", 1, start=2), commit=Commit("g", "two"))
        assert sorted(values(await read_all(log, ["a"]))) == [b"a 0", b"a 1", b"a 2"]
        assert [await log.committed("g"), await log.committed("another")] == ["two", "2"]

    async def test_a_fenced_group_is_claimed_again_only_after_it_was_let_go(self, log: Log, other: Log) -> None:
        await log.claim("g")
        await other.claim("g")
        await other.append((), commit=Commit("g", "other's"))
        with pytest.raises(WriterFenced):
            await log.append((), commit=Commit("g", "mine"))
        with pytest.raises(WriterFenced):
            await log.claim("g")
        await log.release("g")
        assert await log.claim("g") == "other's"
        await log.append((), commit=Commit("g", "mine"))
        with pytest.raises(WriterFenced):
            await other.append((), commit=Commit("g", "too late"))
        assert await other.committed("g") == "mine"

    async def test_a_group_that_was_let_go_keeps_its_token(self, log: Log, other: Log) -> None:
        await log.claim("g")
        await log.append((), commit=Commit("g", "one"))
        await log.release("g")
        await log.release("g")
        await log.release("never claimed")
        assert await other.claim("g") == "one"

    async def test_it_says_of_a_record_whether_it_would_store_it(self, log: Log) -> None:
        needs(log, "refuses_records")
        await log.ensure_topic("c", TopicSettings(compact=True))
        assert await log.refusal(Record("a", b"small")) is None
        assert await log.refusal(Record("c", b"small", b"key")) is None
        too_large = await log.refusal(Record("a", b"x" * 100_000_000))
        assert too_large is not None
        assert too_large.code == "event_too_large"
        if not log.features.compacts_without_keys:
            keyless = await log.refusal(Record("c", b"small"))
            assert keyless is not None
            assert keyless.code == "key_field_missing"
        assert await read_all(log, ["a", "c"]) == []

    async def test_one_member_has_all_partitions_and_two_share_them(self, log: Log, other: Log) -> None:
        everything = {("a", number) for number in range(4)}
        async with joined(log) as [first]:
            await balanced([first], everything)
            async with joined(other) as [second]:
                await balanced([first, second], everything)
                assert all(member.assigned for member in (first, second))
            # A member that leaves says so: its partitions go to the remaining ones.
            await balanced([first], everything)

    async def test_a_member_that_has_left_may_leave_again(self, log: Log) -> None:
        member = await log.join("g", ["a"])
        await member.close()
        await member.close()


@contextlib.asynccontextmanager
async def joined(*logs: Log) -> AsyncIterator[Sequence[Membership]]:
    """Members of the group `g`, one for each log, for the duration of the block."""
    members = [await log.join("g", ["a"]) for log in logs]
    try:
        yield members
    finally:
        for member in members:
            await member.close()


async def balanced(members: Sequence[Membership], everything: set[TopicPartition]) -> None:
    """Wait until every partition has one member, and each member has its share."""

    def is_balanced() -> bool:
        shares = [member.assigned for member in members]
        return (
            sum(map(len, shares)) == len(everything)
            and frozenset().union(*shares) == everything
            and max(map(len, shares)) - min(map(len, shares)) <= 1
        )

    async def follow(member: Membership) -> None:
        while not is_balanced():
            await member.changes()

    waiting = [asyncio.ensure_future(follow(member)) for member in members]
    try:
        async with asyncio.timeout(BALANCED_SECONDS_MAX):
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert is_balanced(), [sorted(member.assigned) for member in members]
