"""The jobs of this project: edits per wiki and minute, and the most edited pages."""

from typing import Any

from headwater.jobs import Context, Window, job, table, tumbling


@job(
    source="demo.edit",
    sink="demo.edits_per_minute:1.0.0",
    key="wiki",
    window=tumbling("1m", lateness="1m")
    .count("edits")
    .count("bot_edits", where=lambda edit: edit["bot"])
    .sum("bytes", "bytes"),
    out_of_order="5s",
    idle="2s",
)
def edits_per_minute(window: Window, context: Context) -> dict[str, Any]:
    """Edits per wiki and minute, by the time of the edits."""
    return {
        "dt": window.end,
        "wiki": window.key,
        "window_start": window.start,
        "edits": window.edits,
        "bot_edits": window.bot_edits,
        "bytes": window.bytes,
    }


@job(source="demo.edit", sink="demo.page_edits:1.0.0", key=("wiki", "title"), state=int)
def page_edits(edit: dict[str, Any], context: Context) -> dict[str, Any]:
    """How often each page has been edited so far."""
    context.state += 1
    return {
        "dt": edit["dt"],
        "wiki": edit["wiki"],
        "title": edit["title"],
        "edits": context.state,
        "user": edit["user"],
    }


edits_per_minute_table = table(
    "edits_per_minute",
    source="demo.edits_per_minute",
    columns={
        "window_start": "text",
        "wiki": "text",
        "edits": "integer",
        "bot_edits": "integer",
        "bytes": "integer",
    },
    key=("window_start", "wiki"),
    order="window_start desc, edits desc",
)

most_edited_pages_table = table(
    "most_edited_pages",
    source="demo.page_edits",
    columns={
        "wiki": "text",
        "title": "text",
        "edits": "integer",
        "last_user": ("text", "user"),
        "last_edit": ("text", "dt"),
    },
    key=("wiki", "title"),
    order="edits desc, last_edit desc",
)
