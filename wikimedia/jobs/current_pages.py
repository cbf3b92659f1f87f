"""The table of all pages as they are now: of each, the newest revision and title."""

from typing import Any

from headwater.jobs import table
from headwater.times import time_ms, utc_milliseconds

from ..content import pages

OF_PAGE = ("namespace_id", "is_redirect")
OF_REVISION = (
    *("rev_id", "rev_dt", "rev_size", "rev_sha1"),
    *("is_content_visible", "is_editor_visible", "is_comment_visible"),
)


def is_valid(event: dict[str, Any]) -> bool:
    """Raises InvalidInput for an event that is not."""
    pages.checked(event)
    return True


def is_deleted(event: dict[str, Any]) -> bool:
    return bool(event["page_change_kind"] == "delete")


def version(event: dict[str, Any]) -> str:
    """Text by which rows of a page are ordered: by the time and number of the revision, then by that of the change."""
    changed = _sortable(event["dt"])
    revised = _sortable(event["revision"].get("rev_dt") or event["dt"])
    return f"{revised} {event['revision']['rev_id']:020} {changed}"


def earlier_number(event: dict[str, Any]) -> list[Any] | None:
    """The key of a page that was restored under another number, before that."""
    prior = event.get("prior_state", {}).get("page", {}).get("page_id")
    is_other = isinstance(prior, int) and prior != event["page"]["page_id"]
    return [event["wiki_id"], prior] if event["page_change_kind"] == "undelete" and is_other else None


def _sortable(text: str) -> str:
    at = time_ms(text)
    if at is None:
        raise pages.InvalidInput(f"{text!r:.100} is not a time.")
    return utc_milliseconds(at)


@table(
    source="mediawiki.page_change.v1",
    key=("wiki_id", "page.page_id"),
    version=version,
    delete=is_deleted,
    replaces=earlier_number,
    where=is_valid,
)
def current_pages(event: dict[str, Any]) -> dict[str, Any]:
    """All pages as they are now."""
    about, page, revision = pages.about(event), event["page"], event["revision"]
    return {
        **{name: about[name] for name in ("wiki_id", "page_id", "page_title")},
        **{name: page.get(name) for name in OF_PAGE},
        **{name: revision.get(name) for name in OF_REVISION},
        "dt": about["dt"],
        "is_deleted": False,
        "version": version(event),
    }
