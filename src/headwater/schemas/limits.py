"""The bounds on schema documents and events that keep one bad input from costing the platform its memory or time."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

# How many documents, and how many compiled schemas, are cached. If a repository accepts several spellings of a name for
# the same document, events determine how many there are.
SCHEMAS_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ValidationLimits:
    """All limits on schemas and on events during validation.

    `document_nodes_max` counts a document after its YAML aliases are expanded. `applications_max` bounds how often the
    parts of one schema may apply along one path into an event, which `$ref`s can make grow exponentially; `steps_max`
    bounds the work of explaining one event or filling its defaults. `allow_insecure_schemas` disables the security
    rules (contracts/intake.md §2, "Security metaschema"); the other limits cannot be disabled.
    """

    document_bytes_max: int = 1_048_576
    document_depth_max: int = 64
    document_nodes_max: int = 50_000
    documents_max: int = 100
    event_depth_max: int = 64
    violations_max: int = 1_000
    applications_max: int = 100_000
    steps_max: int = 500_000
    allow_insecure_schemas: bool = False


@dataclass(slots=True)
class ExplanationBudget:
    """What explaining the invalid events of one request may still cost, in addition to the limits for each of them.

    Once a part of it is used up, only one violation of each further event is listed. `bytes_left` counts the texts of
    violations, some of which repeat lists of their schema.
    """

    violations_left: int = 1_000
    steps_left: int = 15_000
    bytes_left: int = 1_048_576
    # Whether violations of the last explained event were left out.
    is_cut: bool = False
    # How many of its violations were found and not listed.
    unlisted: int = 0

    @property
    def is_used_up(self) -> bool:
        return self.violations_left <= 0 or self.steps_left <= 0 or self.bytes_left <= 0


# `isinstance` with a tuple of classes takes a tenth of the time that it takes with a union.
_CONTAINERS = (dict, list)

# The allowance of the current request. None: outside requests only the limits of each event apply.
explanation_budget: ContextVar[ExplanationBudget | None] = ContextVar("explanation_budget", default=None)


def forget_oldest(kept: dict[str, Any]) -> None:
    """Leave at most `SCHEMAS_KEPT_MAX` entries. Concurrent writers of `kept` need a lock."""
    while len(kept) > SCHEMAS_KEPT_MAX:
        del kept[next(iter(kept))]


def depth_exceeds(value: Any, depth_max: int) -> bool:
    """Whether objects and arrays are nested deeper than `depth_max`. Iterative: cannot overflow the stack itself."""
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(depth_max):
        if not level:
            return False
        below: list[Any] = []
        for container in level:
            items = container.values() if isinstance(container, dict) else container
            below += [child for child in items if isinstance(child, _CONTAINERS)]
        level = below
    return bool(level)


def bytes_may_exceed_depth(encoded: bytes, depth_max: int) -> bool:
    """A cheap test that is False for nearly every event: too few brackets to be nested too deeply."""
    # Removing them and comparing lengths is four times as fast as counting: `replace` skips from one to the next,
    # `count` examines each byte.
    return len(encoded) - len(encoded.replace(b"{", b"").replace(b"[", b"")) > depth_max


def children(value: Any) -> Iterable[Any]:
    """The direct children of an object or array; empty for a scalar."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()
