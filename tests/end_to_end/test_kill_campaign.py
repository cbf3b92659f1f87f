"""A whole platform that is killed again and again stores, processes and counts every order once."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from headwater.testing.campaign.campaign import Campaign

KILLS = int(os.environ.get("HEADWATER_CAMPAIGN_KILLS", "8"))


@pytest.mark.slow
@pytest.mark.timeout(400 + 30 * KILLS)
async def test_everything_is_stored_processed_and_counted_once_whatever_is_killed(tmp_path: Path) -> None:
    # Another one each time, since a seed does not make kills fall at the same moments anyway. It is in the report.
    report = await Campaign(tmp_path, random.randrange(1_000_000)).run(KILLS, say=print)
    print(report)
    assert report.problems == []
    assert report.kills == KILLS
    assert report.requests_repeated > 0
    assert report.orders_accepted > 0
    assert report.orders_refused > 0
    assert report.canaries > 0
    assert report.hours_compared > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_campaign_finds_orders_that_are_stored_twice(tmp_path: Path) -> None:
    # Two of its clients send the same orders: without the duplicate window both are stored, killed or not.
    report = await Campaign(tmp_path, 1, {"intake.dedupe_window_seconds": "0"}).run(1, say=print)
    assert any("is stored 2 times: orders/" in problem for problem in report.problems), report
