"""A part of a job: what `@job` and `.then` make of one function and the arguments that are about it.

How this works: the arguments are read and validated before the function is known; with the function they become
steps. The order is: where → dedupe → reorder → join → rate → window → the function. A function that is async, or is
retried, is an `Await`; one that keeps state a `PerKey`; any other an `Each`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from headwater.errors import JobInvalid
from headwater.jobs.arguments import Arguments, is_async
from headwater.jobs.durations import Duration
from headwater.jobs.keyed_part import KeyedPart
from headwater.jobs.keys import Key, key_plan
from headwater.jobs.operators.dedupe import Dedupe
from headwater.jobs.operators.join import Join
from headwater.jobs.operators.rate import Rate
from headwater.jobs.operators.reorder import Reorder
from headwater.jobs.operators.windows import Windows
from headwater.jobs.outcomes import Retry
from headwater.jobs.state_type import StateType, state_type
from headwater.jobs.steps import Await, Context, Each, Step

Function = Callable[[Any, Context], Any]
# Arguments whose value is an object that makes a step, in the order of the steps, and how they are written.
OPERATORS: Mapping[str, tuple[type[Any], str]] = {
    "dedupe": (Dedupe, 'Dedupe("meta.id", "1d")'),
    "reorder": (Reorder, 'Reorder("field", "1m"), or ("field", "1m")'),
    "join": (Join, 'Join("stream", within="10m")'),
    "rate": (Rate, 'Rate(2, "1m")'),
    "window": (Windows, "tumbling(…), sliding(…) or session(…)"),
}
# Those that need no key of the job: they have one of their own.
KEYLESS = ("dedupe",)
KEEP_STATE = ("state", *OPERATORS)
CONCURRENCY_MAX = 10_000
TIMEOUT_SECONDS = 30


class PartSettings(TypedDict, total=False):
    """What `@job` and `.then` take about one function."""

    key: Key | None
    where: Callable[[Any], bool] | None
    dedupe: Dedupe | None
    reorder: Reorder | tuple[str, Duration] | None
    join: Join | None
    rate: Rate | None
    window: Windows | None
    state: Callable[[], Any] | None
    state_version: int
    migrate: Callable[[Any, int], Any] | None
    state_ttl: Duration
    concurrency: int
    retry: Retry | None
    timeout: Duration


class BranchSettings(TypedDict, total=False):
    """What `.branch` takes besides the name."""

    sink: str | None
    outputs: str | Sequence[str]
    where: Callable[[Any], bool] | None
    late: str | None


class Part(NamedTuple):
    """The steps of one part, and its function's if that keeps state."""

    steps: tuple[Step, ...]
    keyed: KeyedPart | None = None


class PartPlan:
    """The arguments of one part, validated. `sources`: the streams it reads; none if it is behind another part."""

    def __init__(self, asked: Arguments, name: str, sources: Sequence[str] = ()) -> None:
        """`name`: of the function's step, and the prefix of the others but in the first part. Raises JobInvalid."""
        self._asked = asked
        self._name = name
        self._prefix = "" if name == "function" else f"{name}."
        operators = {argument: _operator(asked, argument) for argument in OPERATORS}
        self._operators = {argument: value for argument, value in operators.items() if value is not None}
        # The streams that it reads besides: the other side of a join.
        join = asked.value("join")
        self.sources = () if join is None else (str(join.other),)
        if self.sources and not sources:
            raise asked.refused("join", "`join` reads a stream, so it belongs to the first part, in @job(…).")
        self._key, paths = key_plan(asked, "key", [*sources, *self.sources] if sources else ())
        self._where = asked.function("where", "event")
        self._state = self._state_type()
        self._version = asked.whole("state_version", 1, at_least=1, at_most=1_000_000)
        self._migrate = asked.function("migrate", "old_value", "from_version")
        self._ttl_ms = asked.duration_ms("state_ttl", 0) if asked.value("state_ttl") is not None else None
        self._check()
        # What comes of a join are pairs, which have no schema.
        read = () if join is not None else tuple(path for one in self._operators.values() for path in _paths(one))
        self.fields_read = tuple(dict.fromkeys((*(path for stream, path in paths if stream is None), *read)))
        self.fields_of_streams = tuple((stream, path) for stream, path in paths if stream is not None)
        window = asked.value("window")
        self.fields_added_up = () if window is None else window.typed_paths

    def of(self, function: Function) -> Part:
        """The part with its function. Raises JobInvalid, at the argument that does not suit it."""
        asked = self._asked
        asked.function(
            "function",
            "window" if "window" in self._operators else "event",
            "context",
            value=function,
            may_be_async=True,
        )
        awaits = is_async(function) or asked.value("retry") is not None
        steps = self._steps_before()
        if awaits:
            return Part((*steps, self._await(function)))
        for name in ("concurrency", "timeout"):
            if asked.value(name) is not None:
                hint = "Make the function `async`."
                raise asked.refused(name, f"`{name}` is for a function that is awaited, and this one is not.", hint)
        if self._state is None or self._key is None:
            return Part((*steps, Each(self._name, function)))
        label = str(getattr(function, "__name__", self._name))
        keyed = KeyedPart(
            self._name, label, self._key, function, self._state, self._version, self._migrate, self._ttl_ms
        )
        return Part((*steps, keyed.step()), keyed)

    def _steps_before(self) -> list[Step]:
        steps: list[Step] = []
        if self._where is not None:
            steps.append(Each(f"{self._prefix}where", only(self._where)))
        for argument, operator in self._operators.items():
            if self._key is not None or argument in KEYLESS:
                steps.append(operator.step(f"{self._prefix}{argument}", self._key))
        return steps

    def _await(self, function: Function) -> Await:
        asked = self._asked
        retry = asked.value("retry")
        if retry is not None and not isinstance(retry, Retry):
            raise asked.wrong("retry", 'a Retry, such as Retry(within="60s")')
        if retry is not None and retry.hold_key and self._key is None:
            raise asked.refused("retry", "`retry` has hold_key=True, but the job has no key.", 'Add key="field".')
        if not is_async(function) and asked.value("timeout") is not None:
            raise asked.refused("timeout", "`timeout` ends a call that waits, and this function is not `async`.")
        for name in KEEP_STATE:
            if asked.value(name) is not None:
                what = "an async function" if is_async(function) else "a function that is retried"
                raise asked.refused(
                    name,
                    f"`{name}` keeps state, and {what} comes before everything that does.",
                    f"Add it behind the function: .then({name}=…, key=…), or make two jobs of it.",
                )
        timeout_ms = asked.duration_ms("timeout", TIMEOUT_SECONDS)
        if timeout_ms == 0:
            raise asked.refused("timeout", "`timeout` is longer than 0.")
        concurrency = asked.whole("concurrency", 64, at_least=1, at_most=CONCURRENCY_MAX)
        return Await(self._name, _awaitable(function), concurrency, retry, timeout_ms, self._key)

    def _state_type(self) -> StateType | None:
        first = self._asked.function("state")
        if first is None:
            return None
        try:
            return state_type(first)
        except JobInvalid as error:
            raise self._asked.refused("state", f"`state`: {error.detail}", error.hint) from None
        except Exception as error:  # the code of the project
            raise self._asked.refused("state", f"`state`: calling it failed: {error!r}.") from None

    def _check(self) -> None:
        asked = self._asked
        if self._key is None:
            for name in KEEP_STATE:
                if asked.value(name) is not None and name not in KEYLESS:
                    raise asked.refused(
                        name, f"`{name}` keeps something per key, but the job has no key.", 'Add key="field".'
                    )
        if self._state is not None and "window" in self._operators:
            raise asked.refused("state", "a job has a window or a state, not both.", "Make two jobs of it.")
        for name in ("state_version", "migrate", "state_ttl"):
            if asked.value(name) is not None and self._state is None:
                raise asked.refused(name, f"`{name}` is about the state, and there is none.", "Add state=….")
        if (self._version > 1) != (self._migrate is not None):
            raise asked.refused(
                "state_version" if self._migrate is None else "migrate",
                "`state_version` from 2 on and `migrate` belong together.",
                "migrate=function(old_value, from_version) makes the new state of an old one.",
            )
        if self._ttl_ms == 0:
            raise asked.refused("state_ttl", "`state_ttl` is longer than 0.")


def only(where: Callable[[Any], bool]) -> Function:
    """A step's function that passes on the events for which `where` holds."""
    return lambda event, context: event if where(event) else None


def _operator(asked: Arguments, argument: str) -> Any:
    value = asked.value(argument)
    if argument == "reorder" and isinstance(value, tuple) and len(value) == 2:
        try:
            return Reorder(*value)
        except JobInvalid as error:
            raise asked.refused(argument, f"`{argument}`: {error.detail}", error.hint) from None
    kind, written = OPERATORS[argument]
    if value is not None and not isinstance(value, kind):
        raise asked.wrong(argument, written)
    return value


def _paths(operator: Any) -> tuple[str, ...]:
    """The fields without which the operator has nothing to do."""
    match operator:
        case Reorder(field):
            return (field,)
        case Windows():
            return operator.paths
        case _:
            return ()


def _awaitable(function: Function) -> Callable[[Any, Context], Any]:
    """The function as one that is awaited: what an async generator yields is returned as a list."""
    call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004 - an object may be called
    if inspect.isasyncgenfunction(call):

        async def collected(event: Any, context: Context) -> Any:
            return [made async for made in function(event, context)]

        return collected
    if inspect.iscoroutinefunction(call):
        return function

    async def in_place(event: Any, context: Context) -> Any:
        made = function(event, context)
        return list(made) if inspect.isgenerator(made) else made

    return in_place
