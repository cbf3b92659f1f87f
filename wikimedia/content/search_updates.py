"""What a search index has to do about a page, from all that happens to it: changes, other looks, weighted tags.

How this works: of each page what its document has is kept. Each event changes it; then, at once or after some time in
which more events may come, the whole document is passed on, with the most important thing that happened. So a sink
needs no partial updates. Which events are merged depends on when they arrive; the last document of a page does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, Timer, ToStream, Transition
from headwater.jobs.durations import milliseconds

from . import pages

CHANGES = "mediawiki.page_change.v1"
RERENDERS = "mediawiki.cirrussearch.page_rerender.v1"
TAGS = "cirrussearch.page_weighted_tags_change.v1"
# The later ones say less about what an index has to do.
TYPES = ("PAGE_DELETE", "REDIRECT_UPDATE", "REV_BASED_UPDATE", "PAGE_RERENDER", "TAGS_UPDATE")
OF_PAGE = TYPES[:3]


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what an event of its kind has."""
    if "page_change_kind" in event:
        return pages.checked(event, context)
    pages.field(event, "wiki_id", str)
    pages.field(event, "dt", str)
    pages.whole_numbers(_page(event), "page_id")
    if "weighted_tags" in event:
        _check_tags(pages.field(event, "weighted_tags", dict))
    return event


def _check_tags(tags: Mapping[str, Any]) -> None:
    cleared, groups = tags.get("clear") or [], tags.get("set") or {}
    if not isinstance(cleared, list) or not isinstance(groups, Mapping):
        raise pages.InvalidInput("weighted_tags has no list `clear` or no object `set`.")
    for prefix in cleared:
        if not isinstance(prefix, str):
            raise pages.InvalidInput(f"weighted_tags.clear has {prefix!r:.100}, which is no prefix.")
    for prefix, some in groups.items():
        for tag in some if isinstance(some, list) else [None]:
            if not isinstance(tag, Mapping):
                raise pages.InvalidInput(f"weighted_tags.set has something else than tags for {prefix!r:.100}.")
            pages.field(tag, "tag", str)
            score = tag.get("score", 0)
            if not isinstance(score, int | float) or isinstance(score, bool) or not 0 <= score <= 1:
                raise pages.InvalidInput(f"The score of {prefix!r:.100} is {score!r:.100}; it has to be from 0 to 1.")


def _page(event: dict[str, Any]) -> dict[str, Any]:
    """Where an event has the number, title and namespace of its page."""
    return pages.field(event, "page", dict) if "weighted_tags" in event else event


def key(event: dict[str, Any], context: Context) -> list[Any]:
    """Wiki and page."""
    page = event["page"] if "page_change_kind" in event else _page(event)
    return [event["wiki_id"], page["page_id"]]


class SearchUpdates:
    """The steps; events of a page within the setting `merge`, after the first one, are one update. 0: each is one.

    `merge`: the default of the setting, such as 5m.
    """

    def __init__(self, merge: str) -> None:
        self._merge = merge

    def on_event(self, state: Any, event: dict[str, Any], context: Context) -> Transition:
        """State: the document, the tags by prefix, and what has happened since it was passed on."""
        state = state or {"document": None, "tags": {}, "happened": None}
        pending = context.timers.get("merged")
        # The time of what happened before is over, though the timer has not fired yet.
        updates = _passed_on(state) if pending is not None and pending.at_ms <= context.event_time_ms else []
        if "page_change_kind" in event:
            happened = _changed(state, event)
        elif "weighted_tags" in event:
            happened = _tagged(state, event)
        else:
            happened = "PAGE_RERENDER"
        document = state["document"]
        if happened is None:
            return Transition(state, events=updates, dropped="older")
        if document is None or (happened not in OF_PAGE and document["is_gone"]):
            # Tags are kept: the page may be announced later.
            return Transition(state, events=updates, dropped="unknown_page")
        state["happened"] = _most_important(state["happened"], happened)
        document["dt"] = event["dt"]
        merge_ms = milliseconds(context.settings["merge"])
        if not merge_ms:
            return Transition(state, events=[*updates, *_passed_on(state)])
        if pending is None or updates:
            pending = Timer(context.event_time_ms + merge_ms)
        return Transition(state, events=updates, timers={"merged": pending})

    def on_timer(self, state: Any, timer: str, context: Context) -> Transition:
        """Pass on the document as it is now."""
        updates = _passed_on(state)
        return Transition(state, events=updates)

    def job(self, name: str, stream: str, summary: str) -> Job:
        """The job of this name."""
        return Job(
            name,
            (CHANGES, RERENDERS, TAGS),
            steps=(
                Each("checked", checked),
                Dedupe().step("dedupe"),
                PerKey("merged", key, self.on_event, self.on_timer),
            ),
            output=ToStream(stream, "1.0.0"),
            settings={"merge": self._merge},
            summary=summary,
        )


def _passed_on(state: dict[str, Any]) -> list[dict[str, Any]]:
    """The document with what has happened to it, if something has; from now on nothing has."""
    happened, state["happened"] = state["happened"], None
    if happened is None:
        return []
    document = {name: value for name, value in state["document"].items() if name != "is_gone"}
    tags = [text for prefix in sorted(state["tags"]) for text in state["tags"][prefix]]
    return [{**document, "change_type": happened, "weighted_tags": tags}]


def _changed(state: dict[str, Any], event: Mapping[str, Any]) -> str | None:
    """Take over a change of the page, and say what it is; None if it is older than what is known."""
    page, revision = event["page"], event["revision"]
    document = state["document"]
    if document is not None and revision["rev_id"] < document["rev_id"]:
        return None
    is_deleted, is_redirect = event["page_change_kind"] == "delete", page.get("is_redirect") is True
    state["document"] = {
        "wiki_id": event["wiki_id"],
        "page_id": page["page_id"],
        "page_title": page["page_title"],
        **({"namespace_id": page["namespace_id"]} if isinstance(page.get("namespace_id"), int) else {}),
        "rev_id": revision["rev_id"],
        "is_gone": is_deleted or is_redirect,
    }
    if is_deleted:
        state["tags"] = {}
        return "PAGE_DELETE"
    if is_redirect:
        target = page.get("redirect_page_link")
        if isinstance(target, Mapping) and isinstance(target.get("page_title"), str):
            state["document"]["redirect_to"] = target["page_title"]
        return "REDIRECT_UPDATE"
    return "REV_BASED_UPDATE"


def _tagged(state: dict[str, Any], event: Mapping[str, Any]) -> str:
    """Take over the tags of an event: what is set replaces what its prefix had."""
    tags = event["weighted_tags"]
    for prefix in tags.get("clear") or []:
        state["tags"].pop(prefix, None)
    for prefix, some in (tags.get("set") or {}).items():
        state["tags"][prefix] = [_text(prefix, tag) for tag in some]
    return "TAGS_UPDATE"


def _text(prefix: str, tag: Mapping[str, Any]) -> str:
    weight = "" if tag.get("score") is None else f"|{round(tag['score'] * 1000)}"
    return f"{prefix}/{tag['tag']}{weight}"


def _most_important(before: str | None, now: str) -> str:
    """Of changes of the page the last one; else that which says more."""
    if before is None or now in OF_PAGE:
        return now
    return min(before, now, key=TYPES.index)
