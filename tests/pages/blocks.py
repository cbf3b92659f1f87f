"""The fenced blocks of a page, with what is marked behind the language of each.

How this works: the first line of a block may say more than its language, which Markdown does not show:

    ```yaml file=streams/shop.yaml        the reader writes the block there
    ```yaml replaces=headwater.yaml       its top-level keys take the place of those in that file
    ```console exit=1                     its commands may end with this code
    ```sh skip="why it cannot be run"     it is not run; the test prints the reason and counts it
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MARKS = frozenset({"file", "replaces", "exit", "skip"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. `where`: page and line, for messages; `before`: the prose between it and the block before."""

    where: str
    language: str
    text: str
    marks: dict[str, str]
    before: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a block, and the output shown below it; empty where none is shown."""

    command: str
    shown: str


def blocks_of(page: Path, name: str) -> list[Block]:
    """The blocks of a page, in order. Raises ValueError for a mark that is not known."""
    text = page.read_text(encoding="utf-8")
    found = []
    end = 0
    for match in FENCE.finditer(text):
        language, info, body = match.groups()
        where = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        marks = dict(word.partition("=")[::2] for word in shlex.split(info))
        if unknown := sorted(set(marks) - MARKS):
            raise ValueError(f"{where}: marks that are not known: {', '.join(unknown)}")
        found.append(Block(where, language, body, marks, text[end : match.start()]))
        end = match.end()
    return found


def steps_of(block: Block) -> Iterator[Step]:
    """The commands of a `console` block, each behind its `$ `, or of an `sh` block, which shows no output."""
    lines = block.text.splitlines()
    while lines:
        command = lines.pop(0)
        if block.language == "console":
            assert command.startswith("$ "), f"{block.where}: output without a command: {command}"
            command = command.removeprefix("$ ")
        while lines and not _is_whole(command):
            command += "\n" + lines.pop(0)
        shown = []
        while block.language == "console" and lines and not lines[0].startswith("$ "):
            shown.append(lines.pop(0))
        if command.strip():
            yield Step(command, "\n".join(shown))


def _is_whole(command: str) -> bool:
    """Whether a shell would begin, or wait for another line."""
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True
