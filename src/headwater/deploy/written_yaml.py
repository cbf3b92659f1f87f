"""Writes YAML that every reader takes for the same: byte for byte the same each time, texts in quotes where in doubt.

How this works: Kubernetes reads YAML 1.1, where `on`, `1e3` and `12:30` are no texts, other tools read YAML 1.2, where
other words are none. A text is written without quotes only if it is a text in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from headwater.declaration import scalar

LINE_CHARACTERS_MAX = 1_000_000
# Ends of lines in YAML 1.1 alone: in quotes they are escaped, elsewhere they would be read as spaces or as line feeds.
_ENDS_OF_LINES = frozenset("\x85\u2028\u2029")


class _Writer(yaml.SafeDumper):
    """PyYAML's writer, with items of lists indented below their key, without aliases, and with careful quotes."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if not _ENDS_OF_LINES.isdisjoint(text):
        style = '"'
    elif "\n" in text and not any(line != line.rstrip() for line in text.split("\n")) and "\t" not in text:
        style = "|"
    elif not _is_text(text):
        style = '"'
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _is_text(text: str) -> bool:
    """Whether YAML 1.2 takes it for a text without quotes. The writer asks the same of YAML 1.1."""
    try:
        return isinstance(scalar(text), str) and not text[:1].isdigit()
    except ValueError:
        return False


_Writer.add_representer(str, _text)


def yaml_text(value: Any) -> str:
    """One document. Mappings keep their order; only dict, list, str, int, float, bool and None are accepted."""
    return yaml.dump(
        _plain(value), Dumper=_Writer, sort_keys=False, allow_unicode=True, width=LINE_CHARACTERS_MAX, indent=2
    )


def yaml_documents(values: Iterable[Any]) -> str:
    """Several documents, each after a line `---`."""
    return "".join(f"---\n{yaml_text(value)}" for value in values)


def _plain(value: Any) -> Any:
    """The value with plain containers: settings are tuples and read-only mappings."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
