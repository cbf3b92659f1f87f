"""Reads the arrays of a PHP configuration file as data, without PHP: literals, nested arrays, comments, concatenation.

The legacy stream configuration is such a file. Anything that would have to be executed (functions, constants, variables
in values) is refused with its line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headwater.declaration import DEPTH_MAX, FILE_BYTES_MAX, Declaration, read_declaration
from headwater.errors import ConfigInvalid

EXTENSION = ".php"
_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/|<\?php\b|\?>)
    |(?P<single>'(?:[^'\\]|\\.)*')|(?P<double>"(?:[^"\\]|\\.)*")
    |(?P<number>-?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+|[0-9]+(?:[eE][-+]?[0-9]+)?))
    |(?P<arrow>=>)|(?P<variable>\$[A-Za-z_][A-Za-z0-9_]*)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>[\[\]()=,;.])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "e": "\x1b", "0": "\0"}

_Token = tuple[str, str, int]


def read_legacy_declaration(path: Path) -> Declaration:
    """A legacy file: PHP by its extension, else YAML or JSON. Raises ConfigInvalid."""
    if path.suffix != EXTENSION:
        return read_declaration(path)
    data = path.read_bytes()
    if len(data) > FILE_BYTES_MAX:
        raise ConfigInvalid(f"is larger than {FILE_BYTES_MAX} bytes.", file=str(path))
    return Declaration(str(path), parse_php(data.decode("utf-8-sig", "replace"), file=str(path)), {(): 1})


def parse_php(text: str, *, file: str) -> Any:
    """The array a file returns, or its variables by name, without the `$`. Raises ConfigInvalid with the line."""
    return _Parser(text, file).file_value()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._tokens = list(self._split(text))
        self._at = 0

    def file_value(self) -> Any:
        variables: dict[str, Any] = {}
        while self._kind() != "end":
            kind, text, line = self._next()
            if (kind, text) == ("word", "return"):
                value = self._value(0)
                self._take(";")
                return value
            if kind != "variable":
                raise self._refusal(text, line)
            self._take("=")
            variables[text.removeprefix("$")] = self._value(0)
            self._take(";")
        return variables

    def _value(self, depth: int) -> Any:
        value = self._single_value(depth)
        while self._tokens[self._at][1:2] == (".",) and self._kind() == "sign":
            self._next()
            line = self._tokens[self._at][2]
            more = self._single_value(depth)
            if not isinstance(value, str) or not isinstance(more, str):
                raise self._refusal(".", line)
            value += more
        return value

    def _single_value(self, depth: int) -> Any:
        kind, text, line = self._next()
        if kind == "single":
            return re.sub(r"\\([\\'])", r"\1", text[1:-1])
        if kind == "double":
            if re.search(r"(?<!\\)(?:\\\\)*[$]", text):
                raise self._refusal(text, line)
            return re.sub(r"\\([nrtvfe0\\$\"])", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1])
        if kind == "number":
            return self._number(text, line)
        if kind == "word" and text.lower() in _WORDS:
            return _WORDS[text.lower()]
        if kind == "word" and text.lower() == "array":
            self._take("(")
            return self._array(")", depth + 1)
        if (kind, text) == ("sign", "["):
            return self._array("]", depth + 1)
        raise self._refusal(text, line)

    def _number(self, text: str, line: int) -> int | float:
        if not math.isfinite(float(text)):
            raise ConfigInvalid(f"{text:.40} is a number that JSON cannot represent.", file=self._file, line=line)
        return float(text) if re.search(r"[.eE]", text) else int(text)

    def _array(self, end: str, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise self._refusal("[", self._tokens[self._at][2])
        items: dict[Any, Any] = {}
        number = 0
        while self._tokens[self._at][:2] != ("sign", end):
            line = self._tokens[self._at][2]
            value = self._value(depth)
            if self._kind() == "arrow":
                self._next()
                key, value = value, self._value(depth)
                if not isinstance(key, (str, int)) or isinstance(key, bool):
                    raise self._refusal(str(key), line)
                key = int(key) if str(key).isdecimal() and str(int(key)) == str(key) else key
            else:
                key = number
            items[key] = value
            number = max(number, key + 1) if isinstance(key, int) else number
            if self._tokens[self._at][:2] != ("sign", end):
                self._take(",")
        self._take(end)
        if list(items) == list(range(len(items))):
            return list(items.values())
        return {str(key): value for key, value in items.items()}

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        if token[0] == "end":
            raise self._refusal("the end of the file", token[2])
        self._at += 1
        return token

    def _take(self, sign: str) -> None:
        _, text, line = self._next()
        if text != sign:
            raise self._refusal(text, line, wanted=sign)

    def _split(self, text: str) -> Iterator[_Token]:
        at, line = 0, 1
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._refusal(text[at], line)
            if found.lastgroup != "skip":
                yield str(found.lastgroup), found[0], line
            line += found[0].count("\n")
            at = found.end()
        yield "end", "", line

    def _refusal(self, text: str, line: int, *, wanted: str = "a plain value") -> ConfigInvalid:
        hint = "Only arrays of literals are read: let PHP print the file as JSON, and use that instead."
        return ConfigInvalid(f"expected {wanted}, not {text[:40]!r}.", file=self._file, line=line, hint=hint)
