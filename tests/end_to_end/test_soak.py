"""A short soak: nothing is left behind by clients that come and go, and a leak is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.testing.soak.run import SoakReport, SoakSettings, soak

pytestmark = pytest.mark.measures

SECONDS = 20.0
EVENTS_PER_SECOND = 300.0
# Caches still fill in so short a time. What is over it are leaks of kilobytes an event or of bodies of requests.
MEGABYTES_PER_HOUR_MAX = 8_000.0
LEAK_BYTES = 20_000


async def run(directory: Path, **settings: int) -> SoakReport:
    asked = SoakSettings(
        SECONDS,
        warm_up_seconds=SECONDS / 3,
        events_per_second=EVENTS_PER_SECOND,
        megabytes_per_hour_max=MEGABYTES_PER_HOUR_MAX,
        # Other tests run beside it.
        health_seconds_max=20.0,
        **settings,
    )
    report = await soak(directory, asked, say=print)
    print(report.memory, report.visits, report.problems)
    return report


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_clients_that_come_and_go_leave_nothing(tmp_path: Path) -> None:
    report = await run(tmp_path)
    assert report.problems == []
    assert report.observed.accepted > 0
    assert len(report.visits) == 11


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_leak_is_noticed(tmp_path: Path) -> None:
    report = await run(tmp_path, leak_bytes=LEAK_BYTES)
    assert any(problem.startswith("memory grows by ") for problem in report.problems), report.memory
