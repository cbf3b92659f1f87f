"""Keys of events: by dotted paths, by a function, or differently by the stream that an event comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from headwater.declaration import nearest
from headwater.errors import JobInvalid
from headwater.event import get_path
from headwater.jobs.arguments import Arguments
from headwater.jobs.outcomes import Reject
from headwater.jobs.steps import Context

OneKey = str | Sequence[str] | Callable[[Any], Any]
Key = OneKey | Mapping[str, OneKey]
KeyFunction = Callable[[Any, Context], Any]


class KeyPlan(NamedTuple):
    """How a job finds the key of an event. `paths`: the fields it reads, by stream; None means every source."""

    function: KeyFunction | None
    paths: tuple[tuple[str | None, str], ...] = ()


def key_plan(asked: Arguments, name: str, sources: Sequence[str]) -> KeyPlan:
    """The key that the argument `name` describes, for events of `sources`. Raises JobInvalid, at the argument.

    With no `sources`, as behind another part, a key by stream may name any.
    """
    value = asked.value(name)
    if not isinstance(value, Mapping):
        return _one(asked, name, value, None)
    if not value:
        raise asked.wrong(name, "a path, a list of paths, a function of the event, or one of these for each source")
    if sources:
        _check_streams(asked, name, value, sources)
    if empty := [stream for stream, one in value.items() if one is None]:
        raise asked.refused(name, f"`{name}` is None for the stream {empty[0]}.")
    plans = {stream: _one(asked, name, one, stream) for stream, one in value.items()}
    functions = {stream: plan.function for stream, plan in plans.items()}
    return KeyPlan(_by_stream(functions), tuple(path for plan in plans.values() for path in plan.paths))


def _check_streams(asked: Arguments, name: str, value: Mapping[Any, Any], sources: Sequence[str]) -> None:
    for stream in value:
        if stream not in sources:
            near = nearest(stream, sources) if isinstance(stream, str) else None
            hint = f"Did you mean {near!r}?" if near else f"Its sources: {', '.join(sources)}."
            raise asked.refused(name, f"`{name}` is given for {stream!r}, which the job does not read.", hint)
    if absent := [stream for stream in sources if stream not in value]:
        raise asked.refused(name, f"`{name}` is missing for the source {absent[0]}.", "Name each source.")


def _one(asked: Arguments, name: str, value: Any, stream: str | None) -> KeyPlan:
    paths = asked.paths(name, value)
    if paths is None:
        function = asked.function(name, "event", value=value)
        return KeyPlan(None if function is None else _of_event(function))
    read = tuple((stream, path) for path in paths)
    return KeyPlan(_at(paths[0]) if isinstance(value, str) else _at_all(paths), read)


def _of_event(function: Callable[[Any], Any]) -> KeyFunction:
    return lambda event, context: function(event)


def _at(path: str) -> KeyFunction:
    return lambda event, context: _present(event, path)


def _at_all(paths: Sequence[str]) -> KeyFunction:
    return lambda event, context: [_present(event, path) for path in paths]


def _by_stream(functions: Mapping[str, KeyFunction | None]) -> KeyFunction:
    def key_of(event: Any, context: Context) -> Any:
        function = functions.get(context.stream or "")
        if function is None:
            raise JobInvalid(f"The key is given for {', '.join(functions)}, and this event is of {context.stream}.")
        return function(event, context)

    return key_of


def _present(event: Any, path: str) -> Any:
    value = get_path(event, path)
    if value is None:
        raise Reject(f"INVALID_INPUT: {path} is absent, and the job keeps its state by it.")
    return value
