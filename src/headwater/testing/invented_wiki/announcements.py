"""The events that a wiki posts when a page is saved: what it did, a recent change, and what caches forget."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from headwater.testing.invented_wiki.pages import Saved
from headwater.testing.mediawiki.rows import sha1_base36
from headwater.times import utc_milliseconds

ACTIONS = "mediawiki.wiki_action.v1"
RECENT_CHANGES = "mediawiki.recentchange"
PURGES = "resource-purge"


def events_of(saved: Saved) -> list[dict[str, Any]]:
    """The events, which name the request of the edit."""
    return [action(saved), recent_change(saved), purge(saved)]


def path_of(title: str) -> str:
    """The path of a page in its wiki."""
    return f"/wiki/{quote(title.replace(' ', '_'), safe='/:')}"


def action(saved: Saved) -> dict[str, Any]:
    """What the wiki has done, of which `page_change_producer` makes a change of a page."""
    one = saved.revision
    size, sha1 = len(saved.text.encode()), sha1_base36(saved.text.encode())
    editor = {"user_text": one.user, "user_id": one.userid, "is_bot": False}
    slot = {
        "slot_role": "main",
        "content_model": "wikitext",
        "content_format": "text/x-wiki",
        "content_sha1": sha1,
        "content_size": size,
        "origin_rev_id": one.rev_id,
    }
    return {
        "$schema": "/mediawiki/wiki_action/1.0.0",
        "meta": _meta(saved, ACTIONS),
        "dt": utc_milliseconds(saved.at_ms),
        "action": "create" if saved.before is None else "edit",
        "wiki_id": one.wiki_id,
        "page": {
            "page_id": one.page_id,
            "page_title": one.title.replace(" ", "_"),
            "namespace_id": one.ns,
            "is_redirect": False,
        },
        "performer": editor,
        "revision": {
            "rev_id": one.rev_id,
            "rev_parent_id": one.parent_id,
            "rev_dt": one.dt,
            "rev_size": size,
            "rev_sha1": sha1,
            "is_minor_edit": False,
            "comment": one.comment,
            "editor": editor,
            "content_slots": {"main": slot},
        },
    }


def recent_change(saved: Saved) -> dict[str, Any]:
    """The edit as the list of recent changes has it."""
    one, before = saved.revision, saved.before
    return {
        "$schema": "/mediawiki/recentchange/1.0.1",
        "meta": {**_meta(saved, RECENT_CHANGES), "dt": utc_milliseconds(saved.at_ms)},
        "id": one.rev_id,
        "type": "new" if before is None else "edit",
        "title": one.title,
        "namespace": one.ns,
        "comment": one.comment,
        "timestamp": saved.at_ms // 1000,
        "user": one.user,
        "bot": False,
        "minor": False,
        "wiki": one.wiki_id,
        "server_name": one.domain,
        "server_url": f"https://{one.domain}",
        "length": {"old": None if before is None else len(saved.text_before.encode()), "new": len(saved.text.encode())},
        "revision": {"old": None if before is None else before.rev_id, "new": one.rev_id},
    }


def purge(saved: Saved) -> dict[str, Any]:
    """The page, which caches are to forget."""
    return {
        "$schema": "/resource_change/1.0.0",
        "meta": {**_meta(saved, PURGES), "id": saved.purge_id, "dt": utc_milliseconds(saved.at_ms)},
        "tags": ["mediawiki"],
        "root_event": {"dt": utc_milliseconds(saved.at_ms), "signature": saved.request_id},
    }


def _meta(saved: Saved, stream: str) -> dict[str, Any]:
    domain = saved.revision.domain
    return {
        "stream": stream,
        "domain": domain,
        "uri": f"https://{domain}{path_of(saved.revision.title)}",
        "request_id": saved.request_id,
    }
