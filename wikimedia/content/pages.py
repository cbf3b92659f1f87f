"""The newest text of a page, kept from event to event, and which two texts an edit is the difference of.

How this works: the text an edit was made from is that of its parent revision. Mostly this is the newest revision the
job has seen of the page. Where a revision was not announced, `prior_state` names it with its SHA-1: if that is the
SHA-1 of the text that is kept, it is the same text. Otherwise the parent is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headwater.jobs import Context, Dedupe, Each, PerKey, Transition

# The changes that come with a revision of their own.
EDITS = frozenset({"create", "edit", "move"})


class InvalidInput(ValueError):
    """The event is not what its stream promises."""

    error_type = "INVALID_INPUT"


@dataclass
class Page:
    """The newest revision of a page. `text` None: hidden, or not known."""

    rev_id: int = 0
    rev_dt: str = ""
    sha1: str = ""
    text: str | None = None
    model: str = ""
    hidden: bool = False


@dataclass(frozen=True)
class Comparison:
    """A revision and what it was made from. `reason`, if a text is absent: hidden, parent_hidden or parent_missing."""

    model: str
    rev_id: int
    parent_id: int
    before: str | None
    after: str | None
    reason: str | None = None


def checked(event: dict[str, Any], context: Context | None = None) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what every change of a page has."""
    revision, page = field(event, "revision", dict), field(event, "page", dict)
    for holder, name, kind in (
        (event, "wiki_id", str),
        (event, "page_change_kind", str),
        (event, "dt", str),
        (page, "page_title", str),
        (revision, "rev_dt", str),
    ):
        field(holder, name, kind)
    whole_numbers(page, "page_id")
    whole_numbers(revision, "rev_id")
    if revision.get("rev_parent_id") is not None:
        whole_numbers(revision, "rev_parent_id")
    slots = revision.get("content_slots")
    if slots is not None and not (isinstance(slots, Mapping) and all(isinstance(s, Mapping) for s in slots.values())):
        raise InvalidInput("revision.content_slots is not a mapping of slots.")
    return event


def field(holder: Mapping[str, Any], name: str, kind: type) -> Any:
    """The field of an event. Raises InvalidInput if it is absent or of another type."""
    value = holder.get(name)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise InvalidInput(
            f"{name} is {'absent' if value is None else f'{value!r:.100}'}; it has to be {_NAMES[kind]}."
        )
    return value


def whole_numbers(holder: dict[str, Any], *names: str) -> None:
    """Write these fields as integers: JSON Schema takes 5.0 for one. Raises InvalidInput if one is absent or none."""
    for name in names:
        holder[name] = field(holder, name, int)


_NAMES = {str: "text", int: "a whole number", dict: "an object", bool: "true or false", list: "a list"}


def key(event: Mapping[str, Any], context: Context) -> list[Any]:
    """Wiki and page."""
    return [event["wiki_id"], event["page"]["page_id"]]


def comparing() -> tuple[Each, PerKey, PerKey]:
    """Steps that pass on each create, edit and move, with its `Comparison` as a mapping in the field `compared`.

    A step behind the first may add `parent`, the parent revision as a mapping (`Page`). What a later step does with the
    comparison may fail without an effect on the text that is kept.
    """

    def on_event(state: Any, event: dict[str, Any], context: Context) -> Transition:
        page = Page(**state or {})
        parent = event.pop("parent", None)
        found = compared(event, page, None if parent is None else Page(**parent))
        passed = [] if found is None else [{**event, "compared": asdict(found)}]
        return Transition(kept(event, page), events=passed)

    return Each("checked", checked), Dedupe().step("dedupe"), PerKey("compared", key, on_event)


def compared(event: Mapping[str, Any], page: Page, looked_up: Page | None = None) -> Comparison | None:
    """What the revision of a create, edit or move is to be compared with; None for other changes.

    `page` is the state before the event, `looked_up` the parent revision if it was asked for.
    """
    if event["page_change_kind"] not in EDITS:
        return None
    own, prior, parent_id = newest(event), prior_revision(event), parent_of(event)
    before, hidden = None, False
    if parent_id == 0:
        before = ""
    elif page.rev_id == parent_id:
        before, hidden = page.text, page.hidden
    elif looked_up is not None and looked_up.rev_id == parent_id:
        before, hidden = looked_up.text, looked_up.hidden
    elif prior.get("rev_id") == parent_id:
        hidden = prior.get("is_content_visible") is False
        if not hidden and page.text is not None and page.sha1 and page.sha1 == sha1_of(prior):
            before = page.text
    reason = None
    if own.text is None:
        reason = "hidden"
    elif before is None:
        reason = "parent_hidden" if hidden else "parent_missing"
    return Comparison(own.model, own.rev_id, max(parent_id, 0), before, own.text, reason)


def parent_of(event: Mapping[str, Any]) -> int:
    """The revision it was made from; 0 if there is none, -1 if it is not known."""
    parent_id = event["revision"].get("rev_parent_id")
    if parent_id is None:
        parent_id = 0 if event["page_change_kind"] == "create" else prior_revision(event).get("rev_id", -1)
    return int(parent_id)


def kept(event: Mapping[str, Any], page: Page) -> dict[str, Any] | None:
    """The state of the page after the event; None when it was deleted. An event that came too late changes nothing."""
    own = newest(event)
    if (own.rev_dt, own.rev_id) < (page.rev_dt, page.rev_id):
        return asdict(page)
    return None if event["page_change_kind"] == "delete" else asdict(own)


def newest(event: Mapping[str, Any]) -> Page:
    """The revision of an event. Its text is hidden when the event says so, and when the event has none."""
    revision = event["revision"]
    slot = main_slot(revision)
    body = slot.get("content_body")
    visible = revision.get("is_content_visible") is not False and isinstance(body, str)
    model = str(slot.get("content_model") or "wikitext")
    return Page(
        revision["rev_id"], revision["rev_dt"], sha1_of(revision), body if visible else None, model, hidden=not visible
    )


def main_slot(revision: Mapping[str, Any]) -> Mapping[str, Any]:
    """The slot of the page itself; empty if the revision has none."""
    slots = revision.get("content_slots")
    slot = slots.get("main") if isinstance(slots, Mapping) else None
    return slot if isinstance(slot, Mapping) else {}


def about(event: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by which the results name the page."""
    return {
        "dt": event["dt"],
        "wiki_id": event["wiki_id"],
        "page_id": event["page"]["page_id"],
        "page_title": event["page"]["page_title"],
    }


def prior_revision(event: Mapping[str, Any]) -> Mapping[str, Any]:
    prior = event.get("prior_state")
    revision = prior.get("revision") if isinstance(prior, Mapping) else None
    return revision if isinstance(revision, Mapping) else {}


def sha1_of(revision: Mapping[str, Any]) -> str:
    """That of the main slot: the one of a revision is of all its slots together."""
    sha1 = main_slot(revision).get("content_sha1") or revision.get("rev_sha1")
    return sha1 if isinstance(sha1, str) else ""
