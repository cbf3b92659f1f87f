"""What `@table` does: a job that keeps the newest row of each key in its state, of a function event → row."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Required, TypedDict, get_args

from headwater.errors import JobInvalid
from headwater.event import get_path
from headwater.jobs.arguments import Arguments
from headwater.jobs.durations import Duration
from headwater.jobs.job import Job, OnError
from headwater.jobs.keys import Key, key_plan
from headwater.jobs.parts import only
from headwater.jobs.place import Place
from headwater.jobs.settings import checked_settings
from headwater.jobs.steps import Context, Each, Step
from headwater.jobs.tables.materialized import STEP, MaterializedTable
from headwater.jobs.tables.newest import NewestRow

# As long as most delays and replays of a producer last; a tombstone has some ten bytes besides its key.
TOMBSTONE_TTL = "7d"
TOMBSTONE_DAYS_MAX = 3_650
_DAY_MS = 86_400_000


class MaterializedSettings(TypedDict, total=False):
    """What `@table` takes."""

    source: Required[str | Sequence[str]]
    key: Required[Key]
    version: str | Sequence[str] | Callable[[Any], Any] | None
    delete: Callable[[Any], bool] | None
    replaces: Callable[[Any], Any] | None
    where: Callable[[Any], bool] | None
    tombstone_ttl: Duration
    name: str | None
    canaries: bool
    on_error: OnError
    settings: Mapping[str, Any]
    tables: str | Sequence[str]


def materialized(settings: Mapping[str, Any], place: Place | None) -> Callable[[Callable[..., Any]], Job]:
    """The decorator with these arguments. Raises JobInvalid, at the argument."""
    asked = Arguments("@table", settings, MaterializedSettings.__annotations__, place)
    sources = asked.streams("source")
    asked.required("key")
    plan = key_plan(asked, "key", sources)
    if plan.function is None:
        raise asked.wrong("key", "a dotted path, a list of paths, or a function of the event")
    names, is_list = _key_names(asked)
    version, version_paths = _version(asked)
    where, delete = asked.function("where", "event"), asked.function("delete", "event")
    replaces = asked.function("replaces", "event")
    own = asked.text("name")
    ttl_ms = _tombstone_ttl_ms(asked)
    described = Job(
        own or "table",
        sources,
        canaries=asked.flag("canaries", default=False),
        fields_read=tuple(dict.fromkeys((*(path for stream, path in plan.paths if stream is None), *version_paths))),
        fields_of_streams=tuple((stream, path) for stream, path in plan.paths if stream is not None),
        place=place,
        settings=checked_settings(asked, "settings"),
        tables=asked.texts("tables"),
        on_error=asked.choice("on_error", get_args(OnError)),
    )
    key = plan.function

    def made(function: Callable[..., Any]) -> Job:
        row = _row_function(asked, function)
        name = own or str(getattr(function, "__name__", ""))
        table = MaterializedTable(name, names, is_list)
        first: tuple[Step, ...] = () if where is None else (Each("where", only(where)),)
        return dataclasses.replace(
            described,
            name=name,
            steps=(*first, *NewestRow(table, key, row, version, delete, ttl_ms, replaces).steps(STEP)),
            materialized=table,
            summary=(function.__doc__ or "").strip().split("\n")[0],
        )

    return made


def _key_names(asked: Arguments) -> tuple[tuple[str, ...], bool]:
    """What the parts of the key are called, and whether it is a list; no names if a function makes it."""
    given = asked.value("key")
    described = [asked.paths("key", one) for one in (given.values() if isinstance(given, Mapping) else (given,))]
    counts = {None if paths is None else len(paths) for paths in described}
    if len(counts) > 1:
        raise asked.refused("key", "`key` has another number of parts for each source.", "A table has one form of key.")
    kinds = {isinstance(one, str) for one in (given.values() if isinstance(given, Mapping) else (given,))}
    if len(kinds) > 1:
        raise asked.refused("key", "`key` is a list for one source, and not for another.", "Write a list for each.")
    paths = described[0]
    if paths is None:
        return (), True
    last = [path.rpartition(".")[2] for path in paths]
    names = last if len(set(last)) == len(last) else [path.replace(".", "_") for path in paths]
    return tuple(names), not kinds.pop()


def _version(asked: Arguments) -> tuple[Callable[[Any], Any] | None, tuple[str, ...]]:
    """The function that gives the version of an event, and the paths that it reads."""
    paths = asked.paths("version", asked.value("version"))
    if paths is None:
        return asked.function("version", "event"), ()

    def of(event: Any) -> list[Any]:
        return [_present(event, path) for path in paths]

    return of, paths


def _present(event: Any, path: str) -> Any:
    value = get_path(event, path)
    if value is None:
        raise JobInvalid(f"{path} is absent, and decides which event of a key is the newest.")
    return value


def _tombstone_ttl_ms(asked: Arguments) -> int:
    if asked.value("tombstone_ttl") is not None and asked.value("delete") is asked.value("replaces") is None:
        raise asked.refused("tombstone_ttl", "`tombstone_ttl` is about deleted rows.", "Add delete=….")
    ttl_ms = asked.duration_ms("tombstone_ttl", TOMBSTONE_TTL)
    if not 0 < ttl_ms <= TOMBSTONE_DAYS_MAX * _DAY_MS:
        raise asked.refused("tombstone_ttl", f"`tombstone_ttl` is longer than 0, and at most {TOMBSTONE_DAYS_MAX:,}d.")
    return ttl_ms


def _row_function(asked: Arguments, function: Any) -> Callable[[Any, Context], Any]:
    """The function as one of an event and a context. Raises JobInvalid."""
    if callable(function) and _takes(function, "event"):
        asked.function("function", "event", value=function)
        one: Callable[[Any], Any] = function
        return lambda event, context: one(event)
    two = asked.function("function", "event", "context", value=function)
    assert two is not None
    return two


def _takes(function: Callable[..., Any], *parameters: str) -> bool:
    try:
        inspect.signature(function).bind(*parameters)
    except TypeError:
        return False
    except ValueError:  # functions written in C may have no signature
        return True
    return True
