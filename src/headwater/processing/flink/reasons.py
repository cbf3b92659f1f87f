"""Finds in what Flink reports about a failure the reason that helps: the error of the job, or of Headwater.

How this works: an error of Python reaches Flink as text in a chain of Java exceptions. In process mode that text holds
Python's own traceback, whose last line says what happened; in thread mode the exception has class and text. Without
either, the last cause in the chain is the reason.
"""

from __future__ import annotations

import re

REASON_CHARS_MAX = 2_000
_TRACEBACK = "Traceback (most recent call last):"
# The lines of a traceback that are not its end.
_FRAME = re.compile(r"\s|File \"")
_OF_THREAD = re.compile(
    r"PythonException: <class '(?P<name>[\w.]+)'>: (?P<text>.*?)(?=\n\tat |\nCaused by: |\Z)", re.DOTALL
)
_CAUSE = re.compile(r"^Caused by: (?P<cause>.*(?:\n(?!\tat |\t\.\.\. |Caused by: ).*)*)", re.MULTILINE)
_JAVA_CLASS = re.compile(r"^(?:[a-z_][\w$]*\.)+(?=[A-Z])")
_PYTHON_CLASS = re.compile(r"^(?:[A-Za-z_]\w*\.)+(?=[A-Z]\w*(?::|$))")


def reason_of(text: str) -> str:
    """What happened, in a few words, from the stack of a failed Flink job."""
    found = _of_traceback(text) or _of_thread(text) or _of_causes(text) or text.strip()
    return found[:REASON_CHARS_MAX]


def _of_traceback(text: str) -> str | None:
    """The end of the last traceback: class and message, which may have several lines."""
    start = text.rfind(_TRACEBACK)
    if start < 0:
        return None
    lines = text[start + len(_TRACEBACK) :].strip("\n").split("\n")
    for number, line in enumerate(lines):
        if line and not _FRAME.match(line):
            end = next(
                (at for at in range(number, len(lines)) if not lines[at].strip() or lines[at].startswith("\tat ")),
                len(lines),
            )
            return _short("\n".join(lines[number:end]))
    return None


def _of_thread(text: str) -> str | None:
    found = list(_OF_THREAD.finditer(text))
    return _short(f"{found[-1]['name']}: {found[-1]['text'].strip()}") if found else None


def _of_causes(text: str) -> str | None:
    causes = [found["cause"].strip() for found in _CAUSE.finditer(text)]
    return _JAVA_CLASS.sub("", causes[-1]) if causes else None


def _short(text: str) -> str:
    """Without the module of the class."""
    return _PYTHON_CLASS.sub("", text.strip())
