"""`headwater job rescale` where it cannot be done while the job runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headwater.cli.init import write_project
from headwater.cli.job.on_cluster import OnCluster
from headwater.cli.main import main


def test_without_the_adaptive_scheduler_the_commands_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_adaptive(cluster: Any, job: Any) -> bool:
        return False

    monkeypatch.setattr("headwater.processing.flink.cluster.rescaling.is_adaptive", not_adaptive)
    monkeypatch.setattr(OnCluster, "do", lambda self, what: asyncio.run(what(None, None)))
    write_project(tmp_path / "mine")
    words = ("job", "rescale", "page_edits", "4", "--project", str(tmp_path / "mine"), "--flink", "http://flink:8081")
    done = CliRunner().invoke(main, words)
    assert done.exit_code != 0
    # Options of the run would be lost if it were started again for the user.
    shown = " ".join(done.stderr.split())
    assert "headwater job stop page_edits" in shown
    assert "headwater job run page_edits --on flink://flink:8081 --parallelism 4 --from-savepoint PATH" in shown
