"""Changes of pages made of the older events: two of them for a new page and for a move, one for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .pages import InvalidInput, field, whole_numbers

Event = Mapping[str, Any]

# What the older streams tell, by their names without `mediawiki.`, and in which order things happen to one revision.
REVISION, CREATE, MOVE = "revision-create", "page-create", "page-move"
DELETE, SUPPRESS, UNDELETE, VISIBILITY = "page-delete", "page-suppress", "page-undelete", "revision-visibility-change"
KINDS = (CREATE, MOVE, REVISION, VISIBILITY, DELETE, SUPPRESS, UNDELETE)
# Two events of one revision that are one change.
HALVES = frozenset({CREATE, MOVE, REVISION})
CHANGELOG_KINDS = {"create": "insert", "undelete": "insert", "delete": "delete"}
_VISIBLE = {"is_content_visible": "text", "is_editor_visible": "user", "is_comment_visible": "comment"}


def kind_of(event: Event) -> str:
    """Which of the older streams an event is of. Raises InvalidInput for another one."""
    kind = str(event["meta"]["stream"]).partition(".")[2]
    if kind not in KINDS:
        raise InvalidInput(f"meta.stream is {event['meta']['stream']!r:.100}, none of the streams about pages.")
    return kind


def checked(event: dict[str, Any]) -> None:
    """Raises InvalidInput for an event without what is needed of it."""
    kind = kind_of(event)
    for name in ("database", "page_title"):
        field(event, name, str)
    whole_numbers(event, "page_id", "rev_id")
    if kind == VISIBILITY:
        field(event, "visibility", dict)


def happened_at(event: Event) -> str:
    """When it happened; the older events about pages say only when they were received."""
    return str(event.get("dt") or event["meta"]["dt"])


class State:
    """What is known of a page: `page` and `revision`, both as in a change of a page, or None."""

    def __init__(self, kept: Mapping[str, Any] | None) -> None:
        kept = kept or {}
        self.page: dict[str, Any] | None = kept.get("page")
        self.revision: dict[str, Any] | None = kept.get("revision")

    def kept(self) -> dict[str, Any]:
        return {"page": self.page, "revision": self.revision}

    @property
    def rev_id(self) -> int:
        return 0 if self.revision is None else int(self.revision["rev_id"])


def revised(state: State, halves: Mapping[str, Event]) -> tuple[dict[str, Any], bool]:
    """The change that makes a revision, of one or two events by their kind; and whether one of two is missing.

    `state` is that of the page before, and after.
    """
    made = halves.get(CREATE) or halves.get(REVISION)
    moved = halves.get(MOVE)
    if moved is not None:
        kind, is_incomplete = "move", made is None
    elif CREATE in halves:
        kind, is_incomplete = "create", REVISION not in halves
    else:
        # Without the page's own event this is all that tells a new page.
        assert made is not None
        is_incomplete = made.get("rev_parent_id") == 0
        kind = "create" if is_incomplete else "edit"
    event = moved or made
    assert event is not None
    prior: dict[str, Any] = {} if state.revision is None or kind == "create" else {"revision": state.revision}
    if moved is not None:
        prior["page"] = _page_before(moved, state)
    revision = _revision_of(made) if made is not None else _unknown_revision(event)
    return _changed(state, event, kind, revision, prior), is_incomplete


def deleted(state: State, event: Event) -> dict[str, Any]:
    """The change that a deletion or suppression is."""
    return _changed(state, event, "delete", _current(state, event), {})


def restored(state: State, event: Event) -> dict[str, Any]:
    """The change that a restoration is."""
    before = event.get("prior_state", {}).get("page_id")
    prior = {} if before is None else {"page": {"page_id": before, "page_title": event["page_title"]}}
    return _changed(state, event, "undelete", _current(state, event), prior)


def hidden(state: State, event: Event) -> dict[str, Any] | None:
    """The change when parts of the newest revision are hidden or shown; None for another revision."""
    if state.revision is not None and event["rev_id"] != state.rev_id:
        return None
    known = _current(state, event) if state.revision is not None else _revision_of(event)
    before = event.get("prior_state", {}).get("visibility")
    prior = {**known, **_visibility(before)} if isinstance(before, Mapping) else known
    revision = {**_revision_of(event), **known, **_visibility(event["visibility"])}
    if "rev_timestamp" in event:
        revision["rev_dt"] = event["rev_timestamp"]
    for part, name in (("is_editor_visible", "editor"), ("is_comment_visible", "comment")):
        if revision.get(part) is False:
            revision.pop(name, None)
            prior.pop(name, None)
    return _changed(state, event, "visibility_change", revision, {"revision": prior})


def _changed(
    state: State, event: Event, kind: str, revision: dict[str, Any], prior: Mapping[str, Any]
) -> dict[str, Any]:
    """The change of a page, which the state then has."""
    state.page, state.revision = _page(event), revision
    page = state.page if event.get("rev_count") is None else {**state.page, "revision_count": event["rev_count"]}
    change: dict[str, Any] = {
        "meta": {name: event["meta"][name] for name in ("uri", "domain", "request_id") if name in event["meta"]},
        "dt": happened_at(event),
        "changelog_kind": CHANGELOG_KINDS.get(kind, "update"),
        "page_change_kind": kind,
        "wiki_id": event["database"],
        "page": page,
        "revision": revision,
    }
    if isinstance(event.get("performer"), Mapping):
        change["performer"] = _user(event["performer"])
    if kind not in ("create", "edit") and isinstance(event.get("comment"), str):
        change["comment"] = event["comment"]
    if redirect := event.get("new_redirect_page"):
        change["created_redirect_page"] = _page({**event, **redirect, "page_is_redirect": True})
    if prior:
        change["prior_state"] = dict(prior)
    return change


def _page(event: Event) -> dict[str, Any]:
    page = {"page_id": event["page_id"], "page_title": event["page_title"]}
    for name, given in (("namespace_id", "page_namespace"), ("is_redirect", "page_is_redirect")):
        if event.get(given) is not None:
            page[name] = event[given]
    return page


def _page_before(moved: Event, state: State) -> dict[str, Any]:
    """The page as it was before it was moved."""
    prior = moved.get("prior_state", {})
    page = dict(state.page or _page(moved))
    page["page_title"] = prior.get("page_title", page["page_title"])
    if prior.get("page_namespace") is not None:
        page["namespace_id"] = prior["page_namespace"]
    return page


def _current(state: State, event: Event) -> dict[str, Any]:
    """The revision that an event names: the one that is known, or as far as the event tells."""
    if state.revision is not None and state.rev_id == event["rev_id"]:
        return dict(state.revision)
    return _unknown_revision(event)


def _unknown_revision(event: Event) -> dict[str, Any]:
    return {"rev_id": event["rev_id"], "rev_dt": event.get("rev_timestamp") or happened_at(event)}


def _revision_of(event: Event) -> dict[str, Any]:
    """The revision as its own event describes it. Whatever has such an event is visible."""
    revision = {
        **_unknown_revision(event),
        **dict.fromkeys(_VISIBLE, True),
        **{
            name: event[given]
            for name, given in (
                ("rev_parent_id", "rev_parent_id"),
                ("rev_sha1", "rev_sha1"),
                ("rev_size", "rev_len"),
                ("is_minor_edit", "rev_minor_edit"),
                ("comment", "comment"),
            )
            if event.get(given) is not None
        },
    }
    if isinstance(event.get("performer"), Mapping):
        revision["editor"] = _user(event["performer"])
    if isinstance(event.get("rev_slots"), Mapping):
        revision["content_slots"] = {role: _slot(role, slot, event) for role, slot in event["rev_slots"].items()}
    if kind_of(event) == VISIBILITY:
        # Its comment and performer are about hiding, not about the revision.
        revision.pop("comment", None)
        revision.pop("editor", None)
    return revision


def _slot(role: str, slot: Event, event: Event) -> dict[str, Any]:
    known = {
        "slot_role": role,
        "content_model": slot.get("rev_slot_content_model"),
        "content_format": event.get("rev_content_format") if role == "main" else None,
        "content_sha1": slot.get("rev_slot_sha1"),
        "content_size": slot.get("rev_slot_size"),
        "origin_rev_id": slot.get("rev_slot_origin_rev_id"),
    }
    return {name: value for name, value in known.items() if value is not None}


def _user(performer: Event) -> dict[str, Any]:
    names = {
        "user_text": "user_text",
        "user_id": "user_id",
        "groups": "user_groups",
        "is_bot": "user_is_bot",
        "edit_count": "user_edit_count",
        "registration_dt": "user_registration_dt",
    }
    return {name: performer[given] for name, given in names.items() if performer.get(given) is not None}


def _visibility(visibility: Event) -> dict[str, bool]:
    return {name: visibility[part] for name, part in _VISIBLE.items() if isinstance(visibility.get(part), bool)}
