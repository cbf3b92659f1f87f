"""The part of `LogSuite` about groups, state and the features of a log: a declared one works, others are refused."""

from __future__ import annotations

import pytest

from headwater.errors import FeatureUnsupported, KeyFieldMissing, TopicUnknown
from headwater.log.contract import Commit, Log, Position, Record, StateChange, StoredRecord, TopicSettings
from headwater.testing.clock import ManualClock
from headwater.testing.eventually import DEADLINE_SECONDS
from headwater.testing.suites.contract_suite import ContractSuite
from headwater.testing.suites.log_records import needs, read_all, records, values


class FeatureTests(ContractSuite):
    """Inherited by `LogSuite`, whose fixtures it uses."""

    async def reopen(self, log: Log) -> None:
        """Stop and start again on the same storage."""
        await log.close()
        await log.open()

    async def test_seeking_a_time_finds_the_first_record_received_then(self, log: Log, clock: ManualClock) -> None:
        await log.ensure_topic("a", TopicSettings())
        if not log.features.seek_by_time:
            with pytest.raises(FeatureUnsupported):
                await log.at(["a"], 0)
            return
        times = []
        for number in range(20):
            times.append(int(clock() * 1000))
            await log.append(records("a", 3, start=3 * number))
            clock.advance(10)
        for number, time_ms in enumerate(times):
            assert await log.at(["a"], time_ms) == Position({("a", 0): 3 * number})
            assert await log.at(["a"], time_ms - 1) == Position({("a", 0): 3 * number})
            assert await log.at(["a"], time_ms + 1) == Position({("a", 0): 3 * number + 3})

    async def test_records_and_position_commit_together(self, log: Log) -> None:
        needs(log, "transactional_commit")
        await log.ensure_topic("a", TopicSettings(partitions=3))
        position = await log.first(["a"])
        for number in range(4):
            commit = Commit("g", f"t{number}")
            placements = await log.append(
                [Record("a", b"%d %d" % (number, n), b"%d" % n) for n in range(5)], commit=commit
            )
            assert len(placements) == 5
            assert await log.committed("g") == f"t{number}"
            # Brokers end a transaction in one partition after the other: each shows its records a moment later.
            found: list[StoredRecord] = []
            while len(found) < len(placements):
                read = await log.read(position, wait_seconds=DEADLINE_SECONDS)
                assert read, "not all records of the transaction can be read"
                for record in read:
                    position = position.after(record)
                found += read
            assert sorted(values(found)) == [b"%d %d" % (number, n) for n in range(5)]
            assert {(p.partition, p.offset) for p in placements} == {(r.partition, r.offset) for r in found}
            assert await log.read(position) == []
        await log.append((), commit=Commit("g", "last"))
        await log.append((), commit=Commit("h", "other"))
        await self.reopen(log)
        assert (await log.committed("g"), await log.committed("h")) == ("last", "other")
        assert await log.read(position, wait_seconds=0.05) == []

    async def test_a_log_without_transactions_refuses_a_commit_with_an_append(self, log: Log) -> None:
        if log.features.transactional_commit:
            pytest.skip("this log has transactions")
        await log.ensure_topic("a", TopicSettings())
        with pytest.raises(FeatureUnsupported):
            await log.append(records("a", 1), commit=Commit("g", "t"))
        assert (await read_all(log, ["a"]), await log.committed("g")) == ([], None)

    async def test_a_log_without_state_says_so(self, log: Log) -> None:
        if log.features.keyed_state:
            pytest.skip("this log stores state")
        await log.ensure_topic("a", TopicSettings())
        with pytest.raises(FeatureUnsupported):
            await log.append(records("a", 1), commit=Commit("g", "t", (StateChange("n", b"k", b"v"),)))
        with pytest.raises(FeatureUnsupported):
            await log.state_get("n", [b"k"])
        with pytest.raises(FeatureUnsupported):
            await log.state_scan("n")
        with pytest.raises(FeatureUnsupported):
            await log.namespaces()
        assert await read_all(log, ["a"]) == []

    async def test_records_position_and_state_commit_together(self, log: Log) -> None:
        needs(log, "keyed_state")
        await log.ensure_topic("a", TopicSettings())
        changes = (StateChange("n", b"one", b"1"), StateChange("n", b"two", b"2"), StateChange("m", b"one", b"x"))
        await log.append(records("a", 2), commit=Commit("g", "t1", changes))
        later = (StateChange("n", b"one", None), StateChange("n", b"three", b""), StateChange("n", b"absent", None))
        await log.append((), commit=Commit("g", "t2", later))
        await self.reopen(log)
        assert await log.committed("g") == "t2"
        assert await log.state_get("n", [b"one", b"two", b"three"]) == {b"two": b"2", b"three": b""}
        assert await log.state_get("m", [b"one"]) == {b"one": b"x"}

    async def test_state_is_scanned_in_key_order(self, log: Log) -> None:
        needs(log, "keyed_state")
        pairs = [(b"%03d" % n, b"v%d" % n) for n in range(25)]
        await log.append((), commit=Commit("g", "t", tuple(StateChange("n", k, v) for k, v in reversed(pairs))))
        scanned: list[tuple[bytes, bytes]] = []
        after = b""
        while some := await log.state_scan("n", after=after, rows_max=7):
            scanned.extend(some)
            after = some[-1][0]
        assert scanned == pairs
        assert list(await log.state_scan("other")) == []

    async def test_many_keys_are_looked_up_at_once(self, log: Log) -> None:
        needs(log, "keyed_state")
        changes = tuple(StateChange("n", b"%d" % n, b"v%d" % n) for n in range(1500))
        await log.append((), commit=Commit("g", "t", changes))
        found = await log.state_get("n", [b"%d" % n for n in range(-5, 1500)])
        assert found == {change.key: change.value for change in changes}

    async def test_a_compacted_topic_that_needs_keys_refuses_an_append_without(self, log: Log) -> None:
        if log.features.compacts_without_keys:
            pytest.skip("this log compacts topics whose records have no keys")
        await log.ensure_topic("a", TopicSettings(compact=True))
        await log.ensure_topic("b", TopicSettings())
        with pytest.raises(KeyFieldMissing):
            await log.append([Record("b", b"1"), Record("a", b"2", b"k"), Record("a", b"3")])
        assert await read_all(log, ["a", "b"]) == []

    async def test_groups_with_a_token_are_listed(self, log: Log) -> None:
        assert list(await log.groups()) == []
        for group in ("z", "a/b"):
            await log.commit(group, "t")
        await log.claim("claimed only")
        assert list(await log.groups()) == ["a/b", "z"]

    async def test_a_released_group_keeps_its_token_and_can_be_claimed_again(self, log: Log) -> None:
        await log.commit("g", "t")
        assert await log.claim("g") == "t"
        await log.release("g")
        await log.release("g")
        await log.release("never claimed")
        assert await log.claim("g") == "t"

    async def test_namespaces_with_state_are_listed(self, log: Log) -> None:
        needs(log, "keyed_state")
        changes = (StateChange("n/2", b"k", b"v"), StateChange("n/1", b"k", b""), StateChange("gone", b"k", None))
        await log.append((), commit=Commit("a/b", "t2", changes))
        assert list(await log.namespaces()) == ["n/1", "n/2"]

    async def test_a_sound_log_has_no_troubles_and_no_damage(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.append(records("a", 3))
        await read_all(log, ["a"])
        assert (list(log.troubles()), log.cannot_serve()) == ([], None)
        if not log.features.finds_damage:
            with pytest.raises(FeatureUnsupported):
                await log.look(60.0)
            with pytest.raises(FeatureUnsupported):
                log.damaged_offsets()
            return
        assert await log.look(60.0) is True
        assert log.damaged_offsets() == 0

    async def test_a_log_says_beforehand_which_records_it_would_refuse_or_that_it_cannot(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        if not log.features.refuses_records:
            with pytest.raises(FeatureUnsupported):
                await log.refusal(Record("a", b"small"))
            return
        assert await log.refusal(Record("a", b"small")) is None
        too_large = await log.refusal(Record("a", b"x" * 100_000_000))
        assert too_large is not None
        assert not too_large.retriable
        assert await read_all(log, ["a"]) == []

    async def test_a_log_whose_partitions_cannot_be_shared_says_so(self, log: Log) -> None:
        if log.features.shares_partitions:
            pytest.skip("this log has members of groups, which `GroupLogSuite` tests")
        with pytest.raises(FeatureUnsupported):
            await log.join("g", ["a"])

    async def test_asking_whether_topics_could_be_changes_nothing(self, log: Log) -> None:
        assert list(await log.refused_topics({"a": TopicSettings(partitions=2)})) == []
        assert list(await log.topics()) == []

    async def test_the_smallest_limit_is_that_of_one_of_the_topics(self, log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.ensure_topic("b", TopicSettings())
        assert await log.smallest_limit([]) is None
        if not log.features.record_limits:
            assert await log.smallest_limit(["a", "b"]) is None
            return
        found = await log.smallest_limit(["a", "b"])
        assert found is not None
        assert found[0] > 1_000
        assert found[1] in ("a", "b")
        with pytest.raises(TopicUnknown):
            await log.smallest_limit(["a", "missing"])
