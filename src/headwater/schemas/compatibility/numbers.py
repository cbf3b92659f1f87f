"""Finds a number inside ranges, on one grid and off others: exact arithmetic, no rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Any

from headwater.schemas.compatibility.nodes import AtLeast, AtMost, Formula, MultipleOf, Nodes, OneOfValues
from headwater.schemas.compatibility.outcome import IMPOSSIBLE, Found, Outcome, Undecided

_GRID_STEPS_MAX = 20_000


def fraction(value: float) -> Fraction:
    """A JSON number exactly as written: 0.1 is a tenth, not the nearest double."""
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def as_json(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


@dataclass
class _Range:
    low: Fraction | None = None
    high: Fraction | None = None
    low_open: bool = False
    high_open: bool = False
    on: list[Fraction] = field(default_factory=list)
    off: list[Fraction] = field(default_factory=list)
    excluded: set[Any] = field(default_factory=set)

    def raise_low(self, bound: Fraction, is_open: bool) -> None:
        if self.low is None or (bound, is_open) > (self.low, self.low_open):
            self.low, self.low_open = bound, is_open

    def lower_high(self, bound: Fraction, is_open: bool) -> None:
        if self.high is None or (bound, not is_open) < (self.high, not self.high_open):
            self.high, self.high_open = bound, is_open

    def has(self, value: Fraction) -> bool:
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        if self.high is not None and (value > self.high or (self.high_open and value == self.high)):
            return False
        if any(not _is_multiple(value, divisor) for divisor in self.on):
            return False
        return ("v", value) not in self.excluded and not any(_is_multiple(value, divisor) for divisor in self.off)


def _is_multiple(value: Fraction, divisor: Fraction) -> bool:
    return (value / divisor).denominator == 1


def find_number(nodes: Nodes, literals: Sequence[Formula]) -> Outcome:
    """A number for which all literals (about numbers, or denied `enum`s) hold."""
    bounds = _Range()
    for literal in literals:
        node = nodes.node(literal)
        if isinstance(node, AtLeast) and literal > 0:
            bounds.raise_low(node.bound, node.exclusive)
        elif isinstance(node, AtLeast):
            bounds.lower_high(node.bound, not node.exclusive)
        elif isinstance(node, AtMost) and literal > 0:
            bounds.lower_high(node.bound, node.exclusive)
        elif isinstance(node, AtMost):
            bounds.raise_low(node.bound, not node.exclusive)
        elif isinstance(node, MultipleOf):
            (bounds.on if literal > 0 else bounds.off).append(node.divisor)
        elif isinstance(node, OneOfValues):
            bounds.excluded |= {(tag, _exact(value)) for tag, value in node.keys if tag == "v"}
    return _on_grid(bounds) if bounds.on else _anywhere(bounds)


def _exact(value: Any) -> Any:
    return fraction(value) if isinstance(value, int | float) else value


def _on_grid(bounds: _Range) -> Outcome:
    """Multiples of the least common multiple, tried from zero outwards over one period of the grids to be avoided."""
    step = _common_multiple(bounds.on)
    first = None if bounds.low is None else ceil(bounds.low / step)
    last = None if bounds.high is None else floor(bounds.high / step)
    if any(_is_multiple(step, divisor) for divisor in bounds.off):
        return IMPOSSIBLE
    period = int(_common_multiple([step, *bounds.off]) / step) if bounds.off else 1
    # An open end or an excluded value costs one candidate each; a full period beyond them contains a value if any does.
    wanted = (period + 1) * (len(bounds.excluded) + 2) + 2
    if first is not None and last is not None and last - first + 1 <= wanted:
        wanted, whole = last - first + 1, True
    else:
        whole = wanted <= _GRID_STEPS_MAX
    for tried, index in enumerate(_outwards(first, last)):
        if tried > min(wanted, _GRID_STEPS_MAX):
            break
        if bounds.has(index * step):
            return Found(as_json(index * step))
    return IMPOSSIBLE if whole and wanted <= _GRID_STEPS_MAX else Undecided("the grid of `multipleOf` is too fine")


def _outwards(first: int | None, last: int | None) -> Iterator[int]:
    """Whole numbers from `first` to `last`, those near zero first."""
    start = 0
    if first is not None and first > 0:
        start = first
    elif last is not None and last < 0:
        start = last
    up, down = start, start - 1
    while True:
        more_up, more_down = last is None or up <= last, first is None or down >= first
        if not more_up and not more_down:
            return
        if more_up:
            yield up
            up += 1
        if more_down:
            yield down
            down -= 1


def _common_multiple(values: Sequence[Fraction]) -> Fraction:
    denominator = lcm(*(value.denominator for value in values))
    return Fraction(lcm(*(int(value * denominator) for value in values)), denominator)


def _anywhere(bounds: _Range) -> Outcome:
    low, high = bounds.low, bounds.high
    if low is not None and high is not None and (low > high or (low == high and not bounds.has(low))):
        return IMPOSSIBLE
    for candidate in _candidates(low, high, len(bounds.excluded)):
        if bounds.has(candidate):
            return Found(as_json(candidate))
    return Undecided("no number was found between the bounds")


def _candidates(low: Fraction | None, high: Fraction | None, spare: int) -> Iterator[Fraction]:
    """Simple numbers first, then ever finer divisions of the range: any range that is more than a point is reached."""
    yield from map(Fraction, ("0", "1", "0.5", "-1", "-0.5", "2", "3", "5", "10"))
    start = low if low is not None else (high - 1 if high is not None else Fraction(0))
    width = high - start if high is not None else Fraction(1)
    yield from (start, start + width)
    for whole in range(spare + 3):
        yield Fraction(floor(start) + whole)
    for power in range(1, 12):
        for step in range(1, min(2**power, 64), 2):
            yield start + width * Fraction(step, 2**power)
    # Denominators that no decimal grid shares.
    for prime in (3, 7, 11, 13):
        for step in range(1, prime):
            yield start + width * Fraction(step, prime)
