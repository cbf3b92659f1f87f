"""A killed process loses nothing it has acknowledged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.testing.campaign.crash import run_campaign

KILLS = int(os.environ.get("HEADWATER_CRASH_KILLS", "30"))


@pytest.mark.slow
@pytest.mark.timeout(120 + 5 * KILLS)
def test_nothing_acknowledged_is_lost_and_nothing_is_invented_when_the_writer_is_killed(tmp_path: Path) -> None:
    report = run_campaign(tmp_path / "events.db", KILLS)
    print(report)
    assert report.problems == []
    assert report.kills == KILLS
    assert report.appends_acknowledged > KILLS
    assert report.records_read >= report.records_acknowledged


@pytest.mark.slow
def test_without_fsync_the_end_of_the_process_alone_loses_nothing_either(tmp_path: Path) -> None:
    report = run_campaign(tmp_path / "events.db", max(3, KILLS // 6), durability="os")
    assert report.problems == []
