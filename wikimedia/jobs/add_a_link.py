"""Links that pages could have: texts that other pages use as links, where a page has them without one."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition, table

from ..content import pages
from ..content.anchors import earlier, places
from ..content.bounded import Bounded
from ..content.page_rows import PageRows, Row, checked, forgotten

SECONDS_MAX = 5.0
CHANGES = "mediawiki.page_content_change.v1"
FEEDBACK = "mediawiki.link_suggestion_feedback.v1"
SUGGESTIONS = "mediawiki.link_suggestion.v1"
RECOMMENDATIONS = "mediawiki.revision-recommendation-create"
# Rows of a page for targets that people have decided about; its other rows are its suggestions.
DECIDED = "d"
SETTINGS = {
    # Anchors with a lower score are not suggested, and of a page only the first so many.
    "score_min": 0.5,
    "suggestions_max": 50,
}

find = Bounded(Path(__file__).parent.parent / "content" / "wikitext.py", "running_text", seconds=SECONDS_MAX)


def is_removed(row: dict[str, Any]) -> bool:
    return bool(row["changelog_kind"] == "delete")


@table(source="mediawiki.link_anchor.v1", key=("wiki_id", "anchor"), delete=is_removed)
def link_anchors(row: dict[str, Any]) -> dict[str, Any]:
    """What the texts of links lead to, with a score: how probable it is that a text should be a link."""
    return {"target": row["target"], "score": row["score"]}


def either(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The change of a page, or what somebody thinks of a suggestion. Raises InvalidInput."""
    if "page" in event or "revision" in event:
        return checked(event, context)
    pages.field(event, "wiki_id", str)
    pages.field(event, "link_target", str)
    pages.whole_numbers(event, "page_id")
    return event


def key(event: Mapping[str, Any], context: Context) -> list[Any]:
    """Wiki and page."""
    return pages.key(event, context) if "page" in event else [event["wiki_id"], event["page_id"]]


def rows(event: Mapping[str, Any], page: pages.Page, context: Context) -> Iterable[Row]:
    """The suggestions of a revision: at most one for each target, and none that people have decided about."""
    if page.model != "wikitext" or event["page"].get("is_redirect") is True:
        return ()
    found = find(text=page.text)
    parts = [(start, part) for start, part in found["parts"]]
    linked = {_title(target.partition("#")[0]) for target in found["links"]} | {_title(event["page"]["page_title"])}
    made: list[Row] = []
    for place in places(parts, partial(_anchor, context, event["wiki_id"])):
        title = _title(place.target)
        if title in linked or place.score < context.settings["score_min"] or _decided(title) in (context.rows or ()):
            continue
        linked.add(title)
        made.append(
            {
                "link_text": place.text,
                "link_target": place.target,
                "link_index": len(made),
                "match_index": earlier(parts, place),
                "wikitext_offset": place.at,
                "score": place.score,
                "context_before": place.before,
                "context_after": place.after,
                "rev_id": page.rev_id,
            }
        )
        if len(made) == context.settings["suggestions_max"]:
            break
    return made


def _anchor(context: Context, wiki: str, text: str) -> Mapping[str, Any] | None:
    anchor: Mapping[str, Any] | None = context.table("link_anchors").get((wiki, text))
    return anchor


def _title(written: str) -> str:
    """A title as the wiki compares it: the first letter has no case."""
    title = written.replace("_", " ").strip().removeprefix(":")
    return title[:1].upper() + title[1:]


def _decided(title: str) -> str:
    return f"{DECIDED}{title}"[:1_000]


def also(event: Mapping[str, Any], changes: list[Row], context: Context) -> None:
    """The older event that a revision has suggestions."""
    if any(change["changelog_kind"] != "delete" for change in changes):
        page, revision = event["page"], event["revision"]
        about = {"dt": event["dt"], "database": event["wiki_id"], "page_id": page["page_id"]}
        about |= {"page_title": page["page_title"].replace(" ", "_"), "rev_id": revision["rev_id"]}
        context.emit({**about, "recommendation_type": "link"}, to=RECOMMENDATIONS)


suggestions = PageRows("suggestions", ("link_target",), rows, on_change=also)


def on_event(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """The suggestions that a change makes, changes and removes; or the one that somebody has decided about."""
    if "page" in event:
        return suggestions.on_event(state, event, context)
    assert context.rows is not None
    title = _title(event["link_target"])
    context.rows[_decided(title)] = True
    about = {"dt": event["dt"], "wiki_id": event["wiki_id"], "page_id": event["page_id"]}
    removed = []
    for name, row in list(context.rows.items()):
        if isinstance(row, dict) and _title(row["link_target"]) == title:
            del context.rows[name]
            removed.append(
                {**about, "rev_id": row["rev_id"], "changelog_kind": "delete", "link_target": row["link_target"]}
            )
    return Transition([0, 0, 0] if state is None else state, events=removed)


add_a_link = Job(
    "add_a_link",
    (CHANGES, FEEDBACK),
    steps=(
        Each("checked", either),
        Dedupe().step("dedupe"),
        PerKey("suggestions", key, on_event, forgotten, keeps_rows=True, timers_emit=False),
    ),
    output=ToStream(SUGGESTIONS, "1.0.0"),
    outputs=(ToStream(RECOMMENDATIONS, "1.0.0"),),
    settings=SETTINGS,
    tables=("link_anchors",),
    summary="Links that pages could have.",
)


@table(source=SUGGESTIONS, key=("wiki_id", "page_id", "link_target"), version=("rev_id", "dt"), delete=is_removed)
def link_suggestions(row: dict[str, Any]) -> dict[str, Any]:
    """The links that each page could have now."""
    about = ("$schema", "meta", "dt", "wiki_id", "page_id", "link_target", "changelog_kind")
    return {name: value for name, value in row.items() if name not in about}
