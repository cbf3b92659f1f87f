"""What the wikitext of a page is made of: links, templates, properties, sections, text; run in a process of its own.

Templates are not expanded: what they contain is not among it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import mwparserfromhell
from mwedittypes import utils
from mwparserfromhell.nodes import Text
from mwparserfromhell.wikicode import Wikicode

_LINKS = {"Media": "imagelinks", "Category": "categorylinks", "Wikilink": "pagelinks"}
# Written like templates, but words of the wiki itself.
_PROPERTIES = {"DISPLAYTITLE": "displaytitle", "DEFAULTSORT": "defaultsort"}
_PROPERTY = re.compile(r"\s*(DISPLAYTITLE|DEFAULTSORT(?:KEY)?|DEFAULTCATEGORYSORT)\s*:(.*)", re.DOTALL)
_NOINDEX = re.compile(r"__NOINDEX__")
# The word depends on the language; a list of that form begins with a space.
_REDIRECT = re.compile(r"\s*#\w+\s*:?\s*\[\[")
LEAD = "LEAD"


def page_data(text: str, language: str) -> dict[str, dict[str, str]]:
    """By kind, such as pagelinks: the names of what the page has, each with a value, which only properties have."""
    found: dict[str, dict[str, str]] = {
        kind: {} for kind in ("pagelinks", "externallinks", "templatelinks", "categorylinks", "imagelinks")
    }
    parsed = mwparserfromhell.parse(text)
    for link in parsed.ifilter_wikilinks():
        kind = _LINKS.get(utils.simple_node_class(link, language))
        if kind is not None:
            found[kind][str(link.title).strip()] = ""
    for external in parsed.ifilter_external_links():
        found["externallinks"][str(external.url).strip()] = ""
    for template in parsed.ifilter_templates():
        found["templatelinks"][str(template.name).strip()] = ""
    return {**found, "page_props": dict(_properties(parsed))}


def _properties(parsed: Wikicode) -> Iterator[tuple[str, str]]:
    for template in parsed.ifilter_templates():
        if written := _PROPERTY.fullmatch(str(template.name)):
            yield _PROPERTIES.get(written[1], "defaultsort"), written[2].strip()
    if any(_NOINDEX.search(str(node)) for node in parsed.ifilter_text()):
        yield "noindex", ""


def sections(text: str, may_redirect: bool) -> dict[str, list[str]]:
    """The targets of the links in each section of the second level, as written and as often; empty for a redirect.

    What is in front of the sections is LEAD. Sections of one name are one. `may_redirect`: whether it is a redirect has
    to be seen from the text.
    """
    found: dict[str, list[str]] = {}
    if may_redirect and _REDIRECT.match(text):
        return found
    for number, section in enumerate(mwparserfromhell.parse(text).get_sections(levels=[2], include_lead=True)):
        headings = section.filter_headings() if number else []
        name = str(headings[0].title.strip_code()).strip() if headings else LEAD
        found.setdefault(name, []).extend(str(link.title).strip() for link in section.ifilter_wikilinks())
    return found


def running_text(text: str) -> dict[str, list[Any]]:
    """`parts`: the text that is in nothing else, each part with where it begins; `links`: the targets of all links.

    Positions are characters of `text`, counted from 0.
    """
    parsed = mwparserfromhell.parse(text)
    parts, at = [], 0
    for node in parsed.nodes:
        written = str(node)
        if isinstance(node, Text):
            parts.append([at, written])
        at += len(written)
    return {"parts": parts, "links": sorted({str(link.title).strip() for link in parsed.ifilter_wikilinks()})}
