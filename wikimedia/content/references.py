"""The references of a page, and which of them an edit added or removed; run in a process of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import mwparserfromhell
from mwparserfromhell.nodes import Tag, Template
from mwparserfromhell.wikicode import Wikicode

# The text in these is not wikitext.
_LITERAL = frozenset({"nowiki", "pre", "syntaxhighlight", "source", "math", "chem"})
_CITATION = re.compile(r"(?:cite|vcite|citation)(?:[\s_]|$)", re.IGNORECASE)
_OPENED = re.compile(r"<ref(?=[\s/>])", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?(?:-->|$)", re.DOTALL)


def references_change(before: str, after: str) -> dict[str, Any]:
    """`added` and `removed`, lists of references sorted by their wikitext, and whether `after` is `malformed`."""
    old, new = _counted(before), _counted(after)
    return {
        "added": [_record(*reference) for reference in sorted((new - old).elements())],
        "removed": [_record(*reference) for reference in sorted((old - new).elements())],
        "malformed": _has_unclosed(after),
    }


def _counted(text: str) -> Counter[tuple[str, str]]:
    """Wikitext and kind of each reference, and how often the page has it."""
    return Counter(_references(mwparserfromhell.parse(text)))


def _references(parsed: Wikicode) -> Iterator[tuple[str, str]]:
    for tag in parsed.ifilter_tags():
        if _is_ref(tag):
            yield str(tag), "ref"
    for template in _outside_refs(parsed):
        if _CITATION.match(str(template.name).strip()):
            yield str(template), "bare"


def _outside_refs(parsed: Wikicode) -> Iterator[Template]:
    inside = {id(template) for tag in parsed.ifilter_tags() if _is_ref(tag) for template in _templates_in(tag)}
    for template in parsed.ifilter_templates():
        if id(template) not in inside:
            yield template


def _templates_in(tag: Tag) -> list[Template]:
    return [] if tag.contents is None else list(tag.contents.ifilter_templates())


def _is_ref(tag: Tag) -> bool:
    return str(tag.tag).strip().lower() == "ref"


def _record(raw: str, kind: str) -> dict[str, Any]:
    parsed = mwparserfromhell.parse(raw)
    template = next(iter(parsed.ifilter_templates()), None)
    record: dict[str, Any] = {"kind": kind, "raw": raw}
    if kind == "ref":
        ref = next(tag for tag in parsed.ifilter_tags() if _is_ref(tag))
        if ref.has("name"):
            record["name"] = str(ref.get("name").value).strip()
    for name in ("url", "doi", "isbn"):
        if value := _parameter(template, name):
            record[name] = value
    link = next(iter(parsed.ifilter_external_links()), None)
    if "url" not in record and link is not None:
        record["url"] = str(link.url).strip()
    if template is not None:
        record["template"] = str(template.name).strip()
    return record


def _parameter(template: Template | None, name: str) -> str:
    """The value of a parameter in whatever case; empty without it."""
    for parameter in [] if template is None else template.params:
        if str(parameter.name).strip().lower() == name:
            return str(parameter.value).strip()
    return ""


def _has_unclosed(text: str) -> bool:
    """Whether a `<ref>` is left when everything the parser made an element of is taken out."""
    if not _OPENED.search(text):
        return False
    for tag in mwparserfromhell.parse(text).ifilter_tags():
        if _is_ref(tag) or str(tag.tag).strip().lower() in _LITERAL:
            text = text.replace(str(tag), "", 1)
    return _OPENED.search(_COMMENT.sub("", text)) is not None
