"""The history of wikis: a row for each revision and each change of a page, with reverts as they happen."""

import re
from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition
from headwater.times import time_ms

from ..content import pages
from ..content.history import PageHistory, Revision

CHANGES = "mediawiki.page_change.v1"
TAGS = "mediawiki.revision-tags-change"
VISIBILITY = "mediawiki.revision-visibility-change"
FIELDS_OF_PARTS = {
    "text": ("revision_text_sha1",),
    "user": ("event_user_text", "event_user_id", "event_user_is_bot_by"),
    "comment": ("event_comment",),
}
PAGE_EVENTS = {"create": "create-page", "move": "move", "delete": "delete", "undelete": "restore"}
# What the name of a bot looks like, wherever people choose names as they do on Wikipedia.
_BOT = re.compile(r"^.*bot([^a-z].*$|$)", re.IGNORECASE | re.DOTALL)


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what an event of its stream has."""
    if "wiki_id" in event or "revision" in event:
        event = pages.checked(event, context)
        _at_ms(event["revision"]["rev_dt"])
        return event
    pages.field(event, "database", str)
    pages.whole_numbers(event, "page_id", "rev_id")
    if event["meta"]["stream"] == TAGS:
        pages.field(event, "tags", list)
    else:
        pages.field(event, "visibility", dict)
    return event


def key(event: Mapping[str, Any], context: Context) -> list[Any]:
    """Wiki and page."""
    return pages.key(event, context) if "wiki_id" in event else [event["database"], event["page_id"]]


def rows(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """The rows that are new or changed after an event."""
    assert context.rows is not None
    history = PageHistory(context.rows)  # type: ignore[arg-type]
    if "wiki_id" not in event:
        return Transition(None, events=_changed_by(event, history, context))
    kind, revision = event["page_change_kind"], event["revision"]
    made = [_page_row(event)] if kind in PAGE_EVENTS else []
    known = history.find(revision["rev_id"])
    if known is None and kind in pages.EDITS:
        made += [one["row"] for one in history.add(_revision(event))]
    elif known is not None and kind not in ("delete", "move"):
        hidden = _hidden(
            text=revision.get("is_content_visible"),
            user=revision.get("is_editor_visible"),
            comment=revision.get("is_comment_visible"),
        )
        made += _with_hidden(known, hidden, revision, event["dt"], history)
    return Transition(None, events=made)


def _changed_by(event: dict[str, Any], history: PageHistory, context: Context) -> list[dict[str, Any]]:
    """The rows that change with the tags of a revision, or with what of it is hidden."""
    known = history.find(event["rev_id"])
    if known is None:
        context.metrics.counter("unknown_revision")
        return []
    if isinstance(event.get("tags"), list):
        known["row"] |= {"revision_tags": sorted(event["tags"]), "dt": event["meta"]["dt"]}
        return [one["row"] for one in history.change(known)]
    hidden = _hidden(**{part: event["visibility"].get(part) for part in ("text", "user", "comment")})
    # Its comment and performer are about hiding, not about the revision.
    return _with_hidden(known, hidden, {"rev_sha1": event.get("rev_sha1")}, event["meta"]["dt"], history)


def _with_hidden(
    known: Revision, hidden: list[str], shown: Mapping[str, Any], dt: str, history: PageHistory
) -> list[dict[str, Any]]:
    """The rows that change when these parts of a revision are hidden; none if they were before.

    `shown` is the revision as the event has it, with what is shown from now on.
    """
    row = known["row"]
    if row["revision_deleted_parts"] == hidden:
        return []
    _withhold(known, hidden, _parts(shown, shown.get("editor")))
    row |= {"revision_deleted_parts": hidden, "dt": dt}
    known["sha1"] = row.get("revision_text_sha1")
    return [one["row"] for one in history.change(known)]


def _withhold(known: Revision, hidden: list[str], shown: Mapping[str, Mapping[str, Any]]) -> None:
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


def _revision(event: Mapping[str, Any]) -> Revision:
    revision = event["revision"]
    hidden = _hidden(
        text=revision.get("is_content_visible"),
        user=revision.get("is_editor_visible"),
        comment=revision.get("is_comment_visible"),
    )
    parts = _parts(revision, revision.get("editor") or event.get("performer"))
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
        "at_ms": _at_ms(revision["rev_dt"]),
        "sha1": row.get("revision_text_sha1"),
        "row": row,
        "withheld": withheld,
    }


def _page_row(event: Mapping[str, Any]) -> dict[str, Any]:
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


def _parts(revision: Mapping[str, Any], user: Any) -> dict[str, dict[str, Any]]:
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


def _hidden(**visible: Any) -> list[str]:
    return sorted(part for part, can_be_seen in visible.items() if can_be_seen is False)


def _sha1(revision: Mapping[str, Any]) -> str | None:
    sha1 = revision.get("rev_sha1")
    return sha1 if isinstance(sha1, str) and sha1 else None


def _at_ms(text: str) -> int:
    at = time_ms(text)
    if at is None:
        raise pages.InvalidInput(f"{text!r:.100} is not a time.")
    return at


mediawiki_history = Job(
    "mediawiki_history",
    (CHANGES, TAGS, VISIBILITY),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), PerKey("rows", key, rows, keeps_rows=True)),
    output=ToStream("mediawiki.history.v1", "1.0.0"),
    summary="The history of wikis by revision and page, with reverts as they happen.",
)
