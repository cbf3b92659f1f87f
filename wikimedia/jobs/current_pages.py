"""The table of all pages as they are now: of each, the newest revision and title."""

from collections.abc import Iterator
from typing import Any

from headwater.connectors.contract import Column, TableShape
from headwater.jobs import Context, Each, Job, ToTable
from headwater.times import time_ms, utc_milliseconds

from ..content import pages

COLUMNS = (
    Column("wiki_id", "text", "wiki_id"),
    Column("page_id", "integer", "page_id"),
    Column("page_title", "text", "page_title"),
    Column("namespace_id", "integer", "namespace_id"),
    Column("is_redirect", "boolean", "is_redirect"),
    Column("rev_id", "integer", "rev_id"),
    Column("rev_dt", "text", "rev_dt"),
    Column("rev_size", "integer", "rev_size"),
    Column("rev_sha1", "text", "rev_sha1"),
    Column("is_content_visible", "boolean", "is_content_visible"),
    Column("is_editor_visible", "boolean", "is_editor_visible"),
    Column("is_comment_visible", "boolean", "is_comment_visible"),
    Column("dt", "text", "dt"),
    Column("is_deleted", "boolean", "is_deleted"),
    Column("version", "text", "version"),
)


def rows(event: dict[str, Any], context: Context) -> Iterator[dict[str, Any]]:
    """The row of a page after a change. A page that was restored under another number is deleted under the old one."""
    page, revision = event["page"], event["revision"]
    row = {
        **pages.about(event),
        **{name: page[name] for name in ("namespace_id", "is_redirect") if name in page},
        **{column.name: revision[column.name] for column in COLUMNS if column.name in revision},
        "is_deleted": event["page_change_kind"] == "delete",
        "version": version(event),
    }
    yield row
    prior = event.get("prior_state", {}).get("page", {}).get("page_id")
    if event["page_change_kind"] == "undelete" and isinstance(prior, int) and prior != page["page_id"]:
        yield {**row, "page_id": prior, "is_deleted": True}


def version(event: dict[str, Any]) -> str:
    """Text by which rows of a page are ordered: by the time and number of the revision, then by that of the change."""
    changed = _sortable(event["dt"])
    revised = _sortable(event["revision"].get("rev_dt") or event["dt"])
    return f"{revised} {event['revision']['rev_id']:020} {changed}"


def _sortable(text: str) -> str:
    at = time_ms(text)
    if at is None:
        raise pages.InvalidInput(f"{text!r:.100} is not a time.")
    return utc_milliseconds(at)


current_pages = Job(
    "current_pages",
    ("mediawiki.page_change.v1",),
    steps=(Each("checked", pages.checked), Each("rows", rows)),
    output=ToTable(
        TableShape(
            "current_pages",
            COLUMNS,
            key=("wiki_id", "page_id"),
            order="wiki_id, page_title",
            version="version",
            deleted="is_deleted",
            keeps_first=True,
        )
    ),
    summary="All pages as they are now.",
)
