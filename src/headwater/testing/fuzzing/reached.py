"""Records which lines of the code under test an input reaches, and which functions no input has reached."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_PACKAGE = Path(__file__).parents[2]


class Reached:
    """The lines of our code that were reached, and how many of them are in the `modules` under test.

    `modules`: names of modules, or of packages for all of their modules. Recorded are the thread that calls `recorded`,
    and those that were started inside `following_threads`. A function all of whose lines were reached has no further
    cost.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.lines = 0
        self._is_on = False
        self._files = {str(file) for module in modules for file in _files_of(module)}
        self._left: dict[CodeType, set[int] | None] = {}
        self._seen: dict[tuple[str, str, int], set[int]] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record this thread for the duration of the block."""
        earlier = sys.gettrace()
        self._is_on = True
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(earlier)
            self._is_on = False

    @contextmanager
    def following_threads(self) -> Iterator[None]:
        """Also record threads that are started in the block, while lines are recorded."""
        earlier = threading.gettrace()
        threading.settrace(self._called)
        try:
            yield
        finally:
            threading.settrace(earlier)

    def depth(self) -> tuple[int, int]:
        """(lines reached, all lines) in the functions of the modules under test."""
        there = list(self._functions())
        reached = sum(len(lines & self._seen.get(place, set())) for place, lines in there)
        return reached, sum(len(lines) for _, lines in there)

    def missed(self) -> Sequence[str]:
        """The functions of the modules under test in which no line was reached, as `file:line name`."""
        return [
            f"{Path(file).relative_to(_PACKAGE)}:{line} {name}"
            for (file, name, line), lines in self._functions()
            if lines and not lines & self._seen.get((file, name, line), set())
        ]

    def _called(self, frame: FrameType, event: str, _: Any) -> Any:
        if not self._is_on:
            return None
        code = frame.f_code
        if code not in self._left:
            self._left[code] = _lines_of(code) if "headwater" in code.co_filename else None
        return self._stepped if self._left[code] else None

    def _stepped(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        left = self._left[code]
        if left and frame.f_lineno in left:
            left.discard(frame.f_lineno)
            self.lines += 1
            place = (code.co_filename, code.co_qualname, code.co_firstlineno)
            self._seen.setdefault(place, set()).add(frame.f_lineno)
        return self._stepped

    def _functions(self) -> Iterator[tuple[tuple[str, str, int], set[int]]]:
        for file in sorted(self._files):
            for code in _codes(compile(Path(file).read_bytes(), file, "exec")):
                yield (file, code.co_qualname, code.co_firstlineno), _lines_of(code)


def _files_of(module: str) -> Sequence[Path]:
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ValueError(f"there is no module {module!r}")
    file = Path(found.origin)
    return sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else (file,)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The functions in a module's code; the bodies of modules and classes were run by the import."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & inspect.CO_NEWLOCALS:
                yield constant
            yield from _codes(constant)


def _lines_of(code: CodeType) -> set[int]:
    # Generators begin at the line of `def`, which is not a statement of theirs.
    return {line for _, _, line in code.co_lines() if line is not None} - {code.co_firstlineno}
