"""References that an edit added to a page or removed from it."""

from pathlib import Path
from typing import Any

from headwater.jobs import Context, Each, Job, ToStream

from ..content import pages
from ..content.bounded import Bounded

SECONDS_MAX = 5.0

find = Bounded(Path(__file__).parent.parent / "content" / "references.py", "references_change", seconds=SECONDS_MAX)


def changes(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The references a revision has and its parent has not, and the other way round; nothing if they are the same."""
    compared = event["compared"]
    if compared["model"] != "wikitext":
        context.metrics.counter("skipped_content_model")
        return None
    if compared["reason"] is not None:
        context.metrics.counter(compared["reason"])
        return None
    if compared["before"] == compared["after"]:
        return None
    found = find(before=compared["before"], after=compared["after"])
    if not found["added"] and not found["removed"]:
        return None
    return {**pages.about(event), "rev_id": compared["rev_id"], "parent_id": compared["parent_id"], **found}


reference_changes = Job(
    "reference_changes",
    ("mediawiki.page_content_change.v1",),
    steps=(*pages.comparing(), Each("changes", changes)),
    output=ToStream("mediawiki.page_references_change.v1", "1.0.0"),
    summary="References that an edit added or removed.",
)
