"""Changes of pages with content, as a test needs them."""

from __future__ import annotations

from typing import Any

WIKI = "examplewiki"


def change(
    rev_id: int, text: str | None, *, parent: int | None = None, kind: str = "edit", **also: Any
) -> dict[str, Any]:
    """One change of a page; `text` None: its content is hidden. Revision `n` is saved `n` minutes after noon."""
    slot: dict[str, Any] = {"slot_role": "main", "content_model": also.pop("model", "wikitext")}
    sha1 = also.pop("sha1", f"sha1-of-{hash(text)}")
    if text is not None:
        slot["content_body"] = text
    at = f"2026-01-31T{12 + rev_id // 60:02}:{rev_id % 60:02}:00Z"
    page_id, domain = also.pop("page_id", 7), also.pop("domain", "en.wiki.example")
    return {
        "$schema": "/mediawiki/page/change/1.2.0",
        "meta": {
            "stream": "mediawiki.page_content_change.v1",
            "id": f"{page_id}-{rev_id}-{kind}",
            "domain": domain,
            "dt": at,
        },
        "dt": at,
        "changelog_kind": {"create": "insert", "undelete": "insert", "delete": "delete"}.get(kind, "update"),
        "page_change_kind": kind,
        "wiki_id": WIKI,
        "page": {"page_id": page_id, "page_title": "River", "namespace_id": 0},
        "revision": {
            "rev_id": rev_id,
            "rev_dt": at,
            "rev_parent_id": (0 if kind == "create" else rev_id - 1) if parent is None else parent,
            "rev_sha1": sha1,
            "is_content_visible": text is not None,
            "content_slots": {"main": {**slot, "content_sha1": sha1}},
        },
        **also,
    }


def unannounced(rev_id: int, sha1: str, *, visible: bool = True) -> dict[str, Any]:
    """The `prior_state` that names a revision which had no event."""
    return {"revision": {"rev_id": rev_id, "rev_sha1": sha1, "is_content_visible": visible}}
