"""The time to live of a state: the same results as an oracle, however the events are divided into batches."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.jobs import Context, Job, job
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit

TTL_SECONDS = 10
EVENTS = st.lists(st.tuples(st.integers(0, 8), st.sampled_from("ab"), st.booleans()), min_size=1, max_size=12)


def counting() -> Job:
    @job(source="in", sink="out", key="k", state=int, state_ttl=f"{TTL_SECONDS}s")
    def counts(event: dict[str, Any], context: Context) -> Any:
        context.state = None if event["forgets"] else context.state + 1
        return {"$schema": "/out/1.0.0", "k": event["k"], "value": context.state}

    return counts


def expected(events: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    """Of events in order of time: a key's state is gone once no event of it came for the time to live."""
    kept: dict[str, tuple[int, int]] = {}
    found = []
    for event in events:
        count, last = kept.pop(event["k"], (0, event["at"]))
        count = 0 if event["at"] - last >= TTL_SECONDS else count
        if not event["forgets"]:
            kept[event["k"]] = (count + 1, event["at"])
        found.append((event["k"], None if event["forgets"] else count + 1))
    return found


async def processed(runs: list[list[dict[str, Any]]]) -> list[tuple[str, int | None]]:
    kit = JobKit(counting())
    await kit.open()
    running, put = asyncio.create_task(kit.runner.run()), 0

    async def is_done() -> bool:
        return len(await kit.events()) >= put

    for events in runs:
        put += len(events)
        await kit.put(*events)
        await eventually(is_done)
    kit.runner.stop()
    await running
    assert await kit.errors() == []
    return [(event["k"], event["value"]) for event in await kit.events()]


@settings(max_examples=20)
@given(EVENTS, st.lists(st.integers(1, 4), max_size=6))
def test_a_state_lives_as_long_as_the_oracle_says(drawn: list[tuple[int, str, bool]], sizes: list[int]) -> None:
    events, at = [], 0
    for pause, key, forgets in drawn:
        at += pause
        time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
        events.append({"meta": {"dt": time.isoformat()}, "k": key, "at": at, "forgets": forgets})
    runs, left = [], list(events)
    for size in [*sizes, len(left)]:
        runs.append(left[:size])
        left = left[size:]
    assert asyncio.run(processed([run for run in runs if run])) == expected(events)
