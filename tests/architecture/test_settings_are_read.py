"""Every setting that can be written is read by some part of the program."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

from headwater import config

SOURCE = Path(config.__file__).parent
# Read as a whole, by iterating over the fields.
READ_AS_A_WHOLE: set[str] = set()


def sections() -> list[type[Any]]:
    return [one for one in vars(config).values() if dataclasses.is_dataclass(one) and isinstance(one, type)]


def attributes_read() -> set[str]:
    """The names of all attributes that are read anywhere but in the declaration of the settings."""
    found = set()
    for file in SOURCE.rglob("*.py"):
        if file.name == "config.py" and file.parent == SOURCE:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
    # The tree itself may offer a setting under another name (a path made absolute).
    for node in ast.walk(ast.parse(Path(config.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            found |= {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
    return found


def test_every_setting_is_read() -> None:
    read = attributes_read() | READ_AS_A_WHOLE
    unread = [
        f"{section.__name__}.{field.name}"
        for section in sections()
        for field in dataclasses.fields(section)
        if field.name not in read
    ]
    assert unread == [], "settings that nothing reads"
