"""Processes that leave the writing of the log to another lose and double nothing, whoever of them is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.testing.campaign.linked import run_linked_campaign

KILLS = int(os.environ.get("HEADWATER_LINKED_KILLS", "10"))


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * KILLS)
def test_no_commit_is_lost_or_doubled_when_members_or_the_writer_are_killed(tmp_path: Path) -> None:
    report = run_linked_campaign(tmp_path / "events.db", KILLS)
    print(report)
    assert report.problems == []
    assert sum(report.kills.values()) == KILLS
    # One that was stopped and replaced finds that it is fenced when it continues, unless it is ended before.
    assert report.fenced <= report.kills.get("stopped and replaced", 0)
    assert report.acknowledged > KILLS
    assert report.appends_stored >= report.acknowledged
