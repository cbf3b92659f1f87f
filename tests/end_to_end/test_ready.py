"""Probes that come together are answered by one look at the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from end_to_end.test_streams_api import running, written_project
from headwater.log.contract import TopicInfo
from headwater.testing.eventually import eventually

PROBES = 20


async def test_probes_that_come_together_share_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(written_project(tmp_path)) as (platform, client):
        looks = 0
        may_end = asyncio.Event()
        topics = platform.log.topics

        async def held() -> Sequence[TopicInfo]:
            nonlocal looks
            looks += 1
            await may_end.wait()
            return await topics()

        monkeypatch.setattr(platform.log, "topics", held)
        probes = [asyncio.create_task(client.get("/readyz")) for _ in range(PROBES)]
        await eventually(lambda: looks)
        # One that goes away leaves the look to the others.
        probes.pop(0).cancel()
        may_end.set()
        assert {answer.status_code for answer in await asyncio.gather(*probes)} == {200}
        assert looks <= 2
        assert (await client.get("/readyz")).status_code == 200


async def test_an_inspection_that_takes_too_long_is_reported_and_ends_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(written_project(tmp_path)) as (platform, client):
        may_end = asyncio.Event()
        topics = platform.log.topics

        async def held() -> Sequence[TopicInfo]:
            await may_end.wait()
            return await topics()

        monkeypatch.setattr(platform.log, "topics", held)
        assert (await client.get("/readyz")).status_code == 503
        may_end.set()

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == httpx.codes.OK

        await eventually(ready)
