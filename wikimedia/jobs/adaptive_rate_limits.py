"""How many requests a client may make, fewer while the service fails; and which clients have to wait.

How this works: requests are put in order, and each takes a token from the bucket of its client. The limit of a minute
follows from the errors of the one before. What has to be known to refuse requests is the table `rate_limits`: a row for
each client that has to wait, until when, and the row `*` with the limit of all. A row that has expired is void; a
client without one is let through, so that without the table nobody is kept out.
"""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, Reorder, ToStream, Transition, table
from headwater.times import utc_text

from ..content import pages
from ..content.token_buckets import AdaptiveLimit, refilled, seconds_to_token

SOURCE = "webrequest.text"
DECISIONS = "rate_limit_decision.v1"
MINUTE_MS = 60_000
ALL = "*"
ALLOW, DENY, LIMIT, STATE_LOST = "allow", "deny", "limit", "state_lost"
CLIENTS_SHOWN_MAX = 1_000
# What is counted when nothing is known of before: the limit as if all were well, or as if the service failed.
OPEN, CLOSED = "open", "closed"
SETTINGS = {"base": 60.0, "least": 6.0, "step": 6.0, "errors_max": 0.05, "without_state": OPEN}


def request(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Client, time and whether it failed; raises InvalidInput without a client."""
    client = pages.field(event, "ip", str)
    failed = str(event.get("http_status") or "").startswith("5")
    return {"client": client, "at_ms": context.event_time_ms, "failed": failed}


def everything(found: Mapping[str, Any], context: Context) -> str:
    """All requests have one limit."""
    return ALL


def limited(state: Any, found: dict[str, Any], context: Context) -> Transition:
    """State: the minute, its limit, its numbers and the clients that were denied. Rows: buckets, with tokens and time.

    What is emitted besides are decisions: of a client that is denied, unless one is in force, and of all when the limit
    changes.
    """
    assert context.rows is not None
    minute, client, at_ms = found["at_ms"] // MINUTE_MS, found["client"], found["at_ms"]
    ended = []
    if state is None:
        state = _first(minute, context)
    elif minute > state["minute"]:
        state, ended = _next(state, minute, context)
    state["requests"] += 1
    state["errors"] += found["failed"]
    tokens, before_ms, until_ms = context.rows.get(client) or (state["limit"], at_ms, 0)
    tokens = refilled(tokens, (at_ms - before_ms) / 1000, state["limit"])
    if tokens >= 1:
        tokens -= 1
    else:
        state["denied"] += 1
        if client not in state["clients"] and len(state["clients"]) < CLIENTS_SHOWN_MAX:
            state["clients"].append(client)
        if until_ms <= at_ms:
            until_ms = at_ms + 1000 + int(seconds_to_token(tokens, state["limit"]) * 1000)
            _decide(context, client, DENY, state["limit"], (at_ms, until_ms))
    context.rows[client] = [tokens, at_ms, until_ms]
    context.timer("over", at_ms=(state["minute"] + 1) * MINUTE_MS)
    return Transition(state, events=ended)


def _first(minute: int, context: Context) -> dict[str, Any]:
    """Nothing is known of before: it is the first minute ever, or state was lost, which somebody should look at."""
    settings = context.settings
    limit = settings["least"] if settings["without_state"] == CLOSED else settings["base"]
    context.metrics.counter("began_without_state")
    _decide(context, ALL, STATE_LOST, limit, (minute * MINUTE_MS, (minute + 1) * MINUTE_MS))
    return _minute(minute, limit)


def _minute(minute: int, limit: float) -> dict[str, Any]:
    return {"minute": minute, "limit": limit, "requests": 0, "errors": 0, "denied": 0, "clients": []}


def _next(state: dict[str, Any], minute: int, context: Context) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The state of a later minute, and the row of the one that is over. Full buckets need no row."""
    assert context.rows is not None
    names = ("base", "least", "step", "errors_max")
    adaptive = AdaptiveLimit(**{name: context.settings[name] for name in names})
    limit = adaptive.after(state["limit"], state["requests"], state["errors"])
    for _ in range(min(minute - state["minute"] - 1, 1_000)):
        limit = adaptive.after(limit, 0, 0)
    start_ms = minute * MINUTE_MS
    for client, (_, _, until_ms) in [one for one in context.rows.items() if one[1][1] < start_ms - MINUTE_MS]:
        del context.rows[client]
        if until_ms:
            _decide(context, client, ALLOW, limit, (start_ms, start_ms))
    if limit != state["limit"] or limit < adaptive.base:
        _decide(context, ALL, LIMIT, limit, (start_ms, start_ms + MINUTE_MS))
    return _minute(minute, limit), [_row(state)] if state["requests"] else []


def _row(state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dt": utc_text((state["minute"] + 1) * MINUTE_MS),
        "minute": utc_text(state["minute"] * MINUTE_MS),
        "limit_per_client_per_minute": state["limit"],
        "requests": state["requests"],
        "errors": state["errors"],
        "allowed": state["requests"] - state["denied"],
        "denied": state["denied"],
        "denied_clients": sorted(state["clients"]),
    }


def _decide(context: Context, client: str, decision: str, limit: float, times_ms: tuple[int, int]) -> None:
    """`times_ms`: from when to when it counts."""
    dt, expires_at = map(utc_text, times_ms)
    made = {"dt": dt, "expires_at": expires_at, "client": client, "decision": decision, "limit": limit}
    context.emit(made, to=DECISIONS)


def over(state: Any, timer: str, context: Context) -> Transition:
    """The minute is over, and nothing has come after it."""
    minute = context.event_time_ms // MINUTE_MS
    if minute <= state["minute"]:
        return Transition(state)
    state, ended = _next(state, minute, context)
    return Transition(state, events=ended)


adaptive_rate_limits = Job(
    "adaptive_rate_limits",
    (SOURCE,),
    steps=(
        Dedupe().step("dedupe"),
        Each("request", request),
        Reorder("at_ms", hold="2s", held_max=100_000).step("in_order", everything),
        PerKey("limited", everything, limited, over, keeps_rows=True),
    ),
    output=ToStream("rate_limit_minute.v1", "1.0.0"),
    outputs=(ToStream(DECISIONS, "1.0.0"),),
    late_stream="rate_limit.late",
    settings=SETTINGS,
    summary="How many requests a client may make, fewer while the service fails; and who has to wait.",
)


def is_over(event: Mapping[str, Any]) -> bool:
    """Whether the client need not wait any more."""
    return bool(event["decision"] == ALLOW)


@table(source=DECISIONS, key="client", version="dt", delete=is_over, tombstone_ttl="1h")
def rate_limits(event: dict[str, Any]) -> dict[str, Any]:
    """Which clients have to wait, and the limit of all (`*`)."""
    return {name: event[name] for name in ("client", "decision", "limit", "dt", "expires_at")}
