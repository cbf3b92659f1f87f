"""Writes stream files: keys in the order of the format, as plain YAML that reads back as the same values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from headwater.declaration import scalar
from headwater.streams.fields import Field
from headwater.streams.stream_format import SHAPE

LINE_CHARS_MAX = 120


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # Our reader follows YAML 1.2, the library 1.1: text that either would read as another type is quoted.
    try:
        plain = value != "" and scalar(value) == value
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def yaml_text(value: Any) -> str:
    """Any plain value as YAML; mappings keep their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=LINE_CHARS_MAX)


def stream_file_text(document: Mapping[str, Any]) -> str:
    """The text of a stream file, its keys in the order of the reference."""
    return yaml_text(_ordered(document, SHAPE))


def _ordered(block: Mapping[str, Any], shape: Mapping[str, Field]) -> dict[str, Any]:
    known = [name for name in shape if name in block]
    ordered = {name: block[name] for name in (*known, *(name for name in block if name not in shape))}
    for name in known:
        key, value = shape[name], block[name]
        if key.keys and isinstance(value, dict):
            ordered[name] = _ordered(value, key.keys)
        elif key.item_keys and isinstance(value, list):
            ordered[name] = [_ordered(item, key.item_keys) for item in value]
            if name == "overrides":
                ordered[name] = [
                    item | ({"set": _ordered(item["set"], SHAPE)} if "set" in item else {}) for item in value
                ]
    return ordered
