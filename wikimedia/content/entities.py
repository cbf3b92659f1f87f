"""Changes of entities of Wikibase: which changes of pages are some, and what the RDF of an entity needs after each.

How this works: of each entity the newest revision is known, and whether it is deleted. A change that agrees with this
is an operation: to import the entity, to apply the difference of two revisions, to delete it, or to reconcile it. One
that does not agree is ignored, and what did not agree is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from . import pages

EDIT, DELETE, UNDELETE = "revision-create", "page-delete", "page-undelete"
CREATION, DELETION = "reconcile-creation", "reconcile-deletion"
KINDS = {"create": EDIT, "edit": EDIT, "move": EDIT, "delete": DELETE, "undelete": UNDELETE}
# By namespace: items, properties, lexemes; in the last one the slot, not the page, is the entity.
NAMESPACES = frozenset({0, 120, 146})
MODELS = frozenset({"wikibase-item", "wikibase-property", "wikibase-lexeme"})
FILES, MEDIAINFO = 6, "mediainfo"
_ID = re.compile(r"[QPL][1-9][0-9]*")

Operation = Literal["import", "diff", "delete", "reconcile"]


@dataclass(frozen=True)
class Action:
    """What happened to an entity; `parent_id`: the revision that an edit was made from, if it is known."""

    kind: str
    entity_id: str
    rev_id: int
    parent_id: int | None = None

    @property
    def is_reconciliation(self) -> bool:
        """Whether it did not happen in the wiki, but is asked for."""
        return self.kind in (CREATION, DELETION)


@dataclass(frozen=True)
class Known:
    """What is known of an entity: its newest revision, and whether it is deleted."""

    rev_id: int
    is_deleted: bool = False


@dataclass(frozen=True)
class Decision:
    """What follows of an action. `operation` None: nothing. `known`: what is known of the entity then.

    `inconsistency`: in what the action did not agree with what was known, by the words of the query service.
    """

    known: Known | None
    operation: Operation | None = None
    rev_id: int = 0
    from_rev_id: int | None = None
    inconsistency: str | None = None


def action_of(event: Mapping[str, Any]) -> Action | None:
    """What a change of a page is for its entity; None if it is none of an entity, or changes no RDF.

    A suppressed page is deleted without its slots: its namespace says what it was.
    """
    kind, page, revision = KINDS.get(event["page_change_kind"]), event["page"], event["revision"]
    if kind is None:
        return None
    slots, namespace = revision.get("content_slots"), page.get("namespace_id")
    if namespace == FILES:
        is_entity, entity_id = MEDIAINFO in (slots or ()), f"M{page['page_id']}"
    else:
        is_entity = namespace in NAMESPACES and pages.main_slot(revision).get("content_model") in MODELS
        entity_id = page["page_title"].rpartition(":")[2]
        if namespace not in NAMESPACES or _ID.fullmatch(entity_id) is None:
            return None
    if not is_entity and not (kind == DELETE and not slots):
        return None
    parent = pages.parent_of(event) if kind == EDIT else 0
    return Action(kind, entity_id, revision["rev_id"], parent if parent > 0 else None)


def reconciliation_of(event: Mapping[str, Any]) -> Action:
    """What somebody asks for who has seen that the RDF of an entity is not right. Raises InvalidInput."""
    asked = {"CREATION": CREATION, "DELETION": DELETION}.get(pages.field(event, "reconciliation_action", str))
    if asked is None:
        raise pages.InvalidInput(
            f"reconciliation_action is {event['reconciliation_action']!r:.100}; it has to be CREATION or DELETION."
        )
    return Action(asked, pages.field(event, "item", str), pages.field(event, "revision_id", int))


def follows(action: Action, known: Known | None) -> bool:
    """Whether nothing can be missing between what is known and this action."""
    return action.kind == EDIT and known is not None and not known.is_deleted and action.parent_id == known.rev_id


def is_of_the_past(action: Action, known: Known | None) -> bool:
    """Whether it is an edit that what is known has in it already."""
    return action.kind == EDIT and known is not None and not known.is_deleted and action.rev_id <= known.rev_id


def decided(action: Action, known: Known | None) -> Decision:
    """What follows of the action."""
    if action.is_reconciliation:
        return _reconciled(action, known)
    if action.kind == EDIT:
        return _edited(action, known)
    return _deleted(action, known) if action.kind == DELETE else _restored(action, known)


def _edited(action: Action, known: Known | None) -> Decision:
    if known is None:
        return Decision(Known(action.rev_id), "import", action.rev_id)
    if action.rev_id <= known.rev_id:
        return _ignored(known, "newer_revision_seen")
    if known.is_deleted:
        return _ignored(known, "missed_undelete")
    return Decision(Known(action.rev_id), "diff", action.rev_id, known.rev_id)


def _deleted(action: Action, known: Known | None) -> Decision:
    if known is None or known.is_deleted or known.rev_id > action.rev_id:
        return _ignored(known, "newer_revision_seen")
    return Decision(Known(action.rev_id, is_deleted=True), "delete", action.rev_id)


def _restored(action: Action, known: Known | None) -> Decision:
    if known is None or (known.is_deleted and known.rev_id == action.rev_id):
        return Decision(Known(action.rev_id), "import", action.rev_id)
    # The query service calls it so, although it is an undelete.
    is_unmatched = known.is_deleted or known.rev_id == action.rev_id
    return _ignored(known, "unmatched_delete" if is_unmatched else "newer_revision_seen")


def _reconciled(action: Action, known: Known | None) -> Decision:
    is_deletion = action.kind == DELETION
    if is_deletion and action.rev_id == 0:
        return Decision(None, "delete", 0)
    asked, inconsistency = Known(action.rev_id, is_deleted=is_deletion), None
    if known is not None and known.rev_id > asked.rev_id:
        asked = known
    elif known is not None and known.rev_id == asked.rev_id and known.is_deleted is not is_deletion:
        inconsistency = f"reconcile_ambiguous_{'deletion' if is_deletion else 'creation'}"
    return Decision(asked, "delete" if asked.is_deleted else "reconcile", asked.rev_id, inconsistency=inconsistency)


def _ignored(known: Known | None, inconsistency: str) -> Decision:
    return Decision(known, inconsistency=inconsistency)
