"""`headwater log copy` brings every record over once, as it was, however often it is stopped, and proves it."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from headwater.cli.main import main
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.consumption.offset_ranges import OffsetRanges
from headwater.consumption.resume import Start, find_start
from headwater.errors import CopyRefused, LogUnavailable
from headwater.log.contract import Commit, Log, Placement, Position, Record, StateChange, StoredRecord, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.log.token_marks import marked, marks_of
from headwater.migration.positions import note_former
from headwater.migration.topics import CopiedTopic, TopicCopy
from headwater.processing import ToTable, table
from headwater.testing.clock import ManualClock
from headwater.testing.job_kit import JobKit
from headwater.testing.suites.log import read_all

if TYPE_CHECKING:
    from servers.kafka import SecureListener

DAY = 86_400.0
Content = dict[tuple[str, int], list[tuple[Any, ...]]]


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["log", "copy", *arguments])
    assert result.exit_code == code, result.output
    return result


def in_logs(work: Callable[..., Coroutine[Any, Any, Any]], *paths: Path) -> Any:
    """Run `work` with the logs of these files open."""

    async def running() -> Any:
        logs = [SqliteLog(path) for path in paths]
        for log in logs:
            await log.open()
        try:
            return await work(*logs)
        finally:
            for log in logs:
                await log.close()

    return asyncio.run(running())


async def content(log: Log) -> Content:
    """What must be the same on both sides, by partition."""
    topics = [info.name for info in await log.topics()]
    found: Content = {(info.name, number): [] for info in await log.topics() for number in range(len(info.next))}
    for record in await read_all(log, topics):
        found[record.topic, record.partition].append((record.timestamp_ms, record.key, record.headers, record.value))
    return found


async def fill(log: Log) -> None:
    """Topics of every kind: many partitions, odd bytes, holes from compaction, a beginning that retention removed."""
    chance = random.Random(4)
    now_ms = int(time.time() * 1000)
    await log.ensure_topic("many", TopicSettings(partitions=5, retention_seconds=DAY))
    await log.ensure_topic("compacted", TopicSettings(compact=True))
    await log.ensure_topic("begun.late", TopicSettings(retention_seconds=DAY))
    await log.ensure_topic("empty", TopicSettings(partitions=2, retention_bytes=10_000))
    for number in range(40):
        odd = [
            Record("many", chance.randbytes(chance.randrange(60)), chance.choice([None, b"", b"k%d" % number]), headers)
            for headers in [(), (("dt", b"2026"),), (("a", b"\xff"), ("a", b""))]
            for _ in range(10)
        ]
        older = [Record("many", b"%d" % number, timestamp_ms=now_ms - number * 1000)]
        await log.append([*odd, *older, Record("compacted", b"%d" % number, b"k%d" % (number % 3))])
    await log.append([Record("begun.late", b"old %d" % n, timestamp_ms=now_ms - int(2 * DAY * 1000)) for n in range(7)])
    await log.trim()
    await log.append([Record("begun.late", b"%d" % n) for n in range(9)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    in_logs(fill, tmp_path / "source.db")
    return tmp_path / "source.db"


def test_every_topic_arrives_as_it_was_and_the_figures_say_so(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    printed = json.loads(run(str(source), f"sqlite:///{target}", "--json").stdout)
    before, after = in_logs(content, source), in_logs(content, target)
    assert after == before
    assert printed["verified"] is True
    assert printed["records"] == sum(len(records) for records in before.values())
    shifted = next(topic for topic in printed["topics"] if topic["topic"] == "begun.late")
    assert shifted["offsets"] == [{"partition": 0, "source": [7, 16], "target": [0, 9]}]

    async def settings(log: Log) -> list[tuple[str, TopicSettings]]:
        return [(info.name, info.settings) for info in await log.topics()]

    assert in_logs(settings, target) == in_logs(settings, source)
    assert in_logs(lambda log: log.verify(), target).sound


def test_a_second_copy_brings_only_what_has_come_since(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    run(str(source), str(target))

    async def more(log: Log) -> None:
        await log.append([Record("many", b"new", partition=2), Record("begun.late", b"new")])

    in_logs(more, source)
    again = json.loads(run(str(source), str(target), "--json").stdout)
    assert {topic["topic"]: topic["copied_now"] for topic in again["topics"] if topic["copied_now"]} == {
        "many": 1,
        "begun.late": 1,
    }
    assert in_logs(content, target) == in_logs(content, source)


def test_there_and_back_again_is_the_same_log(source: Path, tmp_path: Path) -> None:
    run(str(source), str(tmp_path / "there.db"))
    run(str(tmp_path / "there.db"), str(tmp_path / "back.db"))
    assert in_logs(content, tmp_path / "back.db") == in_logs(content, source)


@pytest.fixture
def kafka_url(kafka_server: str) -> str:
    """A Kafka log that nobody else uses."""
    return f"kafka://{kafka_server}/{uuid.uuid4().hex[:12]}."


def test_to_kafka_and_back_again_is_the_same_log(source: Path, tmp_path: Path, kafka_url: str) -> None:
    there = json.loads(run(str(source), kafka_url, "--json").stdout)
    assert (there["verified"], there["records"]) == (True, sum(map(len, in_logs(content, source).values())))
    back = json.loads(run(kafka_url, str(tmp_path / "back.db"), "--json").stdout)
    assert back["verified"] is True
    assert in_logs(content, tmp_path / "back.db") == in_logs(content, source)
    checksums = [[(topic["topic"], topic["checksum"]) for topic in one["topics"]] for one in (there, back)]
    assert checksums[0] == checksums[1]


def test_a_copy_gets_into_a_guarded_cluster_as_the_project_says(
    source: Path, tmp_path: Path, kafka_secure: SecureListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPY_PASSWORD", kafka_secure.password)
    (tmp_path / "headwater.yaml").write_text(
        f"""log:
  kafka:
    security.protocol: sasl_ssl
    ssl.ca.location: {kafka_secure.ca_file}
    sasl.mechanism: SCRAM-SHA-512
    sasl.username: {kafka_secure.user}
    sasl.password: ${{env:COPY_PASSWORD}}
"""
    )
    url = f"kafka://{kafka_secure.bootstrap}/{uuid.uuid4().hex[:12]}."
    arguments = (str(source), url, "--topic", "begun.late", "--json", "--project", str(tmp_path))
    assert json.loads(run(*arguments).stdout)["records"] == 9


def test_a_copy_to_kafka_killed_again_and_again_ends_with_every_record_once(tmp_path: Path, kafka_url: str) -> None:
    source = tmp_path / "source.db"

    async def fill_much(log: Log) -> None:
        await log.ensure_topic("many", TopicSettings(partitions=3))
        for start in range(0, 60_000, 2_000):
            await log.append([Record("many", b"%d" % n * 40, b"%d" % n) for n in range(start, start + 2_000)])

    in_logs(fill_much, source)
    command = [sys.executable, "-c", "from headwater.cli import main; main()", "log", "copy", str(source), kafka_url]
    kills = 0
    for seconds in (0.8, 1.3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills > 0
    printed = json.loads(run(str(source), kafka_url, "--json").stdout)
    assert (printed["verified"], printed["records"]) == (True, 60_000)
    run(kafka_url, str(tmp_path / "back.db"))
    assert in_logs(content, tmp_path / "back.db") == in_logs(content, source)


def test_a_copy_killed_again_and_again_ends_with_every_record_once(tmp_path: Path) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"

    async def fill_much(log: Log) -> None:
        await log.ensure_topic("many", TopicSettings(partitions=3))
        for start in range(0, 60_000, 2_000):
            await log.append([Record("many", b"%d" % n * 40, b"%d" % n) for n in range(start, start + 2_000)])

    in_logs(fill_much, source)
    command = [sys.executable, "-c", "from headwater.cli import main; main()", "log", "copy", str(source), str(target)]
    kills = 0
    for wait in (0.02, 0.1, 0.2, 0.3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        size = target.stat().st_size if target.exists() else 0
        deadline = time.monotonic() + 30
        # Not before it has begun to write.
        while process.poll() is None and time.monotonic() < deadline:
            wal = target.with_name("target.db-wal")
            if (target.exists() and target.stat().st_size > size) or (wal.exists() and wal.stat().st_size > 100_000):
                break
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills > 0
    printed = json.loads(run(str(source), str(target), "--json").stdout)
    assert (printed["verified"], printed["records"]) == (True, 60_000)
    assert in_logs(content, target) == in_logs(content, source)


class DiesAfter(SqliteLog):
    """Does what is asked and then, once, reports a failure."""

    left = 0

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        placed = await super().append(records, commit=commit)
        self.left -= 1
        if self.left == 0:
            raise LogUnavailable("gone")
        return placed

    async def commit(self, group: str, token: str) -> None:
        if self.left <= 0 and token.startswith("copy1") and not token.endswith("-"):
            raise LogUnavailable("gone")
        await super().commit(group, token)


@pytest.mark.parametrize("appends", [1, 2, 4])
def test_what_was_written_and_not_noted_is_recognised(
    source: Path, tmp_path: Path, appends: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.migration.topics.RECORDS_AT_ONCE_MAX", 50)
    target = tmp_path / "target.db"

    async def crash() -> None:
        logs = SqliteLog(source), DiesAfter(target)
        logs[1].left = appends
        for log in logs:
            await log.open()
        copying = TopicCopy(*logs, settle_seconds=0)
        infos = await copying.topics(["many"])
        with pytest.raises(LogUnavailable):
            await copying.copy(infos[0])
        for log in logs:
            await log.close()

    async def resume(source: Log, target: Log) -> CopiedTopic:
        copying = TopicCopy(source, target, settle_seconds=0)
        return await copying.copy((await copying.topics(["many"]))[0])

    asyncio.run(crash())
    copied = in_logs(resume, source, target)
    assert copied.verified
    assert copied.resumed > 0
    kept = in_logs(content, target)
    assert kept == {place: records for place, records in in_logs(content, source).items() if place[0] == "many"}


def test_a_target_that_others_write_into_is_not_mixed_with(source: Path, tmp_path: Path) -> None:
    async def write(log: Log) -> None:
        await log.ensure_topic("many", TopicSettings(partitions=5))
        await log.append([Record("many", b"foreign", partition=1)])

    in_logs(write, tmp_path / "used.db")
    refused = run(str(source), str(tmp_path / "used.db"), "--topic", "many", code=2)
    assert "1 records in many, partition 1, that were not copied" in refused.stderr
    run(str(source), str(tmp_path / "target.db"))
    in_logs(write, tmp_path / "target.db")
    refused = run(str(source), str(tmp_path / "target.db"), "--topic", "many", code=2)
    assert "something else writes into it" in refused.stderr


def test_a_changed_record_in_the_target_is_found(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def corrupted(
        log: SqliteLog, records: Sequence[Record], *, commit: Commit | None = None
    ) -> Sequence[Placement]:
        changed = [
            Record(
                r.topic, r.value + b"!" if r.value == b"5" else r.value, r.key, r.headers, r.partition, r.timestamp_ms
            )
            for r in records
        ]
        return await log._writer.submit(changed, commit)

    monkeypatch.setattr(SqliteLog, "append", corrupted)
    result = run(str(source), str(tmp_path / "target.db"), "--topic", "begun.late", code=1)
    assert "begun.late, partition 0: the records in the target are not those that were copied" in result.stdout


def test_records_that_the_target_would_remove_are_refused_or_skipped(tmp_path: Path) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    now_ms = int(time.time() * 1000)

    async def old(log: Log) -> None:
        await log.ensure_topic("a", TopicSettings())
        await log.append([Record("a", b"%d" % n, timestamp_ms=now_ms - (10 - n) * 86_400_000) for n in range(10)])

    async def week(log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(retention_seconds=6.5 * DAY))

    in_logs(old, source)
    in_logs(week, target)
    refused = run(str(source), str(target), code=2)
    assert "4 records are older" in refused.stderr
    assert "keeps a for 561,600 seconds" in refused.stderr
    assert "--expired skip" in refused.stderr
    assert in_logs(content, target) == {("a", 0): []}
    printed = json.loads(run(str(source), str(target), "--expired", "skip", "--json").stdout)
    assert (printed["topics"][0]["skipped"], printed["records"]) == (4, 6)
    assert [one[3] for one in in_logs(content, target)["a", 0]] == [b"%d" % n for n in range(4, 10)]


def test_what_the_source_no_longer_has_is_left_out_and_reported(tmp_path: Path) -> None:
    async def expired(log: Log) -> None:
        await log.ensure_topic("a", TopicSettings(retention_seconds=DAY))
        now_ms = int(time.time() * 1000)
        await log.append([Record("a", b"%d" % n, timestamp_ms=now_ms - (2 - n) * 86_400_000) for n in range(3)])

    in_logs(expired, tmp_path / "source.db")
    shown = run(str(tmp_path / "source.db"), str(tmp_path / "target.db")).stdout
    assert "2 records older than the target's retention were not copied" in shown
    assert [one[3] for one in in_logs(content, tmp_path / "target.db")["a", 0]] == [b"2"]


def test_a_target_with_more_partitions_keeps_the_old_records_where_they_were(source: Path, tmp_path: Path) -> None:
    async def wider(log: Log) -> None:
        await log.ensure_topic("many", TopicSettings(partitions=8))

    in_logs(wider, tmp_path / "target.db")
    run(str(source), str(tmp_path / "target.db"), "--topic", "many")
    after = in_logs(content, tmp_path / "target.db")
    assert len(after) == 8
    before = {place: records for place, records in in_logs(content, source).items() if place[0] == "many"}
    assert {place: records for place, records in after.items() if records} == before


def test_readers_go_on_at_the_record_they_would_have_read_next(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"

    async def commit(log: Log) -> dict[str, StoredRecord]:
        following = {}
        for topic, offset in (("begun.late", 11), ("compacted", 38), ("many", 0)):
            position = Position({(topic, 0): offset})
            await log.commit(f"reader.{topic}", position.token())
            following[topic] = (await log.read(position, records_max=1))[0]
        changes = tuple(StateChange("job/count/function/cells", b"%d" % n, b"v") for n in range(2_500))
        await log.append((), commit=Commit("job.count", Position({("many", 0): 5}).token(), changes))
        await log.commit("reader.elsewhere", Position({("many", 0): 5, ("gone", 0): 1}).token())
        return following

    following = in_logs(commit, source)
    printed = json.loads(run(str(source), str(target), "--json").stdout)
    tokens = {one["group"]: one["token"] for one in printed["groups"]}
    assert tokens["reader.elsewhere"] is None
    assert set(tokens) == {"job.count", "reader.elsewhere", *(f"reader.{topic}" for topic in following)}

    async def check(log: Log) -> None:
        for topic, expected in following.items():
            token = await log.committed(f"reader.{topic}")
            assert token == tokens[f"reader.{topic}"]
            assert token is not None
            found = (await log.read(Position.parse(token), records_max=1))[0]
            assert (found.value, found.key, found.timestamp_ms) == (expected.value, expected.key, expected.timestamp_ms)
        assert len(await log.state_scan("job/count/function/cells", rows_max=10_000)) == 2_500
        await log.commit("reader.many", Position({("many", 0): 9}).token())

    in_logs(check, target)
    again = json.loads(run(str(source), str(target), "--json").stdout)
    notes = {one["group"]: one["note"] for one in again["groups"]}
    assert "already ahead" in notes["reader.many"]


async def start_of(log: Log, topics: Sequence[str], token: str) -> Start:
    return await find_start(log, await OffsetRanges(log).of(topics), last_event_id=token, since=None)


async def token_after(log: Log, topic: str, count: int) -> str:
    return marked(Position({(topic, 0): count}).token(), await marks_of(log, [topic]))


async def put(log: Log, first: int, count: int) -> None:
    await log.ensure_topic("edits", TopicSettings())
    await log.append([Record("edits", b'{"n":%d}' % n) for n in range(first, first + count)])


async def check_tokens(source: Log, target: Log, copy: Callable[[Log, Log], Coroutine[Any, Any, None]]) -> None:
    await put(source, 0, 10)
    read = await token_after(source, "edits", 5)
    await copy(source, target)
    assert (await start_of(target, ["edits"], read)).lost == ()
    # Each goes on by itself: what only the source has is another event in the target.
    await put(source, 10, 10)
    await put(target, 100, 10)
    ahead = await token_after(source, "edits", 15)
    assert [one.is_other for one in (await start_of(target, ["edits"], ahead)).lost] == [True]
    own = await start_of(target, ["edits"], await token_after(target, "edits", 15))
    assert (own.position, own.lost) == (Position({("edits", 0): 15}), ())
    # And the source knows nothing of the target.
    back = await token_after(target, "edits", 5)
    assert [one.is_other for one in (await start_of(source, ["edits"], back)).lost] == [True]


async def copy_once(source: Log, target: Log) -> None:
    copying = TopicCopy(source, target, settle_seconds=0.0)
    copied = [await copying.copy(info) for info in await copying.topics(["edits"])]
    await note_former(source, target, [ledger for one in copied for ledger in one.ledgers])


def test_ids_of_clients_hold_in_a_copy_as_far_as_it_was_copied(tmp_path: Path) -> None:
    async def work(source: Log, target: Log, third: Log) -> None:
        await check_tokens(source, target, copy_once)
        await copy_once(target, third)
        # Through two copies: what was in both.
        assert (await start_of(third, ["edits"], await token_after(source, "edits", 10))).lost == ()
        assert (await start_of(third, ["edits"], await token_after(target, "edits", 20))).lost == ()
        assert (await start_of(third, ["edits"], await token_after(source, "edits", 11))).lost != ()

    in_logs(work, *(tmp_path / f"{n}.db" for n in range(3)))


async def test_ids_of_clients_hold_in_a_copy_on_kafka(tmp_path: Path, kafka_url: str) -> None:
    from headwater.log.kafka.log import KafkaLog

    source, target = SqliteLog(tmp_path / "events.db"), KafkaLog(kafka_url)
    await source.open()
    await target.open()
    try:
        await check_tokens(source, target, copy_once)
    finally:
        await target.close()
        await source.close()


def test_ids_of_clients_do_not_hold_where_offsets_have_changed(tmp_path: Path) -> None:
    clock = ManualClock(time.time() - 2 * DAY)

    async def work() -> None:
        source, target = SqliteLog(tmp_path / "old.db", clock=clock), SqliteLog(tmp_path / "new.db")
        await source.open()
        await target.open()
        await put(source, 0, 5)
        clock.now += DAY
        await put(source, 5, 5)
        await source.ensure_topic("edits", TopicSettings(retention_seconds=DAY / 2))
        assert await source.trim() == 5
        await copy_once(source, target)
        lost = (await start_of(target, ["edits"], await token_after(source, "edits", 7))).lost
        assert [one.is_other for one in lost] == [True]
        await source.close()
        await target.close()

    asyncio.run(work())


async def test_a_table_continues_in_a_copy_of_its_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled = table("filled", source="edits", columns={"n": "integer"})
    assert isinstance(filled.output, ToTable)
    logs = [SqliteLog(tmp_path / "old.db"), SqliteLog(tmp_path / "new.db")]
    for log in logs:
        sink = SqliteSink(tmp_path / "tables.db", filled.output.shape)
        kit = JobKit(filled, log=log, sink=sink)
        await kit.open()
        if log is logs[0]:
            await kit.put(*[{"$schema": "/e/1.0.0", "meta": {"stream": "edits"}, "n": n} for n in range(5)])
        else:
            await copy_once(logs[0], log)
        await kit.run_live(pause_seconds=0.5)
        rows = sorted(row[0] for row in sink.view(100).rows)
        await sink.close()
    for log in logs:
        await log.close()
    # Without a key, a row read twice would be there twice.
    assert rows == list(range(5))
    assert [one.getMessage() for one in caplog.records if "job" in one.getMessage()] == []


def test_mistakes_are_reported_before_anything_is_made(source: Path, tmp_path: Path) -> None:
    assert "are the same log" in run(str(source), f"sqlite:///{source}", code=2).stderr
    assert "There is no log at" in run(str(tmp_path / "none.db"), str(tmp_path / "new.db"), code=2).stderr
    assert not (tmp_path / "new.db").exists()
    assert "no topic 'absent'" in run(str(source), str(tmp_path / "new.db"), "--topic", "absent", code=2).stderr


async def test_two_copies_at_once_stop_each_other(source: Path, tmp_path: Path) -> None:
    logs = [SqliteLog(source), SqliteLog(tmp_path / "target.db"), SqliteLog(tmp_path / "target.db")]
    for log in logs:
        await log.open()
    copies = [TopicCopy(logs[0], target, settle_seconds=0, clock=ManualClock()) for target in logs[1:]]
    (info,) = await copies[0].topics(["begun.late"])
    first, ends = await copies[0]._prepare(info)
    second, _ = await copies[1]._prepare(info)
    await copies[0]._transfer(first, ends)
    with pytest.raises(CopyRefused, match="taken by something else"):
        await copies[1]._transfer(second, ends)
    for log in logs:
        await log.close()
