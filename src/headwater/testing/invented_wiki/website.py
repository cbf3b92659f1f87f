"""The website of the invented wiki besides its pages: that of the demo, its files, and what it asks for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from headwater.cli.demo.wikimedia.live import LIVE_NOTICE
from headwater.cli.demo.wikimedia.stations import described
from headwater.cli.demo.wikimedia.texts import NOTICE, edited
from headwater.testing.invented_wiki.pages import InventedWiki
from headwater.testing.mediawiki.exchange import Answer, Request, html_error, json_answer

_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html"}
STATIC_PATH = "/static/"


class Website:
    """Answers paths of people. `platform`: the address of the platform, when it is known; `stored`: what stores have.

    `live`: the edits are Wikimedia's, so that there is nothing to edit here.
    """

    def __init__(self, wiki: InventedWiki, *, live: bool = False) -> None:
        self._live = live
        self.platform: str | None = None
        self.stored: Mapping[str, Any] = {}
        self._wiki = wiki
        self._chance = random.Random()
        self._files = {
            file.name: file.read_bytes()
            for file in files("headwater.testing.invented_wiki").joinpath("static").iterdir()
            if file.name.rpartition(".")[2] in _TYPES
        }

    def answer(self, request: Request) -> Answer | None:
        """The answer; None for a path of the API."""
        if request.path.startswith("/w/"):
            return None
        if request.method not in ("GET", "HEAD"):
            return html_error(405, headers={"Allow": "GET, HEAD"})
        match request.path:
            case "/":
                return self._file("demo.html")
            case "/demo":
                return json_answer(self._demo())
            case "/stored":
                return json_answer(self.stored)
            case "/suggestion":
                return self._suggestion(request)
        name = request.path.removeprefix(STATIC_PATH)
        return self._file(name) if request.path.startswith(STATIC_PATH) and name in self._files else html_error(404)

    def _demo(self) -> dict[str, Any]:
        """What the page is made of."""
        return {
            "platform": self.platform,
            "notice": LIVE_NOTICE if self._live else NOTICE,
            "titles": self._wiki.titles,
            "live": self._live,
            **described(live=self._live),
        }

    def _suggestion(self, request: Request) -> Answer:
        """The text of a page, with something changed that somebody could change."""
        title = parse_qs(request.query).get("title", [""])[0]
        text = self._wiki.text(title)
        if text is None:
            return html_error(404)
        changed, comment = edited(text, self._chance)
        return json_answer({"title": title, "text": changed, "summary": comment})

    def _file(self, name: str) -> Answer:
        kind = _TYPES[name.rpartition(".")[2]]
        # The page reads the streams of the platform, which is at another port.
        source = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'"
        allowed = f"{source}; img-src 'self' data:; connect-src 'self' {self.platform or ''}".strip()
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Security-Policy": allowed,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        return Answer(200, headers, self._files[name])
