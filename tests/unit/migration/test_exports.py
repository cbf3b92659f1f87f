"""A job is taken out of the embedded runner and put back, in the middle of its work: nothing is lost, nothing doubled.

The jobs are those that are compared with Flink: windows, joins, events put in order, repeats left out, limits, timers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from flink.corpus import config_of, events, fill, read_written
from headwater.checking.project import schemas_of
from headwater.config import Config
from headwater.errors import ChangeRefused, StateMismatch
from headwater.intake.gate import Gate, GateSettings
from headwater.jobs.job import Job
from headwater.log.contract import Log
from headwater.log.sqlite.log import SqliteLog
from headwater.migration.exports import Movable, export_job, import_job
from headwater.processing.declarations import declarations, topic_settings
from headwater.processing.embedded.runner import runner_on
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.moving.folder import read_manifest, sums_of
from headwater.processing.stores.contract import JobStore
from headwater.processing.stores.outbox import OutboxStore, state_file
from headwater.processing.supervisor import Supervisor
from headwater.testing.eventually import eventually
from headwater.testing.oracle_kafka import OracleKafkaLog

EVENTS = 240
HALF = EVENTS // 2
# With the number of its steps that keep state.
KEYED = {
    "counted": 2,
    "per_minute": 1,
    "per_session": 1,
    "per_slide": 1,
    "distinct": 1,
    "woken": 1,
    "ordered": 2,
    "joined": 1,
    "limited": 1,
}
SETTINGS = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01)


@dataclass
class Place:
    """A project with an open log, of which one job runs."""

    config: Config
    log: Log
    running: Supervisor | None = None
    jobs: dict[str, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.streams, jobs = declarations(self.config)
        self.jobs = {job.name: job for job in jobs}

    def movable(self, name: str) -> Movable:
        return Movable(self.config, self.jobs[name], self.streams, self.log, stop_seconds=0.0 if self.is_alone else 1.0)

    @property
    def is_alone(self) -> bool:
        """Whether the log belongs to one process, so that a job is exported when no platform runs."""
        return self.log.features.keyed_state

    async def start(self, name: str) -> Supervisor:
        job = self.jobs[name]
        for stream in map(self.streams.get, (*job.reads(), *job.writes().streams)):
            for topic in stream.topics:
                await self.log.ensure_topic(topic, topic_settings(self.config, stream))
        gate = Gate(self.streams, schemas_of(self.config), GateSettings.from_config(self.config))
        store: JobStore | None = None
        if job.keeps_state and not self.log.features.keyed_state:
            store = OutboxStore(self.log, job.group, self.file(name))
        runner = runner_on(self.log, job, gate, store=store, settings=SETTINGS, clock=time.time)
        self.running = Supervisor(runner, control=self.movable(name).control)
        self.running.start()
        return self.running

    def file(self, name: str) -> Path:
        return state_file(self.config.path(self.config.jobs.state_path), name)

    async def fill(self, start: int, end: int, made: list[Any]) -> None:
        await fill(self.config, self.log, made[start:end])

    async def is_done(self) -> bool:
        assert self.running is not None
        return self.running.runner.status.has_run and await self.running.runner.lag() == 0

    async def kept(self, name: str) -> dict[str, dict[bytes, bytes]]:
        """All that the job keeps, by namespace, when it does not run."""
        state = self.movable(name).state()
        await state.open()
        found: dict[str, dict[bytes, bytes]] = {}
        try:
            async with aclosing(state.rows()) as pages:
                async for namespace, rows in pages:
                    found.setdefault(namespace, {}).update(rows)
        finally:
            await state.close()
        return found

    async def written(self, name: str) -> dict[str, Any]:
        """What the job has written: of windows and timers, the last result of each."""
        found = await read_written(self.log, self.jobs[name].writes().streams)
        made: dict[str, Any] = {}
        for stream in self.jobs[name].writes().streams:
            for several in found.events(stream).values():
                for event in several:
                    value = event.get("value", {})
                    what = [event.get("page"), value.get("start"), value.get("timer"), value.get("number")]
                    about = what if value and (what[1] or what[2]) else event["meta"]["id"]
                    known = made.setdefault(f"{stream} {about}", [])
                    if about is what:
                        known.clear()
                    known.append(event)
        return {about: sorted(map(orjson.dumps, several)) for about, several in made.items()}

    def waits(self) -> bool:
        assert self.running is not None
        return self.running.report().state == "paused"

    async def stop_job(self) -> None:
        if self.running is not None:
            await self.running.stop()

    async def stop(self) -> None:
        await self.stop_job()
        await self.log.close()


def place(kind: str, folder: Path) -> Place:
    config = config_of(f"sqlite:///{folder}/events.db", folder)
    log: Log = SqliteLog(folder / "events.db") if kind == "sqlite" else OracleKafkaLog()
    return Place(config, log)


ON_BOTH = [("kafka", name) for name in KEYED] + [("sqlite", "counted")]
CASES = pytest.mark.parametrize(("here", "name"), ON_BOTH, indirect=["here"])


@pytest.fixture(params=["sqlite", "kafka"])
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    made = place(request.param, tmp_path)
    await made.log.open()
    yield made
    await made.stop()


@pytest.fixture
async def beside(here: Place, tmp_path: Path) -> AsyncIterator[Place]:
    """Another place, of the same kind, in which nothing is moved."""
    made = place("sqlite" if here.log.features.keyed_state else "kafka", tmp_path / "beside")
    await made.log.open()
    yield made
    await made.stop()


@CASES
async def test_a_job_that_was_exported_and_imported_gives_what_it_would_have_given(
    here: Place, beside: Place, name: str, tmp_path: Path
) -> None:
    made = events(EVENTS)
    for one in (here, beside):
        await one.fill(0, HALF, made)
        await one.start(name)
        await eventually(one.is_done)

    if here.is_alone:
        await here.stop_job()
    exported = await export_job(here.movable(name), tmp_path / "moved")
    if here.is_alone:
        await here.start(name)
    assert len(exported.steps) == KEYED[name]
    assert sum(one.keys for one in exported.steps.values()) > 0
    kept = await here.kept(name)
    for one in (here, beside):
        await one.fill(HALF, EVENTS, made)
    await eventually(beside.is_done)
    # It is to run, and waits.
    await eventually(here.waits)
    if not here.log.features.keyed_state:
        here.file(name).unlink()

    imported = await import_job(here.movable(name), tmp_path / "moved")
    assert imported == exported == read_manifest(tmp_path / "moved")
    await eventually(here.is_done, seconds=20)
    for one in (here, beside):
        assert one.running is not None
        await one.running.finish()
    assert await here.written(name) == await beside.written(name)
    assert kept.keys() >= {f"job/{name}/progress"}


@CASES
async def test_all_that_is_kept_is_the_same_after_an_export_and_an_import(
    here: Place, name: str, tmp_path: Path
) -> None:
    await here.fill(0, HALF, events(EVENTS))
    running = await here.start(name)
    await eventually(here.is_done)
    await running.stop()
    kept = await here.kept(name)
    assert any(namespace.endswith("/cells") for namespace in kept)
    exported = await export_job(here.movable(name), tmp_path / "moved")
    timers = sum(len(rows) for namespace, rows in kept.items() if namespace.endswith("/timers"))
    assert sum(one.timers for one in exported.steps.values()) == timers
    if not here.log.features.keyed_state:
        here.file(name).unlink()
    await import_job(here.movable(name), tmp_path / "moved")
    assert await here.kept(name) == kept
    again = await export_job(here.movable(name), tmp_path / "again")
    assert (again.steps, again.position, again.progress) == (exported.steps, exported.position, exported.progress)
    assert again.id != exported.id


async def test_a_job_without_state_is_only_where_it_is(here: Place, tmp_path: Path) -> None:
    made = events(60)
    await here.fill(0, 30, made)
    await here.start("cleaned")
    await eventually(here.is_done)
    await here.stop_job()
    exported = await export_job(here.movable("cleaned"), tmp_path / "moved")
    assert not exported.steps
    assert sum(exported.position.offsets.values()) >= 22
    await here.fill(30, 60, made)
    await import_job(here.movable("cleaned"), tmp_path / "moved")
    running = await here.start("cleaned")
    await eventually(here.is_done)
    assert running.report().read == 22


async def test_an_exported_job_waits_until_it_is_imported_or_taken_back(here: Place, tmp_path: Path) -> None:
    await here.fill(0, 30, events(60))
    await here.start("counted")
    await eventually(here.is_done)
    await here.stop_job()
    moved = here.movable("counted")
    await export_job(moved, tmp_path / "moved")
    await here.start("counted")
    control = moved.control
    with pytest.raises(ChangeRefused, match=r"was exported to be moved.*not started again"):
        await control.pause(paused=False, by="somebody")
    with pytest.raises(ChangeRefused, match="was exported to be moved"):
        await control.move(None, by="somebody")
    with pytest.raises(ChangeRefused, match="was exported before"):
        await export_job(moved, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    await eventually(here.waits)

    await control.pause(paused=False, by="somebody", force=True)
    assert here.running is not None
    here.running.look()
    await eventually(lambda: not here.waits())
    # It has gone on, so that the export is of the past.
    with pytest.raises(ChangeRefused, match="does not belong to this export any more"):
        await import_job(moved, tmp_path / "moved")


async def test_an_older_export_is_refused_and_taken_by_force(here: Place, tmp_path: Path) -> None:
    await here.fill(0, 30, events(60))
    await export_job(here.movable("counted"), tmp_path / "first")
    await import_job(here.movable("counted"), tmp_path / "first")
    await export_job(here.movable("counted"), tmp_path / "second")
    with pytest.raises(ChangeRefused, match="exported again since"):
        await import_job(here.movable("counted"), tmp_path / "first")
    await import_job(here.movable("counted"), tmp_path / "first", force=True)
    assert not (await here.movable("counted").control.read()).exported


async def test_an_export_into_a_directory_in_use_lets_the_job_continue(here: Place, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "file").touch()
    with pytest.raises(ChangeRefused, match="is not empty"):
        await export_job(here.movable("counted"), tmp_path / "moved")
    assert not (await here.movable("counted").control.read()).exported


async def test_what_was_changed_is_not_imported(here: Place, tmp_path: Path) -> None:
    await here.fill(0, 30, events(60))
    running = await here.start("counted")
    await eventually(here.is_done)
    await running.stop()
    kept = await here.kept("counted")
    moved = tmp_path / "moved"
    exported = await export_job(here.movable("counted"), moved)
    part = moved / exported.parts[0].name
    whole = part.read_bytes()
    part.write_bytes(whole.replace(b"user-1", b"user-2", 1))
    with pytest.raises(StateMismatch, match="is not what was exported"):
        await import_job(here.movable("counted"), moved)
    assert await here.kept("counted") == kept
    with pytest.raises(StateMismatch, match="of the job counted, not of cleaned"):
        await import_job(here.movable("cleaned"), moved)
    with pytest.raises(StateMismatch, match="is not what was exported"):
        sums_of(moved, exported)
    part.write_bytes(whole)
    assert sums_of(moved, exported) == dict(exported.steps)
    await import_job(here.movable("counted"), moved)
    assert await here.kept("counted") == kept
