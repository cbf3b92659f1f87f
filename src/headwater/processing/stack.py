"""Stacks and messages of errors without paths of the machine: files are named relative to the project."""

from __future__ import annotations

import functools
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from headwater.foreign import contain, described, name_of, utf8

HIDDEN = "…"

# How paths of a machine begin: other text that looks like a path is kept.
_TOPS = frozenset(
    {"Applications", "Library", "System", "Users", "Volumes", "bin", "boot", "dev", "etc", "home", "lib", "lib64"}
    | {"media", "mnt", "nix", "opt", "private", "proc", "root", "run", "sbin", "snap", "srv", "sys", "tmp", "usr"}
    | {"var"}
)
_PACKAGES = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")
_WINDOWS = r"[A-Za-z]:[\\/]|\\\\"
_FRAME = re.compile(r"""  File "(?P<file>[^"]*)", line \d+, in """)
# In quotes a path may contain spaces.
_QUOTED = re.compile(
    rf"""(?P<quote>['"])(?P<scheme>(?:file|sqlite)://+(?=/))?(?P<path>(?:/|{_WINDOWS})[^'"\n]*)(?P=quote)"""
)
_BARE = re.compile(
    rf"(?:(?<=file://)|(?<=sqlite:///)|(?<![\w.:/~%@-]))(?P<path>(?:/|{_WINDOWS})[\w.@%+~,=\\/-]*[\w+~-])"
)


def stack_text(error: BaseException, project: Path | None) -> str:
    """The exception with its causes and stacks as Python prints them, without paths of the machine."""
    try:
        made = traceback.TracebackException.from_exception(error, compact=True)
        for one in _with_causes(made):
            _shorten(one.stack, project)
            if isinstance(getattr(one, "filename", None), str):
                one.filename = file_name(str(one.filename), project)
        text = "".join(made.format())
    except BaseException as another:
        contain(another)
        text = f"{_frames(error, project)}{described(error)}"
    return without_paths(utf8(text), project)


def bare_stack_text(error: BaseException, project: Path | None) -> str:
    """Where an exception was raised, and its type: nothing of its message, which may be part of an event."""
    return utf8(f"{_frames(error, project)}{name_of(error)}")


def without_paths(text: str, project: Path | None) -> str:
    """A message in which paths inside `project` are relative, and others are reduced to their last part."""

    def quoted(found: re.Match[str]) -> str:
        path = _shown(found["path"], project)
        return found[0] if path is None else f"{found['quote']}{found['scheme'] or ''}{path}{found['quote']}"

    def bare(found: re.Match[str]) -> str:
        return _shown(found["path"], project) or found[0]

    return _BARE.sub(bare, _QUOTED.sub(quoted, text))


def without_platform(text: str) -> str:
    """A stack, as `stack_text` makes it, without the frames of the platform; as it is if there are no others."""
    kept: list[str] = []
    left_out = has_frames = False
    for line in text.splitlines():
        if (frame := _FRAME.match(line)) is not None:
            left_out = frame["file"].startswith("headwater/")
            has_frames |= not left_out
        elif not line.startswith("  "):
            left_out = False
        if not left_out:
            kept.append(line)
    return "\n".join(kept) if has_frames else text


def _with_causes(made: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    waiting = [made]
    while waiting:
        one = waiting.pop()
        yield one
        inner = getattr(one, "exceptions", None) or ()
        waiting += [other for other in (one.__cause__, one.__context__, *inner) if other is not None]


def _frames(error: BaseException, project: Path | None) -> str:
    stack = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__))
    _shorten(stack, project)
    return "".join(stack.format())


def _shorten(stack: traceback.StackSummary, project: Path | None) -> None:
    for frame in stack:
        # The line is read from the file, so before the file is renamed.
        _ = frame.line
        frame.filename = file_name(frame.filename, project)


def file_name(file: str, project: Path | None) -> str:
    """A source file relative to the project, or the package, that it belongs to."""
    if file.startswith("<"):
        return file
    inside = _within(file, project)
    if inside is not None:
        return inside
    path = os.path.abspath(file)
    package = _PACKAGES.match(path)
    if package is not None:
        return path[package.end() :].replace("\\", "/")
    for root, name in _sources():
        if path.startswith(root):
            return f"{name}/{path[len(root) :]}".replace("\\", "/")
    return re.split(r"[/\\]", path)[-1]


def _shown(path: str, project: Path | None) -> str | None:
    """What is shown of a path in a text; None if it is not a path of a machine."""
    parts = [part for part in re.split(r"[/\\]+", path) if part]
    is_ours = path.startswith("/") and (len(parts) < 2 or parts[0] not in _tops(project))
    if is_ours or not parts:
        return None
    inside = _within(path, project) if path.startswith("/") else None
    if inside is not None:
        return inside
    # The name of a home directory is the name of a person.
    return HIDDEN if len(parts) < 3 else f"{HIDDEN}/{parts[-1]}"


def _within(file: str, project: Path | None) -> str | None:
    if project is None:
        return None
    path = os.path.abspath(file)
    for root in _roots(project):
        if path.startswith(root):
            return path[len(root) :].replace("\\", "/")
    return None


@functools.lru_cache(maxsize=64)
def _roots(project: Path) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.join(place, "") for place in (project.absolute(), project.resolve())))


@functools.lru_cache(maxsize=64)
def _tops(project: Path | None) -> frozenset[str]:
    known = [sys.prefix, sys.base_prefix, os.getcwd(), *(_roots(project) if project is not None else ())]
    return _TOPS | {part for path in known for part in Path(path).parts[1:2]}


@functools.lru_cache(maxsize=1)
def _sources() -> tuple[tuple[str, str], ...]:
    package = str(Path(__file__).resolve().parents[1])
    standard = [os.path.realpath(sysconfig.get_path("stdlib")), sysconfig.get_path("stdlib")]
    return ((os.path.join(package, ""), "headwater"), *((os.path.join(path, ""), "python") for path in standard))
