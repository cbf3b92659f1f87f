"""The whole platform of the project that `headwater init` makes: events in, refusals, jobs, tables, a clean stop."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.config import Config, load_config
from headwater.errors import ConfigInvalid, JobInvalid
from headwater.intake.outcome import Accepted, Refused
from headwater.jobs import table
from headwater.jobs.flow import in_order_of_flow
from headwater.jobs.job import Job, ToStream
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually

TEMPLATE = Path(__file__).resolve().parents[2] / "src" / "headwater" / "cli" / "template"


def edit(title: str, time: str, **more: Any) -> dict[str, Any]:
    return {
        "$schema": "/demo/edit/1.0.0",
        "meta": {"stream": "demo.edit"},
        "dt": f"2023-11-14T{time}Z",
        "wiki": "enwiki",
        "title": title,
        "user": "Ada",
        "bot": False,
        "bytes": 10,
        **more,
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return shutil.copytree(TEMPLATE, tmp_path / "project")


@pytest.fixture
def config(project: Path, log_url: str) -> Config:
    return load_config(project, environment={}, overrides={"log.url": log_url})


@pytest.fixture
async def platform(config: Config) -> AsyncIterator[Platform]:
    platform = build(config)
    await platform.start()
    yield platform
    await platform.stop()


async def rows(platform: Platform) -> dict[str, list[dict[str, Any]]]:
    return {
        view.name: [dict(zip(view.columns, row, strict=True)) for row in view.rows]
        for view in await platform.read_tables(100)
    }


async def test_events_become_rows_and_refusals_become_error_events(platform: Platform) -> None:
    outcomes = await platform.intake.write(
        [edit("River", "20:00:01"), edit("Sea", "20:00:02"), edit("River", "20:00:03"), edit("Lake", "soon")]
    )
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, Accepted, Refused]
    await platform.finish_jobs()
    found = await rows(platform)
    assert {(row["title"], row["edits"]) for row in found["most_edited_pages"]} == {("River", 2), ("Sea", 1)}
    (minute,) = found["edits_per_minute"]
    assert (minute["window_start"], minute["edits"], minute["bytes"]) == ("2023-11-14T20:00:00Z", 3, 30)
    error_stream = platform.streams.get(platform.config.intake.error_stream_name)
    assert len(await platform.log.read(await platform.log.first(error_stream.topics))) == 1


async def test_a_stopped_platform_starts_again_where_it_was(config: Config) -> None:
    for start in range(3):
        platform = build(config)
        await platform.start()
        await platform.intake.write([edit("River", f"20:0{start}:01")])
        await asyncio.sleep(0.1)
        await platform.stop()
        await platform.stop()
    platform = build(config)
    await platform.start(run_jobs=False)
    await platform.finish_jobs()
    assert [row["edits"] for row in (await rows(platform))["most_edited_pages"]] == [3]
    assert len((await rows(platform))["edits_per_minute"]) == 3
    await platform.stop()


async def test_every_job_has_an_error_stream_and_every_topic_exists(platform: Platform) -> None:
    topics = {info.name for info in await platform.log.topics()}
    for name, runner in platform.runners.items():
        assert f"{name}.error" in platform.streams
        assert f"{name}.error" in topics
        assert runner.report().state in ("starting", "running")
    assert {topic for stream in platform.streams.all() for topic in stream.topics} <= topics


async def test_streams_without_their_own_retention_get_the_projects(platform: Platform) -> None:
    topics = [info for info in await platform.log.topics() if not info.name.startswith("headwater.")]
    kept = {info.name: info.settings.retention_seconds for info in topics}
    declared = {stream.topics[0]: stream.retention_seconds for stream in platform.streams.all()}
    default = platform.config.log.retention_seconds_default
    assert kept == {topic: seconds or default for topic, seconds in declared.items()}


async def test_a_job_that_fails_again_and_again_does_not_disturb_the_others(project: Path, config: Config) -> None:
    (project / "jobs" / "broken.py").write_text(
        "from headwater.jobs import job\n"
        "@job(source='demo.edit', sink='nowhere')\n"
        "def broken(event, context):\n    return event\n"
    )
    platform = build(config)
    await platform.start()
    try:
        await platform.intake.write([edit("River", "20:00:01")])
        await eventually(lambda: platform.runners["page_edits"].report().read == 1)
        report = platform.runners["broken"].report()
        assert report.state == "restarting"
        assert report.last_error is not None
        assert "StreamUnknown" in report.last_error
    finally:
        await platform.stop()


SORTED = """
from headwater.jobs import job

@job(source="demo.edit", outputs=("large", "demo.page_edits:1.0.0"), settings={"limit": 5})
def sorted_edits(edit, context):
    if edit["bytes"] > context.settings["limit"]:
        context.emit(edit, to="large")
    context.emit({"dt": edit["dt"], "wiki": edit["wiki"], "title": edit["title"], "edits": 1}, to="demo.page_edits")
"""


async def test_a_job_with_several_outputs_is_known_to_all_of_the_platform(project: Path, log_url: str) -> None:
    (project / "jobs" / "sorted.py").write_text(SORTED, encoding="utf-8")
    (project / "streams" / "large.yaml").write_text("stream: large\nschema_title: demo/edit\n", encoding="utf-8")
    overrides = {"log.url": log_url, "jobs.settings": {"sorted_edits": {"limit": 100}}}
    platform = build(load_config(project, environment={}, overrides=overrides))
    await platform.start()
    try:
        await platform.intake.write([edit("River", "20:00:01"), edit("Sea", "20:00:02", bytes=200)])
        await platform.finish_jobs()
        report = platform.runners["sorted_edits"].report()
        assert (report.read, report.written, report.emitted) == (2, 3, {"large": 1, "demo.page_edits": 2})
        totals = platform._job_totals()
        # The job of the template writes into one of the streams, too.
        assert (totals["large"], totals["demo.page_edits"]) == (1, 4)
        found = await platform.log.read(await platform.log.first(["large"]))
        assert [orjson.loads(record.value)["title"] for record in found] == ["Sea"]
    finally:
        await platform.stop()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\ny = (", r"broken\.py:2: SyntaxError"),
        ("import nothing_of_this_name", r"broken\.py:1: ModuleNotFoundError"),
        ("from headwater.jobs import job\n\n@job(source='s', state=int)\ndef f(e, c): ...", "has no key"),
        (
            "from headwater.jobs import table\nt = table('most_edited_pages', source='s', columns={'a': 'text'})",
            r"edits\.py:\d+: There is another job table\.most_edited_pages, at jobs/broken\.py:2",
        ),
    ],
)
def test_a_job_file_that_cannot_be_used_is_named(project: Path, text: str, complaint: str) -> None:
    (project / "jobs" / "broken.py").write_text(text)
    with pytest.raises(JobInvalid, match=complaint):
        build(load_config(project, environment={}))


def test_a_project_without_streams_and_jobs_can_be_built(tmp_path: Path) -> None:
    platform = build(load_config(tmp_path, environment={}))
    assert platform.runners == {}
    assert platform.streams.names() == (platform.config.intake.error_stream_name,)


def test_a_table_file_of_an_unknown_kind_is_refused(project: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"\.duckdb"):
        build(load_config(project, environment={}, overrides={"jobs.tables_path": "var/tables.txt"}))


def test_jobs_come_after_those_whose_streams_they_read() -> None:
    first = Job("first", ("a",), output=ToStream("b"))
    second = Job("second", ("b",), output=ToStream("c"))
    last = table("last", source=["c", "b"], columns={"x": "text"})
    assert [job.name for job in in_order_of_flow([last, second, first])] == ["first", "second", "table.last"]
    circle = Job("circle", ("c",), output=ToStream("a"))
    with pytest.raises(JobInvalid, match="circle"):
        in_order_of_flow([first, second, circle])
