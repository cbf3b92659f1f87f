"""What a rule is: the events it is about, the requests they lead to, and what is done when a request fails."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.connectors.templates import Template, rendered_values
from headwater.errors import EventMalformed
from headwater.event import encode_json
from headwater.jobs.rules.addresses import address
from headwater.jobs.rules.conditions import Match
from headwater.jobs.rules.for_each import ForEach

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Execution:
    """One request as it is written in a rule. `body`: texts in it are templates; None: it has none."""

    method: str
    uri: Template
    headers: Mapping[str, Template]
    body: Any = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request for an event."""

    method: str
    uri: str
    headers: Mapping[str, str]
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """The requests of the events for which `match` holds, and none of `match_not`."""

    match: Match
    match_not: tuple[Match, ...]
    executions: tuple[Execution, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """The share of events that a rule takes, by the hash of a text: the same ones in every process and each time."""

    rate: float
    of: Template

    def takes(self, scope: Mapping[str, Any]) -> bool:
        """Raises EventMalformed if the event lacks a field of the text."""
        digest = hashlib.sha256(self.of.render(scope).encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self.rate * 2**64


@dataclass(frozen=True, slots=True)
class Limit:
    """Requests with an equal key are not sent while so many of them failed within the last `per_ms`."""

    key: Template
    failures_max: int
    per_ms: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; times are in milliseconds.

    A request that fails with a status of `retry_on`, or without an answer, is sent again up to `retries_max` times,
    `retry_delay_ms` after it failed, then `retry_factor` times as late, and so on. A status of `ignore` counts as a
    success; any other of the 4xx and 5xx is final. `cases`: the first that fits counts. `for_each`: what
    becomes of what an answer lists.
    """

    name: str
    streams: tuple[str, ...]
    match: Match
    match_not: tuple[Match, ...]
    cases: tuple[Case, ...]
    sample: Sample | None
    retry_on: frozenset[int]
    ignore: frozenset[int]
    limits: tuple[Limit, ...]
    retry_delay_ms: int = 60_000
    retry_factor: float = 6.0
    retries_max: int = 2
    concurrency: int = 30
    timeout_ms: int = 60_000
    for_each: ForEach | None = None

    def delay_ms(self, failures: int) -> int:
        """How long to wait after so many executions failed."""
        return round(self.retry_delay_ms * self.retry_factor ** (failures - 1))

    def executions(self, event: Mapping[str, Any]) -> tuple[tuple[Execution, ...], dict[str, str]] | None:
        """What the rule sends for an event, and what its regular expressions captured; None if it is about others."""
        captured = _held(self.match, self.match_not, event)
        if captured is None:
            return None
        for case in self.cases:
            more = _held(case.match, case.match_not, event)
            if more is not None:
                return case.executions, captured | more
        return None


def scope_of(event: Mapping[str, Any], captured: Mapping[str, str]) -> Mapping[str, Any]:
    """What templates find: the fields of the event and, as `match`, what was captured."""
    return {**event, "match": captured}


def rendered(execution: Execution, scope: Mapping[str, Any]) -> Call:
    """The request for an event. Raises EventMalformed for an absent field, and for what no header can have."""
    body = None if execution.body is None else rendered_values(execution.body, scope)
    headers = {name: _header(name, template, scope) for name, template in execution.headers.items()}
    if body is not None and not isinstance(body, str):
        body = encode_json(body).decode()
        if all(name.lower() != "content-type" for name in headers):
            headers["content-type"] = "application/json"
    return Call(execution.method, address(execution.uri, scope), headers, body)


def _header(name: str, template: Template, scope: Mapping[str, Any]) -> str:
    value = template.render(scope)
    if _CONTROL.search(value) is not None:
        raise EventMalformed(f"The header {name} would have a control character, which no header can have.")
    return value


def _held(match: Match, match_not: tuple[Match, ...], event: Mapping[str, Any]) -> dict[str, str] | None:
    captured = match.captures(event)
    if captured is None or any(one.captures(event) is not None for one in match_not):
        return None
    return captured
