"""What people say about images suggested for pages: each opinion as a row, and of each image the last one."""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition, table
from headwater.times import time_us

from ..content import pages

SOURCE = "mediawiki.image_suggestions_feedback"
# The prefix of the tags by which a search index finds pages with suggestions of images.
SUGGESTION_TAGS = "recommendation.image"
OPTIONAL = ("origin_wiki", "user_id", "rejection_reasons")


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what an opinion has."""
    for name, kind in (("wiki", str), ("filename", str), ("dt", str), ("is_accepted", bool), ("is_rejected", bool)):
        pages.field(event, name, kind)
    pages.whole_numbers(event, "page_id")
    if time_us(event["dt"]) is None:
        raise pages.InvalidInput(f"dt is {event['dt']!r:.100}; it has to be a time.")
    return event


def row(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """One opinion. Both accepted and rejected: it is kept, and marked."""
    accepted, rejected = event["is_accepted"], event["is_rejected"]
    return {
        **{name: event[name] for name in ("dt", "wiki", "page_id", "filename")},
        "id": str(event["meta"].get("id") or context.lineage_id),
        "is_accepted": accepted,
        "is_rejected": rejected,
        "is_contradictory": accepted and rejected,
        **{name: event[name] for name in OPTIONAL if event.get(name) is not None},
    }


def status_of(opinion: Mapping[str, Any]) -> str | None:
    """accepted, rejected, contradictory; None for an opinion that is neither."""
    if opinion["is_accepted"]:
        return "contradictory" if opinion["is_rejected"] else "accepted"
    return "rejected" if opinion["is_rejected"] else None


def cleared(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """What a search index has to clear: a page with an image that was accepted needs no suggestion."""
    if status_of(event) != "accepted":
        return None
    return {
        "dt": event["dt"],
        "wiki_id": event["wiki"],
        "page": {"page_id": event["page_id"]},
        "rev_based": False,
        "weighted_tags": {"clear": [SUGGESTION_TAGS]},
    }


def image(event: Mapping[str, Any], context: Context) -> list[Any]:
    """The image of a page."""
    return [event["wiki"], event["page_id"], event["filename"]]


def newest(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """The status after an opinion that is newer than all before: of the same moment, that with the greater id.

    State: the moment and id of the newest opinion, and the number of the status.
    """
    age = [time_us(event["dt"]), str(event["meta"].get("id") or "")]
    status = status_of(event)
    if status is None:
        return Transition(state, dropped="without_opinion")
    if state is not None and age <= state["age"]:
        return Transition(state, dropped="older")
    version = 1 if state is None else state["version"] + 1
    found = {name: event[name] for name in ("dt", "wiki", "page_id", "filename")}
    return Transition({"age": age, "version": version}, events=[{**found, "status": status, "version": version}])


image_suggestions_feedback = Job(
    "image_suggestions_feedback",
    (SOURCE,),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), Each("row", row)),
    output=ToStream("mediawiki.image_suggestions.feedback.v1", "1.0.0"),
    summary="Opinions about suggested images, each as a row.",
)
image_suggestions_status = Job(
    "image_suggestions_status",
    (SOURCE,),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), PerKey("newest", image, newest)),
    output=ToStream("mediawiki.image_suggestions.status.v1", "1.0.0"),
    summary="The last opinion about each image of a page.",
)
image_suggestions_tags = Job(
    "image_suggestions_tags",
    (SOURCE,),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), Each("cleared", cleared)),
    output=ToStream("cirrussearch.page_weighted_tags_change.v1", "1.0.0"),
    summary="Clears the tags of pages that got an image which was suggested.",
)


@table(source="mediawiki.image_suggestions.status.v1", key=("wiki", "page_id", "filename"), version="version")
def image_suggestion_statuses(row: dict[str, Any]) -> dict[str, Any]:
    """The last opinion about each image of a page."""
    return {"status": row["status"], "dt": row["dt"]}
