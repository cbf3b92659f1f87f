"""The comparison with other engines expects of them what Headwater's own jobs make of its events."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "benchmarks"), str(REPOSITORY / "benchmarks/comparison")]

import headwater_job  # noqa: E402
import work  # noqa: E402


@pytest.mark.parametrize("task", work.TASKS)
def test_jobs_of_the_comparison_give_the_expected_results(task: str, tmp_path: Path) -> None:
    inputs = ("left", "right") if task == "joined" else ("in",)
    run = work.Run(task, 2_500, 1_764_400_020_000, inputs, "out", "", str(tmp_path))
    project = tmp_path / "project"
    project.mkdir()
    headwater_job.write_project(project, task, f"sqlite:///{tmp_path}/events.db", 0)

    async def results() -> list[object]:
        await headwater_job.fill(project, run)
        await headwater_job.process(project, run.count * len(inputs))
        return await headwater_job.results(project)

    assert work.checked(run, asyncio.run(results())) == work.expected(run)
    assert work.expected(run)[0] > 0
