"""What a deliberate deviation is, and how a record is compared by all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit


class Answered(Protocol):
    """An answer of ours, whichever client received it."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> Any: ...


@dataclass(frozen=True)
class Record:
    """A recorded request and its answer, as rules look at them.

    `text` is the body that was sent, where it is text; `stored` are the URIs of the schemas the service has.
    """

    raw: Mapping[str, Any]
    text: str | None = None
    stored: frozenset[str] = frozenset()

    @property
    def service(self) -> str:
        return str(self.raw["service"])

    @property
    def method(self) -> str:
        return str(self.raw["request"]["method"])

    @cached_property
    def path(self) -> str:
        """In lower case, without a trailing slash: so the original compares it."""
        return unquote(urlsplit(self.raw["request"]["path"]).path).lower().rstrip("/") or "/"

    @cached_property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.raw["request"]["path"]).query, keep_blank_values=True)

    @cached_property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in (self.raw["request"].get("headers") or {}).items()}

    @property
    def status(self) -> int:
        return int(self.raw["response"].get("status", 0))

    @property
    def answer(self) -> Any:
        return self.raw["response"].get("body")

    @cached_property
    def title(self) -> str:
        """Of a problem document: the kind of error the original raised."""
        return str(self.answer.get("title", "")) if isinstance(self.answer, dict) else ""

    @cached_property
    def value(self) -> Any:
        """What was sent, parsed; None where it is not JSON."""
        try:
            return json.loads(self.text or "")
        except ValueError:
            return None

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The objects that were sent as events."""
        value = self.value if isinstance(self.value, list) else [self.value]
        return [one for one in value if isinstance(one, dict)]

    def refusals(self, kind: str) -> list[dict[str, Any]]:
        """The entries of the answer's `invalid` or `error` list."""
        found = self.answer.get(kind) if isinstance(self.answer, dict) else None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    @cached_property
    def messages(self) -> list[str]:
        """What the original says of the events it calls errors."""
        return [str((one.get("context") or {}).get("message", "")) for one in self.refusals("error")]


def stored_schemas(*directories: Path) -> frozenset[str]:
    """The URIs under which the files of schema repositories are asked for, with and without their extension."""
    files = [(base, file) for base in directories for file in base.rglob("*") if file.is_file()]
    paths = {"/" + file.relative_to(base).as_posix() for base, file in files}
    return frozenset(paths | {path.rpartition(".")[0] for path in paths if path.endswith((".yaml", ".json"))})


def messages_of(ours: Answered) -> list[str]:
    """What we say of events that are errors."""
    body = ours.body if isinstance(ours.body, dict) else {}
    return [str((one.get("context") or {}).get("message", "")) for one in body.get("error") or []]


@dataclass(frozen=True)
class Deviation:
    """When an answer differs (`applies`), in which aspects, what ours is then (`holds`), and why.

    `when`, `original`, `here` and `because` are the row of the documentation's table.
    """

    when: str
    original: str
    here: str
    because: str
    aspects: frozenset[str]
    applies: Callable[[Record], bool]
    holds: Callable[[Record, Any], bool]


def judge(
    rules: Sequence[Deviation], record: Record, ours: Any, differing: Iterable[str], *, first: bool
) -> tuple[list[Deviation], str | None]:
    """The rules that apply, and what is wrong; with `first`, only the first rule that applies counts."""
    applying = [rule for rule in rules if rule.applies(record)]
    applying = applying[:1] if first else applying
    excused = frozenset().union(*(rule.aspects for rule in applying))
    left = sorted(set(differing) - excused)
    if left:
        named = "; ".join(rule.when for rule in applying) or "no rule applies"
        return applying, f"differs in {', '.join(left)} ({named})"
    broken = [rule for rule in applying if not rule.holds(record, ours)]
    if broken:
        return applying, f"is not as the rule says: {broken[0].when}: {broken[0].here}"
    return applying, None


def unused(rules: Sequence[Deviation], judged: Iterable[tuple[Sequence[Deviation], bool]]) -> list[str]:
    """Rules that apply to some records, none of which differs any more."""
    applied: dict[str, bool] = {}
    for applying, differs in judged:
        for rule in applying:
            applied[rule.when] = applied.get(rule.when, False) or differs
    return [rule.when for rule in rules if applied.get(rule.when) is False]


def table(rules: Sequence[Deviation]) -> str:
    """The rules as a table in Markdown."""
    rows = [f"| {rule.when} | {rule.original} | {rule.here} | {rule.because} |" for rule in rules]
    return "\n".join(["| when | original | here | because |", "| --- | --- | --- | --- |", *rows]) + "\n"
