"""The changes of pages that a wiki announces, of what it does: which things are a change, and what each of them says.

A wiki that produces `mediawiki.page_change.v1` itself needs no such job. This one says what it has to produce, for a
wiki that reports what it does, and for revisions of the past (`content/wiki_actions.py`). A null edit and the revision
that shows a protection are no changes. So the parent of a revision is not always the revision announced before it.
"""

from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition

from ..content import pages
from ..content.wiki_actions import ACTIONS, announced


def checked(action: dict[str, Any], context: Context) -> dict[str, Any]:
    """The action; raises InvalidInput if it lacks what every action has."""
    if pages.field(action, "action", str) not in ACTIONS:
        raise pages.InvalidInput(f"action is {action['action']!r:.100}; it is one of {', '.join(ACTIONS)}.")
    page, revision = pages.field(action, "page", dict), pages.field(action, "revision", dict)
    pages.field(action, "dt", str)
    pages.field(action, "wiki_id", str)
    pages.field(page, "page_title", str)
    pages.field(revision, "rev_dt", str)
    pages.whole_numbers(page, "page_id")
    pages.whole_numbers(revision, "rev_id")
    return action


def change(state: Any, action: dict[str, Any], context: Context) -> Transition:
    """State: the page and its revision, as they were last."""
    state, made = announced(state, action)
    if made is None:
        return Transition(state, dropped="not_a_change")
    uri = action["meta"].get("uri")
    return Transition(state, events=[{**made, **({"meta": {"uri": uri}} if isinstance(uri, str) else {})}])


page_change_producer = Job(
    "page_change_producer",
    ("mediawiki.wiki_action.v1",),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), PerKey("change", pages.key, change)),
    output=ToStream("mediawiki.page_change.v1", "1.2.0"),
    summary="The changes of pages that a wiki announces, of what it does.",
)
