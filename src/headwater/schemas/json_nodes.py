"""Scans JSON text into nodes with their positions, for files in which something was found.

How this works: Python's JSON parser gives values without positions, and a YAML parser refuses some JSON (escaped
surrogate pairs, among others). So a file with a fault is scanned a second time, into the nodes that YAML consists of.
"""

from __future__ import annotations

import bisect
import json
import re
from typing import Any

import yaml

_TOKEN = re.compile(r'[ \t\n\r]*(?:([{}\[\],:])|("(?:[^"\\\x00-\x1f]|\\.)*")|([^\s{}\[\],:"]+))', re.DOTALL)
_STRING, _NUMBER = "tag:yaml.org,2002:str", re.compile(r"-?[0-9]+")
_TAGS = {"true": "tag:yaml.org,2002:bool", "false": "tag:yaml.org,2002:bool", "null": "tag:yaml.org,2002:null"}


def json_nodes(text: str) -> Any:
    """The root node of JSON text, as `yaml.compose` would return it. Raises ValueError if it is not JSON."""
    return _Scanner(text).root()


class _Scanner:
    """Iterative, so that deep nesting cannot overflow the stack."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._root: Any = None
        # The open containers, each with the key whose value is next.
        self._open: list[tuple[Any, list[Any]]] = []

    def root(self) -> Any:
        at = 0
        while found := _TOKEN.match(self._text, at):
            at = found.end()
            if found[1] in ("}", "]"):
                if not self._open:
                    raise ValueError("a closing bracket has no opening one")
                self._open.pop()
            elif found[1] not in (",", ":"):
                node = self._node(found, self._mark(at - len(found[0].lstrip(" \t\n\r"))))
                self._put(node)
                if found[1]:
                    self._open.append((node, []))
        if self._root is None or self._open or self._text[at:].strip():
            raise ValueError("the text ends, or is invalid, within a value")
        return self._root

    def _put(self, node: Any) -> None:
        if not self._open:
            if self._root is not None:
                raise ValueError("more than one value")
            self._root = node
            return
        container, waiting = self._open[-1]
        if isinstance(container, yaml.SequenceNode):
            container.value.append(node)
        elif waiting:
            container.value.append((waiting.pop(), node))
        else:
            waiting.append(node)

    def _node(self, found: re.Match[str], mark: Any) -> Any:
        if found[1] == "{":
            return yaml.MappingNode("tag:yaml.org,2002:map", [], mark)
        if found[1] == "[":
            return yaml.SequenceNode("tag:yaml.org,2002:seq", [], mark)
        if found[2]:
            return yaml.ScalarNode(_STRING, json.loads(found[2], strict=False), mark, style='"')
        word = found[3]
        kind = "tag:yaml.org,2002:int" if _NUMBER.fullmatch(word) else "tag:yaml.org,2002:float"
        return yaml.ScalarNode(_TAGS.get(word, kind), word, mark)

    def _mark(self, index: int) -> Any:
        line = bisect.bisect_right(self._line_starts, index) - 1
        return yaml.Mark("", index, line, index - self._line_starts[line], None, 0)
