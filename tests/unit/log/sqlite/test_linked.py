"""The log of a process that leaves the writing to another: whose commits count, and who learns of what was appended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.kinds_of_logs import linked_log, opened
from headwater.errors import EventTooLarge, LogCorrupt, LogUnavailable, WriterFenced
from headwater.log.contract import Commit, Log, Placement, Position, Record, StateChange, StoredRecord, TopicSettings
from headwater.log.sqlite import link_messages
from headwater.log.sqlite.linked import LinkedLog
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.serving import LogSession
from headwater.process_link.link import Link
from headwater.testing.eventually import DEADLINE_SECONDS, eventually


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    """The log in the process that writes it."""
    async with opened(SqliteLog(tmp_path / "events.db", durability="os")) as log:
        await log.ensure_topic("a", TopicSettings())
        yield log


@pytest.fixture
async def linked(written: SqliteLog, tmp_path: Path) -> AsyncIterator[LinkedLog]:
    async with linked_log(written, tmp_path / "events.db") as log, opened(log):
        yield log


@pytest.fixture
async def other(written: SqliteLog, tmp_path: Path) -> AsyncIterator[LinkedLog]:
    """That of a second process."""
    async with linked_log(written, tmp_path / "events.db") as log, opened(log):
        yield log


async def everything(log: Log) -> list[bytes]:
    return [record.value for record in await log.read(Position({("a", 0): 0}))]


async def waiting_read(log: Log) -> asyncio.Task[list[StoredRecord]]:
    """A reader at the end of the log that waits for more."""
    end = await log.last(["a"])
    waits = log.counts.waits  # type: ignore[attr-defined]
    task = asyncio.ensure_future(log.read(end, wait_seconds=DEADLINE_SECONDS))
    await eventually(lambda: log.counts.waits > waits)  # type: ignore[attr-defined]
    return task  # type: ignore[return-value]


# Whose commits count.


@pytest.mark.parametrize("taker", ["another process", "the writing process"])
async def test_who_claims_a_group_fences_its_owner(
    written: SqliteLog, linked: LinkedLog, other: LinkedLog, taker: str
) -> None:
    taking: Log = other if taker == "another process" else written
    assert await linked.claim("g") is None
    await linked.append([Record("a", b"1")], commit=Commit("g", "t1"))
    assert await taking.claim("g") == "t1"
    for late in (
        linked.append([Record("a", b"late")], commit=Commit("g", "late")),
        linked.commit("g", "late"),
        linked.append([Record("a", b"x" * 400_000)] * 3, commit=Commit("g", "late")),
    ):
        with pytest.raises(WriterFenced, match="'g'"):
            await late
    await taking.append([Record("a", b"2")], commit=Commit("g", "t2"))
    assert (await everything(linked), await linked.committed("g")) == ([b"1", b"2"], "t2")
    # Other groups, and appends without one, are not concerned.
    await linked.append([Record("a", b"3")], commit=Commit("h", "t"))
    await linked.append([Record("a", b"4")])
    assert await linked.claim("g") == "t2"
    with pytest.raises(WriterFenced):
        await taking.commit("g", "late")


async def test_a_claim_waits_for_what_was_sent_before_it(linked: LinkedLog, other: LinkedLog) -> None:
    await linked.claim("g")
    sent = [linked.submit([Record("a", b"%d" % n)], Commit("g", f"t{n}")) for n in range(50)]
    cancelled = linked.submit([Record("a", b"cancelled")], Commit("g", "t50"))
    # So that all of it is on its way.
    await asyncio.sleep(0)
    cancelled.cancel()
    await sent[0]
    token = await other.claim("g")
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    stored = await everything(other)
    assert token == f"t{len(stored) - 1}"
    assert await other.committed("g") == token
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, WriterFenced) == (number >= len(stored))


async def test_a_claim_waits_while_the_writer_is_held_up(
    written: SqliteLog, linked: LinkedLog, other: LinkedLog, tmp_path: Path
) -> None:
    await linked.claim("g")
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        sent = linked.submit([Record("a", b"1")], Commit("g", "t"))
        await eventually(lambda: written.queued_bytes)
        # Who sent it no longer waits for it, and it is stored all the same.
        sent.cancel()
        claim = asyncio.ensure_future(other.claim("g"))
        later: list[asyncio.Future[Sequence[Placement]]] = []

        def is_fenced() -> bool:
            later.append(linked.submit([], Commit("g", f"t{len(later)}")))
            return any(one.done() and isinstance(one.exception(), WriterFenced) for one in later)

        await eventually(is_fenced)
        assert not claim.done()
        holder.execute("ROLLBACK")
    outcomes = await asyncio.gather(*later, return_exceptions=True)
    accepted = ["t", *(f"t{number}" for number, one in enumerate(outcomes) if not isinstance(one, WriterFenced))]
    assert (await claim, await everything(other)) == (accepted[-1], [b"1"])


async def test_a_fenced_process_stays_fenced_when_its_successor_has_released_the_group(
    linked: LinkedLog, other: LinkedLog
) -> None:
    await linked.claim("g")
    await other.claim("g")
    await other.release("g")
    with pytest.raises(WriterFenced):
        await linked.commit("g", "late")
    # As the contract has it: it can claim the group again.
    await linked.claim("g")
    await linked.commit("g", "again")


async def test_what_a_replaced_process_had_sent_is_not_stored(written: SqliteLog, tmp_path: Path) -> None:
    """Its process was killed; what it had written to the socket is still there when its successor starts."""
    here, there = socket.socketpair()
    replaced, its_end = Link(here), Link(there)
    LogSession(written, replaced)
    log = LinkedLog(tmp_path / "events.db", its_end)
    await its_end.start()
    async with opened(log):
        late = [
            log.submit([Record("a", b"late")], Commit("g", "late")),
            log.submit([Record("a", b"x" * 300_000)] * 2, Commit("g", "late")),
            log.submit([Record("a", b"late, of no group")]),
        ]
        await asyncio.sleep(0)
        # Nothing of it was read before the successor took over.
        await replaced.start()
        replaced.abort()
        async with linked_log(written, tmp_path / "events.db") as successor, opened(successor):
            assert await successor.claim("g") is None
            await successor.commit("g", "t")
            for one in late:
                with pytest.raises(LogUnavailable):
                    await one
            assert (await everything(successor), await successor.committed("g")) == ([], "t")
    await its_end.close()
    await replaced.close()


async def test_a_process_that_is_gone_owns_nothing(written: SqliteLog, tmp_path: Path) -> None:
    async with linked_log(written, tmp_path / "events.db") as log, opened(log):
        await log.claim("g")
        await log.commit("g", "t")
        with pytest.raises(WriterFenced):
            await written.commit("g", "not ours")
    await written.commit("g", "ours now")
    assert await written.claim("g") == "ours now"


WRITERS = ("here", "one", "two")
steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "commit", "release", "replace"]), st.sampled_from(WRITERS), st.sampled_from("gh")
    ),
    max_size=25,
)


class Ownership:
    """What the contract promises, in a few lines: who may commit, and the token of each group."""

    def __init__(self) -> None:
        self.owner: dict[str, str] = {}
        self.fenced: set[tuple[str, str]] = set()
        self.token: dict[str, str] = {}

    def claim(self, who: str, group: str) -> None:
        if self.owner.get(group, who) != who:
            self.fenced.add((self.owner[group], group))
        self.fenced.discard((who, group))
        self.owner[group] = who

    def release(self, who: str, group: str) -> None:
        self.fenced.discard((who, group))
        if self.owner.get(group) == who:
            del self.owner[group]

    def replace(self, who: str) -> None:
        self.owner = {group: name for group, name in self.owner.items() if name != who}
        self.fenced = {one for one in self.fenced if one[0] != who}

    def may_commit(self, who: str, group: str) -> bool:
        return self.owner.get(group, who) == who and (who, group) not in self.fenced


async def follow_steps(path: Path, steps: list[tuple[str, str, str]]) -> None:
    """Do the steps on real logs, and compare each outcome with the model."""
    async with contextlib.AsyncExitStack() as stack:
        written = await stack.enter_async_context(opened(SqliteLog(path, durability="os")))
        stacks = {name: await stack.enter_async_context(contextlib.AsyncExitStack()) for name in WRITERS[1:]}

        async def new(name: str) -> LinkedLog:
            await stacks[name].aclose()
            log = await stacks[name].enter_async_context(linked_log(written, path))
            return await stacks[name].enter_async_context(opened(log))

        logs: dict[str, Log] = {"here": written, **{name: await new(name) for name in WRITERS[1:]}}
        model = Ownership()
        for number, (what, who, group) in enumerate(steps):
            if what == "claim":
                assert await logs[who].claim(group) == model.token.get(group)
                model.claim(who, group)
            elif what == "release":
                await logs[who].release(group)
                model.release(who, group)
            elif what == "replace" and who != "here":
                logs[who] = await new(who)
                model.replace(who)
            elif model.may_commit(who, group):
                await logs[who].commit(group, f"t{number}")
                model.token[group] = f"t{number}"
            else:
                with pytest.raises(WriterFenced):
                    await logs[who].commit(group, "late")
            for one in "gh":
                assert await written.committed(one) == model.token.get(one)


@settings(max_examples=30, deadline=None)
@given(steps=steps)
def test_a_group_is_committed_only_by_its_owner_or_by_those_that_were_never_fenced(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    asyncio.run(follow_steps(tmp_path_factory.mktemp("log") / "events.db", steps))


# Who learns of what was appended.


async def test_a_waiting_reader_learns_of_appends_of_every_process_without_polling(
    written: SqliteLog, linked: LinkedLog, other: LinkedLog
) -> None:
    for number, appending in enumerate((written, linked, other)):
        reading = await waiting_read(linked)
        await appending.append([Record("a", b"%d" % number)])
        assert [record.value for record in await reading] == [b"%d" % number]
    assert linked.counts.searches == 0
    assert [task.get_name() for task in asyncio.all_tasks()].count("headwater-log-poll") <= 1


async def test_a_waiting_reader_learns_of_commits_of_processes_without_a_link(
    written: SqliteLog, linked: LinkedLog, tmp_path: Path
) -> None:
    reading = await waiting_read(linked)
    async with opened(SqliteLog(tmp_path / "events.db", durability="os")) as stranger:
        await stranger.append([Record("a", b"from outside")])
    assert [record.value for record in await reading] == [b"from outside"]


async def test_a_reader_that_believes_it_is_at_the_end_learns_of_what_came_before_it_waits(
    written: SqliteLog, linked: LinkedLog
) -> None:
    end = await linked.last(["a"])
    assert await linked.read(end) == []
    await written.append([Record("a", b"x")])
    assert [record.value for record in await linked.read(end, wait_seconds=DEADLINE_SECONDS)] == [b"x"]


async def test_what_was_appended_between_reading_and_waiting_is_not_missed(
    written: SqliteLog, linked: LinkedLog
) -> None:
    """However the notices and the appends interleave."""

    async def follow() -> list[bytes]:
        position, seen = Position({("a", 0): 0}), []
        while len(seen) < 300:
            found = await linked.read(position, wait_seconds=DEADLINE_SECONDS)
            assert found, "a record was missed"
            for record in found:
                position = position.after(record)
                seen.append(record.value)
        return seen

    following = [asyncio.ensure_future(follow()) for _ in range(3)]
    for number in range(300):
        await (written if number % 2 else linked).append([Record("a", b"%d" % number)])
        if number % 7 == 0:
            await asyncio.sleep(0.001)
    for one in following:
        assert await one == [b"%d" % number for number in range(300)]


class CountedLink(Link):
    """Counts what is sent."""

    sent = 0

    def notify(self, method: str, payload: bytes = b"") -> None:
        type(self).sent += 1
        super().notify(method, payload)


async def test_many_readers_ask_once_and_an_idle_log_sends_nothing(
    written: SqliteLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contract.kinds_of_logs.Link", CountedLink)
    CountedLink.sent = 0
    async with linked_log(written, tmp_path / "events.db") as log, opened(log):
        end = await log.last(["a"])
        readers = []
        for waiting in (25, 50):
            readers += [asyncio.ensure_future(log.read(end, wait_seconds=DEADLINE_SECONDS)) for _ in range(25)]
            await eventually(lambda waiting=waiting: log.counts.waits == waiting)
            await eventually(lambda: CountedLink.sent)
        # What the writing process looks for while readers wait is news to nobody.
        await asyncio.sleep(0.3)
        assert CountedLink.sent == 1
        await written.append([Record("a", b"x")])
        await asyncio.gather(*readers)
        assert CountedLink.sent == 2
        # Nobody waits now.
        await written.append([Record("a", b"x")] * 10)
        assert CountedLink.sent == 2


async def test_a_reader_of_what_is_damaged_gets_the_error_and_the_writing_process_knows_of_it(
    written: SqliteLog, linked: LinkedLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await written.append([Record("a", b"x" * 100)])
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as connection, connection:
        connection.execute("UPDATE batches SET crc = crc + 1")
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            with pytest.raises(LogCorrupt) as damage:
                await linked.read(Position({("a", 0): 0}))
    assert damage.value.damaged is not None
    await eventually(lambda: written.damaged_offsets() == 1)
    assert (linked.damaged_offsets(), written.troubles()) == (1, linked.troubles())
    assert len([one for one in caplog.records if "damaged" in one.message]) == 1


# What crosses.

names = st.text(max_size=8)
records = st.lists(
    st.builds(
        Record,
        topic=names,
        value=st.binary(max_size=300),
        key=st.none() | st.binary(max_size=5),
        headers=st.lists(st.tuples(names, st.binary(max_size=5)), max_size=2).map(tuple),
        partition=st.none() | st.integers(0, 9),
        timestamp_ms=st.none() | st.integers(0, 2**50),
    ),
    max_size=12,
)
changes = st.lists(
    st.builds(StateChange, namespace=names, key=st.binary(max_size=9), value=st.none() | st.binary(max_size=300)),
    max_size=9,
)


@given(records=records, state=changes, has_commit=st.booleans(), target=st.sampled_from([1, 150, 600, 100_000]))
def test_an_append_is_the_same_however_it_is_divided(
    records: list[Record], state: list[StateChange], has_commit: bool, target: int
) -> None:
    commit = Commit("g", "t", tuple(state)) if has_commit else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link_messages, "PART_BYTES_TARGET", target)
        parts = [link_messages.decode_part(part) for part in link_messages.encode_append(7, records, commit)]
    assert {part.number for part in parts} == {7}
    found = [Record(*(getattr(one, name) for name in one.__struct_fields__)) for part in parts for one in part.records]
    assert found == records
    assert [one for part in parts for one in part.state] == (state if has_commit else [])
    assert [part.group for part in parts] == [None] * (len(parts) - 1) + ["g" if has_commit else None]
    if target == 1:
        assert len(parts) >= len(records)


async def test_a_large_append_is_stored_whole_and_interleaves_with_others(linked: LinkedLog, other: LinkedLog) -> None:
    state = tuple(StateChange("n", b"%05d" % n, b"v" * 200) for n in range(5_000))
    large = [Record("a", b"%04d" % n + b"x" * 1_500) for n in range(2_000)]
    await asyncio.gather(
        linked.append(large, commit=Commit("g", "t", state)),
        linked.append([Record("a", b"small")]),
        other.append(large, commit=Commit("h", "t")),
    )
    assert len(await linked.state_scan("n", rows_max=10_000)) == 5_000
    stored: list[bytes] = []
    position = Position({("a", 0): 0})
    while found := await linked.read(position):
        stored += [record.value for record in found]
        position = position.after(found[-1])
    values = [record.value for record in large]
    assert sorted(stored) == sorted([*values, *values, b"small"])
    for start in [at for at, value in enumerate(stored) if value == values[0]]:
        assert stored[start : start + len(values)] == values


async def test_limits_are_those_of_the_log_itself(written: SqliteLog, tmp_path: Path) -> None:
    async with linked_log(written, tmp_path / "events.db", queue_bytes_max=1_000_000) as log, opened(log):
        first = log.submit([Record("a", b"x" * 900_000)])
        with pytest.raises(LogUnavailable, match="waiting to be written"):
            await log.append([Record("a", b"x" * 200_000)])
        await first
        await log.append([Record("a", b"x" * 2_000_000)])
        with pytest.raises(EventTooLarge):
            await log.append([Record("a", b"x" * 1_000_000)] * 300)
        with pytest.raises(TypeError):
            await log.append([Record("a", "text")])  # type: ignore[arg-type]
        assert (log.queued_bytes, len(await everything(log))) == (0, 2)


async def test_without_the_writing_process_appends_fail_and_reading_works(written: SqliteLog, tmp_path: Path) -> None:
    async with linked_log(written, tmp_path / "events.db") as log, opened(log):
        await log.append([Record("a", b"1")])
        log._link.abort()
        for attempt in (log.append([Record("a", b"2")]), log.claim("g"), log.commit("g", "t"), log.trim()):
            with pytest.raises(LogUnavailable, match="writing process has ended"):
                await attempt
        assert await everything(log) == [b"1"]
