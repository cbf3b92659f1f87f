"""Revisions in XML dumps of MediaWiki wikis as events in the shape of `mediawiki/page/change` 1.2.0, with content.

How this works: the file is parsed as it is read, and each revision is forgotten when the next one begins. The first
revision of a page creates it, each further one edits it; what a dump does not have, such as moves and deletions, is not
invented. What was hidden is absent, as in events.
"""

from __future__ import annotations

import bz2
import gzip
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from headwater.errors import ConfigInvalid
from headwater.event import encode_json

SUFFIXES = (".xml", ".xml.gz", ".xml.bz2")
SCHEMA_URI = "/mediawiki/page/change/1.2.0"
# Names the family of ids of revisions; must never change, or repeats are no longer recognised.
NAMESPACE = uuid.UUID("5b0f6a36-0c2a-5d0c-8a3e-4f9d1f0f7b42")

Values = dict[str, Any]


def is_dump(path: Path) -> bool:
    """Whether the file is a dump, by its name."""
    return path.name.endswith(SUFFIXES)


def dump_events(path: Path) -> Iterator[bytes]:
    """An event for each revision, in the order of the file. Raises ConfigInvalid for a file that is not such XML."""
    with _opened(path) as file:
        try:
            for event in _events(file):
                yield encode_json(event)
        except (ElementTree.ParseError, OSError, EOFError) as error:
            raise ConfigInvalid(
                f"{path} cannot be read as a dump of a wiki: {error}.", hint="Get the file again."
            ) from None


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb")


def _events(file: IO[bytes]) -> Iterator[Values]:
    site: Values = {}
    page: ElementTree.Element | None = None
    prior: Values | None = None
    for kind, element in ElementTree.iterparse(file, ("start", "end")):
        name = element.tag.rpartition("}")[2]
        if kind == "start":
            if name == "page":
                page, prior = element, None
            continue
        if name == "siteinfo":
            site = {"wiki_id": _text(element, "dbname"), "base": urlsplit(_text(element, "base") or "")}
        elif name == "revision" and page is not None:
            revision = _revision(element)
            yield _event(site, page, revision, prior)
            prior = _without_content(revision)
            page.remove(element)
        elif name == "page":
            element.clear()


def _event(site: Values, page: ElementTree.Element, revision: Values, prior: Values | None) -> Values:
    # Events name pages as wikis store them.
    title, base = (_text(page, "title") or "").replace(" ", "_"), site.get("base") or urlsplit("")
    path = f"{base.path.rpartition('/')[0]}/{quote(title, safe='/:')}"
    event_id = uuid.uuid5(NAMESPACE, f"{site.get('wiki_id')}\n{revision['rev_id']}")
    meta = {
        "id": str(event_id),
        "dt": revision["rev_dt"],
        "domain": base.hostname,
        "uri": f"https://{base.netloc}{path}",
    }
    event: Values = {
        "$schema": SCHEMA_URI,
        "meta": {name: value for name, value in meta.items() if value},
        "changelog_kind": "insert" if prior is None else "update",
        "page_change_kind": "create" if prior is None else "edit",
        "dt": revision["rev_dt"],
        "wiki_id": site.get("wiki_id"),
        "page": {
            "page_id": int(_text(page, "id") or 0),
            "page_title": title,
            "namespace_id": int(_text(page, "ns") or 0),
            "is_redirect": _child(page, "redirect") is not None,
        },
        "revision": revision,
    }
    if "editor" in revision:
        event["performer"] = revision["editor"]
    if prior is not None:
        event["prior_state"] = {"revision": prior}
    return event


def _revision(element: ElementTree.Element) -> Values:
    slots = {role: slot for role, slot in map(_slot, [element, *_children(element, "content")]) if slot}
    contributor, comment, text = (_child(element, name) for name in ("contributor", "comment", "text"))
    is_visible = text is None or text.get("deleted") is None
    revision: Values = {
        "rev_id": int(_text(element, "id") or 0),
        "rev_dt": _text(element, "timestamp"),
        "is_minor_edit": _child(element, "minor") is not None,
        "is_content_visible": is_visible,
        "is_editor_visible": contributor is None or contributor.get("deleted") is None,
        "is_comment_visible": comment is None or comment.get("deleted") is None,
    }
    if parent := _text(element, "parentid"):
        revision["rev_parent_id"] = int(parent)
    if revision["is_comment_visible"]:
        revision["comment"] = "" if comment is None else comment.text or ""
    if contributor is not None and (user := _text(contributor, "username") or _text(contributor, "ip")):
        user_id = _text(contributor, "id")
        revision["editor"] = {"user_text": user} | ({"user_id": int(user_id)} if user_id and user_id != "0" else {})
    if is_visible:
        revision["rev_size"] = sum(slot["content_size"] for slot in slots.values())
        if sha1 := _text(element, "sha1"):
            revision["rev_sha1"] = sha1
        revision["content_slots"] = slots
    return revision


def _slot(element: ElementTree.Element) -> tuple[str, Values]:
    """The main slot of a revision, or another one from its `content`; empty if its text is hidden or elsewhere."""
    text, role = _child(element, "text"), _text(element, "role") or "main"
    if text is None or text.get("deleted") is not None:
        return role, {}
    body = text.text or ""
    slot = {
        "slot_role": role,
        "content_model": _text(element, "model") or "wikitext",
        "content_format": _text(element, "format"),
        "content_sha1": text.get("sha1") or _text(element, "sha1"),
        "content_size": int(text.get("bytes") or len(body.encode())),
        "origin_rev_id": int(origin) if (origin := _text(element, "origin")) else None,
        "content_body": body,
    }
    return role, {name: value for name, value in slot.items() if value is not None}


def _without_content(revision: Values) -> Values:
    slots = revision.get("content_slots")
    if slots is None:
        return revision
    bare = {role: {n: v for n, v in slot.items() if n != "content_body"} for role, slot in slots.items()}
    return {**revision, "content_slots": bare}


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _child(element: ElementTree.Element, name: str) -> ElementTree.Element | None:
    return next(iter(_children(element, name)), None)


def _text(element: ElementTree.Element, name: str) -> str | None:
    found = _child(element, name)
    return None if found is None else found.text
