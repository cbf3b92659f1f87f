"""Pages that are viewed far more often than they usually are in that hour of the day, the most unusual first."""

import math
from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Job, PerKey, Timer, ToStream, Transition
from headwater.jobs.steps import Element
from headwater.times import time_ms, utc_text

VIEWS_MIN = 120
SCORE_MIN = 10.0
SCORE_DIGITS = 4
# How many pages of an hour are written.
TOP_MAX = 1000
HOUR_MS = 3_600_000

VIEWS, STATS = "pageview.v1", "pageview.stats.v1"


def score(views: int, mean: float, stddev: float) -> float:
    """How far the views are above the mean; a page with few views varies at least as much as chance does."""
    return (views - mean) / max(stddev, math.sqrt(max(mean, 1.0)))


def page_and_hour(event: Mapping[str, Any], context: Context) -> list[Any]:
    """What views and statistics are joined by: the page and the hour of the day."""
    hour = event.get("hour")
    return [event["wiki_id"], event["page_id"], context.event_time.hour if hour is None else hour]


def joined(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """The score of views; while the statistics of their page are unknown, they wait for an hour."""
    state = state or {"stats": None, "waiting": []}
    if "views" not in event:
        state["stats"] = [event["mean"], event["stddev"]]
        waiting, state["waiting"] = state["waiting"], []
        return Transition(state, events=_scored(waiting, state["stats"]), timers={})
    views = {
        "dt": event.get("dt") or utc_text(context.event_time_ms),
        **dict(zip(("wiki_id", "page_id", "hour"), context.key, strict=True)),
        "views": event["views"],
    }
    if state["stats"] is not None:
        return Transition(state, events=_scored([views], state["stats"]))
    state["waiting"].append(views)
    context.timer("without_stats", after="1h")
    return Transition(state)


def without_stats(state: Any, timer: str, context: Context) -> Transition:
    """Forget the views of a page without statistics."""
    context.metrics.counter("without_stats", len(state["waiting"]))
    return Transition(None)


def _scored(waiting: list[dict[str, Any]], stats: list[float]) -> list[dict[str, Any]]:
    scored = [{**views, "score": score(views["views"], *stats)} for views in waiting]
    return [views for views in scored if views["views"] >= VIEWS_MIN and views["score"] >= SCORE_MIN]


def hour_of(event: Mapping[str, Any], context: Context) -> int:
    """The start of the hour in which the views were, in epoch milliseconds; their statistics may have come later."""
    at_ms = time_ms(event["dt"])
    assert at_ms is not None
    return at_ms - at_ms % HOUR_MS


def collected(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """The pages of an hour so far, with what their ids are derived from."""
    return Transition([*(state or []), [event, context.lineage_id]], timers={"top": Timer(context.key + HOUR_MS)})


def top(state: Any, timer: str, context: Context) -> Transition:
    """The pages of an hour, the most unusual first."""
    ordered = sorted(state, key=lambda one: (-one[0]["score"], one[0]["wiki_id"], one[0]["page_id"]))
    return Transition(
        None,
        [
            Element({**views, "score": round(views["score"], SCORE_DIGITS)}, context.event_time_ms, f"{lineage_id}/0")
            for views, lineage_id in ordered[:TOP_MAX]
        ],
    )


trending_pageviews = Job(
    "trending_pageviews",
    (VIEWS, STATS),
    steps=(
        Dedupe().step("dedupe"),
        PerKey("joined", page_and_hour, joined, without_stats),
        PerKey("top", hour_of, collected, top),
    ),
    output=ToStream("pageview.trending.relative.v1", "1.0.0"),
    out_of_order_ms=60_000,
    summary="Pages that are viewed far more often than usual, the most unusual first.",
)
