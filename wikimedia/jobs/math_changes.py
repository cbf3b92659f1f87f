"""Formulas that an edit added to a page or removed from it, and what is wrong with their syntax."""

from pathlib import Path
from typing import Any

from headwater.jobs import Context, Each, Job, ToStream

from ..content import pages
from ..content.bounded import Bounded

SECONDS_MAX = 5.0
SETTINGS = {
    # Macros that wikis know and LaTeX does not, or not with the same arguments: an error beside one is a warning.
    "macros": "alef and ang bold bull clubs cnums empty exist hearts image infin isin lang natnums or part plusmn rang "
    "real reals sdot sect spades sub sube supe thetasym weierp C H N Q R Z",
}

find = Bounded(Path(__file__).parent.parent / "content" / "formulas.py", "formulas_change", seconds=SECONDS_MAX)


def changes(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The formulas a revision has and its parent has not, and the other way round; nothing if they are the same."""
    compared = event["compared"]
    if compared["model"] != "wikitext":
        context.metrics.counter("skipped_content_model")
        return None
    if compared["reason"] is not None:
        context.metrics.counter(compared["reason"])
        return None
    if compared["before"] == compared["after"]:
        return None
    macros = context.settings["macros"].split()
    found = find(before=compared["before"], after=compared["after"], macros=macros)
    if found is None:
        return None
    return {**pages.about(event), "rev_id": compared["rev_id"], "parent_id": compared["parent_id"], **found}


math_changes = Job(
    "math_changes",
    ("mediawiki.page_content_change.v1",),
    steps=(*pages.comparing(), Each("changes", changes)),
    output=ToStream("mediawiki.page_math_change.v1", "1.0.0"),
    settings=SETTINGS,
    summary="Formulas that an edit added or removed.",
)
