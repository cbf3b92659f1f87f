"""Validates the arguments of `@job` and `table`: an unknown one, or one of a wrong type, is an error at its line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headwater.declaration import nearest
from headwater.errors import JobInvalid
from headwater.jobs.durations import milliseconds
from headwater.jobs.place import Place

_SHOWN_CHARS_MAX = 60
IDLE_SECONDS = 10
# The value of `idle` with which only events move timers.
NEVER = "never"
_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
_UNEXPECTED = re.compile(r"([\w.]+)\(\) got an unexpected keyword argument '(\w+)'")


class Arguments:
    """The keyword arguments given to `what`, at `place`. Every method raises JobInvalid, at the argument."""

    def __init__(self, what: str, given: Mapping[str, Any], known: Iterable[str], place: Place | None) -> None:
        self.what = what
        self.place = place
        self._given = given
        for name in given:
            if name not in set(known):
                raise self.refused(name, *unknown(name, known))

    def refused(self, name: str, message: str, hint: str | None = None) -> JobInvalid:
        """An error about the argument `name`."""
        place = self.place.of_argument(name) if self.place is not None else None
        file, line = place or (None, None)
        return JobInvalid(f"{self.what}: {message}", file=file, line=line, hint=hint)

    def wrong(self, name: str, takes: str, hint: str | None = None) -> JobInvalid:
        """An error: the argument `name` has another type than it takes."""
        return self.refused(name, f"`{name}` is {takes}, not {shown(self._given.get(name))}.", hint)

    def value(self, name: str, default: Any = None) -> Any:
        return self._given.get(name, default)

    def required(self, name: str) -> Any:
        if name not in self._given:
            raise self.refused(name, f"`{name}` is missing.")
        return self._given[name]

    def streams(self, name: str) -> tuple[str, ...]:
        """One stream or several."""
        value = self.required(name)
        streams = (value,) if isinstance(value, str) else value
        if not is_texts(streams) or not streams:
            raise self.wrong(name, "the name of a stream, or a list of names")
        return tuple(streams)

    def text(self, name: str) -> str | None:
        value = self.value(name)
        if value is not None and not (isinstance(value, str) and value):
            raise self.wrong(name, "text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """One name or several, each once; none if it is not given."""
        value = self.value(name, ())
        texts = (value,) if isinstance(value, str) else value
        if texts and not is_texts(texts):
            raise self.wrong(name, "a name, or a list of names")
        return tuple(dict.fromkeys(texts or ()))

    def sink(self, name: str) -> tuple[str, str | None] | None:
        """`stream` or `stream:1.0.0`, as stream and version."""
        text = self.text(name)
        return None if text is None else self._stream_and_version(name, text)

    def _stream_and_version(self, name: str, text: str) -> tuple[str, str | None]:
        stream, colon, version = text.partition(":")
        if not stream or (colon and not _VERSION.fullmatch(version)):
            raise self.refused(
                name,
                f"`{name}` is `stream` or `stream:1.0.0`, not {shown(text)}.",
                "The version is that of the schema, three numbers.",
            )
        return stream, version or None

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.value(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "True or False")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> Any:
        """One of several texts; the first one if it is not given."""
        value = self.value(name, choices[0])
        if value not in choices:
            raise self.wrong(name, " or ".join(repr(choice) for choice in choices))
        return value

    def duration_ms(self, name: str, default: str | float) -> int:
        try:
            return milliseconds(self.value(name, default))
        except JobInvalid as error:
            raise self.refused(name, f"`{name}`: {error.detail}", error.hint) from None

    def idle_ms(self) -> int | None:
        """After how long without events timers fire by the wall clock; None: never."""
        return None if self.value("idle") == NEVER else self.duration_ms("idle", IDLE_SECONDS)

    def outputs(self, name: str) -> tuple[tuple[str, str | None], ...]:
        """One or several of `stream` or `stream:1.0.0`, as streams and versions."""
        value = self.value(name, ())
        texts = (value,) if isinstance(value, str) else value
        if texts and not is_texts(texts):
            raise self.wrong(name, 'a list of streams, such as ("a.v1:1.0.0", "b.v1")')
        return tuple(self._stream_and_version(name, text) for text in texts or ())

    def whole(self, name: str, default: int, *, at_least: int, at_most: int) -> int:
        value = self.value(name, default)
        if type(value) is not int or not at_least <= value <= at_most:
            raise self.wrong(name, f"a whole number from {at_least} to {at_most:,}")
        return value

    def paths(self, name: str, value: Any) -> tuple[str, ...] | None:
        """One dotted path or several, as the argument `name` has them; None if it is a function, or nothing."""
        if value is None or callable(value):
            return None
        paths = (value,) if isinstance(value, str) else value
        if not is_texts(paths) or not paths or not all(all(path.split(".")) for path in paths):
            raise self.refused(
                name, f"`{name}` is a dotted path, a list of paths, or a function of the event, not {shown(value)}."
            )
        return tuple(paths)

    def function(
        self, name: str, *parameters: str, value: Any = None, may_be_async: bool = False
    ) -> Callable[..., Any] | None:
        """A function that can be called with the parameters; None if none is given."""
        function: Callable[..., Any] | None = self.value(name) if value is None else value
        if function is None:
            return None
        called = f"a function ({', '.join(parameters)})"
        if not callable(function):
            raise self.refused(name, f"`{name}` is {called}, not {shown(function)}.")
        if not may_be_async and is_async(function):
            raise self.refused(name, f"`{name}` is {called} that is not `async`: nothing awaits it.")
        try:
            inspect.signature(function).bind(*parameters)
        except TypeError as error:
            raise self.refused(name, f"`{name}` is {called}, and {shown(function)} is not: {error}.") from None
        except ValueError:  # functions written in C may have no signature
            pass
        return function


def unknown(name: str, known: Iterable[str]) -> tuple[str, str | None]:
    """Message and hint about an unknown argument."""
    names = list(known)
    near = nearest(name, names)
    if near is not None:
        return f"unknown argument `{name}`; did you mean `{near}`?", None
    return f"unknown argument `{name}`.", f"Known: {', '.join(names)}."


def unexpected(error: TypeError, functions: Mapping[str, Callable[..., Any]]) -> tuple[str, str | None] | None:
    """The same for Python's own TypeError, if it is about one of the `functions`; else None."""
    found = _UNEXPECTED.match(str(error))
    function = functions.get(found[1]) if found else None
    if found is None or function is None:
        return None
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    message, hint = unknown(found[2], known)
    return f"{found[1].removesuffix('.__init__').removesuffix('.__new__')}: {message}", hint


def shown(value: Any) -> str:
    """A value as messages show it."""
    text = getattr(value, "__qualname__", None) or repr(value)
    return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}…"


def is_texts(value: Any) -> bool:
    """Whether it is a list or tuple of texts, none of them empty."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return all(isinstance(item, str) and item for item in value)


def is_async(function: Any) -> bool:
    """Whether calling it gives something to await, or to iterate over asynchronously."""
    return any(
        test(one)
        for test in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        for one in (function, getattr(function, "__call__", None))  # noqa: B004 - an object may be called, too
    )
