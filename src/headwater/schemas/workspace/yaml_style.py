"""Writes the text of a materialized schema: key order, YAML and JSON layout, exactly as jsonschema-tools does.

How this works: the original prints with js-yaml 3 (contracts/schemas.md §2.6), whose choices of quoting, folding and
block headers no option of PyYAML reproduces; so the text is built here. Widths count characters, which equals the
original's UTF-16 units wherever they matter: text outside the basic plane is always quoted, and quoted text is never
folded. Containers that occur twice *as the same object* become an anchor and an alias.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

_INDENT = "  "
_WIDTH = 80
_WIDTH_MIN = 40
_PLAIN_KEY_CHARS_MAX = 1_024
# Up to this JavaScript prints every whole number with all digits.
_EXACT_MAX = 2**53

_KNOWN_KEYS = {
    name: place
    for place, name in enumerate(
        (
            *("title", "description", "$id", "$schema", "type", "additionalProperties"),
            *("required", "properties", "allOf", "examples"),
        )
    )
}
_PUNCTUATION = {character: place for place, character in enumerate(" _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$")}

_PRINTABLE = re.compile(r"[\x20-\x7e\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]*")
_PLAIN = re.compile(r"""[^\s\-?:,\[\]{}#&*!|=>'"%@`](?:[^:,\[\]{}#]|(?<=[^\s])\#)*(?<!\s)""")
_READS_AS_ANOTHER_TYPE = re.compile(
    r"~|null|Null|NULL|true|True|TRUE|false|False|FALSE|<<"
    r"|[-+]?(?:0b[01_]*[01]|0x[0-9a-fA-F_]*[0-9a-fA-F]|0|0[0-7_]*[0-7]|[1-9](?:[0-9_]*[0-9])?)"
    r"|[-+]?(?:0|[1-9][0-9_]*)(?:\.(?:[0-9_]*[0-9])?)?(?:[eE][-+]?[0-9]+)?|\.(?:[0-9_]*[0-9])(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|[0-9]{4}-[0-9]{2}-[0-9]{2}"
    # Readers of YAML 1.1 read these as booleans.
    r"|[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
)
_ESCAPES = {
    "\0": "\\0",
    "\a": "\\a",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\v": "\\v",
    "\f": "\\f",
    "\r": "\\r",
    "\x1b": "\\e",
    '"': '\\"',
    "\\": "\\\\",
    "\x85": "\\N",
    "\xa0": "\\_",
    "\u2028": "\\L",
    "\u2029": "\\P",
}


def yaml_text(value: Any, *, exact: bool = False) -> str:
    """A JSON value as YAML, with a final newline. Keys are printed in their order; see `sorted_keys`.

    `exact`: whole numbers keep every digit; the original prints the nearest double.
    """
    return _YamlWriter(value, exact).node(value, 0, compact=True) + "\n"


def json_text(value: Any) -> str:
    """A JSON value as the original prints JSON: indented by two, empty containers on two lines, no final newline."""
    return _json(value, "\n")


def sorted_keys(value: Any) -> Any:
    """A copy with every mapping in the order of materialized files, and with the numbers as printed.

    Shared objects stay shared.
    """
    return _sorted(value, {})


def _sorted(value: Any, done: dict[int, Any]) -> Any:
    if not isinstance(value, dict | list):
        return _as_printed(value) if type(value) is int and abs(value) > _EXACT_MAX else value
    if id(value) in done:
        return done[id(value)]
    copy: Any
    if isinstance(value, list):
        copy = done[id(value)] = []
        copy.extend(_sorted(item, done) for item in value)
    else:
        copy = done[id(value)] = {}
        for name in sorted(value, key=key_order):
            copy[name] = _sorted(value[name], done)
    return copy


def _as_printed(value: int) -> int | float:
    """A whole number as the original prints it: a document must equal its text."""
    text = number_text(value)
    return float(text) if "e" in text else int(text)


@lru_cache(maxsize=65_536)
def key_order(name: str) -> tuple[Any, ...]:
    """Sorts known keywords first, in a fixed order, then all other names as a dictionary would."""
    place = _KNOWN_KEYS.get(name)
    return (0, place) if place is not None else (1, *_collation(name))


def _collation(text: str) -> tuple[tuple[Any, ...], tuple[str, ...], tuple[bool, ...]]:
    """The root collation: letters by their base form, then by their accents, then lower case before upper case."""
    primary, accents, capitals = [], [], []
    for character in unicodedata.normalize("NFD", text):
        if unicodedata.combining(character):
            accents.append(character)
            continue
        if character in _PUNCTUATION:
            primary.append((0, _PUNCTUATION[character], ""))
        elif character.isdigit():
            primary.append((1, unicodedata.digit(character), ""))
        else:
            primary.append((2, 0, character.lower()))
        capitals.append(character.isupper())
    return tuple(primary), tuple(accents), tuple(capitals)


def number_text(value: float) -> str:
    """A number as JavaScript prints the double nearest to it: 2^64 is 18446744073709552000."""
    number = float(value)
    if number == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, minus = "".join(map(str, digits)), "-" if sign else ""
    point = len(text) + exponent
    if len(text) <= point <= 21:
        return minus + text + "0" * (point - len(text))
    if 0 < point <= 21:
        return f"{minus}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{minus}{text[0]}{fraction}e{'+' if point > 0 else '-'}{abs(point - 1)}"


class _YamlWriter:
    """One document; knows which containers occur more than once."""

    def __init__(self, root: Any, exact: bool) -> None:
        self._exact = exact
        self._shared = _shared_containers(root)
        self._written: set[int] = set()

    def node(self, value: Any, level: int, *, compact: bool) -> str:
        """The text of a value. `compact`: a block may begin on the current line."""
        if not isinstance(value, dict | list):
            return str(value) if self._exact and type(value) is int else _scalar(value, level)
        number = self._shared.get(id(value))
        if number is not None:
            if number in self._written:
                return f"*ref_{number}"
            self._written.add(number)
            compact = False
        if not value:
            text = "{}" if isinstance(value, dict) else "[]"
            return text if number is None else f"&ref_{number} {text}"
        text = self._mapping(value, level) if isinstance(value, dict) else self._sequence(value, level)
        text = text if compact else _next_line(level) + text
        return text if number is None else f"&ref_{number}{text}"

    def _mapping(self, value: dict[str, Any], level: int) -> str:
        pairs = []
        for name, child in value.items():
            key = _text(name, level + 1, one_line=True)
            is_long = len(key) > _PLAIN_KEY_CHARS_MAX
            text = self.node(child, level + 1, compact=is_long)
            start = f"? {key}{_next_line(level)}:" if is_long else f"{key}:"
            pairs.append(start + text if text.startswith("\n") else f"{start} {text}")
        return _next_line(level).join(pairs)

    def _sequence(self, value: list[Any], level: int) -> str:
        texts = (self.node(item, level + 1, compact=True) for item in value)
        return _next_line(level).join(f"-{text}" if text.startswith("\n") else f"- {text}" for text in texts)


def _shared_containers(root: Any) -> dict[int, int]:
    """The identity of every container that occurs more than once, numbered in the order of second occurrences."""
    seen: set[int] = set()
    shared: dict[int, int] = {}
    stack = [root]
    while stack:
        value = stack.pop()
        if not isinstance(value, dict | list):
            continue
        if id(value) in seen:
            shared.setdefault(id(value), len(shared))
            continue
        seen.add(id(value))
        children: Iterable[Any] = value.values() if isinstance(value, dict) else value
        stack.extend(reversed(list(children)))
    return shared


def _next_line(level: int) -> str:
    return "\n" + _INDENT * level


def _scalar(value: Any, level: int) -> str:
    if isinstance(value, str):
        return _text(value, level)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = number_text(value)
    is_fraction = isinstance(value, float) and not value.is_integer()
    # `1e-7` has no point, which YAML 1.1 requires.
    return text.replace("e", ".e") if is_fraction and "e" in text and "." not in text else text


@lru_cache(maxsize=16_384)
def _text(text: str, level: int, *, one_line: bool = False) -> str:
    if not text:
        return "''"
    indent = _INDENT * max(1, level)
    width = max(_WIDTH_MIN, _WIDTH - len(indent))
    if one_line or ("\n" not in text and (len(text) <= width or text[0] == " ")):
        return _line(text)
    lines = text.split("\n")
    if any(not _PRINTABLE.fullmatch(line) for line in lines):
        return _double_quoted(text)
    folds = any(len(line) > width and not line.startswith(" ") for line in lines)
    if not folds and len(lines) == 1:
        return _line(text)
    header = "2" if text.lstrip("\n").startswith(" ") else ""
    header += "" if not text.endswith("\n") else "+" if text.endswith("\n\n") or text == "\n" else ""
    header += "" if text.endswith("\n") else "-"
    body = _folded(lines, width) if folds else lines
    block = "\n".join(indent + line if line else "" for line in body)
    # The block's own line break counts as one of the text's, so one of them is not written.
    return f"{'>' if folds else '|'}{header}\n{block.removesuffix(chr(10))}"


def _line(text: str) -> str:
    if not _PRINTABLE.fullmatch(text):
        return _double_quoted(text)
    if _PLAIN.fullmatch(text) and not _READS_AS_ANOTHER_TYPE.fullmatch(text):
        return text
    return "'" + text.replace("'", "''") + "'"


def _folded(lines: list[str], width: int) -> list[str]:
    """The lines of a folded block: text lines broken at `width`, and one more empty line between two of them."""
    body: list[str] = []
    # Before the first line of text, and around lines that start with a space, breaks are literal.
    keeps_breaks = True
    for number, line in enumerate(lines):
        if not line:
            body.append("")
            continue
        is_text = not line.startswith(" ")
        if number and is_text and not keeps_breaks:
            body.append("")
        body.extend(_broken(line, width) if is_text else [line])
        keeps_breaks = not is_text
    return body


def _broken(line: str, width: int) -> list[str]:
    """A line of text broken greedily, at single spaces that a word follows; a word longer than `width` is not
    broken.
    """
    parts: list[str] = []
    start = last = 0
    for found in re.finditer(r" (?=[^ ])", line):
        if found.start() - start > width:
            end = last if last > start else found.start()
            parts.append(line[start:end])
            start = end + 1
        last = found.start()
    if len(line) - start > width and last > start:
        parts.append(line[start:last])
        start = last + 1
    return [*parts, line[start:]]


def _double_quoted(text: str) -> str:
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if _PRINTABLE.fullmatch(character):
        return character
    code = ord(character)
    return f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _json(value: Any, line: str) -> str:
    if isinstance(value, dict):
        inner = ("," + line + _INDENT).join(
            f"{json.dumps(name, ensure_ascii=False)}: {_json(child, line + _INDENT)}" for name, child in value.items()
        )
        return "{" + (line + _INDENT + inner if value else "") + line + "}"
    if isinstance(value, list):
        inner = ("," + line + _INDENT).join(_json(item, line + _INDENT) for item in value)
        return "[" + (line + _INDENT + inner if value else "") + line + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False)
