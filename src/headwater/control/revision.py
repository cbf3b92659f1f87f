"""A revision: who changed which rules, why and when; and the state that results from all revisions.

How this works: a *rule* is a named patch of stream declarations, applied on top of the files; a revision adds and
removes rules. Each names its parent, the revision it is based on, and is valid only if that is the latest one: of two
revisions of the same state by different processes, the first one in the log is valid, for every reader. Revisions are
never changed or removed: a rollback is another revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from headwater.errors import ChangeRefused
from headwater.event import json_bytes, read_json
from headwater.streams.layers import Layer, When
from headwater.times import has_zone, ms_of, time_us, utc_milliseconds

TEXT_CHARS_MAX = 2_000
RULES_MAX = 1_000
ALL_STREAMS = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One patch. `stream` "*" means all. `when` as in a stream file's overrides, and `from` and `until`, ISO 8601.

    Rules apply in order of `priority`, then of creation: the last one wins.
    """

    id: str
    stream: str
    set: Mapping[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0

    def layer(self, number: int) -> Layer:
        """The rule as a layer of the stream declarations, added by the revision `number`."""
        return Layer(
            name=f"revision {number} ({self.id})",
            set=self.set,
            unset=self.unset,
            when=replace(when_of(self.when), draw=self.id),
            stream=None if self.stream == ALL_STREAMS else self.stream,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "stream": self.stream,
            "set": dict(self.set),
            "unset": list(self.unset),
            "when": dict(self.when),
            "priority": self.priority,
        }

    @classmethod
    def from_json(cls, written: Any) -> Rule:
        """Read a rule. Raises ChangeRefused."""
        if not isinstance(written, dict):
            raise ChangeRefused(
                "A rule must be a JSON object.", hint='For example {"id": "…", "stream": "…", "set": {…}}.'
            )
        unknown = set(written) - {"id", "stream", "set", "unset", "when", "priority"}
        if unknown:
            raise ChangeRefused(f"A rule has no key {min(unknown)!r}.")
        unset, priority = written.get("unset", []), written.get("priority", 0)
        if not isinstance(unset, list) or not all(isinstance(one, str) for one in unset):
            raise ChangeRefused("`unset` must be a list of dotted keys.")
        if type(priority) is not int or abs(priority) > 1_000_000:
            raise ChangeRefused("`priority` must be a whole number.")
        for name in ("set", "when"):
            if not isinstance(written.get(name, {}), dict):
                raise ChangeRefused(f"`{name}` must be a JSON object.")
        rule = cls(
            text_of(written, "id", 100),
            text_of(written, "stream", 200),
            written.get("set", {}),
            tuple(unset),
            written.get("when", {}),
            priority,
        )
        when_of(rule.when)
        return rule


@dataclass(frozen=True, slots=True)
class Revision:
    """One change. `at` is in epoch seconds; `kind` describes for people how it was made."""

    number: int
    parent: int
    at: float
    actor: str
    reason: str
    kind: str = "change"
    put: tuple[Rule, ...] = ()
    remove: tuple[str, ...] = ()

    def encode(self) -> bytes:
        return json_bytes(self.as_json())

    def as_json(self) -> dict[str, Any]:
        return {
            "revision": self.number,
            "parent": self.parent,
            "at": utc_milliseconds(ms_of(self.at)),
            "actor": self.actor,
            "reason": self.reason,
            "kind": self.kind,
            "put": [rule.as_json() for rule in self.put],
            "remove": list(self.remove),
        }

    @classmethod
    def decode(cls, data: bytes) -> Revision:
        """Raises ChangeRefused for an invalid revision."""
        try:
            written = read_json(data)
            return cls(
                number=int(written["revision"]),
                parent=int(written["parent"]),
                at=_seconds(written["at"]),
                actor=written["actor"],
                reason=written["reason"],
                kind=written["kind"],
                put=tuple(Rule.from_json(rule) for rule in written["put"]),
                remove=tuple(written["remove"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ChangeRefused(f"A record is not a valid revision: {type(error).__name__}: {error}.") from None


@dataclass(frozen=True, slots=True)
class State:
    """The state after the revision `number`: the rules, each with the revision that added it."""

    number: int = 0
    rules: Mapping[str, tuple[int, Rule]] = field(default_factory=dict)

    def after(self, revision: Revision) -> State:
        """The state with `revision`. Raises ChangeRefused if it is based on another state."""
        if revision.parent != self.number or revision.number != self.number + 1:
            raise ChangeRefused(f"Revision {revision.number} is based on {revision.parent}, not on {self.number}.")
        rules = {name: put for name, put in self.rules.items() if name not in revision.remove}
        for rule in revision.put:
            rules.pop(rule.id, None)
            rules[rule.id] = (revision.number, rule)
        return State(revision.number, rules)

    def layers(self) -> Sequence[Layer]:
        """The rules as layers, low to high."""
        ordered = sorted(self.rules.values(), key=lambda entry: entry[1].priority)
        return [rule.layer(number) for number, rule in ordered]

    def edges(self) -> list[float]:
        """The times at which a rule starts or stops to apply, in epoch seconds, sorted."""
        windows = [when_of(rule.when) for _, rule in self.rules.values()]
        return sorted({edge for when in windows for edge in (when.not_before, when.not_after) if edge is not None})

    def going_to(self, other: State) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
        """(rules to add, ids to remove) that lead from here to the rules of `other`."""
        put = tuple(rule for name, (_, rule) in other.rules.items() if self.rules.get(name, (0, None))[1] != rule)
        return put, tuple(name for name in self.rules if name not in other.rules)


def when_of(written: Mapping[str, Any]) -> When:
    """The condition of a rule. Raises ChangeRefused."""
    unknown = set(written) - {"site", "site_group", "realm", "percent", "from", "until"}
    if unknown:
        raise ChangeRefused(
            f"`when` has no key {min(unknown)!r}.", hint="Its keys: site, site_group, realm, percent, from and until."
        )
    for name in ("site", "site_group", "realm"):
        value = written.get(name, "x")
        if not (isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))):
            raise ChangeRefused(f"`when.{name}` must be a text, or a list of texts.")
    percent = written.get("percent")
    if percent is not None and (
        isinstance(percent, bool) or not isinstance(percent, (int, float)) or not 0 <= percent <= 100
    ):
        raise ChangeRefused("`when.percent` must be a number from 0 to 100.")
    place = When.read({name: written[name] for name in ("site", "site_group", "realm") if name in written})
    start, end = (_seconds(written[name]) if name in written else None for name in ("from", "until"))
    if start is not None and end is not None and end <= start:
        raise ChangeRefused("`when.until` must be later than `when.from`.")
    return When(place.sites, place.groups, place.realms, start, end, percent)


def text_of(written: Mapping[str, Any], name: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """A required text. Raises ChangeRefused."""
    value = written.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > chars_max:
        raise ChangeRefused(f"`{name}` must be a text of 1 to {chars_max} characters.")
    return value


def _seconds(text: Any) -> float:
    at = time_us(text) if isinstance(text, str) else None
    if at is None:
        raise ChangeRefused(f"{text!r} is not a time.", hint="Write it like 2026-01-31T12:00:00Z.")
    if not has_zone(text):
        raise ChangeRefused(f"{text!r} has no time zone.", hint="Write it like 2026-01-31T12:00:00Z.")
    return at / 1_000_000
