"""What the HTML of a page has: its sections, and what it is about. Run in a process of its own, by `Bounded`.

How this works: the HTML is that of Parsoid, in which sections are elements, one in another. The part of a section is
what it has itself, without the sections in it, so that no text is in two parts and a change is in one. A page without
sections is one part.
"""

from __future__ import annotations

import copy
from typing import Any

from bs4 import BeautifulSoup
from mwparserfromhtml import Article

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


class NotHtml(ValueError):
    """The text is no HTML of a page."""

    error_type = "UNEXPECTED_RESPONSE"


def page_of(*, html: str) -> dict[str, Any]:
    """The parts, each with its `heading` ("" of what is before the first), its `level` and its `html`, in order; the
    `title`, the `categories` and the `counts` of what it has, empty if the HTML is not by Parsoid. Raises NotHtml.
    """
    if "<" not in html:
        raise NotHtml("The answer is no HTML.")
    document = BeautifulSoup(html, "html.parser")
    sections = document.find_all("section", attrs={"data-mw-section-id": True})
    # Sections without a number are made by templates, and belong to the section around them.
    body = document.body or document
    parts = [_part(section) for section in sections] or [{"heading": "", "level": 0, "html": body.decode_contents()}]
    title = document.title.get_text() if document.title is not None else None
    made = {"title": title, "parts": parts, "categories": [], "counts": {}}
    if document.base is None:
        # The library refuses what is not by Parsoid.
        return made
    article = Article(html)
    content = article.wikistew
    lists = {
        "wikilinks": content.get_wikilinks(),
        "external_links": content.get_externallinks(),
        "categories": content.get_categories(),
        "citations": content.get_citations(),
        "references": content.get_references(),
        "infoboxes": content.get_infobox(),
    }
    found = {name: list(values) for name, values in lists.items()}
    categories = list(dict.fromkeys(_category(one.title) for one in found["categories"]))
    counts = {name: len(values) for name, values in found.items()}
    return {**made, "title": article.get_title(), "categories": categories, "counts": counts}


def _category(title: str) -> str:
    return str(title).removeprefix("./").replace("_", " ")


def _part(section: Any) -> dict[str, Any]:
    own = copy.copy(section)
    for inner in own.find_all("section", attrs={"data-mw-section-id": True}):
        # One in another is removed with it.
        if not inner.decomposed:
            inner.decompose()
    heading = own.find(HEADINGS)
    is_lead = section["data-mw-section-id"] == "0" or heading is None
    return {
        "heading": "" if is_lead else " ".join(heading.get_text().split()),
        "level": 0 if is_lead else int(heading.name[1]),
        "html": own.decode_contents().strip(),
    }
