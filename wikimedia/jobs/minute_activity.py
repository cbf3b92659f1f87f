"""The roll-up of edits by minute that a store for analysis is filled with: absolute numbers, again when edits are late.

How this works: when a minute is over, its row is passed on. An edit that is late changes the row, which is passed on
again. The number of edits is the version of the row: a table with the key `minute` has the last one, in whatever order
and however often rows are written.
"""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition
from headwater.times import utc_text

from ..content import pages
from ..content.recent_changes import is_edit

MINUTE_MS = 60_000
# How long after its end a minute is passed on, and how long it may change.
OUT_OF_ORDER_MS = 60_000
KEPT_MS = 86_400_000


def checked(change: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The edit; None for other changes. Raises InvalidInput if its sizes are none."""
    if not is_edit(change):
        return None
    added_and_deleted(change)
    return change


def added_and_deleted(change: Mapping[str, Any]) -> tuple[int, int]:
    """The bytes that were added and removed, as the feed says, or by which the page has grown or shrunk."""
    if change.get("x_added") is not None or change.get("x_deleted") is not None:
        numbers = {name: change.get(name) or 0 for name in ("x_added", "x_deleted")}
        pages.whole_numbers(numbers, *numbers)
        return numbers["x_added"], numbers["x_deleted"]
    length = change.get("length")
    if not isinstance(length, Mapping) or length.get("new") is None:
        return 0, 0
    sizes = {"old": length.get("old") or 0, "new": length["new"]}
    pages.whole_numbers(sizes, "old", "new")
    grown = sizes["new"] - sizes["old"]
    return max(grown, 0), max(-grown, 0)


def minute(change: Mapping[str, Any], context: Context) -> int:
    """The start of its minute, in epoch milliseconds."""
    return context.event_time_ms - context.event_time_ms % MINUTE_MS


def counted(state: Any, change: dict[str, Any], context: Context) -> Transition:
    """State: edits, and bytes that were added and removed."""
    end_ms = context.key + MINUTE_MS
    if end_ms + KEPT_MS <= context.watermark_ms:
        return Transition(state, dropped="too_late")
    events, added, deleted = state or (0, 0, 0)
    more, less = added_and_deleted(change)
    context.timer("passed_on", at_ms=max(end_ms + OUT_OF_ORDER_MS, context.watermark_ms))
    context.timer("forgotten", at_ms=end_ms + KEPT_MS, fires_when_idle=False)
    return Transition([events + 1, added + more, deleted + less])


def on_timer(state: Any, timer: str, context: Context) -> Transition:
    """Pass the row on, or forget it."""
    if timer == "forgotten":
        return Transition(None)
    events, added, deleted = state
    times = {"dt": utc_text(context.key + MINUTE_MS), "minute": utc_text(context.key)}
    return Transition(state, events=[{**times, "events": events, "added": added, "deleted": deleted}])


minute_activity = Job(
    "minute_activity",
    ("mediawiki.recentchange",),
    steps=(
        Each("checked", checked),
        Dedupe().step("dedupe"),
        PerKey("minute", minute, counted, on_timer),
    ),
    output=ToStream("mediawiki.minute_activity.v1", "1.0.0"),
    summary="Edits, and bytes added and removed, by minute.",
)
