"""Pages that people edit often within an hour."""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Window, job, tumbling

from ..content.recent_changes import is_edit

EDITS_MIN = 3


def is_by_people(change: Mapping[str, Any]) -> bool:
    """Whether it is an edit of an article by somebody who is not known to be a bot."""
    namespace = change.get("namespace")
    return is_edit(change) and change.get("bot") is False and namespace == 0 and namespace is not False


@job(
    source="mediawiki.recentchange",
    sink="mediawiki.page_trending_edits.v1:1.0.0",
    where=is_by_people,
    key=("wiki", "title"),
    dedupe=Dedupe(),
    window=tumbling("1h").count("edits").count_distinct("editors", "user"),
    out_of_order="1m",
    late="mediawiki.page_trending_edits.late",
)
def trending_edits(window: Window, context: Context) -> dict[str, Any] | None:
    """Pages with at least three edits within an hour, and how many people made them."""
    if window.edits < EDITS_MIN:
        return None
    wiki, title = window.key
    return {
        "dt": window.end,
        "wiki": wiki,
        "title": title,
        "window_start": window.start,
        "edits": window.edits,
        "editors": window.editors,
    }
