"""`headwater job list` and `job show` over a project with a log, and without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from headwater.cli.main import main
from headwater.config import load_config
from headwater.log.contract import Record
from headwater.platform import Platform
from headwater.processing.declarations import declarations


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init", "shop"]).exit_code == 0
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["job", *arguments])


def process(project: Path, *events: dict[str, object], then: tuple[dict[str, object], ...] = ()) -> None:
    """Let the jobs process `events`; those of `then` arrive afterwards."""

    async def work() -> None:
        config = load_config(project)
        platform = Platform(config, *declarations(config))
        await platform.start(run_jobs=False)
        try:
            await platform.log.append([Record("demo.edit", orjson.dumps(event)) for event in events])
            await platform.finish_jobs()
            if then:
                await platform.log.append([Record("demo.edit", orjson.dumps(event)) for event in then])
        finally:
            await platform.stop()

    asyncio.run(work())


def edit(number: int, **fields: object) -> dict[str, object]:
    dt = f"2026-01-01T00:00:{number:02}Z"
    meta = {"stream": "demo.edit", "id": f"edit-{number}", "dt": dt}
    event = {"$schema": "/demo/edit/1.0.0", "meta": meta, "dt": dt, "wiki": "enwiki", "title": f"Page {number}"}
    return {**event, "user": "Ada", "bot": False, "bytes": 1, **fields}


def test_jobs_are_listed_and_drawn_without_a_log(project: Path) -> None:
    listed = run("list")
    assert listed.exit_code == 0
    assert "page_edits" in listed.stdout
    assert "demo.edit → demo.page_edits" in listed.stdout
    assert "There is no log" in listed.stderr
    shown = run("show", "page_edits")
    assert shown.exit_code == 0
    assert "state per key\n" in shown.stdout


def test_lag_state_and_rows_are_those_of_the_log(project: Path) -> None:
    process(project, edit(1), edit(2), edit(3), then=(edit(4), edit(5)))
    found = {one["name"]: one for one in map(orjson.loads, run("list", "--json").stdout.splitlines())}
    assert {name: found["page_edits"][name] for name in ("lag", "errors", "state_keys")} == {
        "lag": 2,
        "errors": 0,
        "state_keys": 3,
    }
    shown = run("show", "page_edits").stdout
    assert "demo.edit          stream, demo/edit, 5 events, lag 2" in shown
    assert "state per key: 3 keys" in shown
    assert "table, 3 rows" in run("show", "table.most_edited_pages").stdout


def test_a_picture_is_written_and_an_unknown_job_gets_the_nearest(project: Path) -> None:
    assert run("show", "page_edits", "--output", "job.svg").exit_code == 0
    assert Path("job.svg").read_text().startswith("<svg ")
    assert run("show", "page_edits", "--output", "job.mmd").exit_code == 0
    assert Path("job.mmd").read_text().startswith("flowchart TD\n")
    refused = run("show", "page_edit")
    assert refused.exit_code == 2
    assert 'Did you mean "page_edits"?' in refused.output or 'Did you mean "page_edits"?' in refused.stderr
