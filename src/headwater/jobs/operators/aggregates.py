"""Aggregates of windows: how each event changes a value, how two values merge, and the result made of a value.

How this works: an aggregate's result depends only on the events, not on the order in which they came, so that windows
can be assembled from parts and a run over history equals a live one: sums are exact, "first" and "last" go by event
time, and ties are decided by the values themselves. An aggregate that counts different values (`entry` is set) has a
mapping of text to a count as its value, which `accumulation` stores row by row once it is large.
"""

from __future__ import annotations

import math
import re
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.errors import JobInvalid
from headwater.event import decode_json, get_path
from headwater.schemas.json_value import identity, whole

COLLECTED_MAX = 1_000
PERCENTILE_ACCURACY = 0.01

# What can be added up, and what has an order.
ADDED = frozenset({"integer", "number", "boolean"})
COMPARED = ADDED | {"string", "array"}
NUMBERS = frozenset({"integer", "number"})

# How the JSON of a value starts, and texts that could be such JSON.
_FIRST_OF_JSON = frozenset('-0123456789[{"tfn')
_JSON = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[\[{\"].*", re.DOTALL)

Event = Mapping[str, Any]


def _itself(value: Any) -> Any:
    return value


def _no_fold(*_: Any) -> Any:
    raise AssertionError("an aggregate with `entry` is folded by its entries")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One value of a window: the initial JSON value, how an event and its time change it, and the result made of it."""

    name: str
    initial: Callable[[], Any]
    fold: Callable[[Any, Event, int], Any] = _no_fold
    merge: Callable[[Any, Any], Any] = _no_fold
    finish: Callable[[Any], Any] = _itself
    # The dotted path of the values it aggregates, if any, and the JSON types that it accepts; empty: all.
    path: str | None = None
    takes: frozenset[str] = frozenset()
    # For one that counts different values: the text that stands for the event's value, None to skip the event.
    entry: Callable[[Event], str | None] | None = None
    # Whether the number of events with each value matters, or only which values there are.
    is_counted: bool = True
    # Whether the number of different values is the result: they then need not be read for it.
    is_size: bool = False
    values_max: int | None = None
    # What its value is a value of, such as "sum": values of another kind, or path, cannot be continued.
    kind: str = ""


def count(name: str, where: Callable[[Event], bool] | None) -> Aggregate:
    if where is not None and not callable(where):
        raise JobInvalid(f"The aggregate {name!r} counts events for which `where`, a function of them, holds.")
    return Aggregate(
        name,
        lambda: 0,
        lambda n, event, at: n + (where is None or bool(where(event))),
        lambda one, other: one + other,
        kind="count",
    )


def total(name: str, path: str) -> Aggregate:
    return Aggregate(
        name,
        lambda: 0,
        lambda value, event, at: _added(value, get_path(event, path)),
        _totals_added,
        _total_of,
        path,
        ADDED,
        kind="sum",
    )


def mean(name: str, path: str) -> Aggregate:
    return Aggregate(
        name,
        lambda: [0, 0],
        lambda value, event, at: _mean_with(value, get_path(event, path)),
        lambda one, other: [one[0] + other[0], _totals_added(one[1], other[1])],
        lambda value: _total_of(value[1]) / value[0] if value[0] else None,
        path,
        ADDED,
        kind="mean",
    )


def extreme(name: str, path: str, choose: Callable[..., Any]) -> Aggregate:
    """`choose` is min or max."""
    return Aggregate(
        name,
        lambda: None,
        lambda kept, event, at: _chosen(choose, kept, whole(get_path(event, path))),
        lambda one, other: _chosen(choose, one, other),
        path=path,
        takes=COMPARED,
        kind=choose.__name__,
    )


def by_time(name: str, path: str, *, last: bool) -> Aggregate:
    """The value of the first or last event by event time; of several at that time, the least or greatest value."""

    def fold(kept: Any, event: Event, event_time_ms: int) -> Any:
        value = get_path(event, path)
        return kept if value is None else merge(kept, [event_time_ms, value])

    def merge(one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        return (max if last else min)(one, other, key=_dated_order)

    return Aggregate(
        name,
        lambda: None,
        fold,
        merge,
        lambda kept: None if kept is None else kept[1],
        path,
        kind="last" if last else "first",
    )


def collect(name: str, path: str, values_max: int) -> Aggregate:
    """The values of the first `values_max` events by event time, in its order."""
    if type(values_max) is not int or not 1 <= values_max <= COLLECTED_MAX:
        raise JobInvalid(f"The aggregate {name!r} collects from 1 to {COLLECTED_MAX} values, not {values_max!r}.")

    def fold(kept: Any, event: Event, event_time_ms: int) -> Any:
        value = get_path(event, path)
        if value is not None:
            insort(kept, [event_time_ms, value], key=_dated_order)
            del kept[values_max:]
        return kept

    def merge(one: Any, other: Any) -> Any:
        return sorted([*one, *other], key=_dated_order)[:values_max]

    return Aggregate(name, list, fold, merge, lambda kept: [value for _, value in kept], path, kind="collect")


def count_distinct(name: str, path: str) -> Aggregate:
    return Aggregate(
        name,
        dict,
        finish=len,
        path=path,
        entry=lambda event: _entry(event, path),
        is_counted=False,
        is_size=True,
        kind="count_distinct",
    )


def top_k(name: str, path: str, k: int, values_max: int) -> Aggregate:
    for what, number in (("k", k), ("values_max", values_max)):
        if type(number) is not int or number < 1:
            raise JobInvalid(f"The aggregate {name!r} has {what} = {number!r}, which is not a positive integer.")

    def finish(counts: Mapping[str, int]) -> list[dict[str, Any]]:
        ranked = sorted(((value_of(text), n) for text, n in counts.items()), key=lambda one: (-one[1], _order(one[0])))
        return [{"value": value, "count": n} for value, n in ranked[:k]]

    return Aggregate(
        name,
        dict,
        finish=finish,
        path=path,
        entry=lambda event: _entry(event, path),
        values_max=values_max,
        kind="top_k",
    )


def percentiles(name: str, path: str, quantiles: Sequence[float]) -> Aggregate:
    """Quantiles of the numbers at `path`, each within 1 % of a value at that rank, by a DDSketch.

    A sketch is the number of values in each of its buckets, whatever the order they came in.
    """
    # Loaded only for jobs that have percentiles.
    from ddsketch.ddsketch import BaseDDSketch
    from ddsketch.mapping import LogarithmicMapping
    from ddsketch.store import DenseStore

    wanted = tuple(quantiles) if isinstance(quantiles, list | tuple) else ()
    if not wanted or not all(type(q) in (int, float) and 0 <= q <= 1 for q in wanted):
        raise JobInvalid(f"The aggregate {name!r} takes quantiles from 0 to 1, such as (0.5, 0.95), not {quantiles!r}.")
    mapping = LogarithmicMapping(PERCENTILE_ACCURACY)

    def entry(event: Event) -> str | None:
        value = get_path(event, path)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{path} is {type(value).__name__}, and percentiles are of numbers")
        size = abs(value)
        if size <= mapping.min_possible:
            return "0"
        if size > mapping.max_possible:
            raise OverflowError(f"{path} is too large for percentiles")
        return f"{'+' if value > 0 else '-'}{mapping.key(size)}"

    def finish(counts: Mapping[str, int]) -> dict[str, float | None] | None:
        above, below = DenseStore(), DenseStore()
        for bucket, n in counts.items():
            if bucket != "0":
                (above if bucket[0] == "+" else below).add(int(bucket[1:]), n)
        sketch = BaseDDSketch(mapping, above, below, counts.get("0", 0))
        return {f"{q:g}": sketch.get_quantile_value(q) for q in wanted} if sketch.count else None

    return Aggregate(name, dict, finish=finish, path=path, takes=NUMBERS, entry=entry, kind="percentiles")


def value_of(text: str) -> Any:
    """The JSON value that `_name` made this text of."""
    return decode_json(text) if text[:1] in _FIRST_OF_JSON and _JSON.fullmatch(text) else text


def _entry(event: Event, path: str) -> str | None:
    value = get_path(event, path)
    return None if value is None else _name(value)


def _name(value: Any) -> str:
    """Text that distinguishes JSON values. Text is unchanged, unless it could be the JSON of another: "1" is not 1."""
    if not isinstance(value, str):
        return identity(value).decode()
    if value[:1] not in _FIRST_OF_JSON or not _JSON.fullmatch(value):
        return value
    return identity(value).decode()


def _added(total: Any, value: Any) -> Any:
    if type(value) is int and type(total) is int:
        return total + value
    if value is None:
        return total
    if not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} cannot be added up")
    return _totals_added(total, whole(value))


def _totals_added(one: Any, other: Any) -> Any:
    """The sum of two totals. One is a number or, once fractions are in it, [integer, floats that add up exactly]."""
    if type(one) is int and type(other) is int:
        return one + other
    (integer, floats), (more, others) = _parts(one), _parts(other)
    for number in others:
        floats = _with(floats, number)
    return [integer + more, floats] if floats else integer + more


def _parts(total: Any) -> tuple[int, list[float]]:
    if isinstance(total, list):
        return total[0], total[1]
    if isinstance(total, int):
        return int(total), []
    return 0, [float(total)]


def _with(floats: list[float], number: float) -> list[float]:
    """`floats`, none of which overlaps another, with `number` added to their sum without rounding (Shewchuk)."""
    kept = []
    for part in floats:
        large, small = (number, part) if abs(number) >= abs(part) else (part, number)
        number = large + small
        rest = small - (number - large)
        if rest:
            kept.append(rest)
    _check_finite(number)
    kept.append(number)
    return kept


def _total_of(total: Any) -> Any:
    if not isinstance(total, list):
        return total
    integer, parts = total[0], list(total[1])
    try:
        while integer:
            # An integer may have more digits than a double.
            parts.append(float(integer))
            integer -= int(parts[-1])
        made = math.fsum(parts)
    except OverflowError:
        made = math.inf
    return _check_finite(made)


def _check_finite(number: float) -> float:
    if not -math.inf < number < math.inf:
        raise OverflowError("the sum is greater than any number JSON has")
    return number


def _mean_with(value: Any, number: Any) -> Any:
    return value if number is None else [value[0] + 1, _added(value[1], number)]


def _chosen(choose: Callable[..., Any], kept: Any, value: Any) -> Any:
    if value is None or kept is None:
        return kept if value is None else value
    return choose(kept, value)


def _order(value: Any) -> tuple[int, Any]:
    """The order of JSON values: false, true, numbers, texts by code point, then everything else by its JSON."""
    if isinstance(value, bool):
        return (0, value)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, str):
        return (2, value)
    return (3, identity(value))


def _dated_order(dated: list[Any]) -> tuple[int, tuple[int, Any]]:
    return dated[0], _order(dated[1])
