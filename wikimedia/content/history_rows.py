"""The rows of the history of wikis: what an event says of a revision or a page, and what of it is hidden.

How this works: a row has the fields of the parts of a revision, its text, its editor and its comment, that may be seen.
Those that may not are withheld next to the row, so that they come back when they are shown again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headwater.times import time_ms

from . import pages
from .history import Revision

FIELDS_OF_PARTS = {
    "text": ("revision_text_sha1",),
    "user": ("event_user_text", "event_user_id", "event_user_is_bot_by"),
    "comment": ("event_comment",),
}
PAGE_EVENTS = {"create": "create-page", "move": "move", "delete": "delete", "undelete": "restore"}
# What the name of a bot looks like, wherever people choose names as they do on Wikipedia.
_BOT = re.compile(r"^.*bot([^a-z].*$|$)", re.IGNORECASE | re.DOTALL)


def withhold(known: Revision, hidden: list[str], shown: Mapping[str, Mapping[str, Any]]) -> None:
    """Take from the row what is hidden from now on, and put back what is shown again, or for the first time."""
    row, withheld = known["row"], known.setdefault("withheld", {})
    for part, names in FIELDS_OF_PARTS.items():
        was_hidden = part in row["revision_deleted_parts"]
        if part in hidden and not was_hidden:
            withheld[part] = {name: row.pop(name) for name in names if name in row}
        elif part not in hidden and was_hidden:
            row |= withheld.pop(part, {}) | shown.get(part, {})
    if "user" in hidden:
        row["event_user_is_bot_by"] = []


def revision_of(event: Mapping[str, Any]) -> Revision:
    """The revision of a create, edit or move, with its row and what of it is withheld. Raises InvalidInput."""
    revision = event["revision"]
    hidden = hidden_of(
        text=revision.get("is_content_visible"),
        user=revision.get("is_editor_visible"),
        comment=revision.get("is_comment_visible"),
    )
    parts = parts_of(revision, revision.get("editor") or event.get("performer"))
    withheld = {part: parts.pop(part) for part in hidden if part in parts}
    row = {
        **_about(event),
        "event_entity": "revision",
        "event_type": "create",
        "event_timestamp": revision["rev_dt"],
        "event_user_is_bot_by": [],
        **parts.get("user", {}),
        "revision_id": revision["rev_id"],
        "revision_deleted_parts": hidden,
        **parts.get("comment", {}),
        **parts.get("text", {}),
    }
    for name, given in (
        ("revision_parent_id", "rev_parent_id"),
        ("revision_minor_edit", "is_minor_edit"),
        ("revision_text_bytes", "rev_size"),
    ):
        if revision.get(given) is not None:
            row[name] = revision[given]
    return {
        "rev_id": revision["rev_id"],
        "at_ms": at_ms(revision["rev_dt"]),
        "sha1": row.get("revision_text_sha1"),
        "row": row,
        "withheld": withheld,
    }


def page_row(event: Mapping[str, Any]) -> dict[str, Any]:
    """The row of what happened to a page."""
    # Whoever saved the revision also made the page, or moved it.
    is_hidden = event["page_change_kind"] in pages.EDITS and event["revision"].get("is_editor_visible") is False
    row = {
        **_about(event),
        "event_entity": "page",
        "event_type": PAGE_EVENTS[event["page_change_kind"]],
        "event_timestamp": event["dt"],
        "event_id": str(event["meta"].get("id", "")),
        **_by(None if is_hidden else event.get("performer")),
    }
    return row if not isinstance(event.get("comment"), str) else {**row, "event_comment": event["comment"]}


def _about(event: Mapping[str, Any]) -> dict[str, Any]:
    namespace = event["page"].get("namespace_id")
    return pages.about(event) | ({} if namespace is None else {"page_namespace": namespace})


def parts_of(revision: Mapping[str, Any], user: Any) -> dict[str, dict[str, Any]]:
    """The fields of a row that can be hidden, by the part of the revision they are of, as far as they are known."""
    parts: dict[str, dict[str, Any]] = {}
    if isinstance(user, Mapping) and isinstance(user.get("user_text"), str):
        parts["user"] = _by(user)
    if isinstance(revision.get("comment"), str):
        parts["comment"] = {"event_comment": revision["comment"]}
    if sha1 := _sha1(revision):
        parts["text"] = {"revision_text_sha1": sha1}
    return parts


def _by(user: Any) -> dict[str, Any]:
    """Who did it, and why they count as a bot; nothing of somebody who is hidden."""
    if not isinstance(user, Mapping) or not isinstance(user.get("user_text"), str):
        return {"event_user_is_bot_by": []}
    name, groups = user["user_text"], user.get("groups") or []
    reasons = [reason for reason, holds in (("name", _BOT.match(name)), ("group", "bot" in groups)) if holds]
    known = {} if user.get("user_id") is None else {"event_user_id": user["user_id"]}
    return {"event_user_text": name, **known, "event_user_is_bot_by": reasons}


def hidden_of(**visible: Any) -> list[str]:
    """The parts that may not be seen, in order."""
    return sorted(part for part, can_be_seen in visible.items() if can_be_seen is False)


def _sha1(revision: Mapping[str, Any]) -> str | None:
    sha1 = revision.get("rev_sha1")
    return sha1 if isinstance(sha1, str) and sha1 else None


def at_ms(text: str) -> int:
    """A time in epoch milliseconds. Raises InvalidInput."""
    at = time_ms(text)
    if at is None:
        raise pages.InvalidInput(f"{text!r:.100} is not a time.")
    return at
