"""The page in a real browser: what it shows, what it answers, and that it stays usable, private and safe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from playwright.async_api import Page, async_playwright, expect

from end_to_end.demo import DEMO_EDIT
from headwater.cli.demo.demo import SYNTHETIC_NOTICE, keep_posting
from headwater.cli.init import write_project
from headwater.cli.up.up import running
from headwater.config import load_config

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium_executable(needs: Callable[[str, object, str], None]) -> str:
    """The browser named by HEADWATER_CHROMIUM, else a Chromium found on the PATH."""
    found = os.environ.get("HEADWATER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    needs("chromium", found, "install the Debian package chromium, or name one with HEADWATER_CHROMIUM")
    assert found is not None
    return found


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    write_project(tmp_path / "mine")
    config = load_config(tmp_path / "mine", overrides={"web.port": 0, "log.durability": "os"})
    async with running(config, SYNTHETIC_NOTICE) as (_, place):
        yield place


@contextlib.asynccontextmanager
async def _browsing(executable: str, address: str, **options: Any) -> AsyncIterator[Page]:
    """A page at `address`; fails when the page asked anybody else for anything, or broke its own security policy."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = await (await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})).new_page()
        page.on("request", lambda request: request.url.startswith(address) or complaints.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: "Content Security" in message.text and complaints.append(message.text))
        await page.goto(f"{address}/")
        yield page
        await browser.close()
    assert complaints == []


async def _post(address: str, *events: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"{address}/v1/events", json=list(events))


async def test_accepted_and_refused_events_appear_as_they_happen_with_the_reason(
    chromium_executable: str, address: str
) -> None:
    async with _browsing(chromium_executable, address) as page:
        await expect(page.locator("#connection")).to_have_text("live")
        await _post(address, DEMO_EDIT, {**DEMO_EDIT, "bytes": "many"}, {**DEMO_EDIT, "meta": {"stream": "demo.edits"}})
        await expect(page.locator("#tail li.accepted")).to_have_count(1)
        await expect(page.locator("#tail li.refused")).to_have_count(2)
        await expect(page.locator("#tail li.refused .reason").last).to_contain_text("integer")
        await expect(page.locator("#tail li.refused .reason").first).to_contain_text('Did you mean "demo.edit"?')
        await expect(page.locator("#total-accepted")).to_have_text("1")
        await expect(page.locator("#total-refused")).to_have_text("2")
        row = page.locator("#streams tr[data-stream='demo.edit']")
        await expect(row.locator("[data-field=count]")).to_have_text("1")


async def test_what_came_before_the_page_was_opened_is_shown_at_once(chromium_executable: str, address: str) -> None:
    for number in range(25):
        await _post(address, {**DEMO_EDIT, "bytes": number})
    await _post(address, {**DEMO_EDIT, "bytes": "many"})
    canary = {**DEMO_EDIT, "meta": {**DEMO_EDIT["meta"], "domain": "canary"}}
    assert (await _post(address, canary)).status_code == 201
    # The second at hand is shown when it is over.
    await asyncio.sleep(1)
    async with httpx.AsyncClient() as client:
        state = (await client.get(f"{address}/v1/_page/state")).json()
    assert (len(state["rates"]), sum(one["accepted"] for one in state["rates"])) == (120, 25)
    assert sum(one["refused"] for one in state["rates"]) == 1
    assert state["totals"] == {"accepted": 25, "refused": 1}
    [edits] = [stream for stream in state["streams"] if stream["name"] == "demo.edit"]
    assert edits["count"] == 25
    async with _browsing(chromium_executable, address) as page:
        await expect(page.locator("#tail li.accepted")).to_have_count(25)
        await expect(page.locator("#tail li.refused")).to_have_count(1)
        drawn = await page.locator("#chart .line.accepted").get_attribute("d") or ""
        assert len(set(re.findall(r" ([\d.]+)(?=L|$)", drawn))) > 1
        assert await page.locator("#tail-skipped").is_hidden()


async def test_the_streams_the_tables_and_the_chart_fill_while_edits_come(
    chromium_executable: str, address: str
) -> None:
    async with _browsing(chromium_executable, address) as page:
        await keep_posting(address, events=20, rate=100)
        await expect(page.locator("[data-table=edits_per_minute] tbody tr").first).to_be_visible(timeout=15_000)
        await expect(page.locator("[data-table=most_edited_pages] tbody tr").first).to_be_visible(timeout=15_000)
        assert re.search(r"\d", await page.locator("[data-table=most_edited_pages] h2 .quiet").inner_text())
        await expect(page.locator("#chart .line.accepted")).to_have_attribute("d", re.compile("^M.*L"), timeout=10_000)
        assert "accepted" in (await page.locator("#chart").get_attribute("aria-label") or "")
        await expect(page.locator(".notice")).to_contain_text("synthetic")


async def test_the_box_posts_the_examples_and_shows_the_answer(chromium_executable: str, address: str) -> None:
    async with _browsing(chromium_executable, address) as page:
        answer = page.locator("#answer")
        await page.click("#composer .primary")
        await expect(answer).to_contain_text("201 All 1 out of 1 events were accepted.")
        await expect(answer).to_have_attribute("data-outcome", "accepted")
        await page.click("#invalid-example")
        await page.click("#composer .primary")
        await expect(answer).to_contain_text("400 1 out of 1 events were invalid")
        await expect(answer.locator("li")).not_to_have_count(0)
        await page.click("#dry-run")
        await expect(answer).to_contain_text("It would be refused")
        await expect(answer).to_contain_text("bot should be boolean")
        await expect(answer).to_have_attribute("data-outcome", "refused")
        await page.click("#valid-example")
        await page.click("#dry-run")
        await expect(answer).to_contain_text("would go to topic demo.edit")
        await page.fill("#event-text", "{not json")
        await page.click("#composer .primary")
        await expect(answer).to_contain_text("this is not JSON")
    # Samples are shared for a second: what is read later than that has seen every post.
    await asyncio.sleep(1.1)
    async with httpx.AsyncClient() as client:
        totals = (await client.get(f"{address}/v1/_page/state")).json()["totals"]
    assert totals == {"accepted": 1, "refused": 1}, "a dry run stores nothing and counts nothing"


async def test_markup_in_an_event_is_shown_as_the_text_it_is(chromium_executable: str, address: str) -> None:
    hostile = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    await _post(address, {**DEMO_EDIT, "title": hostile, "user": hostile}, {**DEMO_EDIT, "meta": {"stream": hostile}})
    async with _browsing(chromium_executable, address) as page:
        await expect(page.locator("#tail li")).to_have_count(2)
        await page.locator("#tail li.accepted summary").click()
        await expect(page.locator("#tail li.accepted pre")).to_contain_text("onerror")
        await expect(page.locator("[data-table=most_edited_pages] tbody")).to_contain_text("<script>", timeout=15_000)
        await page.reload()
        await expect(page.locator("[data-table=most_edited_pages] tbody")).to_contain_text("<script>")
        assert await page.locator("main img, main script:not([type='application/json'])").count() == 0
        assert "taken" not in await page.title()


async def test_everything_can_be_done_with_the_keyboard(chromium_executable: str, address: str) -> None:
    async with _browsing(chromium_executable, address) as page:
        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()
        await page.focus("#event-text")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#answer")).to_contain_text("201")
        await expect(page.locator("#tail li.accepted")).to_have_count(1)
        await page.focus("#show-all")
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#show-refused")).to_be_checked()
        await expect(page.locator("#tail li.accepted")).to_be_hidden()
        await page.keyboard.press("ArrowRight")
        await page.focus("#tail li summary")
        await page.keyboard.press("Enter")
        await expect(page.locator("#tail li pre")).to_contain_text('"wiki": "enwiki"')
        await page.focus("#pause")
        await page.keyboard.press("Space")
        await expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
        await _post(address, DEMO_EDIT, DEMO_EDIT)
        await expect(page.locator("#pause")).to_have_text("Resume (2)")
        await expect(page.locator("#tail li")).to_have_count(1)
        await page.keyboard.press("Space")
        await expect(page.locator("#tail li")).to_have_count(3)


NAMELESS = """() => {
    const named = (node) => node.textContent.trim() || node.getAttribute('aria-label')
        || node.getAttribute('aria-labelledby') || (node.labels && node.labels.length);
    const nodes = document.querySelectorAll('button, a, input, select, textarea, svg[role=img], table, [role=region]');
    return [...nodes].filter((node) => !named(node)).map((node) => node.outerHTML);
}"""

CONTRAST = """() => {
    const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((c) => c / 255)
            .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const color = getComputedStyle(node).backgroundColor;
            if (!/, 0\\)|transparent/.test(color)) return color;
        }
        return 'rgb(255, 255, 255)';
    };
    const nodes = document.querySelectorAll('h2, .figure-name, .figure-value, .quiet, .summary, .notice, .pill, '
        + '.verdict, .reason, .what span, button, label, .service, .links a, th, td, .page-foot p, textarea, .answer li'
    );
    return [...nodes].filter((node) => node.checkVisibility() && node.textContent.trim()).map((node) => {
        const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), node.className || node.tagName, node.textContent.trim().slice(0, 30)];
    }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_can_be_read_and_controls_have_names_in_both_themes(
    chromium_executable: str, address: str, scheme: str
) -> None:
    await _post(address, DEMO_EDIT, {**DEMO_EDIT, "bytes": "many"})
    async with _browsing(chromium_executable, address, color_scheme=scheme, reduced_motion="reduce") as page:
        await page.click("#invalid-example")
        await page.click("#composer .primary")
        await expect(page.locator("#tail li.refused").first).to_be_visible()
        await page.mouse.move(2, 2)
        assert await page.evaluate(CONTRAST) == []
        assert await page.evaluate(NAMELESS) == []
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")


@pytest.mark.parametrize("width", [340, 768, 1920])
async def test_nothing_is_cut_off_at_any_width(chromium_executable: str, address: str, width: int) -> None:
    await _post(address, {**DEMO_EDIT, "title": "A" * 200}, {**DEMO_EDIT, "bytes": "many"})
    async with _browsing(chromium_executable, address, viewport={"width": width, "height": 800}) as page:
        await expect(page.locator("#tail li")).to_have_count(2)
        await expect(page.locator("[data-table=most_edited_pages] tbody tr")).to_have_count(1, timeout=15_000)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_without_javascript_the_state_at_loading_is_shown(chromium_executable: str, address: str) -> None:
    await _post(address, DEMO_EDIT)
    async with _browsing(chromium_executable, address, java_script_enabled=False) as page:
        row = page.locator("#streams tr[data-stream='demo.edit']")
        await expect(row.locator("[data-field=count]")).to_have_text("1")


async def test_the_page_says_when_the_server_is_gone(chromium_executable: str, tmp_path: Path) -> None:
    write_project(tmp_path / "mine")
    config = load_config(tmp_path / "mine", overrides={"web.port": 0, "log.durability": "os"})
    async with contextlib.AsyncExitStack() as server:
        _, address = await server.enter_async_context(running(config))
        async with _browsing(chromium_executable, address) as page:
            await expect(page.locator("#connection")).to_have_text("live")
            await server.aclose()
            await expect(page.locator("#connection")).to_have_text("reconnecting", timeout=15_000)


async def test_the_feed_of_many_outcomes_is_bounded_and_says_what_it_left_out(address: str) -> None:
    await _post(address, *({**DEMO_EDIT, "bytes": number if number % 2 else "many"} for number in range(400)))
    outcomes: dict[str, Any] = {}
    async with httpx.AsyncClient() as client, client.stream("GET", f"{address}/v1/_page/feed") as feed:
        async with asyncio.timeout(10):
            await _post(address, *({**DEMO_EDIT, "bytes": number} for number in range(400)))
            async for line in feed.aiter_lines():
                if line.startswith("data: ") and "skipped" in line:
                    outcomes = orjson.loads(line[6:])
                    if outcomes["skipped"]:
                        break
    assert len(outcomes["outcomes"]) <= 20
    assert outcomes["skipped"] >= 300


async def test_nothing_but_the_pages_own_files_is_served_from_static(address: str) -> None:
    async with httpx.AsyncClient() as client:
        statuses = [
            (await client.get(f"{address}/static/{name}")).status_code
            for name in ("page.css", "page.js", "headwater.svg", "../pages.py", "%2e%2e%2fpages.py", "none.css")
        ]
    assert statuses == [200, 200, 200, 404, 404, 404]
