"""Takes the README's picture of the page: a demo platform with synthetic edits, seen by a headless Chromium.

`python docs/take_screenshot.py [SECONDS]` writes docs/images/page.png after so many seconds (default 130) of edits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from headwater.cli.demo.demo import SYNTHETIC_NOTICE, keep_posting
from headwater.cli.init import write_project
from headwater.cli.up.up import running
from headwater.config import load_config

IMAGE = Path(__file__).resolve().parent / "images" / "page.png"
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WIDTH, HEIGHT = 1280, 1560


async def take(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write_project(Path(directory))
        config = load_config(Path(directory), overrides={"web.port": 0})
        async with running(config, SYNTHETIC_NOTICE) as (_, address), async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=os.environ.get("HEADWATER_CHROMIUM") or shutil.which("chromium"),
                args=CHROMIUM_ARGUMENTS,
            )
            page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            posting = asyncio.create_task(keep_posting(address, rate=12))
            # The page shows the last two minutes at once. Before that, the history that is posted first is a peak
            # beside which nothing else can be seen.
            await asyncio.sleep(seconds)
            await page.goto(f"{address}/")
            await page.click("#invalid-example")
            await page.click("#composer .primary")
            await asyncio.sleep(1)
            await page.evaluate("scrollTo(0, 0)")
            IMAGE.parent.mkdir(exist_ok=True)
            await page.screenshot(path=IMAGE)
            posting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await posting
            await browser.close()


if __name__ == "__main__":
    asyncio.run(take(float(sys.argv[1]) if len(sys.argv) > 1 else 130.0))
