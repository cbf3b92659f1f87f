"""What wikis do, as the changes of pages that they announce; and real revisions of a page as what a wiki did.

How this works: of each page its title, its visible parts and its newest revision are known, also one that is not
announced, so that a change can say what was before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

KINDS = {
    "create": ("create", "insert"),
    "edit": ("edit", "update"),
    "move": ("move", "update"),
    "delete": ("delete", "delete"),
    "suppress": ("delete", "delete"),
    "undelete": ("undelete", "insert"),
    "visibility_change": ("visibility_change", "update"),
}
# A revision without a change, which only shows in the history of a page that it was protected.
PROTECT = "protect"
ACTIONS = (*KINDS, PROTECT)
# Each flag, and the fields of a revision that are absent where it is false.
VISIBILITY = {
    "is_content_visible": ("rev_sha1", "rev_size", "content_slots"),
    "is_editor_visible": ("editor",),
    "is_comment_visible": ("comment",),
}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MOVED = re.compile(r"moved page \[\[:?(.+?)\]\] to \[\[:?(.+?)\]\](?:: (.*))?", re.DOTALL)
_PROTECTED = re.compile(r"(?:Protected|Changed protection (?:settings|level)|Removed protection|Unprotected) ")


def announced(state: dict[str, Any] | None, action: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The state of a page after an action, and the change to announce; None for one that changes nothing.

    State: `page`, `revision` as it is announced, without content.
    """
    name, page = action["action"], action["page"]
    revision = without_content(action["revision"])
    after = {"page": dict(page), "revision": revision}
    if name == PROTECT or (name == "edit" and state is not None and _is_null_edit(state, revision)):
        return after, None
    kind, changelog_kind = KINDS[name]
    if name == "suppress":
        revision = after["revision"] = visible({**revision, **dict.fromkeys(VISIBILITY, False)})
    change: dict[str, Any] = {
        "dt": action["dt"],
        "changelog_kind": changelog_kind,
        "page_change_kind": kind,
        "wiki_id": action["wiki_id"],
        "page": page,
        "revision": revision,
    }
    for field in ("performer", "comment", "created_redirect_page"):
        if action.get(field) is not None and not (name == "suppress" and field == "performer"):
            change[field] = action[field]
    prior = {} if state is None else _prior(name, state, after)
    return after, {**change, **({"prior_state": prior} if prior else {})}


def _is_null_edit(state: Mapping[str, Any], revision: Mapping[str, Any]) -> bool:
    """Whether nothing was saved: there is no new revision."""
    return bool(state["revision"]["rev_id"] == revision["rev_id"])


def _prior(name: str, state: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What was different before: the revision of an edit or a move, flags of visibility, the title before a move."""
    before, page = state["revision"], state["page"]
    prior: dict[str, Any] = {}
    if name in ("edit", "move"):
        prior["revision"] = before
    elif name in ("suppress", "visibility_change"):
        flags = {flag: before[flag] for flag in VISIBILITY if before.get(flag) != after["revision"].get(flag)}
        prior |= {"revision": flags} if flags else {}
    if name == "move" and page["page_title"] != after["page"]["page_title"]:
        prior["page"] = {field: page[field] for field in ("page_title", "namespace_id") if field in page}
    return prior


def without_content(revision: Mapping[str, Any]) -> dict[str, Any]:
    """The revision without the content of its slots, and without what its flags hide."""
    made = dict(revision)
    if isinstance(slots := revision.get("content_slots"), Mapping):
        made["content_slots"] = {
            role: {field: value for field, value in slot.items() if field != "content_body"}
            for role, slot in slots.items()
        }
    return visible(made)


def visible(revision: Mapping[str, Any]) -> dict[str, Any]:
    """The revision without what its flags hide; a flag that is absent is true."""
    made = {**dict.fromkeys(VISIBILITY, True), **revision}
    hidden = {field for flag, fields in VISIBILITY.items() if made[flag] is False for field in fields}
    return {field: value for field, value in made.items() if field not in hidden}


def actions_of(revisions: Iterable[Mapping[str, Any]], page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a wiki did to a page, by its revisions as the API lists them, the oldest first.

    `page`: `page_id`, `page_title` and `namespace_id` at the beginning. A revision with the content of the one before
    is a move or a protection if its comment says so, as MediaWiki writes it in English.
    """
    page, before = dict(page), None
    for one in revisions:
        revision, comment = _revision(one), str(one.get("comment") or "")
        action: dict[str, Any] = {"action": "create" if before is None else "edit"}
        if before is not None and revision["rev_sha1"] == before:
            if moved := _MOVED.search(comment):
                page["page_title"] = moved[2].replace(" ", "_")
                action = {"action": "move", "comment": moved[3] or ""}
            elif _PROTECTED.match(comment):
                action = {"action": PROTECT}
        before = revision["rev_sha1"]
        yield {
            **action,
            "dt": one["timestamp"],
            "page": dict(page),
            "performer": revision["editor"],
            "revision": revision,
        }


def _revision(one: Mapping[str, Any]) -> dict[str, Any]:
    text, sha1 = one["*"], in_base_36(one["sha1"])
    size = len(text.encode())
    slot = {
        "slot_role": "main",
        "content_model": one["contentmodel"],
        "content_format": one["contentformat"],
        "content_sha1": sha1,
        "content_size": size,
        "origin_rev_id": one["revid"],
        "content_body": text,
    }
    editor = {"user_text": one["user"], **({"user_id": one["userid"]} if one.get("userid") else {})}
    return {
        "rev_id": one["revid"],
        "rev_parent_id": one["parentid"],
        "rev_dt": one["timestamp"],
        "is_minor_edit": "minor" in one,
        "comment": one.get("comment") or "",
        "editor": editor,
        "rev_sha1": sha1,
        "rev_size": size,
        "content_slots": {"main": slot},
    }


def in_base_36(sha1: str) -> str:
    """A SHA-1 of 40 hexadecimal digits, as MediaWiki writes it: 31 digits."""
    number, digits = int(sha1, 16), ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(31, "0")
