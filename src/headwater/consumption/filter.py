"""A small, safe expression language over the fields of an event, so that a client receives only what it requested.

How this works: the text is split into tokens, a recursive-descent parser turns them into nested closures, and
matching calls the outermost one. Nothing is evaluated as Python, nothing recurses deeper than `DEPTH_MAX`, and what an
expression may examine in one event is bounded by `WORK_MAX`, so an untrusted one costs a few milliseconds at worst and
usually microseconds. An event that takes more work is delivered as if there were no filter: nothing is lost.

    expression := and ("or" and)*            and := not ("and" not)*
    not        := "not" not | "(" expression ")" | test
    test       := path | path operator literal | path "in" "[" literal, … "]"
    operator   := == != < <= > >= contains startswith endswith ~      (~ "*.wikipedia.org": * stands for any text)

`&&`, `||` and `!` may be written for `and`, `or` and `not`. A path is dotted (`meta.domain`, `tags.0`); a path alone
means "exists and is neither null nor false". An absent field equals null. Values of different JSON types are unequal
and unordered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from headwater.errors import EventMalformed, FilterInvalid
from headwater.event import decode_json

TEXT_CHARS_MAX = 4096
TOKENS_MAX = 512
DEPTH_MAX = 32
# Items of lists, and eighths of the characters of texts, that the expression may look through in one event.
WORK_MAX = 100_000
# Comparing an item in full takes this many times longer than finding out that it differs.
_CLOSER_LOOK = 8

Test = Callable[[Any], bool]
Getter = Callable[[Any], Any]

# Each alternative starts with a different character or word and no repetition is nested: one pass, linear time.
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\\x00-\x1f]|\\.)*")
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w$.]))
    | (?P<name>[A-Za-z_$@][\w$@-]*(?:\.[\w$@-]+)*)
    | (?P<symbol>==|!=|<=|>=|&&|\|\||[<>!~()\[\],])
    )""",
    re.VERBOSE | re.ASCII,
)
_WORDS = {"and", "or", "not", "in", "contains", "startswith", "endswith", "true", "false", "null"}
_SYNONYMS = {"&&": "and", "||": "or", "!": "not"}
_CONSTANTS = {"true": True, "false": False, "null": None}
_FOR_STRINGS = ("startswith", "endswith", "~")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "contains", "startswith", "endswith", "~")


class Filter:
    """A parsed expression. Two filters that differ only in white space or spelling of operators are equal.

    `fields` are the members of an event that it looks at.
    """

    __slots__ = ("fields", "matches", "text")

    def __init__(self, text: str, matches: Test, fields: frozenset[str]) -> None:
        self.fields = fields
        self.text = text
        self.matches = matches

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Filter({self.text!r})"


def parse_filter(text: str) -> Filter:
    """Compile `text`. Raises FilterInvalid, whose message names the column (1-based) and shows it."""
    if len(text) > TEXT_CHARS_MAX:
        raise FilterInvalid(f"The filter has {len(text)} characters; {TEXT_CHARS_MAX} are allowed.")
    parser = _Parser(text, _tokens(text))
    test = parser.expression(0)
    if parser.token.kind != "end":
        raise parser.refuse(f"expected 'and', 'or' or the end, found {parser.token.text!r}")
    matches = _within(parser.work, test) if parser.work.is_limited else test
    return Filter(parser.canonical(), matches, frozenset(parser.fields))


class _TooMuchWork(Exception):
    """The expression has looked at more of the event than it may."""


class _Work:
    """How much the expression may still look at in this event."""

    __slots__ = ("is_limited", "left")

    def __init__(self) -> None:
        # Whether any operator of the expression takes time that grows with the event.
        self.is_limited = False
        self.left = WORK_MAX

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise _TooMuchWork


def _within(work: _Work, test: Test) -> Test:
    def matches(value: Any) -> bool:
        work.left = WORK_MAX
        try:
            return test(value)
        except _TooMuchWork:
            return True

    return matches


class _Token(NamedTuple):
    kind: str  # string, number, name, word, symbol, end
    text: str
    column: int


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            column = at + len(text[at:]) - len(text[at:].lstrip())
            raise _refusal(text, column, f"unexpected {text[column]!r}")
        kind = match.lastgroup
        spelled = match[kind]
        spelled = _SYNONYMS.get(spelled, spelled)
        if spelled in _WORDS:
            kind = "word"
        found.append(_Token(kind, spelled, match.start(match.lastgroup)))
        if len(found) > TOKENS_MAX:
            raise _refusal(text, found[-1].column, f"the filter has more than {TOKENS_MAX} parts")
        at = match.end()
    found.append(_Token("end", "the end", end))
    return found


def _refusal(text: str, column: int, problem: str) -> FilterInvalid:
    line = "".join(" " if character.isspace() else character for character in text)
    return FilterInvalid(f"Filter, column {column + 1}: {problem}.\n  {line}\n  {' ' * column}^")


class _Parser:
    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._index = 0
        self.work = _Work()
        self.fields: set[str] = set()

    @property
    def token(self) -> _Token:
        return self._tokens[self._index]

    def refuse(self, problem: str) -> FilterInvalid:
        return _refusal(self._text, self.token.column, problem)

    def canonical(self) -> str:
        return " ".join(token.text for token in self._tokens[:-1])

    def expression(self, depth: int) -> Test:
        tests = [self._conjunction(depth)]
        while self._take("or"):
            tests.append(self._conjunction(depth))
        return tests[0] if len(tests) == 1 else _any_of(tuple(tests))

    def _conjunction(self, depth: int) -> Test:
        tests = [self._negation(depth)]
        while self._take("and"):
            tests.append(self._negation(depth))
        return tests[0] if len(tests) == 1 else _all_of(tuple(tests))

    def _negation(self, depth: int) -> Test:
        if depth > DEPTH_MAX:
            raise self.refuse(f"nested deeper than {DEPTH_MAX}")
        if self._take("not"):
            inner = self._negation(depth + 1)
            return lambda value: not inner(value)
        if self._take("("):
            inner = self.expression(depth + 1)
            self._expect(")")
            return inner
        return self._test()

    def _test(self) -> Test:
        if self.token.kind != "name":
            raise self.refuse(f"expected a field such as meta.domain, found {self.token.text!r}")
        path = self._advance().text
        self.fields.add(path.partition(".")[0])
        get = _getter(path)
        if self._take("in"):
            return _one_of(get, self._list())
        if self.token.kind in {"symbol", "word"} and self.token.text in _COMPARISONS:
            operator = self._advance().text
            if operator in _FOR_STRINGS and self.token.kind != "string":
                raise self.refuse(f"expected a string after {operator!r}, found {self.token.text!r}")
            literal = self._literal()
            if operator == "contains":
                return _contains(get, literal, self.work)
            return _like(get, literal, self.work) if operator == "~" else _comparison(operator, get, literal)
        return lambda value: get(value) not in (None, False)

    def _list(self) -> list[Any]:
        self._expect("[")
        items: list[Any] = []
        while not self._take("]"):
            if items:
                self._expect(",")
            items.append(self._literal())
        return items

    def _literal(self) -> Any:
        token = self.token
        if token.kind == "word" and token.text in _CONSTANTS:
            self._advance()
            return _CONSTANTS[token.text]
        if token.kind not in {"string", "number"}:
            raise self.refuse(
                f"expected a string in double quotes, a number, true, false or null, found {token.text!r}"
            )
        try:
            literal = decode_json(token.text)
        except EventMalformed:
            raise self.refuse(f"{token.text} is not JSON") from None
        self._advance()
        return literal

    def _advance(self) -> _Token:
        token = self.token
        self._index += 1
        return token

    def _take(self, text: str) -> bool:
        if self.token.kind in {"symbol", "word"} and self.token.text == text:
            self._index += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self.refuse(f"expected {text!r}, found {self.token.text!r}")


def _any_of(tests: tuple[Test, ...]) -> Test:
    def test(value: Any) -> bool:
        for one in tests:  # noqa: SIM110 - a loop is three times faster here than any() over a generator
            if one(value):
                return True
        return False

    return test


def _all_of(tests: tuple[Test, ...]) -> Test:
    def test(value: Any) -> bool:
        for one in tests:  # noqa: SIM110 - as above
            if not one(value):
                return False
        return True

    return test


def _getter(path: str) -> Getter:
    parts = path.split(".")
    if len(parts) == 1:
        return lambda value: value.get(path) if isinstance(value, Mapping) else None

    def get(value: Any) -> Any:
        for part in parts:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and part.isdigit() and len(part) < 10 and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return value

    return get


def _kind(value: Any) -> str:
    """JSON's idea of a type, which unlike Python's does not count true as a number."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def _one_of(get: Getter, items: Sequence[Any]) -> Test:
    choices = frozenset((_kind(item), item) for item in items)

    def test(value: Any) -> bool:
        found = get(value)
        return not isinstance(found, dict | list) and (_kind(found), found) in choices

    return test


def _comparison(operator: str, get: Getter, literal: Any) -> Test:
    if operator in _ON_TEXT:
        return _ON_TEXT[operator](get, literal)
    kind = _kind(literal)
    if operator == "==":
        return lambda value: (found := get(value)) == literal and _kind(found) == kind
    if operator == "!=":
        return lambda value: (found := get(value)) != literal or _kind(found) != kind
    if kind not in {"number", "str"}:
        return lambda value: False
    compare = _ORDER[operator]

    def test(value: Any) -> bool:
        found = get(value)
        return _kind(found) == kind and compare(found, literal)

    return test


def _contains(get: Getter, literal: Any, work: _Work) -> Test:
    kind = _kind(literal)
    work.is_limited = True

    def test(value: Any) -> bool:
        found = get(value)
        if isinstance(found, str):
            work.spend(len(found) >> 3)
            return kind == "str" and literal in found
        if not isinstance(found, list):
            return False
        work.spend(len(found))
        # One look through the list, without a step in Python for each item; what is equal may still be of another type.
        if literal not in found:
            return False
        if kind == "str":
            return True
        work.spend(len(found) * _CLOSER_LOOK)
        return any(item == literal and _kind(item) == kind for item in found)

    return test


def _starts(get: Getter, literal: str) -> Test:
    return lambda value: isinstance(found := get(value), str) and found.startswith(literal)


def _ends(get: Getter, literal: str) -> Test:
    return lambda value: isinstance(found := get(value), str) and found.endswith(literal)


def _like(get: Getter, pattern: str, work: _Work) -> Test:
    first, *rest = pattern.split("*")
    if not rest:
        return lambda value: get(value) == pattern
    *middle, last = rest
    work.is_limited = work.is_limited or bool(middle)

    def test(value: Any) -> bool:
        found = get(value)
        if not isinstance(found, str) or not found.startswith(first):
            return False
        at = len(first)
        if middle:
            work.spend(len(found) >> 3)
        for piece in middle:
            at = found.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return len(found) - len(last) >= at and found.endswith(last)

    return test


_ON_TEXT: dict[str, Callable[[Getter, Any], Test]] = {
    "startswith": _starts,
    "endswith": _ends,
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
