"""Whether a command printed what the page shows: numbers, times, ids and ports may differ, words may not."""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:\d\d)?)?")
_HASH = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_SPACE = re.compile(r"\s+")
REST = "…"


def differences(shown: str, said: str) -> list[str]:
    """What the page shows and the command did not say, line by line; empty where they agree.

    A line that is `…` stands for any number of lines, a `…` at the end of a line for the rest of it.
    """
    wanted = [line for line in map(_plain, shown.splitlines()) if line]
    given = [line for line in map(_plain, said.splitlines()) if line]
    return [] if _agree(wanted, given) else [f"shown: {shown.rstrip()}", f"said:  {said.rstrip()}"]


def _agree(wanted: list[str], given: list[str]) -> bool:
    if not wanted:
        return not given
    first, rest = wanted[0], wanted[1:]
    if first == REST:
        return any(_agree(rest, given[start:]) for start in range(len(given) + 1))
    return bool(given) and _same(first, given[0]) and _agree(rest, given[1:])


def _same(wanted: str, given: str) -> bool:
    return given.startswith(wanted.removesuffix(REST)) if wanted.endswith(REST) else wanted == given


def _plain(line: str) -> str:
    """A line without what may differ."""
    line = _ANSI.sub("", line)
    for pattern in (_TIME, _HASH, _NUMBER):
        line = pattern.sub("0", line)
    return _SPACE.sub(" ", line).strip()
