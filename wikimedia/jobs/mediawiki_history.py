"""The history of wikis: a row for each revision and each change of a page, with reverts as they happen."""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition

from ..content import history_rows, pages
from ..content.history import PageHistory, Revision

CHANGES = "mediawiki.page_change.v1"
TAGS = "mediawiki.revision-tags-change"
VISIBILITY = "mediawiki.revision-visibility-change"


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what an event of its stream has."""
    if "wiki_id" in event or "revision" in event:
        event = pages.checked(event, context)
        history_rows.at_ms(event["revision"]["rev_dt"])
        return event
    pages.field(event, "database", str)
    pages.whole_numbers(event, "page_id", "rev_id")
    if event["meta"]["stream"] == TAGS:
        pages.field(event, "tags", list)
    else:
        pages.field(event, "visibility", dict)
    return event


def key(event: Mapping[str, Any], context: Context) -> list[Any]:
    """Wiki and page."""
    return pages.key(event, context) if "wiki_id" in event else [event["database"], event["page_id"]]


def rows(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """The rows that are new or changed after an event."""
    assert context.rows is not None
    history = PageHistory(context.rows)  # type: ignore[arg-type]
    if "wiki_id" not in event:
        return Transition(None, events=_changed_by(event, history, context))
    kind, revision = event["page_change_kind"], event["revision"]
    made = [history_rows.page_row(event)] if kind in history_rows.PAGE_EVENTS else []
    known = history.find(revision["rev_id"])
    if known is None and kind in pages.EDITS:
        made += [one["row"] for one in history.add(history_rows.revision_of(event))]
    elif known is not None and kind not in ("delete", "move"):
        hidden = history_rows.hidden_of(
            text=revision.get("is_content_visible"),
            user=revision.get("is_editor_visible"),
            comment=revision.get("is_comment_visible"),
        )
        made += _with_hidden(known, hidden, revision, event["dt"], history)
    return Transition(None, events=made)


def _changed_by(event: dict[str, Any], history: PageHistory, context: Context) -> list[dict[str, Any]]:
    """The rows that change with the tags of a revision, or with what of it is hidden."""
    known = history.find(event["rev_id"])
    if known is None:
        context.metrics.counter("unknown_revision")
        return []
    if isinstance(event.get("tags"), list):
        known["row"] |= {"revision_tags": sorted(event["tags"]), "dt": event["meta"]["dt"]}
        return [one["row"] for one in history.change(known)]
    hidden = history_rows.hidden_of(**{part: event["visibility"].get(part) for part in ("text", "user", "comment")})
    # Its comment and performer are about hiding, not about the revision.
    return _with_hidden(known, hidden, {"rev_sha1": event.get("rev_sha1")}, event["meta"]["dt"], history)


def _with_hidden(
    known: Revision, hidden: list[str], shown: Mapping[str, Any], dt: str, history: PageHistory
) -> list[dict[str, Any]]:
    """The rows that change when these parts of a revision are hidden; none if they were before.

    `shown` is the revision as the event has it, with what is shown from now on.
    """
    row = known["row"]
    if row["revision_deleted_parts"] == hidden:
        return []
    history_rows.withhold(known, hidden, history_rows.parts_of(shown, shown.get("editor")))
    row |= {"revision_deleted_parts": hidden, "dt": dt}
    known["sha1"] = row.get("revision_text_sha1")
    return [one["row"] for one in history.change(known)]


mediawiki_history = Job(
    "mediawiki_history",
    (CHANGES, TAGS, VISIBILITY),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), PerKey("rows", key, rows, keeps_rows=True)),
    output=ToStream("mediawiki.history.v1", "1.0.0"),
    summary="The history of wikis by revision and page, with reverts as they happen.",
)
