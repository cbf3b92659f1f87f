"""Answers that are made in threads while the streams change are each of one moment, and none fails."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from end_to_end.test_streams_api import key, running, written_project
from headwater.platform import Platform

SECONDS = 4.0
CLIENTS_EACH = 2
SITES = ("", "&site=en", "&site=de&realm=a", "&site=fr")
OTHERS = (
    *("/", "/?spec", "/?doc", "/readyz", "/metrics", "/v1/_page/state", "/v1/streams/views?site=en"),
    *("/asyncapi.json", "/asyncapi/views.json", "/subjects", "/schemas", "/subjects/note/versions/latest"),
    *("/repositories/", "/repositories/all/jsonschema/", "/repositories/all/jsonschema/note/1.0.0.json"),
    *("/v1/stream-configs", "/v1/stream-configs/clicks,views", "/w/api.php?action=streamconfigs&format=json"),
    *("/v1/canaries", "/monitoring", "/v1/completeness?stream=views", "/v1/reconciliation"),
)


@pytest.fixture(autouse=True)
def often_another_thread() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Platform, httpx.AsyncClient]]:
    async with running(written_project(tmp_path)) as both:
        yield both


def rule(number: int) -> dict[str, Any]:
    """What revision `number` is to be: the rate says which one it is, now and in an hour."""
    later = datetime.fromtimestamp(int(time.time()) + 3600, UTC).isoformat().replace("+00:00", "Z")
    sample = {"unit": "session", "rate": number / 1e6}
    then = {"unit": "session", "rate": (number + 500_000) / 1e6}
    return {
        "reason": "a test",
        "put": [
            {"id": "now", "stream": "clicks", "set": {"produce": {"sample": sample}}},
            {"id": "then", "stream": "clicks", "set": {"produce": {"sample": then}}, "when": {"from": later}},
        ],
    }


def rates(streams: dict[str, Any]) -> list[float]:
    """Every rate anywhere in the description of the stream."""
    found: list[float] = []

    def look(value: Any) -> None:
        for name, one in value.items() if isinstance(value, dict) else ():
            if name == "rate":
                found.append(one)
            look(one)

    look(streams["clicks"])
    return found


class Asking:
    """Clients that change streams and ask for answers at once, and what was wrong with those."""

    def __init__(self, platform: Platform, client: httpx.AsyncClient) -> None:
        self.platform, self.client = platform, client
        self.until = time.monotonic() + SECONDS
        self.wrong: list[str] = []
        self.asked = self.changed = 0

    async def change(self) -> None:
        headers = key(self.platform)
        while time.monotonic() < self.until:
            number = self.platform.control.state.number + 1
            answer = await self.client.post("/v1/stream-changes", json=rule(number), headers=headers)
            self.changed += answer.status_code == 201
            # One key may change so much a minute.
            headers = headers if answer.status_code == 201 else key(self.platform)

    async def list_streams(self, site: str) -> None:
        while time.monotonic() < self.until:
            answer = await self.client.get(f"/v1/streams?audience=browser{site}&n={self.asked % 3}")
            self.asked += 1
            self.compare(orjson.loads(answer.content))

    def compare(self, body: dict[str, Any]) -> None:
        number = body["revision"]
        now, soon = rates(body["streams"]), [rates(one["streams"]) for one in body.get("upcoming", [])]
        if number and (now, soon) != ([number / 1e6], [[(number + 500_000) / 1e6]]):
            self.wrong.append(f"revision {number} with {now} and {soon}")

    async def ask(self, paths: tuple[str, ...]) -> None:
        while time.monotonic() < self.until:
            for path in paths:
                answer = await self.client.get(path, follow_redirects=True)
                self.asked += 1
                if answer.status_code >= 500:
                    self.wrong.append(f"{path} {answer.status_code} {answer.text[:300]}")


async def test_answers_are_of_one_moment_while_streams_change(served: tuple[Platform, httpx.AsyncClient]) -> None:
    asking = Asking(*served)
    await asyncio.gather(
        asking.change(),
        *(asking.list_streams(site) for site in SITES for _ in range(CLIENTS_EACH)),
        asking.ask(OTHERS),
        asking.ask(tuple(reversed(OTHERS))),
    )
    assert asking.wrong == []
    assert asking.changed > 5
    assert asking.asked > 5 * asking.changed
