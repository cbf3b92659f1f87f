"""The page of the demo with an invented wiki, in a browser: an edit is saved, and its journey is seen to the end."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from headwater.cli.demo.wikimedia.demonstration import Asked, Stage, showing
from requirements import check_need

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
# A busy machine takes its time.
ARRIVES_MS = 45_000


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    from importlib.util import find_spec

    check_need("wikimedia", find_spec("mwedittypes"), "install the extra: pip install 'headwater[wikimedia]'")
    asked = Asked(tmp_path / "kept", 0, None, force=False, as_json=True)
    async with showing(asked) as running:
        yield running


@pytest.fixture
def chromium(needs: Callable[[str, object, str], None]) -> str:
    found = os.environ.get("HEADWATER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    needs("chromium", found, "install the Debian package chromium, or name one with HEADWATER_CHROMIUM")
    assert found is not None
    return found


async def _save(page: Page, title: str) -> None:
    await page.get_by_role("button", name="Save the page").click()
    await expect(page.locator("#answer")).to_contain_text(f" of {title}.", timeout=ARRIVES_MS)
    await expect(page.locator("#total")).to_contain_text("have it", timeout=ARRIVES_MS)


async def test_an_edit_is_saved_and_seen_at_every_station(stage: Stage, chromium: str) -> None:
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 390, "height": 800})
        ours = (stage.wiki.address, stage.address, "data:")
        page.on("request", lambda request: request.url.startswith(ours) or complaints.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
        await page.goto(f"{stage.wiki.address}/")
        await expect(page.locator("#notice")).to_contain_text("invented", timeout=ARRIVES_MS)
        await expect(page.locator("#state")).to_have_text("live", timeout=ARRIVES_MS)

        # An edit of a page, as it is suggested: it has a score, and a latency everywhere.
        await page.get_by_role("button", name="Change something for me").click()
        await expect(page.locator("#answer")).to_contain_text("Save it", timeout=ARRIVES_MS)
        await page.get_by_label("Your name").fill("Ada <b>")
        await _save(page, "Alder Brook")
        await expect(page.locator("#about")).to_contain_text("by Ada <b>", timeout=ARRIVES_MS)
        times = await page.locator("li[data-state=arrived] .ms").all_inner_texts()
        assert len(times) >= 13
        assert all(re.fullmatch(r"[\d.,]+ (ms|s)", one) for one in times), times
        assert await page.locator("li[data-state=wait]").count() == 0
        assert await page.locator("#stores li[data-state=arrived]").count() == 3

        # A new page, whose text is hostile: it is shown as text, and has no score.
        await page.get_by_label("Page", exact=True).select_option(label="A new page …")
        await page.get_by_label("Title of the new page").fill("Thorn Rill")
        await page.get_by_label("Text, as wikitext").fill("<script>document.title = 'bad'</script><ref>a</ref>")
        await _save(page, "Thorn Rill")
        await expect(page.locator("#stations li", has_text="Score")).to_contain_text(
            "not for a new page", timeout=ARRIVES_MS
        )
        await page.locator("#stations summary").nth(3).click()
        await expect(page.locator("#stations pre").nth(3)).to_contain_text("<script>document.title", timeout=ARRIVES_MS)
        await expect(page.get_by_label("Page", exact=True)).to_have_value("Thorn Rill", timeout=ARRIVES_MS)

        # Nothing that changes nothing is saved, and the page says so.
        await page.get_by_role("button", name="Save the page").click()
        await expect(page.locator("#answer")).to_contain_text("nothing was saved", timeout=ARRIVES_MS)
        assert "journey" in (await page.title())
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await browser.close()
    assert complaints == []
