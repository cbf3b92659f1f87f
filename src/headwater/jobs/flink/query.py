"""A query in Flink's SQL as data: its text, the versions of the streams it reads, and the functions it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FlinkFunction:
    """A function of Python that a query calls. `result`: the type of its values, in the words of Flink's SQL."""

    function: Callable[..., Any]
    result: str


@dataclass(frozen=True, slots=True)
class FlinkQuery:
    """`text` is passed to Flink as it is. `versions`: (stream, version) of each stream that it reads, which decides the
    columns; None: the newest. `functions`: by the name that the query calls them by.
    """

    text: str
    versions: tuple[tuple[str, str | None], ...]
    functions: Mapping[str, FlinkFunction] = field(default_factory=dict, hash=False, compare=False)
