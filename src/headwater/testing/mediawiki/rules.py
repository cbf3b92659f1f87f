"""Rules that make the stand-in fail: as data, checked when they are given, each with a budget of requests.

How this works: the first rule in the list that matches a request and has budget left applies to it, and no other. What
happens is the same each time, since rules count requests and neither draw lots nor look at a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from headwater.declaration import Declaration, read_declaration, suggestion
from headwater.options import fields_of, read_section
from headwater.settings import setting

RULES_MAX = 10_000
SECONDS_MAX = 3_600
API_PATH = "/w/api.php"
_HEADER_TEXT_NEVER = ("\r", "\n", "\0")


@dataclass(frozen=True, slots=True)
class Asked:
    """What rules look at in a request. `maxlag`: the parameter of a request to the Action API, if it is a number."""

    domain: str
    path: str
    revids: tuple[int, ...]
    maxlag: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which requests a rule is for. A request matches when everything that is given here does."""

    MODE: ClassVar[str] = ""
    # Whether the failure is one of the Action API, which other endpoints do not have.
    IS_OF_API: ClassVar[bool] = False

    domain: str | None = setting(None, "The wiki.")
    revid: int | tuple[int, ...] | None = setting(
        None, "A revision, or several: requests match that ask for one of them, alone or with others.", at_least=1
    )
    path: str | None = setting(None, "What the path begins with.", starts_with=("/",))
    times: int | None = setting(None, "How many requests the rule applies to; null: to all.", at_least=1)
    every: int = setting(1, "The rule applies to every so-manieth request that matches.", at_least=1)

    def matches(self, asked: Asked) -> bool:
        """Whether the rule is for this request, its budget aside."""
        wanted = (self.revid,) if isinstance(self.revid, int) else self.revid
        return (
            (self.domain is None or self.domain.lower() == asked.domain)
            and (wanted is None or not set(wanted).isdisjoint(asked.revids))
            and (self.path is None or asked.path.startswith(self.path))
            and (not self.IS_OF_API or asked.path == API_PATH)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxLag(Rule):
    """The databases lag by so many seconds: refused with status 200 where the request has a `maxlag` below that."""

    MODE: ClassVar[str] = "maxlag"
    IS_OF_API: ClassVar[bool] = True

    lag: float = setting(6.2, "The lag in seconds.", at_least=0, at_most=SECONDS_MAX)
    host: str | None = setting("10.64.16.7", "The lagging server; null: the error names none.")

    def matches(self, asked: Asked) -> bool:
        # A dataclass with slots is another class than the one `super()` without arguments knows.
        return Rule.matches(self, asked) and asked.maxlag is not None and self.lag > asked.maxlag


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit(Rule):
    """429 from the caches in front of the wikis, as a page of HTML."""

    MODE: ClassVar[str] = "ratelimit"

    retry_after: int | str | None = setting(
        1, "The header `Retry-After`: seconds, or a date as HTTP writes it; null: no header.", at_least=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Http(Rule):
    """A status of HTTP, with a page of HTML in place of the answer."""

    MODE: ClassVar[str] = "http"

    status: int = setting(503, "The status.", at_least=200, at_most=599)
    headers: Mapping[str, Any] = setting({}, "Headers of the answer, such as `Retry-After`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow(Rule):
    """The right answer, late."""

    MODE: ClassVar[str] = "slow"

    seconds: float = setting(1.0, "How late.", at_least=0, at_most=SECONDS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Rule):
    """The connection is reset when the request has arrived; or it ends in the middle of the body."""

    MODE: ClassVar[str] = "close"

    after_bytes: int | None = setting(
        None, "End the connection after so many bytes of the right body; null: reset it, with nothing sent.", at_least=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage(Rule):
    """200 with the first half of the right body: JSON that does not end."""

    MODE: ClassVar[str] = "garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty(Rule):
    """200 without a byte."""

    MODE: ClassVar[str] = "empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoContent(Rule):
    """204."""

    MODE: ClassVar[str] = "nocontent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiError(Rule):
    """200 with an error of the Action API."""

    MODE: ClassVar[str] = "api_error"
    IS_OF_API: ClassVar[bool] = True

    code: str = setting("internal_api_error_DBQueryError", "The error's code, such as `readonly` or `missingtitle`.")
    info: str | None = setting(None, "The error's text; null: the usual one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing(Rule):
    """The right answer of a replica that has not got the revisions of `revid` yet; without `revid`, none asked for."""

    MODE: ClassVar[str] = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass(Rule):
    """The right answer: keeps rules further down from applying."""

    MODE: ClassVar[str] = "pass"


InPlace = MaxLag | RateLimit | Http | Empty | NoContent | ApiError
Altered = Slow | Close | Garbage | Missing | Pass
AnyRule = InPlace | Altered
MODES: Mapping[str, type[AnyRule]] = {
    kind.MODE: kind
    for kind in (MaxLag, RateLimit, Http, Slow, Close, Garbage, Empty, NoContent, ApiError, Missing, Pass)
}


def read_rules(written: Any, *, file: str = "rules") -> list[AnyRule]:
    """The rules of a list of mappings; rules that are objects already stay as they are.

    :raises ConfigInvalid: an unknown mode or key, naming the nearest, or a value of another type or out of range.
    """
    return _rules(Declaration(file, written))


def read_rules_file(path: Path) -> list[AnyRule]:
    """The rules of a YAML or JSON file.

    :raises ConfigInvalid: the file cannot be read, or as `read_rules`; says the line.
    """
    return _rules(read_declaration(path))


def _rules(source: Declaration) -> list[AnyRule]:
    written = source.value
    if not isinstance(written, Sequence) or isinstance(written, str | bytes):
        raise source.refusal((), "rules are a list.", hint='Write `[{"mode": "slow", "seconds": 2}]`.')
    if len(written) > RULES_MAX:
        raise source.refusal((), f"there are more than {RULES_MAX} rules.")
    return [_rule(source, number, one) for number, one in enumerate(written)]


def _rule(source: Declaration, number: int, written: Any) -> AnyRule:
    if isinstance(written, AnyRule):
        return written
    if not isinstance(written, Mapping):
        raise source.refusal((number,), f"rule {number} must be a mapping with a mode.")
    mode = written.get("mode")
    if not isinstance(mode, str) or mode not in MODES:
        problem = f'unknown mode "{mode}"' if isinstance(mode, str) else "there is no mode"
        raise source.refusal((number, "mode"), f"rule {number}: {problem}.", hint=suggestion(str(mode or ""), MODES))
    kind = MODES[mode]
    source.refuse_unknown_keys((number,), written, ["mode", *fields_of(kind)])
    values = {key: value for key, value in written.items() if key != "mode"}
    rule = read_section(kind, values, source, (number,))
    revids = rule.revid if isinstance(rule.revid, tuple) else ()
    if any(revid < 1 for revid in revids):
        raise source.refusal((number, "revid"), f"rule {number}: revid must be at least 1.")
    if isinstance(rule, Http):
        _check_headers(rule.headers, source, number)
    return rule


def _check_headers(headers: Mapping[str, Any], source: Declaration, number: int) -> None:
    for name, value in headers.items():
        wrong = isinstance(value, bool) or not isinstance(value, str | int | float)
        if wrong or any(letter in f"{name}{value}" for letter in _HEADER_TEXT_NEVER):
            raise source.refusal(
                (number, "headers", name), f"rule {number}: the header {name!r} must be one line of text."
            )


@dataclass(slots=True)
class _Budget:
    rule: AnyRule
    matched: int = 0
    hits: int = 0


@dataclass(slots=True)
class RuleBook:
    """The rules in force, and how often each has applied."""

    _budgets: list[_Budget] = field(default_factory=list)

    def replace(self, rules: Sequence[AnyRule]) -> None:
        """Put these in force in place of all others, each with its whole budget."""
        self._budgets = [_Budget(rule) for rule in rules]

    def pick(self, asked: Asked) -> AnyRule | None:
        """The rule that applies to the request; its budget is one request less."""
        for budget in self._budgets:
            rule = budget.rule
            if (rule.times is not None and budget.hits >= rule.times) or not rule.matches(asked):
                continue
            budget.matched += 1
            if budget.matched % rule.every:
                continue
            budget.hits += 1
            return rule
        return None

    def hits(self) -> list[tuple[AnyRule, int]]:
        """Each rule, and to how many requests it has applied."""
        return [(budget.rule, budget.hits) for budget in self._budgets]
