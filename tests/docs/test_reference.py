"""The generated reference pages say what the code says now, and nothing public is left out of them."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import config, errors
from headwater.errors import HeadwaterError
from headwater.options import inner_section

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "docs" / "generate.py"))


def test_the_generated_pages_are_up_to_date(generator: dict[str, Any]) -> None:
    expected: dict[Path, str] = generator["pages"]()
    stale = [
        str(path.relative_to(REPOSITORY))
        for path, text in expected.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `make docs`"


def test_every_error_code_is_documented() -> None:
    page = (REPOSITORY / "docs/reference/errors.md").read_text(encoding="utf-8")
    family = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, HeadwaterError)]
    assert [error.code for error in family if f"`{error.code}`" not in page] == []


def setting_names(section: type[Any]) -> Iterator[str]:
    """The keys of a section; those of a section inside it with its name and a dot."""
    for field in dataclasses.fields(section):
        inner = inner_section(field)
        if inner is None:
            yield field.name
        else:
            yield from (f"{field.name}.{name}" for name in setting_names(inner))


def test_every_setting_is_documented() -> None:
    page = (REPOSITORY / "docs/reference/configuration.md").read_text(encoding="utf-8")
    missing = [
        f"{name}.{key}"
        for name, section in config.SECTIONS.items()
        for key in setting_names(section)
        if f"`{key}`" not in page.split(f"\n## {name}\n", 1)[-1].split("\n## ", 1)[0]
    ]
    assert missing == []
