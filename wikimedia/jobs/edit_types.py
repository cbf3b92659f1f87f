"""Which elements of a page each edit added, removed or changed."""

from pathlib import Path
from typing import Any

from headwater.jobs import Context, Each, Job, ToStream

from ..content import pages
from ..content.bounded import Bounded

# Some texts take the library minutes; most take a few milliseconds.
SECONDS_MAX = 2.0
MODELS = frozenset({"wikitext", "wikibase-item", "wikibase-property"})

find = Bounded(Path(__file__).parent.parent / "content" / "edit_types.py", "edit_types", seconds=SECONDS_MAX)


def edit_types_of(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The elements an edit added, removed or changed, and the links, images and templates it added."""
    compared = event["compared"]
    if compared["model"] not in MODELS:
        context.metrics.counter("skipped_content_model")
        return None
    if compared["reason"] is not None:
        context.metrics.counter(compared["reason"])
        return None
    if compared["before"] == compared["after"]:
        return None
    language = str(event["meta"].get("domain", "")).partition(".")[0]
    found = find(before=compared["before"], after=compared["after"], model=compared["model"], language=language)
    return {
        **pages.about(event),
        "rev_id": compared["rev_id"],
        "rev_parent_id": compared["parent_id"],
        **found,
    }


edit_types = Job(
    "edit_types",
    ("mediawiki.page_content_change.v1",),
    steps=(*pages.comparing(), Each("edit_types", edit_types_of)),
    output=ToStream("mediawiki.page_edit_types.v1", "1.0.0"),
    summary="Which elements of a page each edit added, removed or changed.",
)
