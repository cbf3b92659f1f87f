"""Finds in what Flink says of a failure the exception of the user's Python code, which comes first for its author.

Python in a process of its own gives its traceback as text inside the message of a Java exception; Python in a thread
of Java gives its exception as the message of one of `pemja`, and its frames among Java's. A message may have several
lines, of which one is made.
"""

from __future__ import annotations

import itertools
import re

REASON_CHARS_MAX = 500

_TRACEBACK = "Traceback (most recent call last):\n"
# Of the last traceback: the line that is not indented and has no frame of Java follows its frames.
_RAISED = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")
_THREAD = re.compile(
    r"pemja\.core\.PythonException: <class '(?P<type>[^']+)'>: (?P<message>.*?)(?=\n\s+at |\nCaused by: |\Z)", re.DOTALL
)
_THREAD_FRAME = re.compile(r"^\s*at (?P<file>/?\S+)\.(?P<function>[\w<>]+)\((?P<name>[^()]+\.py):(?P<line>\d+)\)$")
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)$')
_CAUSED_BY = "Caused by: "
# Frames of what runs the user's code.
_OURS = re.compile(r"(?:^|/)(?:site-packages|headwater/(?:processing|jobs))/|^(?:pyflink|apache_beam)/")


def python_reason(stack: str) -> str | None:
    """`TypeError: what it says (jobs/my.py:12, in function)`; None if no exception of Python is in it."""
    if (found := _THREAD.search(stack)) is not None:
        frames = [frame for line in stack.splitlines() if (frame := _THREAD_FRAME.match(line)) is not None]
        # The innermost frame comes first there.
        return _said(
            found["type"], found["message"], [(f["name"], f["line"], f["file"], f["function"]) for f in frames]
        )
    begins = stack.rfind(_TRACEBACK)
    if begins < 0:
        return None
    frames_of: list[tuple[str, str, str, str]] = []
    lines = stack[begins + len(_TRACEBACK) :].splitlines()
    for number, line in enumerate(lines):
        if (frame := _FRAME.match(line)) is not None:
            frames_of.insert(0, (frame["file"].rpartition("/")[2], frame["line"], frame["file"], frame["function"]))
        elif not line.startswith((" ", "\t")) and (raised := _RAISED.match(line)) is not None:
            more = itertools.takewhile(lambda one: one.strip() and not one.startswith("\tat "), lines[number + 1 :])
            return _said(raised["type"], "\n".join([raised["message"] or "", *more]), frames_of)
    return None


def java_reason(stack: str) -> str:
    """The message of the innermost cause, without the name of its class if that says nothing more."""
    causes = [line.removeprefix(_CAUSED_BY) for line in stack.splitlines() if line.startswith(_CAUSED_BY)]
    first = stack.partition("\n")[0]
    return _short(_without_class(causes[-1] if causes else first))


def reason_of(stack: str) -> str:
    """What to show of a failure in one line: the user's exception if there is one, else the innermost of Java."""
    return python_reason(stack) or java_reason(stack)


def _said(kind: str, message: str, frames: list[tuple[str, str, str, str]]) -> str:
    """`frames`: file name, line, path and function of each, the innermost first."""
    name = kind.rpartition(".")[2] if kind.startswith(("builtins.", "headwater.")) else kind
    message = message.strip()
    text = f"{name}: {message}" if message else name
    for file, line, path, function in frames:
        if not _OURS.search(path):
            return f"{_short(text)} ({file}:{line}, in {function})"
    return _short(text)


def _without_class(line: str) -> str:
    kind, colon, message = line.partition(": ")
    is_class = re.fullmatch(r"[\w.$]+", kind) is not None and "." in kind
    return f"{kind.rpartition('.')[2]}: {message}" if is_class and colon and message else line.strip()


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= REASON_CHARS_MAX else f"{text[:REASON_CHARS_MAX]}…"
