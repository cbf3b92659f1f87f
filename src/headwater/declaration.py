"""Reads the YAML of configuration and declarations, with errors that name the file, the line and a correction.

How this works: PyYAML's event parser is iterative and keeps positions; from its events a small tree is built in which
every node knows its line. The tree is then expanded into plain values, with a budget on nodes, so that aliases which
multiply ("billion laughs") are refused before they cost memory. Scalars follow YAML 1.2's core schema rather than
1.1's: `on`, `no` and `12:30` are text and dates stay text, as their authors mean them; `10_000` is a number.
"""

from __future__ import annotations

import difflib
import functools
import heapq
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from headwater.errors import ConfigInvalid

FILE_BYTES_MAX = 16_777_216
NODES_MAX = 500_000
DEPTH_MAX = 64
# The most names that are compared letter by letter to find the nearest.
COMPARED_MAX = 20
# No known name is that long, so none is near.
NEAR_CHARS_MAX = 1_000

KeyPath = tuple[str | int, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*\Z")
_HEXADECIMAL_OR_OCTAL = re.compile(r"0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?\Z")
# Numbers of YAML that JSON does not have.
_NO_NUMBER = re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z")
# 0x and 254 hexadecimal digits are below 2^1024.
_BASED_CHARACTERS_MAX = 256
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Declaration:
    """The value of one YAML document, and the line number of each of its keys and items.

    `value` consists of dict (keys are always text), list, str, int, float, bool and None.
    """

    file: str
    value: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """The 1-based line of a key or item; if it is absent, of the nearest node around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path)

    def refusal(self, path: KeyPath, message: str, hint: str | None = None) -> ConfigInvalid:
        """The error to raise about the key at `path`."""
        return ConfigInvalid(message, file=self.file, line=self.line(path), hint=hint)

    def refuse_unknown_keys(self, path: KeyPath, value: Mapping[str, Any], known: Iterable[str]) -> None:
        """Raise ConfigInvalid about the first unknown key of the mapping at `path`."""
        names = list(known)
        for key in value:
            if key not in names:
                where = f" in {dotted(path)}" if path else ""
                raise self.refusal((*path, key), f'unknown key "{key}"{where}.', hint=suggestion(key, names))


def read_declaration(path: Path, *, file: str | None = None) -> Declaration:
    """Read one YAML file; `file` is the name used in errors. Raises ConfigInvalid."""
    name = file or str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigInvalid(f"cannot be read: {error.strerror}.", file=name) from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigInvalid(f"is larger than {FILE_BYTES_MAX} bytes.", file=name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigInvalid("is not UTF-8 text.", file=name, line=line) from None
    return parse_declaration(text, file=name)


def parse_declaration(text: str, *, file: str) -> Declaration:
    """Read YAML text. Refuses, with ConfigInvalid: syntax errors, duplicate keys, tags, aliases that multiply, more
    than one document."""
    try:
        document = _compose(text, file)
    except yaml.MarkedYAMLError as error:
        line = getattr(error.problem_mark, "line", 0) + 1
        at = text.splitlines()[line - 1 : line]
        indented = at[0][: len(at[0]) - len(at[0].lstrip())] if at else ""
        hint = "Indent with spaces: YAML does not allow tabs there." if "\t" in indented else None
        raise ConfigInvalid(
            f"is not YAML: {error.problem or error.context}.", file=file, line=line, hint=hint
        ) from None
    except yaml.YAMLError as error:
        raise ConfigInvalid(f"is not YAML: {error}.", file=file) from None
    lines: dict[KeyPath, int] = {(): document.line}
    value = _Unfolding(file, lines).value(document, ())
    return Declaration(file, value, lines)


def scalar(text: str) -> Any:
    """What a plain (unquoted) YAML scalar means: None, bool, int, float or the text itself.

    Raises ValueError for a number that JSON does not have: an infinity, not-a-number, or one beyond the range of a
    double.
    """
    if text in _WORDS:
        return _WORDS[text]
    if not (text[0].isdigit() or text[0] in "+-."):
        return text
    if _INTEGER.match(text):
        digits = text.replace("_", "")
        return int(digits) if _is_finite(digits) else _refuse_number(text)
    if _HEXADECIMAL_OR_OCTAL.match(text):
        return int(text, 0) if len(text) <= _BASED_CHARACTERS_MAX else _refuse_number(text)
    if _FLOAT.match(text):
        digits = text.replace("_", "")
        return float(digits) if _is_finite(digits) else _refuse_number(text)
    return _refuse_number(text) if _NO_NUMBER.match(text) else text


def _is_finite(digits: str) -> bool:
    return math.isfinite(float(digits))


def _refuse_number(text: str) -> NoReturn:
    shown = text if len(text) <= 40 else f"{text[:20]}… ({len(text)} characters)"
    raise ValueError(f"{shown} is a number that JSON cannot represent")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to `name`, or None if none is near."""
    if len(name) > NEAR_CHARS_MAX:
        return None
    folded = {candidate.lower(): candidate for candidate in known}
    wanted = name.lower()
    compared: Iterable[str] = folded
    if len(folded) > COMPARED_MAX:
        # Comparing is expensive, and a name that shares no pair of letters is not near.
        pairs = _pairs(wanted)
        compared = heapq.nlargest(COMPARED_MAX, folded, key=lambda one: _alike(pairs, _pairs(one)))
    found = difflib.get_close_matches(wanted, compared, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


@functools.lru_cache(maxsize=4096)
def _pairs(text: str) -> frozenset[str]:
    """Each pair of adjacent letters."""
    return frozenset(text[place : place + 2] for place in range(max(1, len(text) - 1)))


def _alike(first: frozenset[str], second: frozenset[str]) -> float:
    """From 0 (nothing in common) to 1."""
    return 2 * len(first & second) / (len(first) + len(second))


def suggestion(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known name, or all of them."""
    names = list(known)
    near = nearest(name, names)
    return f'Did you mean "{near}"?' if near else f"Known names: {', '.join(names)}."


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `transport.topics[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


@dataclass(slots=True)
class _Node:
    line: int
    value: Any = None
    items: list[_Node] | None = None
    pairs: list[tuple[str, int, _Node]] | None = None


def _compose(text: str, file: str) -> _Node:
    events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
    document: _Node | None = None
    composer = _Composer(events, file)
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            if document is not None:
                raise ConfigInvalid("holds more than one document.", file=file, line=line)
            document = composer.node(next(events), 0)
    return document or _Node(line=1)


class _Composer:
    def __init__(self, events: Iterator[Any], file: str) -> None:
        self._events = events
        self._file = file
        self._anchors: dict[str, _Node] = {}

    def node(self, event: Any, depth: int) -> _Node:
        line = event.start_mark.line + 1
        if depth > DEPTH_MAX:
            raise ConfigInvalid(f"is nested deeper than {DEPTH_MAX} levels.", file=self._file, line=line)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise ConfigInvalid(f'there is no anchor "{event.anchor}" above.', file=self._file, line=line)
            return self._anchors[event.anchor]
        if event.tag not in (None, "!"):
            raise ConfigInvalid(f'the tag "{event.tag}" is not supported.', file=self._file, line=line)
        node = self._content(event, line, depth)
        if event.anchor:
            # Registered after its content, so that an alias inside its own anchor is unknown: no cycles.
            self._anchors[event.anchor] = node
        return node

    def _content(self, event: Any, line: int, depth: int) -> _Node:
        if isinstance(event, yaml.ScalarEvent):
            return _Node(line, value=self._scalar(event, line))
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(child := next(self._events), yaml.SequenceEndEvent):
                items.append(self.node(child, depth + 1))
            return _Node(line, items=items)
        return _Node(line, pairs=list(self._pairs(depth)))

    def _scalar(self, event: Any, line: int) -> Any:
        try:
            return scalar(event.value) if event.implicit[0] else event.value
        except ValueError as error:
            hint = "Write a number below 1.8e308, or put the value in quotes if it is meant as text."
            raise ConfigInvalid(f"{error}.", file=self._file, line=line, hint=hint) from None

    def _pairs(self, depth: int) -> Iterator[tuple[str, int, _Node]]:
        seen: dict[str, int] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarEvent):
                raise ConfigInvalid("a key must be text.", file=self._file, line=line)
            if key.value in seen:
                message = f'the key "{key.value}" is already on line {seen[key.value]}.'
                raise ConfigInvalid(message, file=self._file, line=line, hint="Remove one of the two.")
            seen[key.value] = line
            yield key.value, line, self.node(next(self._events), depth + 1)


class _Unfolding:
    def __init__(self, file: str, lines: dict[KeyPath, int]) -> None:
        self._file = file
        self._lines = lines
        self._nodes = 0

    def value(self, node: _Node, path: KeyPath) -> Any:
        self._nodes += 1
        if self._nodes > NODES_MAX or len(path) > DEPTH_MAX:
            raise ConfigInvalid(
                f"expands to more than {NODES_MAX} values or {DEPTH_MAX} levels.",
                file=self._file,
                line=node.line,
                hint="Use fewer aliases.",
            )
        if node.items is not None:
            return [self._child(item, (*path, index), item.line) for index, item in enumerate(node.items)]
        if node.pairs is not None:
            merged = self._merged(node, path)
            for key, line, child in node.pairs:
                if key != "<<":
                    merged[key] = self._child(child, (*path, key), line)
            return merged
        return node.value

    def _child(self, node: _Node, path: KeyPath, line: int) -> Any:
        self._lines[path] = line
        return self.value(node, path)

    def _merged(self, node: _Node, path: KeyPath) -> dict[str, Any]:
        """What the merge key `<<` adds; a key of the mapping itself wins, then the earlier source."""
        merged: dict[str, Any] = {}
        for key, line, child in node.pairs or ():
            if key != "<<":
                continue
            for source in reversed(child.items if child.items is not None else [child]):
                if source.pairs is None:
                    raise ConfigInvalid('"<<" needs a mapping.', file=self._file, line=line)
                merged |= self.value(source, path)
        return merged
