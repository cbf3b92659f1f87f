"""What Flink cannot run is said at once, each reason a clause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.config import Config, load_config
from headwater.jobs import Context, Job, Retry, job, table, tumbling
from headwater.processing.flink.features import unsupported_reasons


def config(log: str = "kafka://kafka:9092") -> Config:
    return load_config(Path(), environment={}, overrides={"log.url": log})


@job(source="sold", sink="counted:1.0.0", key="shop", state=int)
def counted(event: dict[str, Any], context: Context) -> dict[str, Any]:
    return event


@job(source="sold", sink="called:1.0.0", retry=Retry(park="1m"))
async def parked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    return event


@job(source="sold", sink="per_minute:1.0.0", key="shop", window=tumbling("1m").count("sales"))
def per_minute(window: Any, context: Context) -> dict[str, Any]:
    return {}


sold = table("sold", source="sold", columns={"shop": "text"}, key="shop")


def test_a_job_with_state_and_streams_runs_there() -> None:
    assert unsupported_reasons(counted, config()) == ()


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (parked, "it parks events"),
        (per_minute, "its timers are to fire while no events come"),
        (sold, "it fills a table"),
    ],
)
def test_what_it_lacks_is_said(refused: Job, says: str) -> None:
    (reason,) = unsupported_reasons(refused, config())
    assert says in reason


def test_the_log_is_a_reason_before_all_others() -> None:
    first, second = unsupported_reasons(parked, config("sqlite:///var/events.db"))
    assert "SQLite" in first
    assert "it parks events" in second
