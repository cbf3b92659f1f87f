"""Jobs on Kafka: exactly once at every point at which a process can die, one writer at a time, and state that fits."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from end_to_end.edits import DOUBLED, PASSED, RUNNING, SCHEMAS, write_files
from headwater.config import Config, load_config
from headwater.errors import WriterFenced
from headwater.log.contract import Commit, Log, Position, Record, TopicSettings
from headwater.platform import build
from headwater.processing.embedded.settings import RunnerSettings
from headwater.testing.eventually import eventually
from servers.kafka import KafkaCluster

EVENTS = 1200
WIKIS = 5
FILES = {
    **SCHEMAS,
    "streams/edit.yaml": "stream: edit\nschema_title: edit\ntransport: {kafka: {partitions: 2}}\n",
    "streams/running.yaml": "stream: running\nschema_title: count\ntransport: {partitions: 2}\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "streams/doubled.yaml": "stream: doubled\nschema_title: count\n",
    "jobs/jobs.py": "from headwater.jobs import job\n" + RUNNING + PASSED + DOUBLED,
}
# Runs the jobs in small batches, and kills itself where and when it is told.
CHILD = """
import asyncio, os, signal, sys, threading
from pathlib import Path
from headwater.config import load_config
from headwater.log.kafka.transaction import GroupWriter
from headwater.platform import build
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.stores.state_file import StateFile
from headwater.processing.stores.outbox import OutboxStore

project, log_url, point, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def reached(name):
    global left
    if name == point:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def patched(cls, method, before=None, after=None):
    original = getattr(cls, method)
    def instead(self, *arguments, **named):
        reached(before)
        answer = original(self, *arguments, **named)
        reached(after)
        return answer
    setattr(cls, method, instead)

patched(StateFile, "commit", "before the state is kept", "after the state is kept")
patched(OutboxStore, "_start_relay", None, "with the relay about to start")
patched(GroupWriter, "append", "before the transaction", None)
patched(GroupWriter, "_commit", "before the transaction is committed", "after the transaction is committed")
if point == "while the transaction is committed":
    original = GroupWriter._commit
    def committing(self, *arguments):
        global left
        left -= 1
        if left == 0:
            threading.Timer(0.0015, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return original(self, *arguments)
    GroupWriter._commit = committing

async def main():
    platform = build(load_config(Path(project), environment={}, overrides={"log.url": log_url}))
    for supervisor in platform.runners.values():
        supervisor.runner.settings = RunnerSettings(batch_records_max=20)
    await platform.start()
    await asyncio.sleep(60)

asyncio.run(main())
"""
POINTS = (
    ("before the state is kept", 3),
    ("after the state is kept", 4),
    ("with the relay about to start", 6),
    ("before the transaction", 5),
    ("before the transaction is committed", 4),
    ("while the transaction is committed", 6),
    ("after the transaction is committed", 5),
)


def edit(number: int) -> dict[str, Any]:
    return {
        "$schema": "/edit/1.0.0",
        "meta": {"stream": "edit", "id": f"edit-{number}", "dt": "2023-11-14T20:00:00Z"},
        "wiki": f"wiki{number % WIKIS}",
        "number": number,
    }


@pytest.fixture
def config(tmp_path: Path, kafka_url: str) -> Config:
    project = tmp_path / "project"
    write_files(project, FILES)
    return load_config(project, environment={}, overrides={"log.url": kafka_url})


async def write(config: Config, numbers: range) -> None:
    platform = build(config)
    await platform.start(run_jobs=False)
    await platform.intake.write([edit(number) for number in numbers])
    await platform.stop()


async def finish(config: Config) -> dict[str, list[dict[str, Any]]]:
    """Let the jobs process what there is; what is in each topic then, for readers of what is committed."""
    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        await platform.finish_jobs()
        return {topic: await events_of(platform.log, topic) for topic in ("running", "passed", "doubled")}
    finally:
        await platform.stop()


async def events_of(log: Log, topic: str) -> list[dict[str, Any]]:
    position = await log.first([topic])
    events = []
    while records := await log.read(position):
        events += [json.loads(record.value) for record in records]
        for record in records:
            position = position.after(record)
    return events


def check_exact(found: dict[str, list[dict[str, Any]]], count: int) -> None:
    """Every event was processed once by each job, and the state counted each once."""
    assert sorted(event["edit"] for event in found["passed"]) == list(range(count))
    assert sorted(event["edit"] for event in found["running"]) == list(range(count))
    numbers: dict[str, list[int]] = {}
    for event in found["running"]:
        numbers.setdefault(event["wiki"], []).append(event["number"])
    of_each = Counter(edit(number)["wiki"] for number in range(count))
    assert {wiki: sorted(seen) for wiki, seen in numbers.items()} == {
        wiki: list(range(1, many + 1)) for wiki, many in of_each.items()
    }
    assert sorted((event["edit"], event["times"]) for event in found["doubled"]) == [(n, 1) for n in range(count)]
    for events in found.values():
        assert len({event["meta"]["id"] for event in events}) == count


def run_until_it_dies(config: Config, point: str, times: int) -> None:
    command = [sys.executable, "-c", CHILD, str(config.project_dir), config.log.url, point, str(times)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    assert child.returncode == -signal.SIGKILL, f"the child did not come to die {point}: {child.stderr}"


async def test_nothing_is_lost_or_repeated_at_whatever_point_the_process_dies(config: Config) -> None:
    await write(config, range(EVENTS))
    for point, times in POINTS:
        await asyncio.to_thread(run_until_it_dies, config, point, times)
    check_exact(await finish(config), EVENTS)


async def refused(config: Config, job: str) -> str:
    """What keeps a job from running."""
    platform = build(config)
    await platform.start()
    try:
        await eventually(lambda: platform.runners[job].report().state in ("restarting", "failed"))
        return platform.runners[job].report().last_error or ""
    finally:
        await platform.stop()


async def test_a_state_that_does_not_fit_the_log_is_refused_and_the_right_one_resumes(config: Config) -> None:
    await write(config, range(100))
    check_exact(await finish(config), 100)
    state = config.path(config.jobs.state_path) / "running.db"
    old = shutil.copy(state, state.with_suffix(".old"))
    await write(config, range(100, 150))
    check_exact(await finish(config), 150)
    right = shutil.move(state, state.with_suffix(".right"))

    assert "is new, but the job has run before" in await refused(config, "running")
    shutil.copy(old, state)
    assert "is older than what the log has" in await refused(config, "running")
    state.write_bytes(b"no database at all" * 100)
    assert "running.db is damaged" in await refused(config, "running")

    state.unlink()
    shutil.move(right, state)
    await write(config, range(150, 200))
    check_exact(await finish(config), 200)


async def test_a_state_is_used_by_one_process_and_the_next_takes_over_when_that_has_ended(config: Config) -> None:
    await write(config, range(60))
    first, second = build(config), build(config)
    await first.start()
    await eventually(lambda: first.runners["doubled"].report().written == 60)
    await second.start()
    try:
        await eventually(lambda: second.runners["running"].report().state in ("retrying", "restarting"))
        assert "in use by another process" in (second.runners["running"].report().last_error or "")
    finally:
        await first.stop()
        await second.stop()
    await write(config, range(60, 90))
    check_exact(await finish(config), 90)


async def test_who_claims_a_group_ends_what_others_have_begun_for_it(kafka_url: str) -> None:
    from headwater.log.kafka.log import KafkaLog

    one, two = KafkaLog(kafka_url), KafkaLog(kafka_url)
    await one.open()
    await two.open()
    try:
        await one.ensure_topic("a", TopicSettings())
        assert await one.claim("g") is None
        await one.append([Record("a", b"1")], commit=Commit("g", "t1"))
        assert await one.claim("g") == "t1"
        await one.append([Record("a", b"2")], commit=Commit("g", "t2"))
        assert await two.claim("g") == "t2"
        with pytest.raises(WriterFenced):
            await one.append([Record("a", b"3")], commit=Commit("g", "t3"))
        with pytest.raises(WriterFenced):
            await one.claim("g")
        await two.append([Record("a", b"4")], commit=Commit("g", "t4"))
        assert [r.value for r in await two.read(await two.first(["a"]))] == [b"1", b"2", b"4"]
        assert await one.committed("g") == "t4"
    finally:
        await one.close()
        await two.close()


async def test_a_claim_answers_the_last_token_while_the_transaction_of_another_group_is_open(kafka_url: str) -> None:
    from headwater.log.kafka.log import KafkaLog
    from headwater.log.kafka.transaction import GroupWriter

    one, two = KafkaLog(kafka_url), KafkaLog(kafka_url)
    await one.open()
    await two.open()
    is_open, may_end = threading.Event(), threading.Event()

    class Slow(GroupWriter):
        def _commit(self, producer: Any, deadline: float) -> None:
            producer.flush(5)
            is_open.set()
            may_end.wait(20)
            super()._commit(producer, deadline)

    try:
        await one.append([], commit=Commit("g", "t1"))
        one._transactions._groups["slow"] = Slow(one._settings, "slow")
        slow = asyncio.create_task(one.append([], commit=Commit("slow", "s1")))
        await asyncio.to_thread(is_open.wait, 20)
        later = asyncio.create_task(one.append([], commit=Commit("g", "t2")))
        await asyncio.sleep(1)
        claim = asyncio.create_task(two.claim("g"))
        await asyncio.sleep(1)
        may_end.set()
        assert await claim == "t2"
        await asyncio.gather(slow, later)
    finally:
        may_end.set()
        await one.close()
        await two.close()


async def test_what_a_killed_process_left_open_for_one_job_does_not_keep_the_others_from_finishing(
    config: Config, kafka_server: str
) -> None:
    from confluent_kafka import Producer

    await write(config, range(30))
    await finish(config)
    await write(config, range(30, 60))
    namespace = config.log.url.rsplit("/", 1)[1]
    # The job that comes last: those before it would wait for this transaction, and it for them.
    name = f"{namespace}headwater.job.doubled"
    killed = Producer({"bootstrap.servers": kafka_server, "transactional.id": name, "transaction.timeout.ms": 600_000})
    killed.init_transactions()
    killed.begin_transaction()
    killed.produce(f"{namespace}headwater.tokens", b"never committed", b"job.doubled", partition=0)
    killed.flush()
    found = await finish(config)
    assert {topic: len(events) for topic, events in found.items()} == {"running": 60, "passed": 60, "doubled": 60}


async def test_what_the_brokers_never_accept_becomes_an_error_event_and_the_job_continues(config: Config) -> None:
    (config.project_dir / "jobs" / "jobs.py").write_text(
        """
from headwater.jobs import job

@job(source="edit", sink="passed")
def passed(event, context):
    return {"edit": event["number"], "text": "x" * (2_000_000 if event["number"] == 3 else 1)}
"""
    )
    await write(config, range(10))
    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        await platform.finish_jobs()
        assert [event["edit"] for event in await events_of(platform.log, "passed")].count(3) == 0
        assert len(await events_of(platform.log, "passed")) == 9
        (error,) = await events_of(platform.log, "passed.error")
        assert error["error_type"] == "MESSAGE_TOO_LARGE"
    finally:
        await platform.stop()


async def test_a_job_has_no_lag_when_only_marks_of_transactions_are_left(config: Config) -> None:
    await write(config, range(40))
    platform = build(config)
    await platform.start()
    try:
        await eventually(lambda: all(supervisor.report().written == 40 for supervisor in platform.runners.values()))
        ends: Position = await platform.log.last(["running"])
        assert sum(ends.offsets.values()) > 40
        assert [await supervisor.runner.lag() for supervisor in platform.runners.values()] == [0, 0, 0]
    finally:
        await platform.stop()


async def test_jobs_resume_exactly_when_a_paused_broker_continues(config: Config, kafka_alone: KafkaCluster) -> None:
    overrides = {"log.url": f"kafka://{kafka_alone.bootstrap}", "log.delivery_seconds_max": 1}
    config = load_config(config.project_dir, environment={}, overrides=overrides)
    await write(config, range(EVENTS))
    platform = build(config)
    for supervisor in platform.runners.values():
        supervisor.runner.settings = RunnerSettings(batch_records_max=20)  # type: ignore[attr-defined]
    await platform.start()
    try:
        await eventually(lambda: platform.runners["running"].report().read > 100)
        await asyncio.to_thread(kafka_alone.pause, 1)
        await asyncio.sleep(4)
        await asyncio.to_thread(kafka_alone.resume, 1)
        await eventually(lambda: platform.runners["doubled"].report().written >= EVENTS, seconds=60)
    finally:
        await asyncio.to_thread(kafka_alone.resume, 1)
        await platform.stop()
    check_exact(await finish(config), EVENTS)
