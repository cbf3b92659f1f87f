"""Mutates inputs, at random but reproducibly: bytes, words, numbers, lines, nodes of JSON, parts of other inputs."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

DATA_BYTES_MAX = 200_000
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
_NUMBERS = (
    *(b"0", b"-0", b"-1", b"1e400", b"1e-400", b"0.1", b"1E5", b"00", b"2.0", b"NaN", b"Infinity", b".5", b"5."),
    *(b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809"),
    *(b"18446744073709551616", b"1" * 400, b"0." + b"1" * 400, b"1e" + b"9" * 30),
)
_TEXTS = (
    *(b"", b"\0", b"\\u0000", b"\\ud800", b"\xed\xa0\x80", b"\xff", b"\xc3\x28", b"\xef\xbb\xbf", b"\\", b'"', b"\r\n"),
    *(b"../", b"%00", b"%2e%2e/", b"//", b"true", b"null", b"[]", b"{}", b"[[", b"]]", b"{{", b"&a", b"*a", b"!!x"),
    *(b"9999-12-31T23:59:60Z", b"0000-01-01t00:00:00z", b"2026-02-30T00:00:00Z", b"x" * 300),
)


# Unexpected values, including deep and wide ones.
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        2**63,
        2**64,
        10**400,
        1e308,
        -0.0,
        "",
        " ",
        "1",
        "x" * 500,
        "\0",
        "\ud800",
        [],
        {},
    ),
    *([[]], [None], [{}], {"": None}, {"a": {"a": {}}}, [1] * 200, ["x", "x"]),
    *("2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999999999+23:59", "../../x", "a.b", "/^.*$/", "(a+)+$", "*"),
)
_JSON_BYTES_MAX = 20_000
_DEPTHS = (3, 20, 65, 300)


class Mutator:
    """Mutates inputs of one format. `words` are its vocabulary."""

    def __init__(self, words: Sequence[bytes], random_numbers: random.Random) -> None:
        self._words = (*words, *_TEXTS, *_NUMBERS)
        self._random = random_numbers
        self._changes: Sequence[Callable[[bytes], bytes]] = (
            self._flip,
            self._insert,
            self._insert,
            self._delete,
            self._repeat,
            self._number,
            self._overwrite,
            self._truncate,
            self._swap,
            self._lines,
            self._tree,
            self._tree,
        )

    def changed(self, data: bytes, other: bytes) -> bytes:
        """A mutated copy, possibly with a part of another input; at most DATA_BYTES_MAX long."""
        if self._random.random() < 0.4 and b"}" in data:
            return self._tree(data)[:DATA_BYTES_MAX]
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 5, 8))):
            data = (
                self._splice(data, other) if self._random.random() < 0.1 else self._random.choice(self._changes)(data)
            )
        return data[:DATA_BYTES_MAX]

    def _at(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._at(data)
        return start, min(len(data), start + self._random.choice((1, 2, 4, 8, 16, 64, 256)))

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self._random.randrange(8))]) + data[at + 1 :]

    def _insert(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + self._random.choice(self._words) + data[at:]

    def _overwrite(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + self._random.choice(self._words) + data[end:]

    def _delete(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _repeat(self, data: bytes) -> bytes:
        start, end = self._span(data)
        times = self._random.choice((2, 3, 10, 100, 1_000))
        return (data[:end] + data[start:end] * times + data[end:])[:DATA_BYTES_MAX]

    def _number(self, data: bytes) -> bytes:
        found = list(_NUMBER.finditer(data[:10_000]))
        if not found:
            return data
        place = self._random.choice(found)
        return data[: place.start()] + self._random.choice(_NUMBERS) + data[place.end() :]

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._at(data)]

    def _swap(self, data: bytes) -> bytes:
        (start, end), (other, other_end) = sorted((self._span(data), self._span(data)))
        if end > other:
            return data
        return data[:start] + data[other:other_end] + data[end:other] + data[start:end] + data[other_end:]

    def _splice(self, data: bytes, other: bytes) -> bytes:
        start, end = self._span(other)
        at = self._at(data)
        return data[:at] + other[start:end] + data[at:]

    def _lines(self, data: bytes) -> bytes:
        """A line removed, duplicated, moved, or indented differently, for line-based formats such as YAML and HTTP."""
        lines = data.split(b"\n")
        at, other = self._random.randrange(len(lines)), self._random.randrange(len(lines))
        line = lines[at]
        match self._random.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(other, line)
            case 2:
                lines[at], lines[other] = lines[other], line
            case 3:
                lines[at] = b"  " + line
            case _:
                lines[at] = line.removeprefix(b"  ")
        return b"\n".join(lines)

    def _tree(self, data: bytes) -> bytes:
        """The JSON inside an input with one node changed, so that code after the parser is reached."""
        start = min((at for at in (data.find(b"{"), data.find(b"[")) if at >= 0), default=-1)
        end = max(data.rfind(b"}"), data.rfind(b"]")) + 1
        if start < 0 or not 0 < end - start <= _JSON_BYTES_MAX:
            return self._insert(data)
        try:
            value = json.loads(data[start:end])
            text = json.dumps(
                self._changed_tree(value), ensure_ascii=self._random.random() < 0.5, separators=(",", ":")
            )
        except (ValueError, RecursionError):
            return self._insert(data)
        return data[:start] + text.encode("utf-8", "surrogatepass") + data[end:]

    def _changed_tree(self, value: Any) -> Any:
        places = _places(value)
        if not places:
            return self._value(value)
        holder, key = self._random.choice(places)
        match self._random.randrange(6):
            case 0:
                del holder[key]
            case 1:
                other, its = self._random.choice(places)
                holder[key] = json.loads(json.dumps(other[its]))
            case 2 if isinstance(holder, dict):
                holder[self._random.choice(self._words).decode("utf-8", "replace").strip('":{[ ')] = holder[key]
            case 2:
                holder.insert(key, holder[key])
            case 3:
                for _ in range(self._random.choice(_DEPTHS)):
                    holder[key] = {"a": holder[key]} if self._random.random() < 0.5 else [holder[key]]
            case _:
                holder[key] = self._value(holder[key])
        return value

    def _value(self, before: Any) -> Any:
        if isinstance(before, str) and self._random.random() < 0.5:
            return self.changed(before.encode("utf-8", "replace")[:1_000], b"").decode("utf-8", "replace")
        return self._random.choice(_VALUES)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(object or array, key or index) of every node inside a value."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    return places
