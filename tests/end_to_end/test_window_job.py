"""Real edits of one day through the intake, an hourly window job and a table: the counts equal the golden ones."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.config import load_config
from headwater.connectors.tables import TableView
from headwater.intake.outcome import Accepted
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually_blocking


@pytest.fixture(scope="module")
def edits(fixtures_dir: Path) -> list[dict[str, Any]]:
    with gzip.open(fixtures_dir / "wikimedia" / "derived" / "recentchange_2016-06-27.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture
def project(tmp_path: Path, hourly_project: Callable[..., None], log_url: str) -> Callable[..., Platform]:
    """Makes a platform of the project with Wikimedia's schemas, the stream of edits and the job."""

    def made(tables: str = "var/tables.db", lateness: str = "0s", partitions: int = 1) -> Platform:
        hourly_project(tmp_path, lateness=lateness, partitions=partitions)
        overrides = {"jobs.tables_path": tables, "log.url": log_url}
        return build(load_config(tmp_path, environment={}, overrides=overrides))

    return made


async def write(platform: Platform, edits: list[dict[str, Any]]) -> int:
    accepted = 0
    for start in range(0, len(edits), 1000):
        outcomes = await platform.intake.write(edits[start : start + 1000])
        accepted += sum(isinstance(outcome, Accepted) for outcome in outcomes)
    return accepted


def as_golden(view: TableView) -> list[dict[str, Any]]:
    rows = [dict(zip(view.columns, row, strict=True)) for row in view.rows]
    return sorted(rows, key=lambda row: (row["window_start"], row["wiki"]))


@pytest.mark.parametrize("tables", ["var/tables.db", "var/tables.duckdb"])
async def test_hourly_counts_of_a_day_of_edits_equal_the_golden_ones(
    project: Callable[..., Platform], edits: list[dict[str, Any]], golden: list[dict[str, Any]], tables: str
) -> None:
    platform = project(tables)
    await platform.start(run_jobs=False)
    try:
        assert await write(platform, edits) == len(edits)
        await platform.finish_jobs()
        assert as_golden(platform.tables["edits_per_wiki"].view(10_000)) == golden
        assert platform.runners["hourly"].report().late == 0
    finally:
        await platform.stop()


async def test_a_running_job_comes_to_the_same_counts_although_half_the_day_arrives_a_day_late(
    project: Callable[..., Platform], edits: list[dict[str, Any]], golden: list[dict[str, Any]]
) -> None:
    platform = project(lateness="2d", partitions=3)
    await platform.start()
    try:
        table = platform.tables["edits_per_wiki"]
        assert await write(platform, edits) == len(edits)
        await asyncio.to_thread(eventually_blocking, lambda: as_golden(table.view(10_000)) == golden)
        reports = {name: runner.report() for name, runner in platform.runners.items()}
        assert (reports["hourly"].read, reports["hourly"].late, reports["hourly"].errors) == (len(edits), 0, 0)
        assert {report.state for report in reports.values()} == {"running"}
    finally:
        await platform.stop()
