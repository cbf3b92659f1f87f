"""What two runs of a job are compared by: what is promised of its outputs, and what of its error events."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from flink.corpus import Event

# Results that replace earlier ones, by what they are about: the last one counts.
LAST_OF = {
    "per_minute": ("start",),
    "per_session": ("start",),
    "per_slide": ("start",),
    "woken": ("timer",),
}
# Of these only the set is promised: which of two events came first is not.
UNORDERED = {"joined"}
ByKey = Mapping[Any, Sequence[Event]]


def comparable(job: str, found: ByKey) -> Any:
    """The outputs of a job, by key: in order, or what replaced all earlier ones, or as a set."""
    if job in UNORDERED:
        return as_set(without_meta(found))
    if (names := LAST_OF.get(job)) is None:
        return found
    return {
        key: {tuple(event["value"][name] for name in names): event["value"] for event in several}
        for key, several in found.items()
    }


def as_set(found: ByKey) -> list[str]:
    """All events, in no order: of error events, which have no key, those of several partitions have none."""
    return sorted(json.dumps(event, sort_keys=True) for several in found.values() for event in several)


def without_meta(found: ByKey) -> ByKey:
    """The events without ids: those of a file are made of other places than those of topics."""
    return {key: [{**event, "meta": None} for event in several] for key, several in found.items()}


def by_page(found: ByKey) -> ByKey:
    """The events without ids, by their page, which is what their keys consist of."""
    pages: dict[Any, list[Event]] = defaultdict(list)
    for several in without_meta(found).values():
        for event in several:
            pages[event["page"]].append(event)
    return pages


def failures(found: ByKey) -> list[tuple[str, str, Any]]:
    """Of each error event, what has failed, and of which event: all that is the same for a file."""
    return sorted(
        (event["error_type"], event["message"], json.loads(event["raw_event"])["number"])
        for several in found.values()
        for event in several
    )
