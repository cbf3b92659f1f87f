"""What the wikitext of a page is made of: links, templates, properties and sections; run in a process of its own.

Templates are not expanded: what they contain is not among it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import mwparserfromhell
from mwedittypes import utils
from mwparserfromhell.wikicode import Wikicode

_LINKS = {"Media": "imagelinks", "Category": "categorylinks", "Wikilink": "pagelinks"}
# Written like templates, but words of the wiki itself.
_PROPERTIES = {"DISPLAYTITLE": "displaytitle", "DEFAULTSORT": "defaultsort"}
_PROPERTY = re.compile(r"\s*(DISPLAYTITLE|DEFAULTSORT(?:KEY)?|DEFAULTCATEGORYSORT)\s*:(.*)", re.DOTALL)
_NOINDEX = re.compile(r"__NOINDEX__")


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
