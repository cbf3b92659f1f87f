"""The labels that people prefer for revisions and differences, from the pages of JADE.

Wikimedia has ended JADE; this is an example of a job over pages of JSON. A page that cannot be used is an error
event, and changes no label.
"""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition, table

from ..content import pages
from ..content.jade import entity_of, labels_of

CHANGES = "jade.label_change.v1"


def read(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The event with the labels of its page, None for a deleted one; raises InvalidInput, JadeInvalid.

    None for other pages, for a visibility change, and if the content is hidden.
    """
    event = pages.checked(event, context)
    found = entity_of(event["page"]["page_title"])
    if found is None or event["page_change_kind"] == "visibility_change":
        return None
    if event["page_change_kind"] == "delete":
        return {**event, "labels": {}}
    text = pages.newest(event).text
    if text is None:
        context.metrics.counter("hidden")
        return None
    return {**event, "labels": labels_of(text)}


def changed(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """State: the newest revision with its time, and the label of each facet."""
    own = pages.newest(event)
    state = state or {"newest": ["", 0], "labels": {}}
    if [own.rev_dt, own.rev_id] < state["newest"]:
        return Transition(state, dropped="older")
    before, after = state["labels"], {facet: found["label"] for facet, found in event["labels"].items()}
    entity, number = entity_of(event["page"]["page_title"]) or ("", 0)
    common = {**pages.about(event), "rev_id": own.rev_id, "entity": entity, "entity_id": number}
    made: list[dict[str, Any]] = [
        {
            **common,
            "facet": facet,
            "label": event["labels"][facet]["label"],
            "endorsements": event["labels"][facet]["endorsements"],
            "preferred_changed": True,
        }
        for facet in sorted(after)
        if after[facet] != before.get(facet)
    ]
    made += [{**common, "facet": facet, "preferred_changed": True} for facet in sorted(before.keys() - after.keys())]
    return Transition({"newest": [own.rev_dt, own.rev_id], "labels": after}, events=made)


jade_labels = Job(
    "jade_labels",
    ("mediawiki.page_content_change.v1",),
    steps=(Each("read", read), Dedupe().step("dedupe"), PerKey("changed", pages.key, changed)),
    output=ToStream(CHANGES, "1.0.0"),
    summary="The labels that people prefer for revisions and differences.",
)


def is_removed(change: Mapping[str, Any]) -> bool:
    """Whether the facet has no label any more."""
    return "label" not in change


@table(source=CHANGES, key=("wiki_id", "entity", "entity_id", "facet"), version=("rev_id", "dt"), delete=is_removed)
def jade_preferred(change: dict[str, Any]) -> dict[str, Any]:
    """The preferred label of each difference and revision."""
    return {name: change[name] for name in ("label", "rev_id", "dt")}
