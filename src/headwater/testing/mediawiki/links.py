"""Who uses a page: `list=backlinks`, `list=imageusage` and `prop=transcludedin` of the Action API, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwater.testing.mediawiki.exchange import ApiRefusal
from headwater.testing.mediawiki.parameters import Parameters, position
from headwater.testing.mediawiki.store import PageName, Seen
from headwater.testing.mediawiki.titles import InvalidTitle

LINKS_MAX = 500


@dataclass(frozen=True, slots=True)
class LinkList:
    """A list of the API, and the kind of links that it lists."""

    name: str
    prefix: str
    kind: str


BACKLINKS = LinkList("backlinks", "bl", "links")
IMAGE_USAGE = LinkList("imageusage", "iu", "images")
# After the prefix of the list.
LIST_PARAMETERS = ("title", "pageid", "limit", "continue", "namespace")
LISTS = {one.name: one for one in (BACKLINKS, IMAGE_USAGE)}


def listed(
    which: LinkList, parameters: Parameters, seen: Seen, per_answer: int
) -> tuple[list[dict[str, Any]], str | None]:
    """The pages that use the one named, and where the next answer begins; None at the end.

    :raises ApiRefusal: no page is named, or parameters are wrong.
    """
    title = _title(which, parameters, seen)
    limit = min(parameters.limit(f"{which.prefix}limit", LINKS_MAX, module=which.name), per_answer)
    pages = seen.wiki.sources(which.kind, title) if title is not None else []
    spaces = parameters.integers(f"{which.prefix}namespace")
    if spaces:
        pages = [page for page in pages if page.ns in spaces]
    start = position(parameters.text(f"{which.prefix}continue"), 2)
    if start is not None:
        pages = [page for page in pages if (page.ns, page.page_id) >= start]
    rest = pages[limit:]
    return [_entry(page) for page in pages[:limit]], f"{rest[0].ns}|{rest[0].page_id}" if rest else None


def _title(which: LinkList, parameters: Parameters, seen: Seen) -> str | None:
    by_title, by_id = f"{which.prefix}title", f"{which.prefix}pageid"
    page_id = parameters.integer(by_id)
    if page_id is not None:
        latest = seen.latest(page_id)
        return latest.title if latest is not None else None
    text = parameters.text(by_title)
    if not text:
        raise ApiRefusal("missingparam", f'One of the parameters "{by_title}" and "{by_id}" is required.')
    try:
        return seen.title(text).text
    except InvalidTitle:
        raise ApiRefusal("invalidtitle", f'Bad title "{text}".') from None


def transcluded_in(
    entries: Sequence[dict[str, Any]], parameters: Parameters, seen: Seen, per_answer: int
) -> str | None:
    """Give each page among the entries its `transcludedin`; answers where the next answer begins, None at the end."""
    limit = min(parameters.limit("tilimit", LINKS_MAX, module="transcludedin"), per_answer)
    spaces = parameters.integers("tinamespace")
    first = position(parameters.text("ticontinue"), 2) or (0, 0)
    given = 0
    for place, entry in enumerate(entries):
        title = entry.get("title")
        if title is None or "invalid" in entry:
            continue
        for page in sorted(seen.wiki.sources("templates", title), key=lambda one: one.page_id):
            if (place, page.page_id) < first or (spaces and page.ns not in spaces):
                continue
            if given == limit:
                return f"{place}|{page.page_id}"
            given += 1
            entry.setdefault("transcludedin", []).append({**_entry(page), "redirect": False})
    return None


def _entry(page: PageName) -> dict[str, Any]:
    return {"pageid": page.page_id, "ns": page.ns, "title": page.title}
