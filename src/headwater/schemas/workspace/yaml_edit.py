"""Changes single values in a YAML file and leaves every other character, comments included, as its author wrote it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from headwater.errors import SchemaInvalid
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.violation import pointer_step

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_ENOUGH = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./#-]*")


@dataclass(frozen=True, slots=True)
class TextValue:
    """A text value of a file: its JSON pointer, its text, and its position (`line` is 1-based)."""

    pointer: str
    value: str
    start: int
    end: int
    line: int


def text_values(text: str, where: str, limits: ValidationLimits) -> list[TextValue]:
    """Every text value, in the order of the file; a value repeated by an alias is listed once. Raises SchemaInvalid."""
    # This refuses what is too large or too deep to be walked.
    parse_document(text.encode(), where, limits)
    root = yaml.compose(text, Loader=_Loader)
    return [] if root is None else list(_walk(root, "", set()))


def with_replaced(text: str, changes: Sequence[tuple[TextValue, str]]) -> str:
    """The text with each value replaced by another text, quoted as it was."""
    for value, new in sorted(changes, key=lambda change: change[0].start, reverse=True):
        old = text[value.start : value.end]
        if old[:1] == '"':
            written = '"' + new.replace("\\", "\\\\").replace('"', '\\"') + '"'
        elif old[:1] == "'" or not _PLAIN_ENOUGH.fullmatch(new):
            written = "'" + new.replace("'", "''") + "'"
        else:
            written = new
        text = text[: value.start] + written + text[value.end :]
    return text


def replaced(
    text: str, where: str, change: Callable[[TextValue], str | None], limits: ValidationLimits
) -> tuple[str, list[tuple[TextValue, str]]]:
    """The text with every value replaced for which `change` returns another one, and those changes."""
    changes = [
        (value, new)
        for value in text_values(text, where, limits)
        if (new := change(value)) is not None and new != value.value
    ]
    edited = with_replaced(text, changes)
    if changes and len(text_values(edited, where, limits)) != len(text_values(text, where, limits)):
        raise SchemaInvalid(f"{where} cannot be edited automatically.", hint="Make the change by hand.")
    return edited, changes


def _walk(node: Any, pointer: str, seen: set[int]) -> Iterator[TextValue]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:str":
            start, end = node.start_mark, node.end_mark
            yield TextValue(pointer, node.value, start.index, end.index, start.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, f"{pointer}/{index}", seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, pointer + pointer_step(str(key.value)), seen)
