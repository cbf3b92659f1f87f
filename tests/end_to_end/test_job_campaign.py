"""Platforms whose jobs are of every kind are killed again and again, on both logs; what they made is exact."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from headwater.testing.job_campaign.campaign import LIVES_PER_INPUT, JobCampaign, JobCampaignReport, Uninterrupted

# Both logs together; an environment variable asks for more.
ROUNDS = int(os.environ.get("HEADWATER_JOB_CAMPAIGN_ROUNDS", "30")) // 2
# Of one input, so that both are compared with the same uninterrupted life. Another one each time: it is in the report.
SEED = random.randrange(100_000) * LIVES_PER_INPUT
UNINTERRUPTED: Uninterrupted = {}
EVENTS = 600


def check(report: JobCampaignReport) -> None:
    print(report)
    assert report.problems == []
    assert report.kills == ROUNDS
    assert report.outputs > report.events > 0
    assert report.lookups_failed


@pytest.mark.slow
@pytest.mark.timeout(300 + 30 * ROUNDS)
async def test_jobs_of_every_kind_are_exact_whatever_is_killed(tmp_path: Path) -> None:
    check(await JobCampaign(tmp_path, SEED, events_each=EVENTS, uninterrupted=UNINTERRUPTED).run(ROUNDS, say=print))


@pytest.mark.slow
@pytest.mark.timeout(300 + 30 * ROUNDS)
async def test_jobs_of_every_kind_are_exact_whatever_is_killed_on_kafka(tmp_path: Path, kafka_server: str) -> None:
    logs = [f"kafka://{kafka_server}"]
    campaign = JobCampaign(tmp_path, SEED + 1, logs=logs, events_each=EVENTS, uninterrupted=UNINTERRUPTED)
    check(await campaign.run(ROUNDS, say=print))
