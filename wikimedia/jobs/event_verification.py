"""Whether the events of streams are as they should be, by the checks of `event_verification.yaml`.

How this works: each event gets a number from each check of its stream, those windows add up. When a window is over, it
gives a result for each check; an event that comes later has it give them again, with a greater version. That a canary
is missing shows when there is none, so this is a job of its own.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.event import CANARY_DOMAIN, get_path
from headwater.jobs import Context, Each, Job, PerKey, ToStream, Transition
from headwater.times import utc_text

from ..content.quality import OF_SECONDS, Check, checks_of
from ..content.valid_events import is_valid

PROJECT = Path(__file__).parent.parent
DAY_MS = 86_400_000
# So long after its end, and after an event that came later, the results of a window are given.
HOLD_MS = 60_000
MESSAGE_CHARS_MAX = 300


STREAMS = checks_of((PROJECT / "event_verification.yaml").read_text("utf-8"), is_valid)


def about(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """What the checks say about an event by itself, and what the others need of it."""
    stream = str(context.stream)
    found, ordered = {}, {}
    for check in STREAMS[stream].checks.values():
        if check.read is not None:
            found[check.name] = _said(check, event)
        elif check.kind == "order":
            number = get_path(event, check.options["field"])
            if isinstance(number, int | float):
                ordered[check.name] = [[get_path(event, path) for path in check.options["key"]], number]
    return {"stream": stream, "id": get_path(event, "meta.id"), "found": found, "ordered": ordered}


def _said(check: Check, event: Mapping[str, Any]) -> Any:
    """The number; a text if the check failed."""
    try:
        value = None if check.read is None else check.read(event)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:MESSAGE_CHARS_MAX]
    return None if value is None else float(value)


def event_id(fact: Mapping[str, Any], context: Context) -> Any:
    """The id within its stream; None where no check asks for repeats."""
    kinds = {check.kind for check in STREAMS[fact["stream"]].checks.values()}
    return [fact["stream"], fact["id"]] if "duplicates" in kinds and fact["id"] is not None else None


def once(state: Any, fact: dict[str, Any], context: Context) -> Transition:
    """A repeat counts as such, and for no other check."""
    if context.key is None:
        return Transition(None, [fact])
    names = [check.name for check in STREAMS[fact["stream"]].checks.values() if check.kind == "duplicates"]
    if state is not None:
        return Transition(state, [{**fact, "found": {}, "ordered": {}, "repeats": names}])
    context.timer("forget", at_ms=context.event_time_ms + DAY_MS, fires_when_idle=False)
    return Transition(True, [{**fact, "found": fact["found"] | dict.fromkeys(names, 0.0)}])


def forget(state: Any, timer: str, context: Context) -> Transition:
    """An id is remembered for a day."""
    return Transition(None)


def stream(fact: Mapping[str, Any], context: Context) -> Any:
    """The stream; None where no check asks for lateness."""
    return fact["stream"] if any(one.kind == "lateness" for one in STREAMS[fact["stream"]].checks.values()) else None


def behind(newest_ms: Any, fact: dict[str, Any], context: Context) -> Transition:
    """Adds how far the event is behind the newest before it; state: the time of that."""
    if context.key is None or "repeats" in fact:
        return Transition(newest_ms, [fact])
    newest_ms = max(context.event_time_ms, context.event_time_ms if newest_ms is None else newest_ms)
    seconds = (newest_ms - context.event_time_ms) / 1000
    names = [check.name for check in STREAMS[fact["stream"]].checks.values() if check.kind == "lateness"]
    return Transition(newest_ms, [{**fact, "found": fact["found"] | dict.fromkeys(names, seconds)}])


def divided(fact: dict[str, Any], context: Context) -> Iterator[dict[str, Any]]:
    """The fact, and one more for each number that must not decrease."""
    for name, (key, number) in fact.pop("ordered").items():
        yield {"stream": fact["stream"], "order": [name, *key], "number": number}
    yield fact


def in_order(before: Any, fact: dict[str, Any], context: Context) -> Transition:
    """Whether the number is smaller than the one before of its key."""
    if context.key is None:
        return Transition(None, [fact])
    number = fact["number"]
    found = {fact["order"][0]: float(before is not None and number < before)}
    return Transition(number if before is None else max(number, before), [{"stream": fact["stream"], "found": found}])


def window(fact: Mapping[str, Any], context: Context) -> list[Any]:
    """The stream and the start of the window."""
    return [fact["stream"], context.event_time_ms - context.event_time_ms % STREAMS[fact["stream"]].every_ms]


def added(state: Any, fact: dict[str, Any], context: Context) -> Transition:
    """State: version, and by check how many events it has read, what it found, how often and how it failed."""
    state = state or {"version": 0, "checks": {}}
    checks = STREAMS[context.key[0]].checks
    for name in (*fact["found"], *fact.get("repeats", ())):
        events, value, failed, message = state["checks"].get(name, [0, 0.0, 0, ""])
        said = fact["found"].get(name, 1.0)
        if isinstance(said, str):
            failed, message = failed + 1, message or said
        elif said is not None:
            events += name in fact["found"]
            value = max(value, said) if checks[name].kind in OF_SECONDS else value + said
        state["checks"][name] = [events, value, failed, message]
    end_ms = context.key[1] + STREAMS[context.key[0]].every_ms
    if "results" not in context.timers:
        context.timer("results", at_ms=max(end_ms, context.watermark_ms) + HOLD_MS)
    context.timer("forget", at_ms=max(end_ms, context.watermark_ms) + DAY_MS, fires_when_idle=False)
    return Transition(state)


def results(state: Any, timer: str, context: Context) -> Transition:
    """A result of each check of the window."""
    if timer == "forget":
        return Transition(None)
    stream, start_ms = context.key
    state["version"] += 1
    common = {"stream": stream, "window_start": utc_text(start_ms), "version": state["version"]}
    dt = utc_text(start_ms + STREAMS[stream].every_ms)
    made = [STREAMS[stream].checks[name].result(*found) for name, found in sorted(state["checks"].items())]
    for one in made:
        context.metrics.gauge(f"quality.{stream}.{one['check']}", one["value"])
        context.metrics.counter(f"quality_{one['status']}.{stream}.{one['check']}")
    return Transition(state, events=[{"dt": dt, **common, **one} for one in made])


event_verification = Job(
    "event_verification",
    tuple(STREAMS),
    steps=(
        Each("about", about),
        PerKey("once", event_id, once, forget, timers_emit=False),
        PerKey("behind", stream, behind),
        Each("divided", divided),
        PerKey(
            "in_order", lambda fact, context: [fact["stream"], *fact["order"]] if "order" in fact else None, in_order
        ),
        PerKey("window", window, added, results),
    ),
    output=ToStream("event_quality.v1", "1.0.0"),
    history_order="arrival",
    summary="Whether the events of streams are as they should be, in windows.",
)


def seen(state: Any, event: Mapping[str, Any], context: Context) -> Transition:
    """State: when the last canary was, or the first event, and whether one is missing."""
    is_canary = get_path(event, "meta.domain") == CANARY_DOMAIN
    if state is not None and not is_canary:
        return Transition(state)
    missing = state is not None and state["missing"]
    last_ms = context.event_time_ms if state is None else max(state["last_ms"], context.event_time_ms)
    context.timer("missing", at_ms=last_ms + STREAMS[context.key].missing_ms)
    found = [_canary("passed", 0.0, context)] if missing else []
    return Transition({"last_ms": last_ms, "missing": False}, events=found)


def missing(state: Any, timer: str, context: Context) -> Transition:
    """Say so, once; not because a run over files has come to its end."""
    if context.scope.processing_ms is None and context.watermark_ms < context.event_time_ms:
        return Transition(state)
    seconds = (context.event_time_ms - state["last_ms"]) / 1000
    return Transition({**state, "missing": True}, events=[_canary("violated", seconds, context)])


def _canary(status: str, value: float, context: Context) -> dict[str, Any]:
    stream, now = context.key, utc_text(context.event_time_ms)
    limit = (STREAMS[stream].missing_ms or 0) / 1000
    context.metrics.counter(f"quality_{status}.{stream}.canary")
    common = {"dt": now, "stream": stream, "window_start": now, "version": 1, "check": "canary", "kind": "canary"}
    return {**common, "limit": limit, "events": 0, "value": value, "status": status}


event_verification_canaries = Job(
    "event_verification_canaries",
    tuple(stream for stream, checks in STREAMS.items() if checks.missing_ms is not None),
    steps=(PerKey("canaries", lambda event, context: context.stream, seen, missing),),
    output=ToStream("event_quality.v1", "1.0.0"),
    canaries=True,
    summary="Streams in which canaries are missing.",
)
