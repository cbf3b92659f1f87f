"""The browser client on real pages of another origin: every event arrives once, and settings are followed live."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from playwright.async_api import BrowserContext, Page, Route, async_playwright

from headwater.testing.notes import note_schema
from headwater.testing.service_kit import served_project, write_project

pytestmark = pytest.mark.browser

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
TEXTS = {name: {"type": "string"} for name in ("stream", "id", "dt", "domain")}
SCHEMA = note_schema(
    dt={"type": "string"}, meta={"type": "object", "properties": {**TEXTS, "sample": {"type": "object"}}}
)
SAMPLED = {"unit": "session", "rate": 1, "algorithm": "hash64"}
STREAMS = [
    {"stream": "notes", "schema_title": "note"},
    {"stream": "sampled", "schema_title": "note", "produce": {"sample": SAMPLED}},
]
QUICK = "lingerSeconds: 0.05, backoffSecondsFirst: 0.05, backoffSecondsMax: 0.2"
TOLD = """
import { createProducer } from "%s/clients/headwater.js";
window.told = { refused: [], dropped: [], warnings: [], settings: [] };
window.make = (options) => {
    window.producer = createProducer({
        url: "%s", onRefused: (one) => told.refused.push(one), onDropped: (one) => told.dropped.push(one),
        onWarning: (text) => told.warnings.push(text), onSettings: (revision) => told.settings.push(revision),
        ...options,
    });
};
window.note = (stream, text) => window.producer.submit(stream, { $schema: "/note/1.0.0", text });
window.ready = true;
"""


@dataclass
class World:
    """A platform, and pages of another origin that use its client."""

    address: str
    key: str
    context: BrowserContext
    origin: str

    async def page(self, options: str = "") -> Page:
        """A new page with a producer."""
        page = await self.context.new_page()
        await self.visit(page, options)
        return page

    async def visit(self, page: Page, options: str = "") -> None:
        await page.goto(f"{self.origin}/page.html")
        await page.wait_for_function("window.ready")
        await page.evaluate(f"make({{ {QUICK}, {options} }})")

    async def stored(self, stream: str, until: str) -> list[dict[str, Any]]:
        """The events of a stream from its beginning up to the one whose text is `until`."""
        found: list[dict[str, Any]] = []
        url = f"{self.address}/v2/stream/{stream}?since=2020-01-01T00:00:00Z"
        accept = {"accept": "application/x-ndjson"}
        client = httpx.AsyncClient(timeout=20)
        async with asyncio.timeout(15), client, client.stream("GET", url, headers=accept) as answer:
            async for line in answer.aiter_lines():
                if line.strip():
                    found.append(orjson.loads(line))
                    if found[-1]["text"] == until:
                        return found
        raise AssertionError("the stream ended")

    async def texts(self, stream: str) -> list[str]:
        """The texts of all events there are now, in order."""
        end = {"$schema": "/note/1.0.0", "meta": {"stream": stream}, "text": "end"}
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.address}/v1/events", json=end)).raise_for_status()
        return [event["text"] for event in (await self.stored(stream, "end"))[:-1]]

    async def change(self, path: str, body: dict[str, Any]) -> None:
        headers = {"authorization": f"Bearer {self.key}"}
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.post(f"{self.address}/v1/stream-changes{path}", json={"reason": "a test", **body})
        assert answer.status_code == 201, answer.text

    async def set_rate(self, rate: float, **when: str) -> None:
        sample = {"produce": {"sample": {**SAMPLED, "rate": rate}}}
        await self.change("", {"put": [{"id": f"rate {when}", "stream": "sampled", "set": sample, "when": when}]})


@contextlib.contextmanager
def _site(directory: Path) -> Iterator[str]:
    """A web server with the files of a directory: another origin than the platform's."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method it replaces
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
async def world(tmp_path: Path, chromium_executable: str) -> AsyncIterator[World]:
    project, site = tmp_path / "project", tmp_path / "site"
    write_project(project, [SCHEMA], STREAMS)
    site.mkdir()
    with served_project(project) as (address, platform), _site(site) as origin:
        script = TOLD % (address, address)
        page = f'<!DOCTYPE html><title>A page</title><script type="module">{script}</script>'
        (site / "page.html").write_text(page, encoding="utf-8")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium_executable, args=ARGUMENTS)
            context = await browser.new_context()
            # A browser whose last page is closed may end.
            await context.new_page()
            key = platform.keys.create("tests", ["streams:write", "streams:kill"])
            yield World(address, key, context, origin)
            await browser.close()


def test_the_client_is_served_to_every_origin_as_it_is_in_the_repository(tmp_path: Path, repository: Path) -> None:
    write_project(tmp_path, [SCHEMA], STREAMS)
    with served_project(tmp_path, intake={"cors": None}) as (address, _):
        for name, kind in (("headwater.js", "text/javascript"), ("headwater.d.ts", "text/plain")):
            answer = httpx.get(f"{address}/clients/{name}")
            assert answer.content == (repository / "clients" / "js" / name).read_bytes()
            assert answer.headers["content-type"].startswith(kind)
            assert answer.headers["access-control-allow-origin"] == "*"
            again = httpx.get(f"{address}/clients/{name}", headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304
        assert httpx.get(f"{address}/clients/%2e%2e%2fbrowser_client.py").status_code == 404


async def test_events_of_a_page_of_another_origin_arrive_complete_and_refusals_are_reported(world: World) -> None:
    page = await world.page()
    await page.evaluate("note('sampled', 'a'); note('sampled', 1); note('nowhere', 'b'); note('sampled', 'c')")
    first, last = await world.stored("sampled", "c")
    assert (first["text"], first["meta"]["domain"], first["meta"]["sample"]) == ("a", "127.0.0.1", SAMPLED)
    assert first["meta"]["id"] != last["meta"]["id"]
    assert await page.evaluate("producer.flush()")
    refused = await page.evaluate("told.refused")
    assert [one["event"]["text"] for one in refused] == [1]
    assert "should be string" in refused[0]["reason"]
    assert await page.evaluate("told.warnings") == ["The stream nowhere is not configured. No event will be sent"]
    assert (await page.evaluate("producer.statistics"))["accepted"] == 2


async def test_a_page_that_is_left_sends_what_it_has_by_beacon(world: World) -> None:
    page = await world.page("lingerSeconds: 1000")
    await page.wait_for_function("told.settings.length")
    await page.evaluate("note('notes', 'a'); note('notes', 'b')")
    await page.goto("about:blank")
    assert [event["text"] for event in await world.stored("notes", "b")] == ["a", "b"]


async def test_a_page_left_before_its_settings_came_sends_all_the_same(world: World) -> None:
    await world.context.route("**/v1/stream*", lambda route: asyncio.sleep(0))
    page = await world.page()
    await page.evaluate("note('notes', 'a')")
    async with page.expect_event("close"):
        await page.close(run_before_unload=True)
    assert [event["text"] for event in await world.stored("notes", "a")] == ["a"]


async def test_events_of_a_page_without_a_network_arrive_once_when_it_is_back(world: World) -> None:
    page = await world.page()
    await page.wait_for_function("told.settings.length")
    await world.context.set_offline(True)
    await page.evaluate("for (let n = 0; n < 120; n++) note('notes', String(n))")
    await page.wait_for_function("producer.statistics.repeated > 1")
    await world.context.set_offline(False)
    assert await page.evaluate("producer.flush()") or await page.evaluate("producer.flush()")
    assert await world.texts("notes") == [str(number) for number in range(120)]


async def test_lost_answers_and_a_busy_server_lose_and_double_nothing(world: World) -> None:
    fates = iter(["answer lost", "busy", "request lost", "answer lost"])
    seen: list[str] = []

    async def fate(route: Route) -> None:
        happens = next(fates, "well")
        seen.append(happens)
        if happens == "answer lost":
            await route.fetch()
        if happens == "well":
            await route.continue_()
        elif happens == "busy":
            allowed = {"access-control-allow-origin": "*", "access-control-expose-headers": "retry-after"}
            await route.fulfill(status=503, headers={"retry-after": "1", **allowed})
        else:
            await route.abort()

    page = await world.page("backoffSecondsMax: 5")
    await page.wait_for_function("told.settings.length")
    await page.route("**/v1/events", fate)
    began = asyncio.get_running_loop().time()
    await page.evaluate("for (let n = 0; n < 20; n++) note('notes', String(n))")
    await page.wait_for_function("producer.statistics.accepted === 20")
    assert asyncio.get_running_loop().time() - began > 1, "a server that says when is not asked before"
    assert seen == ["answer lost", "busy", "request lost", "answer lost", "well"]
    assert await world.texts("notes") == [str(number) for number in range(20)]


async def test_what_a_page_without_a_network_kept_is_sent_by_the_next_one(world: World) -> None:
    page = await world.page("persist: true")
    await page.wait_for_function("told.settings.length")
    await world.context.set_offline(True)
    await page.evaluate("note('notes', 'a'); note('notes', 'b')")
    async with page.expect_event("close"):
        await page.close(run_before_unload=True)
    await world.context.set_offline(False)
    next_page = await world.page("persist: true")
    await next_page.wait_for_function("producer.statistics.accepted === 2")
    assert await world.texts("notes") == ["a", "b"]
    assert await next_page.evaluate("Object.keys(localStorage).filter((key) => key.includes('queue'))") == []


async def test_a_changed_rate_and_the_kill_switch_reach_an_open_page_within_five_seconds(world: World) -> None:
    page = await world.page("pollSeconds: 1000")
    await page.wait_for_function("told.settings.length === 1")
    await page.evaluate("note('sampled', 'before')")
    await world.set_rate(0)
    await page.wait_for_function("told.settings.at(-1) === 1", timeout=5000)
    await page.evaluate("note('sampled', 'out')")
    await world.set_rate(1)
    await page.wait_for_function("told.settings.at(-1) === 2", timeout=5000)
    await page.evaluate("note('sampled', 'in again')")
    # What is still on its way when a stream is switched off is refused.
    await page.wait_for_function("producer.statistics.accepted === 2")
    await world.change("/kill", {"stream": "*"})
    await page.wait_for_function("told.settings.at(-1) === 3", timeout=5000)
    await page.evaluate("note('sampled', 'killed'); note('notes', 'killed')")
    await world.change("/kill", {"stream": "*", "on": False})
    await page.wait_for_function("told.settings.at(-1) === 4", timeout=5000)
    await page.evaluate("note('sampled', 'revived')")
    events = await world.stored("sampled", "revived")
    assert [event["text"] for event in events] == ["before", "in again", "revived"]
    assert [one["reason"] for one in await page.evaluate("told.dropped")] == ["the stream is disabled"] * 2
    assert (await page.evaluate("producer.statistics"))["sampledOut"] == 1


async def test_a_page_that_cannot_be_reached_keeps_to_a_window_of_time_by_the_servers_clock(world: World) -> None:
    begins = datetime.now(UTC) + timedelta(hours=1)
    await world.set_rate(0, **{"from": begins.isoformat(), "until": (begins + timedelta(hours=1)).isoformat()})
    slow = "now: () => Date.now() + (window.late ?? 0) - 7 * 3600_000"
    page = await world.page(slow)
    await page.wait_for_function("told.settings.length && producer.settings.skewMs > 6 * 3600_000")
    await page.evaluate("producer.settings.stop()")
    rates = []
    for minutes in (0, 59, 61, 119, 121):
        await page.evaluate(f"window.late = {minutes} * 60_000")
        rates.append(await page.evaluate("producer.settings.of('sampled').sample.rate"))
    assert rates == [1, 1, 0, 0, 1]


async def test_while_live_settings_are_down_they_are_polled_and_live_ones_come_back(world: World) -> None:
    page = await world.context.new_page()
    await page.route("**/live*", lambda route: route.abort())
    await world.visit(page, "pollSeconds: 0.2, streams: ['sampled']")
    await page.wait_for_function("told.settings.length > 0")
    await world.set_rate(0)
    await page.wait_for_function("told.settings.at(-1) === 1", timeout=10_000)
    assert not await page.evaluate("producer.settings.up")
    await page.unroute("**/live*")
    await page.wait_for_function("producer.settings.up", timeout=15_000)
    await world.set_rate(1)
    await page.wait_for_function("told.settings.at(-1) === 2", timeout=5000)


async def test_sessions_are_shared_by_tabs_devices_stay_and_ids_are_made_when_needed(world: World) -> None:
    first, second = await world.page(), await world.page()
    await first.wait_for_function("told.settings.length")
    await first.evaluate("note('notes', 'a'); producer.flush()")
    keys = "Object.keys(localStorage).filter((key) => /session|device/.test(key))"
    assert await first.evaluate(keys) == [], "no id is made for a stream that is not sampled"
    ids = "['pageview', 'session', 'device', 'shoe'].map((unit) => producer.units.id(unit))"
    one, other = await first.evaluate(ids), await second.evaluate(ids)
    assert one[0] != other[0]
    assert one[1:] == other[1:]
    assert one[3] is None
    assert await first.evaluate(ids) == one
    later = "producer.units.now = () => Date.now() + %d"
    await first.evaluate(later % (29 * 60_000))
    assert await first.evaluate(ids) == one
    await first.evaluate(later % (60 * 60_000))
    renewed = await first.evaluate(ids)
    assert renewed[1] != one[1]
    assert (renewed[0], renewed[2]) == (one[0], one[2])


async def test_what_the_beacons_of_an_ending_producer_do_not_take_arrives_by_requests(world: World) -> None:
    page = await world.page()
    size = 3000
    await page.evaluate(
        f"""() => {{
            for (let at = 0; at < 60; at++) note("notes", `${{at}} ${{"x".repeat({size})}}`);
            producer.close();
        }}"""
    )
    await page.wait_for_function("producer.queue.length + producer.sending.length === 0")
    counted = await page.evaluate("producer.statistics")
    assert counted["beaconed"] + counted["accepted"] == 60
    assert counted["beaconed"] * size <= 65_536
    assert {text.split()[0] for text in await world.texts("notes")} == {str(at) for at in range(60)}


async def test_flush_right_after_the_first_event_of_a_page_sends_it(world: World) -> None:
    page = await world.page()
    assert await page.evaluate("() => { note('notes', 'first'); return producer.flush(); }")
    assert await world.texts("notes") == ["first"]
