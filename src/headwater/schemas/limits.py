"""The bounds on schema documents and events that keep one bad input from costing the platform its memory or time."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

# How many documents, and how many compiled schemas, are kept. Where a repository takes other spellings of a name for
# the same document, events choose how many there are.
SCHEMAS_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ValidationLimits:
    """Every bound of the schemas room.

    `document_nodes_max` counts a document after its YAML aliases are expanded. `applications_max` bounds how often the
    parts of one schema may apply along one path into an event, which `$ref`s can make grow exponentially; `steps_max`
    bounds the work of explaining one event or filling its defaults. `allow_insecure_schemas` switches off
    the security rules (contracts/intake.md §2, "Security metaschema"); nothing switches off the other bounds.
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
    """What explaining the invalid events of one request may still cost, beside the bounds for each of them.

    Once something of it is used up, one violation of each further event is listed. `bytes_left` counts the texts of
    violations, some of which repeat lists of their schema.
    """

    violations_left: int = 1_000
    steps_left: int = 15_000
    bytes_left: int = 1_048_576
    # Whether something of the event explained last was left out.
    is_cut: bool = False
    # How many violations of it were found and not listed.
    unlisted: int = 0

    @property
    def is_used_up(self) -> bool:
        return self.violations_left <= 0 or self.steps_left <= 0 or self.bytes_left <= 0


# Asking for one of several classes takes a tenth of the time that asking for a union does.
_CONTAINERS = (dict, list)

# That of the request at work. None: nobody but the project itself is served, and each event has its own bounds only.
explanation_budget: ContextVar[ExplanationBudget | None] = ContextVar("explanation_budget", default=None)


def forget_oldest(kept: dict[str, Any]) -> None:
    """Leave at most `SCHEMAS_KEPT_MAX` entries. Whoever writes into `kept` meanwhile needs a lock."""
    while len(kept) > SCHEMAS_KEPT_MAX:
        del kept[next(iter(kept))]


def depth_exceeds(value: Any, depth_max: int) -> bool:
    """Whether objects and arrays are nested deeper than `depth_max`. Iterative: cannot overflow the stack itself."""
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(depth_max):
        if not level:
            return False
        level = [child for container in level for child in children(container) if isinstance(child, _CONTAINERS)]
    return bool(level)


def bytes_may_exceed_depth(encoded: bytes, depth_max: int) -> bool:
    """A cheap test that is False for nearly every event: too few brackets to be nested too deeply."""
    # Taking them out and comparing lengths is four times as fast as counting: `replace` skips from one to the next,
    # `count` looks at each byte.
    return len(encoded) - len(encoded.replace(b"{", b"").replace(b"[", b"")) > depth_max


def children(value: Any) -> Iterable[Any]:
    """What an object or array directly contains; nothing for a scalar."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()
