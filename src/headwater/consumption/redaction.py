"""Withholds who edited certain pages from everything that is streamed, as the public service must."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.event import get_path

Redact = Callable[[dict[str, Any]], None]

_SPACES = re.compile(r"[\s_]+")


def redaction(redacted_pages: Mapping[str, Sequence[Any]]) -> Redact | None:
    """A function that removes the editor of the listed pages from an event, in place; None when none is listed.

    `redacted_pages` maps a domain to page titles; YAML may have read a title as a number or a boolean. Titles are
    compared without regard to case, outer white space, and spaces against underscores (contract intake §5).
    """
    listed = {domain: frozenset(map(_normal, titles)) for domain, titles in redacted_pages.items() if titles}
    if not listed:
        return None

    def redact(event: dict[str, Any]) -> None:
        meta = event.get("meta")
        if not isinstance(meta, dict):
            return
        domain = meta.get("domain")
        titles = listed.get(domain) if isinstance(domain, str) else None
        if titles is None:
            return
        stream = meta.get("stream")
        if stream == "mediawiki.recentchange":
            if _normal(event.get("title")) in titles:
                event.pop("user", None)
        elif any(_normal(get_path(event, path)) in titles for path in ("page.page_title", "page_title")):
            _forget_performer(event, keep_empty=stream == "mediawiki.page_change.v1")

    return redact


def _forget_performer(event: dict[str, Any], *, keep_empty: bool) -> None:
    """The page change schema requires `performer`, so there it stays as an empty object."""
    if not keep_empty:
        event.pop("performer", None)
        return
    event["performer"] = {}
    for path in ("revision", "prior_state.revision"):
        revision = get_path(event, path)
        if isinstance(revision, dict):
            revision.pop("editor", None)


def _normal(title: Any) -> str:
    return _SPACES.sub("_", str(title).strip()).lower() if title is not None else ""
