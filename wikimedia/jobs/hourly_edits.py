"""Edits per wiki and hour."""

from typing import Any

from headwater.jobs import Context, Dedupe, Window, job, tumbling

from ..content.recent_changes import is_edit


@job(
    source="mediawiki.recentchange",
    sink="mediawiki.hourly_edits.v1:1.0.0",
    where=is_edit,
    key="wiki",
    dedupe=Dedupe(),
    window=tumbling("1h").count("edits"),
    out_of_order="1m",
    late="mediawiki.hourly_edits.late",
)
def hourly_edits(window: Window, context: Context) -> dict[str, Any]:
    """Edits per wiki and hour, by the time of the edits."""
    return {"dt": window.end, "wiki": window.key, "window_start": window.start, "edits": window.edits}
