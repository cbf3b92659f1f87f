"""Parses a regular expression (the regular part of ECMA 262) into an automaton that is walked character by character.

How this works: a small recursive parser builds a Thompson automaton whose edges carry sets of code points; anchors are
edges taken only at the start or the end. An expression is searched for, not matched from end to end, so every step may
also start it again. What a finite automaton cannot express (back-references, look-around, word boundaries), and what
engines disagree on (case-insensitive flags, Unicode classes), is Unsupported: callers then test values instead of
reasoning.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

Characters = tuple[tuple[int, int], ...]
LAST = 0x10FFFF
_STATES_MAX = 4_000
_REPEATS_MAX = 1_000
_STEPS_KEPT_MAX = 50_000
MATCHED = frozenset((-1,))

_DIGIT: Characters = ((48, 57),)
_WORD: Characters = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Characters = (
    *((9, 13), (32, 32), (160, 160), (5760, 5760), (8192, 8202)),
    *((8232, 8233), (8239, 8239), (8287, 8287), (12288, 12288), (65279, 65279)),
)
_CONTROL = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11}


class Unsupported(ValueError):
    """The expression is not regular, or engines do not agree on what it means."""


def complement(characters: Characters) -> Characters:
    """Every code point that is not in the set (sorted, disjoint pairs); lone surrogates are not characters."""
    gaps, start = [], 0
    for low, high in merged((*characters, (0xD800, 0xDFFF))):
        if low > start:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= LAST:
        gaps.append((start, LAST))
    return tuple(gaps)


def merged(characters: Characters) -> Characters:
    result: list[tuple[int, int]] = []
    for low, high in sorted(characters):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return tuple(result)


class Automaton:
    """One expression. States of a walk are frozen sets; MATCHED is the walk that can no longer fail."""

    def __init__(self, expression: str) -> None:
        self.edges: list[list[tuple[Characters, int]]] = []
        self.free: list[list[tuple[str, int]]] = []
        begin, end = _Parser(expression, self).whole()
        self._end = end
        self._begin = begin
        self._steps: dict[tuple[frozenset[int], int], frozenset[int]] = {}
        self._accepts: dict[frozenset[int], bool] = {}
        self._useful = self._states_that_lead_on()
        self.start = self._closed({begin}, at_start=True)
        self._anew = self._closed({begin}, at_start=False)

    def new_state(self) -> int:
        if len(self.edges) >= _STATES_MAX:
            raise Unsupported("the expression is too large")
        self.edges.append([])
        self.free.append([])
        return len(self.edges) - 1

    def sets(self) -> set[Characters]:
        """Every set of characters an edge carries."""
        return {characters for edges in self.edges for characters, _ in edges}

    def step(self, state: frozenset[int], character: int) -> frozenset[int]:
        if state is MATCHED or state == MATCHED:
            return MATCHED
        key = (state, character)
        known = self._steps.get(key)
        if known is None:
            reached = {target for one in state for target in self._targets(one, character)}
            known = self._closed(reached, at_start=False)
            if known != MATCHED and self._anew:
                known = MATCHED if self._anew == MATCHED else known | self._anew
            if len(self._steps) >= _STEPS_KEPT_MAX:
                self._steps.clear()
            self._steps[key] = known
        return known

    def accepts(self, state: frozenset[int]) -> bool:
        """Whether the text may end here."""
        if state == MATCHED:
            return True
        known = self._accepts.get(state)
        if known is None:
            known = self._accepts[state] = self._end in self._reach(set(state), {"", "$"})
        return known

    def accepts_empty(self) -> bool:
        return self.start == MATCHED or self._end in self._reach({self._begin}, {"", "^", "$"})

    def _targets(self, state: int, character: int) -> Iterator[int]:
        for characters, target in self.edges[state]:
            if any(low <= character <= high for low, high in characters):
                yield target

    def _closed(self, states: set[int], *, at_start: bool) -> frozenset[int]:
        reached = self._reach(states, {"", "^"} if at_start else {""})
        return MATCHED if self._end in reached else frozenset(reached & self._useful)

    def _reach(self, states: set[int], allowed: set[str]) -> set[int]:
        stack, reached = list(states), set(states)
        while stack:
            for anchor, target in self.free[stack.pop()]:
                if anchor in allowed and target not in reached:
                    reached.add(target)
                    stack.append(target)
        return reached

    def _states_that_lead_on(self) -> set[int]:
        """The states that matter in a walk: those with a character to read, or the end after a `$`."""
        reading = {state for state, edges in enumerate(self.edges) if edges}
        return reading | {
            state
            for state, free in enumerate(self.free)
            if any(anchor == "$" for anchor, _ in free) and self._end in self._reach({state}, {"", "$"})
        }


class _Parser:
    """Recursive descent; every method returns the (first, last) state of what it read."""

    def __init__(self, expression: str, automaton: Automaton) -> None:
        self._text = expression
        self._at = 0
        self._automaton = automaton

    def whole(self) -> tuple[int, int]:
        ends = self._alternatives()
        if self._at < len(self._text):
            raise Unsupported("an unmatched parenthesis")
        return ends

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _next(self) -> str:
        character = self._peek()
        if not character:
            raise Unsupported("the expression ends too early")
        self._at += 1
        return character

    def _alternatives(self) -> tuple[int, int]:
        begin, end = self._automaton.new_state(), self._automaton.new_state()
        while True:
            first, last = self._sequence()
            self._free(begin, first)
            self._free(last, end)
            if not self._take("|"):
                return begin, end

    def _sequence(self) -> tuple[int, int]:
        begin = last = self._automaton.new_state()
        while self._peek() not in ("", "|", ")"):
            first, next_last = self._repeated()
            self._free(last, first)
            last = next_last
        return begin, last

    def _repeated(self) -> tuple[int, int]:
        start = self._at
        ends = self._atom()
        after = self._at
        low, high = self._quantifier()
        if (low, high) == (1, 1):
            return ends
        rest = self._at
        if (high is not None and high > _REPEATS_MAX) or low > _REPEATS_MAX:
            raise Unsupported("a repetition is too long")
        # A copy for each repetition is made by reading the same text again.
        self._at = start
        result = self._copies(start, after, low, high)
        self._at = rest
        if self._peek() in ("*", "+"):
            raise Unsupported("a repetition of a repetition")
        return result

    def _copies(self, start: int, after: int, low: int, high: int | None) -> tuple[int, int]:
        begin = last = self._automaton.new_state()
        end = self._automaton.new_state()
        for index in range(low if high is None else high):
            if index >= low:
                self._free(last, end)
            last = self._copy(start, after, last)
        if high is None:
            loop = self._automaton.new_state()
            self._free(last, loop)
            self._free(self._copy(start, after, loop), loop)
            last = loop
        self._free(last, end)
        return begin, end

    def _copy(self, start: int, after: int, last: int) -> int:
        self._at = start
        first, next_last = self._atom()
        if self._at != after:
            raise Unsupported("a repetition that cannot be read")
        self._free(last, first)
        return next_last

    def _quantifier(self) -> tuple[int, int | None]:
        low, high = self._counts()
        if (low, high) != (1, 1):
            self._take("?")
        return low, high

    def _counts(self) -> tuple[int, int | None]:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return counts
        if self._peek() != "{":
            return 1, 1
        end = self._text.find("}", self._at)
        parts = self._text[self._at + 1 : end].split(",")
        if end < 0 or len(parts) > 2 or not parts[0].isdecimal() or not (parts[-1].isdecimal() or parts[-1] == ""):
            raise Unsupported("a brace that does not begin a repetition")
        self._at = end + 1
        low = int(parts[0])
        return low, low if len(parts) == 1 else int(parts[1]) if parts[1] else None

    def _atom(self) -> tuple[int, int]:
        character = self._next()
        if character == "(":
            return self._group()
        if character in "^$":
            begin, end = self._automaton.new_state(), self._automaton.new_state()
            self._automaton.free[begin].append((character, end))
            return begin, end
        if character == "[":
            return self._reading(self._set())
        if character == ".":
            return self._reading(complement(((10, 10),)))
        if character == "\\":
            return self._reading(self._escape(inside=False))
        if character in "*+?{":
            raise Unsupported("a repetition without an operand")
        return self._reading(((ord(character), ord(character)),))

    def _group(self) -> tuple[int, int]:
        if self._take("?") and not self._take(":"):
            named = self._take("P<") or (self._text[self._at : self._at + 2] not in ("<=", "<!") and self._take("<"))
            if not named:
                raise Unsupported("a look-around or a flag")
            while self._next() != ">":
                pass
        ends = self._alternatives()
        if not self._take(")"):
            raise Unsupported("an unmatched parenthesis")
        return ends

    def _reading(self, characters: Characters) -> tuple[int, int]:
        begin, end = self._automaton.new_state(), self._automaton.new_state()
        self._automaton.edges[begin].append((characters, end))
        return begin, end

    def _free(self, source: int, target: int) -> None:
        self._automaton.free[source].append(("", target))

    def _escape(self, *, inside: bool) -> Characters:
        character = self._next()
        classes = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
        if character in classes:
            return classes[character]
        if character.lower() in classes:
            return complement(classes[character.lower()])
        code = self._code(character, inside)
        return ((code, code),)

    def _code(self, character: str, inside: bool) -> int:
        if character in _CONTROL:
            return _CONTROL[character]
        if character == "b" and inside:
            return 8
        if character == "0" and not self._peek().isdecimal():
            return 0
        if character in "xu":
            digits = 2 if character == "x" else 4
            text = self._text[self._at : self._at + digits]
            self._at += digits
            try:
                return int(text, 16)
            except ValueError:
                raise Unsupported("an unusual escape") from None
        if character == "c":
            return ord(self._next()) % 32
        if character.isalnum():
            raise Unsupported(f"\\{character}")
        return ord(character)

    def _set(self) -> Characters:
        negated = self._take("^")
        found: list[tuple[int, int]] = []
        while not self._take("]"):
            low = self._member()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] < low[0][0]:
                    raise Unsupported("an unusual range")
                found.append((low[0][0], high[0][1]))
            else:
                found.extend(low)
        characters = merged(tuple(found))
        return complement(characters) if negated else characters

    def _member(self) -> Characters:
        character = self._next()
        if character == "\\":
            return self._escape(inside=True)
        # Engines disagree on these: some read nested sets and set operations, others plain characters.
        if character == "[" or (character in "&-~" and self._peek() == character):
            raise Unsupported("a set inside a set")
        return ((ord(character), ord(character)),)


@lru_cache(maxsize=1_024)
def automaton(expression: str) -> Automaton | None:
    """The automaton of an expression, None if it is Unsupported. Cached: formats recur in every schema."""
    try:
        return Automaton(expression)
    except (Unsupported, RecursionError):
        return None
