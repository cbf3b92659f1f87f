"""The events of the updater of a query service: operations, mutations in parts, and what went wrong.

How this works: each event names the one that led to it, as the query service names it, so that the tools which ask for
reconciliations can read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from . import pages
from .entities import Action, Decision, Known

MIME_TYPE = "text/turtle"
FIELDS = {
    "added": "rdf_added_data",
    "deleted": "rdf_deleted_data",
    "linked": "rdf_linked_shared_data",
    "unlinked": "rdf_unlinked_shared_data",
}
# Which revisions an operation is made of.
REVISIONS = {"import": ("rev_id",), "reconcile": ("rev_id",), "diff": ("rev_id", "from_rev_id"), "delete": ()}
FAILURES = frozenset({"ENTITY_NOT_FOUND", "NO_CONTENT", "EMPTY_RESPONSE", "UNEXPECTED_RESPONSE"})
MESSAGE_CHARS_MAX = 2_000

Event = dict[str, Any]


class NothingFound(ValueError):
    """The wiki has answered, without content."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.error_type = "NO_CONTENT" if status == 204 else "EMPTY_RESPONSE"


def acting(action: Action, event: Mapping[str, Any]) -> Event:
    """The action with what is kept of its event."""
    meta = event["meta"]
    origin = {name: meta[name] for name in ("id", "dt", "stream", "domain", "request_id") if name in meta}
    dt = event.get("dt", meta["dt"])
    return {
        "meta": {name: meta[name] for name in ("domain", "request_id") if name in meta},
        "dt": dt,
        "action": asdict(action),
        "original_event_info": {"$schema": event.get("$schema", ""), "meta": origin, "dt": dt},
        "original_ingestion_dt": meta["dt"],
    }


def operation_of(event: Mapping[str, Any], action: Action, decision: Decision) -> Event | None:
    """The operation of a decision about an action; None if there is none."""
    if decision.operation is None:
        return None
    about = {name: value for name, value in event.items() if name != "action"}
    about |= {"entity_id": action.entity_id, "operation": decision.operation, "rev_id": decision.rev_id}
    return about | ({} if decision.from_rev_id is None else {"from_rev_id": decision.from_rev_id})


def lapsed(event: Mapping[str, Any], action: Action) -> Event:
    """An action that has come too late to be put in its place."""
    about = {
        **_side(event, action.entity_id, action.rev_id),
        "action_type": action.kind,
        "emitter_id": "rdf_operations",
    }
    return about | ({} if action.parent_id is None else {"parent_revision_id": action.parent_id})


def inconsistent(event: Mapping[str, Any], action: Action, known: Known | None, inconsistency: str) -> Event:
    """An action that does not agree with what was known of the entity."""
    state: Event = {"state_status": "UNDEFINED"}
    if known is not None:
        state = {"state_revision_id": known.rev_id, "state_status": "DELETED" if known.is_deleted else "CREATED"}
    return {**lapsed(event, action), "inconsistency": inconsistency, **state}


def failed(event: Mapping[str, Any], error: Exception, kind: str) -> Event:
    """An operation whose RDF could not be had, or not be read; a kind that has no name is UNKNOWN."""
    about = {
        **_side(event, event["entity_id"], event["rev_id"]),
        "op_type": event["operation"],
        "exception_type": type(error).__name__,
        "exception_msg": str(error)[:MESSAGE_CHARS_MAX],
        "fetch_error_type": kind if kind in FAILURES else "UNKNOWN",
        "emitter_id": "rdf_streaming_updater",
    }
    return about | ({"from_revision_id": event["from_rev_id"]} if "from_rev_id" in event else {})


def _side(event: Mapping[str, Any], entity_id: str, rev_id: int) -> Event:
    kept = {name: event[name] for name in ("meta", "dt", "original_event_info", "original_ingestion_dt")}
    return {**kept, "item": entity_id, "revision_id": rev_id}


def asked(event: Event) -> Event:
    """The operation, with nothing else than it needs; raises InvalidInput."""
    pages.field(event["meta"], "domain", str)
    for name, kind in (
        *(("dt", str), ("entity_id", str), ("operation", str), ("original_event_info", dict)),
        ("original_ingestion_dt", str),
    ):
        pages.field(event, name, kind)
    revisions = REVISIONS.get(event["operation"])
    if revisions is None:
        raise pages.InvalidInput(
            f"operation is {event['operation']!r:.100}; it has to be one of {', '.join(REVISIONS)}."
        )
    pages.whole_numbers(event, "rev_id", *revisions)
    names = ("meta", "dt", "entity_id", "operation", "rev_id", "original_event_info", "original_ingestion_dt")
    return {name: event[name] for name in (*names, *revisions)}


def mutations(event: Mapping[str, Any], parts: list[dict[str, str]]) -> Iterator[Event]:
    """The events of an operation: one for each part, numbered, with the request that they have in common."""
    meta = {name: event["meta"][name] for name in ("domain", "request_id") if name in event["meta"]}
    about = {"meta": meta, **{name: event[name] for name in ("dt", "entity_id", "rev_id", "operation")}}
    for number, part in enumerate(parts):
        data = {FIELDS[name]: {"data": turtle, "mime_type": MIME_TYPE} for name, turtle in part.items()}
        yield {**about, "sequence": number, "sequence_length": len(parts), **data}
