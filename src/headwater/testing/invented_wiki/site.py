"""What the wiki answers: the Action API with `action=edit`, its pages from a cache that can be purged, and its website.

How this works: a request that names the wiki as its host is answered as the stand-in of MediaWiki does. At the address
of this machine there is the website, for people. A page is rendered when it is read first, and kept until a `PURGE`
comes, which is what the job `cache_purge` sends; so a page that no purge has reached is seen as it was.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from headwater.testing.invented_wiki.announcements import events_of, path_of
from headwater.testing.invented_wiki.pages import InventedWiki, Saved
from headwater.testing.invented_wiki.reading import rendered
from headwater.testing.mediawiki import MediaWikiStandIn
from headwater.testing.mediawiki.exchange import HTML, Answer, ApiRefusal, Request, ServedBy, html_error, json_answer
from headwater.testing.mediawiki.parameters import parameters_of
from headwater.testing.mediawiki.rules import API_PATH
from headwater.testing.mediawiki.titles import InvalidTitle, normalize

TEXT_BYTES_MAX = 200_000
COMMENT_CHARS_MAX = 500
USER_CHARS_MAX = 85
# The token of those who have no account.
ANONYMOUS_TOKEN = "+\\"
PAGE_PATH = "/wiki/"
_EDIT = frozenset({"action", "format", "formatversion", "title", "text", "summary", "user", "token"})

Post = Callable[[Sequence[Mapping[str, Any]]], None]


class InventedSite(MediaWikiStandIn):
    """A stand-in with one wiki that can be edited. `post` is given the events of each edit and must not block.

    `website`: answers what people ask for besides pages; None if it knows no such path.
    """

    def __init__(
        self, wiki: InventedWiki, post: Post, website: Callable[[Request], Answer | None] = lambda request: None
    ) -> None:
        super().__init__()
        self.wiki = wiki
        self._post = post
        self._website = website
        self._cache: dict[str, bytes] = {}

    def answer(self, request: Request) -> Answer:
        """The answer of the website, of the cache, or of the API."""
        is_own = request.domain == self.wiki.domain
        if not is_own and not _is_this_machine(request):
            return super().answer(request)
        own = self._own(request)
        if own is not None:
            with self._lock:
                # The server reports each answer as finished.
                self._in_flight += 1
            return own
        if is_own:
            return super().answer(request)
        return super().answer(dataclasses.replace(request, headers={**request.headers, "host": self.wiki.domain}))

    def save(self, title: str, text: str, user: str, comment: str) -> Saved | None:
        """Save a page and post the events; None if nothing changes. Raises InvalidTitle."""
        saved = self.wiki.save(normalize(title), text, user, comment)
        if saved is not None:
            # A client that receives the event can ask for the revision at once.
            self.add([saved.revision])
            self._post(events_of(saved))
        return saved

    def _own(self, request: Request) -> Answer | None:
        if request.path == API_PATH:
            try:
                values = parameters_of(request)
                return self._edited(request, values) if values.get("action") == "edit" else None
            except ApiRefusal as refusal:
                return refusal.answer(ServedBy(self.wiki.domain, self.settings.served_by))
        if request.path.startswith(PAGE_PATH):
            return self._page(request)
        return self._website(request)

    # Editing.

    def _edited(self, request: Request, values: Mapping[str, str]) -> Answer:
        if request.method != "POST":
            raise ApiRefusal("mustbeposted", 'The "edit" module requires a POST request.')
        if not _is_same_origin(request) or values.get("token") != ANONYMOUS_TOKEN:
            raise ApiRefusal("badtoken", "Invalid CSRF token.")
        if unknown := sorted(values.keys() - _EDIT):
            raise ApiRefusal("unserved-by-stand-in", f"The wiki does not know {unknown[0]!r} of an edit: leave it out.")
        title, text = values.get("title"), values.get("text")
        if not title or text is None:
            raise ApiRefusal("missingparam", f'The "{"text" if title else "title"}" parameter must be set.')
        if len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
            raise ApiRefusal("contenttoobig", f"The content you supplied exceeds {TEXT_BYTES_MAX} bytes.")
        if not text.strip():
            raise ApiRefusal("emptypage", "Pages without text cannot be saved.")
        user, comment = values.get("user", "").strip() or "Somebody", values.get("summary", "").strip()
        try:
            saved = self.save(title, text, user[:USER_CHARS_MAX], comment[:COMMENT_CHARS_MAX])
        except InvalidTitle as error:
            raise ApiRefusal("invalidtitle", f'Bad title "{title}": {error}') from None
        return json_answer({"edit": _result(saved, title)})

    # Reading.

    def _page(self, request: Request) -> Answer:
        """A page, of the cache if it has it. The cache knows pages by the path in their address."""
        title = unquote(request.path.removeprefix(PAGE_PATH)).replace("_", " ")
        target = path_of(title)
        if request.method == "PURGE":
            return json_answer({"purged": self._cache.pop(target, None) is not None})
        text = self.wiki.text(title)
        if text is None:
            return html_error(404)
        found = self._cache.get(target)
        if found is None:
            self._cache[target] = found = _document(title, text)
            return Answer(200, {"Content-Type": f"{HTML}; charset=utf-8", "X-Cache": "miss", **SAFE}, found)
        return Answer(200, {"Content-Type": f"{HTML}; charset=utf-8", "X-Cache": "hit", **SAFE}, found)


SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def _result(saved: Saved | None, title: str) -> dict[str, Any]:
    """What the API says of an edit; `purge_id` and `saved_ms` are of this wiki alone."""
    if saved is None:
        return {"result": "Success", "title": title, "nochange": True}
    one = saved.revision
    return {
        "result": "Success",
        "pageid": one.page_id,
        "title": one.title,
        "contentmodel": "wikitext",
        "oldrevid": one.parent_id,
        "newrevid": one.rev_id,
        "newtimestamp": one.dt,
        **({"new": True} if saved.before is None else {}),
        "purge_id": saved.purge_id,
        "saved_ms": saved.at_ms,
    }


def _document(title: str, text: str) -> bytes:
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/static/demo.css"></head>'
        f'<body class="article"><main><p class="invented">An invented page of an invented wiki.</p>'
        f"<h1>{name}</h1>\n{rendered(text)}</main></body></html>\n"
    ).encode()


def _is_this_machine(request: Request) -> bool:
    return request.domain in ("localhost", "::1") or request.domain.startswith("127.")


def _is_same_origin(request: Request) -> bool:
    """Whether a page of the wiki itself asks, or a program, which names no origin."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")
