"""The outcomes of a search for a value, and what its parts may ask of each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from headwater.schemas.compatibility.nodes import Formula, Nodes


@dataclass(frozen=True, slots=True)
class Found:
    """A value under which every formula holds."""

    value: Any


@dataclass(frozen=True, slots=True)
class Impossible:
    """No value exists."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """Neither a value nor a proof that there is none; `reason` is the end of a sentence."""

    reason: str


Outcome = Found | Impossible | Undecided
IMPOSSIBLE = Impossible()


class BudgetSpent(Exception):
    """The comparison takes more steps than allowed; the verdict is `unknown`, this is never shown as an error."""


class Solver(Protocol):
    """What the searches for one JSON type may ask: about nested values, and about given values."""

    @property
    def nodes(self) -> Nodes: ...

    def find(self, formulas: Iterable[Formula]) -> Outcome:
        """A value under which all formulas hold."""
        ...

    def holds(self, formula: Formula, value: Any) -> bool | None:
        """Whether a formula holds for a value; None if unknown."""
        ...

    def spend(self, steps: int = 1) -> None:
        """Count work. Raises BudgetSpent."""
        ...


def undecided(outcomes: Iterable[Outcome]) -> Outcome:
    """The combined outcome of failed attempts: impossible if every one is, else the first reason for doubt."""
    return next((outcome for outcome in outcomes if isinstance(outcome, Undecided)), IMPOSSIBLE)
