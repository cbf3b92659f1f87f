"""Runs what a page of the documentation shows for browsers, in a page of another origin than the platform's."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SHOWN_ADDRESS = "https://events.example.org"
# What a page of MediaWiki has, for the block that uses it.
MEDIAWIKI = """
globalThis.streamConfigs = {};
globalThis.mw = { user: { getPageviewToken: () => "8f14e45fceea167a5a36", sessionId: () => "45c48cce2e2d7fbdea1a" } };
"""


@contextmanager
def open_page(executable: str, language: str, text: str, address: str) -> Iterator[list[str]]:
    """A page with an `html` or `js` block of the documentation, whose platform is at `address`.

    Yields what the browser complains of: the errors and warnings of the page, growing while it is open.
    """
    html = text
    if language == "js":
        imports = f'import {{ createProducer }} from "{SHOWN_ADDRESS}/clients/headwater.js";'
        html = f'<script type="module">{imports}{MEDIAWIKI}{text}</script>'
    complaints: list[str] = []
    with _served(html.replace(SHOWN_ADDRESS, address)) as origin, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(origin, wait_until="networkidle")
        yield complaints
        browser.close()


@contextmanager
def _served(html: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode() if self.path == "/" else b"")

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
