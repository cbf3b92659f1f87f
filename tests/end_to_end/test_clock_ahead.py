"""A producer whose clock runs ahead makes no other event late, on either log, whichever way its events come in."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.config import load_config
from headwater.intake.outcome import Accepted
from headwater.log.contract import Record
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually
from headwater.times import time_ms, utc_milliseconds

TEMPLATE = Path(__file__).resolve().parents[2] / "src" / "headwater" / "cli" / "template"
HOUR_MS = 3_600_000
AHEAD_MS = {"10 minutes": 600_000, "50 minutes": 3_000_000, "70 minutes": 4_200_000, "a century": 100 * 8766 * HOUR_MS}


@pytest.fixture
async def platform(tmp_path: Path, log_url: str) -> AsyncIterator[Platform]:
    project = shutil.copytree(TEMPLATE, tmp_path / "project")
    for file in (project / "streams").glob("*.yaml"):
        file.write_text(file.read_text().replace("partitions: 2", "partitions: 1"))
    overrides = {"log.url": log_url, "monitoring.canaries": False}
    platform = build(load_config(project, environment={}, overrides=overrides))
    await platform.start()
    yield platform
    await platform.stop()


def now_ms() -> int:
    return int(time.time() * 1000)


def edit(said: str, wiki: str = "enwiki") -> dict[str, Any]:
    return {
        "$schema": "/demo/edit/1.0.0",
        "meta": {"stream": "demo.edit"},
        "dt": said,
        "wiki": wiki,
        "title": "River",
        "user": "Ada",
        "bot": False,
        "bytes": 1,
    }


async def write(platform: Platform, *said: str) -> None:
    """Each event in a batch of its own for the job, so that the watermark has moved on before the next."""
    for text in said:
        read = platform.runners["edits_per_minute"].report().read
        [outcome] = await platform.intake.write([edit(text)])
        assert isinstance(outcome, Accepted)
        await eventually(lambda read=read: platform.runners["edits_per_minute"].report().read > read)  # type: ignore[misc]


def watermark_ms(platform: Platform) -> int:
    return time_ms(platform.runners["edits_per_minute"].report().watermark or "") or 0


@pytest.mark.parametrize("ahead", [*AHEAD_MS, "the year 9999"])
async def test_events_of_the_present_are_on_time_after_one_from_later(platform: Platform, ahead: str) -> None:
    later = "9999-12-31T23:59:60z" if ahead == "the year 9999" else utc_milliseconds(now_ms() + AHEAD_MS[ahead])
    await write(platform, utc_milliseconds(now_ms()), later)
    assert watermark_ms(platform) <= now_ms()
    await write(platform, utc_milliseconds(now_ms()), utc_milliseconds(now_ms()))
    report = platform.runners["edits_per_minute"].report()
    assert (report.read, report.late, report.errors) == (4, 0, 0)


async def test_records_that_another_program_dates_in_the_future_make_no_event_late(platform: Platform) -> None:
    await write(platform, utc_milliseconds(now_ms()))
    # A broker refuses what is more than an hour ahead.
    later = now_ms() + HOUR_MS * 5 // 6
    event = edit(utc_milliseconds(later))
    runner = platform.runners["edits_per_minute"]
    headers: tuple[tuple[tuple[str, bytes], ...], ...] = ((), (("dt", event["dt"].encode()),))
    for number, given in enumerate(headers):
        key = orjson.dumps({"wiki": "enwiki"})
        await platform.log.append([Record("demo.edit", orjson.dumps(event), key, given, timestamp_ms=later)])
        await eventually(lambda read=2 + number: runner.report().read >= read)  # type: ignore[misc]
        assert watermark_ms(platform) <= now_ms()
    await write(platform, utc_milliseconds(now_ms()))
    assert (runner.report().read, runner.report().late) == (4, 0)
