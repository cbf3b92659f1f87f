"""Clients that repeat what was not answered store nothing twice, however often the intake is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.testing.campaign.repeats import run_campaign

KILLS = int(os.environ.get("HEADWATER_CRASH_KILLS", "30"))


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * KILLS)
def test_no_event_is_stored_twice_when_clients_repeat_after_kills(tmp_path: Path) -> None:
    report = run_campaign(tmp_path / "events.db", KILLS)
    print(report)
    assert report.problems == []
    assert report.kills == KILLS
    assert report.requests_answered > KILLS
