"""The files of a package with a connector of one kind, which works as it is and is to be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Literal, NamedTuple

from headwater.cli.connectors.scaffold import events, source, table
from headwater.connectors.registry import ENTRY_POINTS, SINK, SOURCE

_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = "The $name connector for Headwater."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["headwater"]

[project.optional-dependencies]
test = ["pytest>=8.3", "pytest-asyncio>=0.24"]

# By this, $files the connector once the package is installed.
[project.entry-points."$group"]
$name = "$package.$module:SPEC"

[tool.hatch.build.targets.wheel]
packages = ["src/$package"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
pythonpath = ["src"]
testpaths = ["tests"]
"""

_README = """\
# $distribution

The connector `$name` for Headwater, a $what. As it was created, $summary,
in `src/$package/$module.py`, by calls to your system, and keep the tests passing.

    pip install -e '.[test]'
    pytest
    headwater connectors show $name

$use"""

Kind = Literal["table", "events", "source"]


class _Begin(NamedTuple):
    """What a kind of connector begins as. `entry`: the group of its entry point is `headwater.<entry>s`."""

    what: str
    entry: str
    summary: str
    use: str
    code: str
    tests: str


_BEGINS: Mapping[Kind, _Begin] = {
    "table": _Begin("sink of tables", SINK, table.SUMMARY, table.USE, table.CODE, table.TESTS),
    "events": _Begin("sink of whole events", SINK, events.SUMMARY, events.USE, events.CODE, events.TESTS),
    "source": _Begin("source", SOURCE, source.SUMMARY, source.USE, source.CODE, source.TESTS),
}
KINDS: Sequence[Kind] = tuple(_BEGINS)


def entry_of(kind: Kind) -> str:
    """Whether a connector of the kind is a "sink" or a "source"."""
    return _BEGINS[kind].entry


def files_of(name: str, kind: Kind = "table") -> Mapping[Path, str]:
    """The files of a package for the connector `name`: path in its directory → text."""
    begin, package = _BEGINS[kind], f"headwater_{name}"
    words = {
        "name": name,
        "package": package,
        "distribution": f"headwater-{name.replace('_', '-')}",
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "what": begin.what,
        "module": begin.entry,
        "group": ENTRY_POINTS[begin.entry],
        "files": "stream files find" if begin.entry == SINK else "files of sources find",
        "summary": begin.summary,
    }
    templates = {
        Path("pyproject.toml"): _PYPROJECT,
        Path("README.md"): _README.replace("$use", begin.use),
        Path("src", package, "__init__.py"): '"""The $name connector for Headwater."""\n',
        Path("src", package, "py.typed"): "",
        Path("src", package, f"{begin.entry}.py"): begin.code,
        Path("tests", f"test_{name}_{begin.entry}.py"): begin.tests,
    }
    return {path: Template(text).substitute(words) for path, text in templates.items()}
