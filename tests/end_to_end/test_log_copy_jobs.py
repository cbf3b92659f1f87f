"""`headwater log copy` moves jobs with what they remember: what they write is what a job writes that never moved."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from end_to_end.edits import DOUBLED, PASSED, RUNNING, SCHEMAS, write_files
from headwater.cli.main import main
from headwater.config import Config, load_config
from headwater.errors import HeadwaterError
from headwater.log.contract import Log, Record
from headwater.platform import Platform, build
from headwater.processing.embedded.settings import RunnerSettings
from headwater.testing.eventually import eventually

WIKIS = 5
FILES = {
    "headwater.yaml": "log: sqlite:///var/events.db\n",
    **SCHEMAS,
    "streams/edit.yaml": "stream: edit\nschema_title: edit\ntransport: {retention: 7d}\n",
    "streams/running.yaml": "stream: running\nschema_title: count\ntransport: {partitions: 2}\n",
    "streams/minutes.yaml": "stream: minutes\nschema_title: count\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "streams/doubled.yaml": "stream: doubled\nschema_title: count\n",
    "jobs/jobs.py": """
from headwater.jobs import job, tumbling

@job(source="edit", sink="minutes", key="wiki", window=tumbling("1m").count("edits"), idle="1h")
def minutes(window, context):
    return {"wiki": window.key, "start": window.start, "edits": window.edits}
"""
    + RUNNING
    + PASSED
    + DOUBLED,
}
OUTPUTS = ("running", "minutes", "passed", "doubled")
# Runs a command, or the jobs, and kills itself where and when it is told.
CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from headwater.cli import main
from headwater.config import load_config
from headwater.migration import job_state, topics
from headwater.log.kafka.log import KafkaLog
from headwater.log.kafka.transaction import GroupWriter
from headwater.log.sqlite.log import SqliteLog
from headwater.platform import build
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.stores.state_file import StateFile

point, left, *words = sys.argv[1:]
left = int(left)

def patched(cls, method, before=None, after=None, only=lambda *arguments: True):
    original = getattr(cls, method)
    def reached(name, arguments):
        global left
        if name == point and only(*arguments):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    def instead(self, *arguments, **named):
        reached(before, arguments)
        answer = original(self, *arguments, **named)
        reached(after, arguments)
        return answer
    setattr(cls, method, instead)

topics.SETTLE_SECONDS = 0.02
topics.END_WAIT_SECONDS = 0.2
job_state.ROWS_AT_ONCE = 2
of_a_job = lambda group, token: group.startswith("job.")
patched(StateFile, "put", None, "in the middle of the state")
patched(StateFile, "end_replacing", "before the state is there", "after the state is there")
patched(KafkaLog, "commit", "before the position is there", None, of_a_job)
patched(job_state.LogJobState, "_change", "in the middle of the state in the log", None)
patched(SqliteLog, "commit", "before the position is in the log", None, of_a_job)
patched(StateFile, "mark_migrated", "before it is noted", "after it is noted")
patched(StateFile, "commit", None, "after a commit is in the file")
patched(GroupWriter, "_commit", None, "after its transaction")

async def jobs(project, log_url):
    overrides = {"log.url": log_url, "log.delivery_seconds_max": 1}
    platform = build(load_config(Path(project), environment={}, overrides=overrides))
    for supervisor in platform.runners.values():
        supervisor.runner.settings = RunnerSettings(batch_records_max=20)
    await platform.start()
    await asyncio.sleep(60)

if words[0] == "jobs":
    asyncio.run(jobs(*words[1:]))
else:
    sys.argv = ["headwater", *words]
    main()
"""


def edit(number: int) -> dict[str, Any]:
    minute, second = divmod(number, 60)
    return {
        "$schema": "/edit/1.0.0",
        "meta": {"stream": "edit", "id": f"edit-{number}"},
        "dt": f"2023-11-14T20:{minute:02}:{second:02}Z",
        "wiki": f"wiki{number % WIKIS}",
        "number": number,
    }


class Project:
    """A project whose log can be exchanged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        write_files(path, FILES)
        self.url = self.file("events.db")

    def file(self, name: str) -> str:
        return f"sqlite:///{self.path / 'var' / name}"

    def config(self, **overrides: Any) -> Config:
        return load_config(self.path, environment={}, overrides={"log.url": self.url, **overrides})

    def write(self, numbers: range) -> None:
        async def writing() -> None:
            platform = build(self.config())
            await platform.start(run_jobs=False)
            await platform.intake.write([edit(number) for number in numbers])
            await platform.stop()

        asyncio.run(writing())

    def work(self, done: Callable[[Platform], bool] | None = None, **overrides: Any) -> None:
        """Run the jobs, in small batches, until `done`, or until they have read everything."""

        async def working() -> None:
            async with running(self.config(**overrides), done is not None) as platform:
                await have_read_everything(platform) if done is None else await eventually(lambda: done(platform))

        asyncio.run(working())

    def finish(self) -> dict[str, list[dict[str, Any]]]:
        """Let the jobs come to the end of their input; all they have written, without the time of writing."""

        async def finishing() -> dict[str, list[dict[str, Any]]]:
            platform = build(self.config())
            await platform.start(run_jobs=False)
            try:
                await platform.finish_jobs()
                return {topic: await events_of(platform.log, topic) for topic in OUTPUTS}
            finally:
                await platform.stop()

        return asyncio.run(finishing())

    def copy(self, target: str, *arguments: str, code: int = 0) -> Result:
        words = ["log", "copy", self.url, target, "--project", str(self.path), *arguments]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == code, result.output
        return result

    def move(self, target: str, *arguments: str) -> dict[str, dict[str, Any]]:
        """Copy to another log and use that one; what became of each group."""
        printed = json.loads(self.copy(target, "--json", *arguments).stdout)
        assert printed["verified"] is True
        self.url = target
        return {group["group"]: group for group in printed["groups"]}

    def killed(self, point: str, times: int, *words: str) -> None:
        command = [sys.executable, "-c", CHILD, point, str(times), *words]
        child = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
        assert child.returncode == -signal.SIGKILL, f"it did not come to die {point}: {child.stdout}{child.stderr}"

    def copy_killed(self, point: str, times: int, target: str) -> None:
        self.killed(point, times, "log", "copy", self.url, target, "--project", str(self.path))

    def refused(self, job: str) -> str:
        """What keeps a job from running."""

        async def starting() -> str:
            platform = build(self.config())
            await platform.start(run_jobs=False)
            try:
                with pytest.raises(HeadwaterError) as raised:
                    await platform.runners[job].finish()
                return str(raised.value)
            finally:
                await platform.stop()

        return asyncio.run(starting())


@asynccontextmanager
async def running(config: Config, small: bool) -> AsyncIterator[Platform]:
    platform = build(config)
    if small:
        for supervisor in platform.runners.values():
            supervisor.runner.settings = RunnerSettings(batch_records_max=20, wait_seconds=0.1)  # type: ignore[attr-defined]
    await platform.start()
    try:
        yield platform
    finally:
        await platform.stop()


async def have_read_everything(platform: Platform) -> None:
    for name in OUTPUTS:
        await eventually(lambda job=name: has_read_everything(platform, job))  # type: ignore[misc]


async def has_read_everything(platform: Platform, job: str) -> bool:
    return platform.runners[job].report().state == "running" and await platform.runners[job].runner.lag() == 0


async def events_of(log: Log, topic: str) -> list[dict[str, Any]]:
    position = await log.first([topic])
    events = []
    while records := await log.read(position):
        for record in records:
            position = position.after(record)
            event = json.loads(record.value)
            del event["meta"]["dt"]
            events.append(event)
    return sorted(events, key=lambda event: str(event["meta"]["id"]))


def read_more_than(job: str, count: int) -> Callable[[Platform], bool]:
    return lambda platform: bool(platform.runners[job].report().read > count)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is near, and what is killed here has nothing on its way."""
    monkeypatch.setattr("headwater.migration.topics.SETTLE_SECONDS", 0.02)
    monkeypatch.setattr("headwater.migration.topics.END_WAIT_SECONDS", 0.2)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def stays(tmp_path: Path) -> Callable[[int], dict[str, list[dict[str, Any]]]]:
    """What is written by a project that never moves, of so many events."""

    def stay(events: int) -> dict[str, list[dict[str, Any]]]:
        one = Project(tmp_path / "stays")
        one.write(range(events))
        return one.finish()

    return stay


@pytest.fixture
def kafka_url(kafka_server: str) -> str:
    """A Kafka log that nobody else uses."""
    return f"kafka://{kafka_server}/{uuid.uuid4().hex[:12]}."


def remove_the_beginning(project: Project) -> None:
    """Give the source another first offset than its copy will have."""

    async def removing() -> None:
        platform = build(project.config())
        await platform.start(run_jobs=False)
        month_ago = int(time.time() * 1000) - 30 * 86_400_000
        await platform.log.append([Record("edit", b"old", timestamp_ms=month_ago)] * 7)
        await platform.log.trim()
        assert (await platform.log.first(["edit"])).offsets == {("edit", 0): 7}
        await platform.stop()

    asyncio.run(removing())


def test_a_project_moves_to_kafka_and_back_and_writes_what_one_writes_that_stays(
    project: Project, stays: Callable[[int], dict[str, list[dict[str, Any]]]], kafka_url: str
) -> None:
    remove_the_beginning(project)
    project.write(range(200))
    project.work(read_more_than("running", 90))
    there = project.move(kafka_url)
    for job in ("running", "minutes", "doubled"):
        assert there[f"job.{job}"]["state"]["entries"] > 0
        assert there[f"job.{job}"]["state"]["file"] == str(project.path / "var" / "state" / f"{job}.db")
    assert there["job.passed"]["token"]
    assert there["job.passed"]["state"] is None
    project.work()
    project.write(range(200, 400))
    project.work(read_more_than("running", 90))
    back = project.move(project.file("back.db"))
    assert back["job.running"]["state"]["entries"] == there["job.running"]["state"]["entries"]
    project.write(range(400, 500))
    assert project.finish() == stays(500)


def test_without_the_jobs_what_is_written_differs(
    project: Project, stays: Callable[[int], dict[str, list[dict[str, Any]]]], kafka_url: str
) -> None:
    project.write(range(100))
    project.work()
    project.move(kafka_url, "--no-groups")
    project.write(range(100, 130))
    found, expected = project.finish(), stays(130)
    assert all(found[topic] != expected[topic] for topic in OUTPUTS)


@pytest.mark.parametrize(
    "point",
    [
        ("in the middle of the state", 3),
        ("after the state is there", 2),
        ("before the position is there", 1),
    ],
    ids=lambda point: point[0],
)
def test_a_copy_to_kafka_that_was_killed_is_ended_by_the_same_command(
    project: Project,
    stays: Callable[[int], dict[str, list[dict[str, Any]]]],
    kafka_url: str,
    point: tuple[str, int],
) -> None:
    project.write(range(150))
    project.work(read_more_than("minutes", 60))
    project.copy_killed(*point, kafka_url)
    project.move(kafka_url)
    project.write(range(150, 200))
    assert project.finish() == stays(200)


def test_a_job_does_not_run_on_half_of_a_move(
    project: Project, stays: Callable[[int], dict[str, list[dict[str, Any]]]], kafka_url: str
) -> None:
    project.write(range(150))
    project.work()
    before = project.url
    project.copy_killed("after the state is there", 1, kafka_url)
    project.url = kafka_url
    assert "does not fit the log" in project.refused("doubled")
    project.url = before
    project.move(kafka_url)
    project.copy_killed("in the middle of the state in the log", 3, back := project.file("back.db"))
    project.url = back
    assert "copy unfinished" in project.refused("doubled")
    project.url = kafka_url
    project.copy_killed("before the position is in the log", 2, back)
    project.copy_killed("before it is noted", 2, back)
    project.copy_killed("after it is noted", 1, back)
    project.move(back)
    assert project.finish() == stays(150)


def test_a_copy_again_brings_what_a_job_has_done_since(
    project: Project, stays: Callable[[int], dict[str, list[dict[str, Any]]]], kafka_url: str
) -> None:
    project.write(range(100))
    project.work()
    first = json.loads(project.copy(kafka_url, "--json").stdout)
    again = json.loads(project.copy(kafka_url, "--json").stdout)
    assert again["groups"] == first["groups"]
    project.write(range(100, 150))
    project.work()
    project.move(kafka_url)
    project.write(range(150, 170))
    assert project.finish() == stays(170)


def test_what_waited_in_the_outbox_of_a_killed_job_comes_along_once(
    project: Project, stays: Callable[[int], dict[str, list[dict[str, Any]]]], kafka_url: str
) -> None:
    project.url = kafka_url
    project.write(range(200))
    expected = stays(200)
    for number, (point, times) in enumerate([("after a commit is in the file", 5), ("after its transaction", 9)]):
        project.killed(point, times, "jobs", str(project.path), kafka_url)
        moved = project.move(project.file(f"{number}.db"))
        assert all(group["token"] for group in moved.values())
        assert project.finish() == expected
        project.url = kafka_url


def test_a_job_that_has_gone_on_in_the_target_is_left_alone(project: Project, kafka_url: str) -> None:
    project.write(range(60))
    project.work()
    project.write(range(60, 100))
    before = project.url
    project.move(kafka_url)
    project.work()
    state = project.path / "var" / "state" / "running.db"
    kept = state.read_bytes()
    project.url = before
    printed = json.loads(project.copy(kafka_url, "--json", "--topic", "edit").stdout)
    groups = {one["group"]: one for one in printed["groups"]}
    for job in ("running", "passed", "minutes"):
        assert groups[f"job.{job}"]["token"] is None
        assert "the target's position is already ahead; it was not overwritten" in groups[f"job.{job}"]["note"]
    assert state.read_bytes() == kept


def test_a_file_that_belongs_to_another_log_is_left_alone(project: Project, kafka_url: str) -> None:
    project.write(range(50))
    project.work()
    before = project.url
    project.move(kafka_url)
    project.write(range(50, 60))
    project.work()
    project.url = before
    shown = project.copy(f"{kafka_url}other.").stdout
    state = project.path / "var" / "state" / "running.db"
    assert f"group job.running: not migrated: {state} belongs to another log: move it away" in shown
    for name in ("running", "minutes", "doubled"):
        (state.parent / f"{name}.db").rename(state.parent / f"{name}.old")
    assert f"with its state in {state}: " in project.copy(f"{kafka_url}other.").stdout


def test_a_running_job_is_left_where_it_is(project: Project, kafka_url: str) -> None:
    project.write(range(50))
    project.work()
    project.move(kafka_url)

    async def copy_meanwhile() -> Result:
        async with running(project.config(), small=False) as platform:
            await have_read_everything(platform)
            return await asyncio.to_thread(project.copy, project.file("back.db"))

    shown = asyncio.run(copy_meanwhile()).stdout
    assert "group job.running: not migrated: the state of a job, " in shown
    assert "is in use by another process: stop it and copy again" in shown


def test_from_one_kafka_to_another_the_state_goes_into_a_directory_of_its_own(
    project: Project, stays: Callable[[int], dict[str, list[dict[str, Any]]]], kafka_url: str
) -> None:
    project.url = kafka_url
    project.write(range(100))
    project.work()
    other, before = f"{kafka_url}other.", project.url
    assert "name a directory for TO with --state-path" in project.copy(other).stdout
    moved = project.move(other, "--state-path", str(project.path / "var" / "elsewhere"))
    assert moved["job.running"]["state"]["file"] == str(project.path / "var" / "elsewhere" / "running.db")
    project.url = before
    project.write(range(100, 120))
    assert project.finish() == (expected := stays(120))
    project.url = other
    (project.path / "headwater.yaml").write_text("jobs: {path: jobs, state_path: var/elsewhere}\n")
    project.write(range(100, 120))
    assert project.finish() == expected


def test_what_processes_that_share_a_job_have_done_is_gathered_and_moves_there_and_back_and_there(
    project: Project, stays: Callable[[int], dict[str, list[dict[str, Any]]]], kafka_url: str
) -> None:
    project.write(range(50))
    project.work()
    project.move(kafka_url)
    project.write(range(50, 100))
    project.work(read_more_than("passed", 49), **{"jobs.shared": True})
    moved = project.move(project.file("back.db"))
    assert [group for group in moved if group.startswith("job.passed")] == ["job.passed"]
    project.write(range(100, 110))
    project.work(read_more_than("minutes", 9))
    again = project.move(f"{kafka_url}again.")
    assert again["job.minutes"]["state"]["entries"] == moved["job.minutes"]["state"]["entries"]
    project.write(range(110, 130))
    assert project.finish() == stays(130)


def test_outside_of_a_project_an_error_says_that_state_needs_one(
    project: Project, kafka_url: str, tmp_path: Path
) -> None:
    project.write(range(20))
    project.work()
    words = ["log", "copy", project.url, kafka_url, "--project", str(tmp_path)]
    shown = CliRunner().invoke(main, words).stdout
    assert "group job.running: not migrated: its state is kept in a file of a project" in shown
    assert "group job.passed: at hw1;edit:0=20\n" in shown
