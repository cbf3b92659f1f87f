"""The revisions of each page with what is counted of them, served over HTTP: `served_tables/page_revisions.yaml`."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from headwater.jobs import table


def is_revision(row: Mapping[str, Any]) -> bool:
    """Whether a row of the history is about a revision; others are about pages."""
    return bool(row["event_entity"] == "revision" and row.get("revision_id") is not None)


def is_address(name: str | None) -> bool:
    """Whether an editor has no account: the name is an IP address."""
    try:
        ip_address(name or "")
    except ValueError:
        return False
    return True


# Of rows with one time the last counts: a later revert changes the row of a revision, and not its time.
@table(source="mediawiki.history.v1", key=("wiki_id", "page_id", "revision_id"), where=is_revision)
def page_revisions(row: dict[str, Any]) -> dict[str, Any]:
    """The revisions of each page: when, by whom, and what is counted of them. Hidden editors have no name."""
    editor = row.get("event_user_text")
    return {
        "timestamp": row["event_timestamp"],
        "editor": editor,
        "is_editor_hidden": editor is None,
        "is_minor": row.get("revision_minor_edit") is True,
        "is_ip": is_address(editor),
        "is_bot_by_name": "name" in row["event_user_is_bot_by"],
        "is_bot": bool(row["event_user_is_bot_by"]),
        "is_reverted": row.get("revision_is_identity_reverted") is True,
        "bytes": row.get("revision_text_bytes"),
        "parent_id": row.get("revision_parent_id"),
    }
