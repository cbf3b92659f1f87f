"""A job moves between two logs as a whole or not at all, and not over what has gone on by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headwater.errors import CopyRefused, StateUnavailable
from headwater.jobs.job import Job
from headwater.log.contract import Commit, Position, Record, StateChange, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.migration.job_state import UNFINISHED
from headwater.migration.jobs import JobMigration
from headwater.migration.positions import CarriedGroup, PositionMigration
from headwater.migration.topics import TopicCopy
from headwater.processing.control import JobControl
from headwater.processing.stores.state_file import StateFile

CELLS = "job/count/function/cells"
PROGRESS = "job/count/progress"


class Logs(NamedTuple):
    source: SqliteLog
    target: SqliteLog


@pytest.fixture
async def logs(tmp_path: Path) -> AsyncIterator[Logs]:
    both = Logs(SqliteLog(tmp_path / "source.db"), SqliteLog(tmp_path / "target.db"))
    for log in both:
        await log.open()
    await both.source.ensure_topic("a", TopicSettings())
    await both.source.append([Record("a", b"%d" % n) for n in range(10)])
    yield both
    for log in both:
        await log.close()


def token(offset: int) -> str:
    return Position({("a", 0): offset}).token()


async def go_on(log: SqliteLog, offset: int, *values: tuple[bytes, bytes | None]) -> None:
    changes = [StateChange(CELLS, key, value) for key, value in values]
    await log.append(
        (), commit=Commit("job.count", token(offset), (*changes, StateChange(PROGRESS, b"progress", b"p")))
    )


async def begin(logs: Logs) -> JobMigration:
    moving = JobMigration(*logs, None)
    await moving.begin()
    return moving


async def carry(logs: Logs, moving: JobMigration) -> CarriedGroup:
    copying = TopicCopy(*logs, settle_seconds=0)
    copied = [await copying.copy(info) for info in await copying.topics()]
    ledgers = {(ledger.topic, ledger.partition): ledger for one in copied for ledger in one.ledgers}
    (carried,) = await moving.carry(PositionMigration(*logs, ledgers))
    return carried


async def test_position_and_state_arrive_and_are_replaced_as_a_whole(logs: Logs) -> None:
    await go_on(logs.source, 3, (b"k", b"1"), (b"gone", b"1"))
    first = await carry(logs, await begin(logs))
    assert (first.token, first.state and first.state.entries) == (token(3), 3)
    await go_on(logs.source, 5, (b"k", b"2"), (b"gone", None))
    second = await carry(logs, await begin(logs))
    assert (second.token, second.state and second.state.entries) == (token(5), 2)
    assert await logs.target.state_scan(CELLS) == [(b"k", b"2")]
    assert await logs.target.committed("job.count") == token(5)


async def test_a_namespace_that_the_source_has_no_longer_goes(logs: Logs) -> None:
    await go_on(logs.source, 3, (b"k", b"1"))
    await carry(logs, await begin(logs))
    await go_on(logs.source, 4, (b"k", None))
    await carry(logs, await begin(logs))
    assert await logs.target.namespaces() == [PROGRESS]


async def test_a_job_that_goes_on_while_records_are_copied_stays_where_it_is(logs: Logs) -> None:
    await go_on(logs.source, 3, (b"k", b"1"))
    moving = await begin(logs)
    await go_on(logs.source, 4, (b"k", b"2"))
    carried = await carry(logs, moving)
    assert (carried.token, carried.note) == (
        None,
        "it was still running during the copy; stop it and run the command again",
    )
    assert await logs.target.committed("job.count") is None
    assert await logs.target.namespaces() == []


async def test_a_timer_that_fires_meanwhile_counts_as_moving_too(logs: Logs) -> None:
    await go_on(logs.source, 3, (b"k", b"1"))
    moving = await begin(logs)
    await go_on(logs.source, 3, (b"k", None))
    assert (await carry(logs, moving)).note == "it was still running during the copy; stop it and run the command again"


@pytest.mark.parametrize("offset", [3, 4], ids=["by timers only", "by events"])
async def test_what_has_gone_on_in_the_target_is_not_replaced(logs: Logs, offset: int) -> None:
    await go_on(logs.source, 3, (b"k", b"1"))
    await carry(logs, await begin(logs))
    await go_on(logs.target, offset, (b"k", b"other"))
    await go_on(logs.source, 9, (b"k", b"2"))
    assert (
        await carry(logs, await begin(logs))
    ).note == "the target's position is already ahead; it was not overwritten"
    assert await logs.target.state_scan(CELLS) == [(b"k", b"other")]


async def test_until_all_of_it_is_there_no_runner_accepts_the_token(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await go_on(logs.source, 3, (b"k", b"1"), (b"l", b"1"))
    monkeypatch.setattr("headwater.migration.job_state.ROWS_AT_ONCE", 1)
    append, seen = logs.target.append, []

    async def watching(records: list[Record], *, commit: Commit | None = None) -> object:
        answer = await append(records, commit=commit)
        if commit is not None:
            seen.append(await logs.target.committed("job.count"))
        return answer

    monkeypatch.setattr(logs.target, "append", watching)
    await carry(logs, await begin(logs))
    assert seen == [UNFINISHED] * 3
    assert await logs.target.committed("job.count") == token(3)


async def test_state_that_was_written_otherwise_is_not_taken_for_carried(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await go_on(logs.source, 3, (b"k", b"1"))
    append = logs.target.append

    async def spoiling(records: list[Record], *, commit: Commit | None = None) -> object:
        if commit is not None:
            commit = Commit(commit.group, commit.token, commit.state[1:])
        return await append(records, commit=commit)

    monkeypatch.setattr(logs.target, "append", spoiling)
    with pytest.raises(CopyRefused, match="not the 2 of the source"):
        await carry(logs, await begin(logs))
    assert await logs.target.committed("job.count") == UNFINISHED


def test_a_file_that_is_being_replaced_is_as_before_until_the_end(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state" / "count.db")
    file.commit([Record("a", b"1")], token(1), [StateChange(CELLS, b"k", b"1")], arrived=0)
    assert file.moved_at() is None
    file.begin_replacing()
    file.put(CELLS, [(b"other", b"2")])
    file.undo_replacing()
    assert (file.number, file.token, file.scan(CELLS, b"", 10)) == (1, token(1), [(b"k", b"1")])
    assert len(file.waiting()) == 1
    with pytest.raises(StateUnavailable, match="in use by another process"):
        StateFile(file.path)

    file.begin_replacing()
    file.put(CELLS, [(b"other", b"2")])
    file.end_replacing(token(9))
    identity = file.id
    file.close()
    file = StateFile(file.path)
    assert (file.id, file.number, file.token, file.moved_at()) == (identity, 2, token(9), 2)
    assert (file.namespaces(), file.scan(CELLS, b"", 10), file.waiting()) == ([CELLS], [(b"other", b"2")], [])
    file.commit([], token(10), [], arrived=2)
    assert file.moved_at() == 2
    file.close()


@pytest.mark.parametrize("has_run", [True, False])
async def test_a_paused_job_is_paused_in_the_target(logs: Logs, has_run: bool) -> None:
    job = Job("count", ("a",))
    await JobControl(logs.source, job, ["a"]).pause(paused=True, by="me")
    await JobControl(logs.source, Job("other", ("a",)), ["a"]).pause(paused=False, by="me")
    if has_run:
        await go_on(logs.source, 3, (b"k", b"1"))
    moving = await begin(logs)
    copying = TopicCopy(*logs, settle_seconds=0)
    copied = [await copying.copy(info) for info in await copying.topics()]
    ledgers = {(ledger.topic, ledger.partition): ledger for one in copied for ledger in one.ledgers}
    await moving.carry(PositionMigration(*logs, ledgers))
    found = await JobControl(logs.target, job, ["a"]).read()
    assert (found.paused, found.by) == (True, "me")
    assert not (await JobControl(logs.target, Job("other", ("a",)), ["a"]).read()).paused


async def test_a_reset_that_was_not_made_yet_is_made_in_the_target_and_one_that_was_is_not(logs: Logs) -> None:
    control = JobControl(logs.source, Job("count", ("a",)), ["a"])
    asked = await control.move(None, by="me")
    await go_on(logs.source, 3, (b"k", b"1"))
    await carry(logs, await begin(logs))
    assert (await JobControl(logs.target, Job("count", ("a",)), ["a"]).read()).move == asked.move
    assert asked.move is not None
    await JobControl(logs.target, Job("count", ("a",)), ["a"]).applied(asked.move)
    await control.applied(asked.move)
    await go_on(logs.source, 5, (b"k", b"2"))
    await carry(logs, await begin(logs))
    assert (await JobControl(logs.target, Job("count", ("a",)), ["a"]).read()).move is None
