"""Finds a string of a given length that matches some expressions and not others, or proves that there is none.

How this works: all expressions are walked in parallel, breadth first, over one representative of each class of
characters that none of them distinguishes; excluded words are walked as one more automaton. Lengths are counted layer
by layer while a bound is still ahead; after that each combination of states is visited once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from headwater.schemas.compatibility.expressions import LAST, MATCHED, Automaton, Characters, automaton
from headwater.schemas.compatibility.nodes import Formula, OneOfValues, Opaque, Pattern, SizeAtLeast, SizeAtMost
from headwater.schemas.compatibility.outcome import IMPOSSIBLE, Found, Outcome, Solver, Undecided

_LAYERS_MAX = 3_000
_LENGTH_MAX = 200_000
_WALK_STATES_MAX = 10_000
_TRIES_MAX = 24
_NICE = "a0ATZ-_.:/ bB1z9x%@#~é"

# Strings that opaque formats accept or refuse, as candidates for a search over those formats.
SAMPLES = (
    *("a", "b", "a.example", "b.example.org", "https://a.example/", "http://b.example.org/x?y#z", "ftp://a.example"),
    *("^a+$", "[a-z]*", "(", "[", "", " ", "-", "a b", "not a host!", "P1D", "PT5M", "P2W", "é", "é.example"),
    *("a@b.example", "é@b.example", "https://é.example/ü", "//x", "\\", "1", "2020-01-01", "2020-01-01T00:00:00Z"),
)


@dataclass
class _Wanted:
    low: int = 0
    high: int | None = None
    match: list[str] = field(default_factory=list)
    avoid: list[str] = field(default_factory=list)
    excluded: set[str] = field(default_factory=set)
    opaque: list[Formula] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        return not self.match and not self.avoid


def find_string(solver: Solver, literals: Sequence[Formula]) -> Outcome:
    """A string for which all literals (about strings, or denied `enum`s) hold."""
    wanted = _wanted(solver, literals)
    if wanted is None:
        return IMPOSSIBLE
    if not wanted.opaque:
        return _search(solver, wanted)

    def fits(text: str) -> bool:
        return all(solver.holds(literal, text) is True for literal in literals)

    found = next((text for text in SAMPLES if fits(text)), None)
    if found is not None:
        return Found(found)
    outcome = _search(solver, wanted)
    for _ in range(_TRIES_MAX):
        if not isinstance(outcome, Found) or fits(outcome.value):
            return outcome
        wanted.excluded.add(outcome.value)
        outcome = _search(solver, wanted)
    return Undecided("it depends on a format or expression that is not a regular language")


def _wanted(solver: Solver, literals: Sequence[Formula]) -> _Wanted | None:
    wanted = _Wanted()
    for literal in literals:
        node = solver.nodes.node(literal)
        if isinstance(node, SizeAtLeast | SizeAtMost):
            at_least, size = _bound(node, literal > 0)
            if at_least:
                wanted.low = max(wanted.low, size)
            else:
                wanted.high = size if wanted.high is None else min(wanted.high, size)
        elif isinstance(node, Pattern) and automaton(node.expression) is not None:
            (wanted.match if literal > 0 else wanted.avoid).append(node.expression)
        elif isinstance(node, Pattern | Opaque):
            wanted.opaque.append(literal)
        elif isinstance(node, OneOfValues):
            wanted.excluded |= {value for _, value in node.keys if isinstance(value, str)}
    return None if wanted.high is not None and wanted.low > wanted.high else wanted


def _bound(node: SizeAtLeast | SizeAtMost, positive: bool) -> tuple[bool, int]:
    """(whether it is a lower bound, the bound): a denied bound is the opposite one, a step further."""
    if isinstance(node, SizeAtLeast):
        return (True, node.size) if positive else (False, node.size - 1)
    return (False, node.size) if positive else (True, node.size + 1)


def _search(solver: Solver, wanted: _Wanted) -> Outcome:
    if wanted.is_plain:
        return _plain(wanted)
    return _Walk(solver, wanted).outcome()


def _plain(wanted: _Wanted) -> Outcome:
    for length in range(wanted.low, wanted.low + 2):
        if wanted.high is not None and length > wanted.high:
            break
        for text in _texts(length, len(wanted.excluded) + 1):
            if text not in wanted.excluded:
                return Found(text)
    return IMPOSSIBLE


def _texts(length: int, count: int) -> Iterator[str]:
    """Distinct strings of one length; as many as asked for, unless the length is zero."""
    if length == 0:
        yield ""
        return
    for number in range(count):
        yield "a" * (length - 1) + chr(97 + number if number < 26 else 0x4E00 + number)


class _Words:
    """The excluded words as an automaton: a state is the part of a word that was read, or None once no word fits."""

    def __init__(self, words: set[str]) -> None:
        self._words = words
        self._parts = {word[:end] for word in words for end in range(len(word) + 1)}

    def step(self, state: str | None, character: int) -> str | None:
        text = None if state is None else state + chr(character)
        return text if text in self._parts else None

    def accepts(self, state: str | None) -> bool:
        return state in self._words


State = tuple[Any, ...]
# The states that can be reached with one more character, each with the state before and that character.
Layer = dict[State, tuple[State, int]]


class _Walk:
    """One breadth-first search for a word."""

    def __init__(self, solver: Solver, wanted: _Wanted) -> None:
        self._solver = solver
        self._wanted = wanted
        self._match = [_known(expression) for expression in dict.fromkeys(wanted.match)]
        self._avoid = [_known(expression) for expression in dict.fromkeys(wanted.avoid)]
        self._words = _Words(wanted.excluded)
        self._letters = _letters([*self._match, *self._avoid], wanted.excluded)
        self._parents: list[Layer] = []
        # Layers by their content, below the shortest length and from it on: an end is only searched for in the latter.
        self._seen_below: dict[frozenset[State], int] = {}
        self._seen: dict[frozenset[State], int] = {}
        self._visited: set[State] = set()

    def outcome(self) -> Outcome:
        start: State = (
            tuple(one.start for one in self._match),
            tuple(one.start for one in self._avoid),
            "" if self._wanted.excluded else None,
        )
        if self._wanted.low == 0 and self._empty_fits():
            return Found("")
        if self._wanted.high == 0:
            return IMPOSSIBLE
        if self._is_lost(start):
            return IMPOSSIBLE
        return self._layers(start)

    def _empty_fits(self) -> bool:
        matched = all(one.accepts_empty() for one in self._match) and not any(o.accepts_empty() for o in self._avoid)
        return matched and "" not in self._wanted.excluded

    def _layers(self, start: State) -> Outcome:
        layer = {start: (start, 0)}
        low, high = self._wanted.low, self._wanted.high
        length = walked = 0
        if low > _LENGTH_MAX:
            return Undecided(f"the string must have more than {_LENGTH_MAX} characters")
        while layer and (high is None or length < high):
            length += 1
            layer = self._next_layer(layer)
            self._parents.append(layer)
            walked += len(layer)
            self._solver.spend(len(layer) // 8 + 1)
            if walked > _WALK_STATES_MAX or len(self._seen) + len(self._seen_below) > _LAYERS_MAX:
                return Undecided("the expressions and lengths are too many to search")
            if length < low:
                length = self._jump(layer, length)
                continue
            final = next((state for state in layer if self._accepts(state)), None)
            if final is not None:
                return Found(self._word(final))
            layer = self._news(layer, length)
        return IMPOSSIBLE

    def _news(self, layer: Layer, length: int) -> Layer:
        """The states of a layer without an end that may still lead to one: beyond every bound, only new states.

        Before an upper bound, a layer that occurred before leads to the same layers again, so none of it.
        """
        if self._wanted.high is not None:
            return {} if self._cycle(layer, self._seen, length) else layer
        layer = {state: edge for state, edge in layer.items() if state not in self._visited}
        self._visited.update(layer)
        return layer

    @staticmethod
    def _cycle(layer: Layer, seen: dict[frozenset[State], int], length: int) -> int:
        """How many layers ago the same layer occurred; 0 if it is new."""
        key = frozenset(layer)
        if key in seen:
            return length - seen[key]
        seen[key] = length
        return 0

    def _jump(self, layer: Layer, length: int) -> int:
        """Repeat a cycle of layers as often as it fits below the shortest length wanted; returns the new length."""
        cycle = self._cycle(layer, self._seen_below, length)
        rounds = (self._wanted.low - 1 - length) // cycle if cycle else 0
        self._parents.extend(self._parents[-cycle:] * rounds)
        return length + rounds * cycle

    def _next_layer(self, layer: Layer) -> Layer:
        parents: Layer = {}
        for state in layer:
            match, avoid, word = state
            for letter in self._letters:
                following: State = (
                    tuple(one.step(part, letter) for one, part in zip(self._match, match, strict=True)),
                    tuple(one.step(part, letter) for one, part in zip(self._avoid, avoid, strict=True)),
                    self._words.step(word, letter),
                )
                if following not in parents and not self._is_lost(following):
                    parents[following] = (state, letter)
        return parents

    @staticmethod
    def _is_lost(state: State) -> bool:
        return any(not part for part in state[0]) or any(part == MATCHED for part in state[1])

    def _accepts(self, state: State) -> bool:
        match, avoid, word = state
        return (
            all(one.accepts(part) for one, part in zip(self._match, match, strict=True))
            and not any(one.accepts(part) for one, part in zip(self._avoid, avoid, strict=True))
            and not (word is not None and self._words.accepts(word))
        )

    def _word(self, state: State) -> str:
        letters = []
        for parents in reversed(self._parents):
            state, letter = parents[state]
            letters.append(chr(letter))
        return "".join(reversed(letters))


def _known(expression: str) -> Automaton:
    found = automaton(expression)
    if found is None:
        raise ValueError(f"{expression!r} has no automaton")
    return found


def _letters(automata: Sequence[Automaton], words: set[str]) -> list[int]:
    """One readable character of every class that no automaton and no excluded word distinguishes."""
    sets: dict[Characters, None] = {}
    for one in automata:
        sets.update(dict.fromkeys(sorted(one.sets())))
    sets.update(dict.fromkeys(((ord(c), ord(c)),) for c in sorted({c for word in words for c in word})))
    bounds = {0, LAST + 1, 0xD800, 0xE000}
    for characters in sets:
        for low, high in characters:
            bounds |= {low, high + 1}
    ordered = sorted(bounds)
    classes: dict[tuple[bool, ...], int] = {}
    has = [_membership(characters) for characters in sets]
    for low, following in pairwise(ordered):
        if 0xD800 <= low < 0xE000:
            continue
        signature = tuple(test(low) for test in has)
        letter = _pleasant(low, following - 1)
        if signature not in classes or _rank(letter) < _rank(classes[signature]):
            classes[signature] = letter
    return sorted(classes.values(), key=_rank)


def _membership(characters: Characters) -> Callable[[int], bool]:
    return lambda point: any(low <= point <= high for low, high in characters)


def _pleasant(low: int, high: int) -> int:
    return min((ord(c) for c in _NICE if low <= ord(c) <= high), key=_rank, default=max(low, min(high, 0x21)))


def _rank(point: int) -> tuple[int, int]:
    nice = _NICE.find(chr(point))
    return (0, nice) if nice >= 0 else (1 if 0x20 < point < 0x7F else 2, point)
