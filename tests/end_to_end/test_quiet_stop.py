"""A platform that is stopped says nothing that would frighten people, whichever database its tables are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.testing.whole_platform.process import UpProcess
from headwater.testing.whole_platform.project import ProjectSettings, write_whole_project

SECONDS_MAX = 60.0


@pytest.mark.parametrize("tables", ["tables.db", "tables.duckdb"])
def test_nothing_is_printed_between_the_address_and_the_end(tmp_path: Path, tables: str) -> None:
    write_whole_project(tmp_path, ProjectSettings())
    up = UpProcess(tmp_path, {"jobs.tables_path": f"var/{tables}"})
    try:
        assert up.address(SECONDS_MAX) is not None, up.printed()
        assert up.stop(SECONDS_MAX)
    finally:
        up.kill()
    assert up.exit_code == 0
    assert up.printed().strip().count("\n") == 0, up.printed()
