"""The stand-in itself: what it holds, the rules in force, its log, and the one answer to each request."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.testing.mediawiki import rest
from headwater.testing.mediawiki.exchange import Answer, ApiRefusal, Request, ServedBy, html_error, json_answer
from headwater.testing.mediawiki.failures import altered, in_place, lagging, withheld
from headwater.testing.mediawiki.parameters import Parameters, as_integer, parameters_of, split
from headwater.testing.mediawiki.query import check_action, check_form, query
from headwater.testing.mediawiki.request_log import LoggedRequest, RequestLog
from headwater.testing.mediawiki.rows import as_row, read_rows
from headwater.testing.mediawiki.rules import API_PATH, AnyRule, Asked, InPlace, RuleBook, read_rules
from headwater.testing.mediawiki.store import Seen, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInSettings:
    """How the wikis are set up, and the stand-in's own limits."""

    # How many ids or titles a request may have, and revisions with content an answer; the second with `high_limits`.
    values_max: int = 50
    values_max_high: int = 500
    # Whether the caller has the right `apihighlimits`.
    high_limits: bool = False
    # `$wgAPIMaxResultSize`.
    result_bytes_max: int = 12_582_912
    # How many links one answer lists at most, whatever the request asks for.
    links_per_answer: int = 500
    # How late every answer is.
    latency_seconds: float = 0.0
    # Whether requests without a descriptive `User-Agent` are refused.
    requires_user_agent: bool = True
    served_by: str = "mw-fake-1"
    requests_kept_max: int = 100_000
    # The largest request, which is one that adds rows.
    request_bytes_max: int = 268_435_456
    connections_max: int = 4_096

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 1 if isinstance(value, int) and not isinstance(value, bool) else 0
            if not isinstance(value, str) and value < least:
                raise ValueError(f"{field.name} must be at least {least}, not {value}.")


class MediaWikiStandIn:
    """Many wikis in one process, chosen by the `Host` of a request; every method may be called from any thread.

    `rows`: what the wikis hold, as rows or as their JSON objects. `clock`: seconds since the epoch.

    :raises ConfigInvalid: a row or a rule is wrong.
    """

    def __init__(
        self,
        rows: Iterable[Any] = (),
        *,
        rules: Sequence[Any] = (),
        settings: StandInSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or StandInSettings()
        self._clock = clock
        self._store = Store(as_row(row, file=f"row {number}") for number, row in enumerate(rows))
        self._first_rules = read_rules(rules)
        self._rules = RuleBook()
        self._rules.replace(self._first_rules)
        self._log = RequestLog(self.settings.requests_kept_max)
        self._in_flight = 0
        self._lock = threading.RLock()

    @classmethod
    def read(cls, *paths: Path | str, **options: Any) -> MediaWikiStandIn:
        """A stand-in with the rows of these files or directories; `options` as those of the constructor.

        :raises ConfigInvalid: a file or a rule is wrong; says the line.
        """
        return cls((row for path in paths for row in read_rows(Path(path))), **options)

    # What tests do with it: the control plane does the same over HTTP.

    def set_rules(self, rules: Sequence[Any]) -> None:
        """Put these rules in force in place of all others, as objects or as mappings; all of them, or none.

        :raises ConfigInvalid: a rule is wrong.
        """
        checked = read_rules(rules)
        with self._lock:
            self._rules.replace(checked)

    def rules(self) -> list[tuple[AnyRule, int]]:
        """The rules in force, each with the number of requests it has applied to."""
        with self._lock:
            return self._rules.hits()

    def add(self, rows: Iterable[Any]) -> int:
        """Hold further rows, as rows or as their JSON objects; all of them, or none. Answers how many.

        :raises ConfigInvalid: a row is wrong.
        """
        checked = [as_row(row, file=f"row {number}") for number, row in enumerate(rows)]
        with self._lock:
            self._store.add(checked)
        return len(checked)

    def reset(self) -> None:
        """Hold the rows and rules it was made with, and no log."""
        with self._lock:
            self._store.reset()
            self._rules.replace(self._first_rules)
            self._log.clear()

    @property
    def requests(self) -> list[LoggedRequest]:
        """What it was asked, oldest first; at most `requests_kept_max`."""
        with self._lock:
            return self._log.kept()

    def count(self) -> dict[str, int]:
        """How many revisions each wiki holds."""
        with self._lock:
            return dict(self._store.count())

    # What the server does with it.

    def finished(self) -> None:
        """An answer is no longer being sent."""
        with self._lock:
            self._in_flight -= 1

    def answer(self, request: Request) -> Answer:
        """The answer to one request, as the first rule that applies has it."""
        with self._lock:
            self._in_flight += 1
            try:
                parameters = parameters_of(request)
                refused = None
            except ApiRefusal as refusal:
                parameters, refused = {}, refusal
            asked = _asked(request, parameters)
            rule = None
            if self.settings.requires_user_agent and not _is_descriptive(request.headers.get("user-agent")):
                answer = html_error(403, "Please set a descriptive User-Agent, with a way to contact you.")
            elif refused is not None:
                answer = refused.answer(self._wiki_of(request))
            else:
                rule = self._rules.pick(asked)
                answer = self._ruled(rule, request, parameters, asked)
            self._append_to_log(request, parameters, asked, answer, rule)
            return dataclasses.replace(answer, delay_seconds=answer.delay_seconds + self.settings.latency_seconds)

    def _append_to_log(
        self, request: Request, parameters: dict[str, str], asked: Asked, answer: Answer, rule: AnyRule | None
    ) -> None:
        self._log.append(
            LoggedRequest(
                number=self._log.count + 1,
                time=self._clock(),
                method=request.method,
                domain=request.domain,
                path=request.path,
                params=parameters,
                user_agent=request.headers.get("user-agent"),
                request_id=request.headers.get("x-request-id"),
                revids=asked.revids,
                in_flight=self._in_flight,
                status=None if answer.reset else answer.status,
                rule=rule.MODE if rule is not None else None,
            )
        )

    def _ruled(self, rule: AnyRule | None, request: Request, parameters: dict[str, str], asked: Asked) -> Answer:
        if rule is None:
            return self._right(request, parameters, asked)
        if isinstance(rule, InPlace):
            return in_place(rule, asked, self._wiki_of(request))
        answer = self._right(request, parameters, asked, withheld(rule, asked.revids))
        return altered(rule, answer)

    def _wiki_of(self, request: Request) -> ServedBy:
        return ServedBy(request.domain, self.settings.served_by)

    def _right(
        self, request: Request, parameters: dict[str, str], asked: Asked, without: frozenset[int] = frozenset()
    ) -> Answer:
        if request.method not in ("GET", "HEAD", "POST"):
            return html_error(405, headers={"Allow": "GET, HEAD, POST"})
        seen = self._store.seen(request.domain, self._clock(), without)
        if request.path == API_PATH:
            return self._api(request, parameters, asked, seen)
        if request.path.startswith("/w/rest.php/"):
            return rest.revision_answer(request, seen)
        if request.path.startswith("/wiki/Special:EntityData/"):
            return rest.entity_answer(request, seen)
        return html_error(404)

    def _api(self, request: Request, values: dict[str, str], asked: Asked, seen: Seen) -> Answer:
        settings = self.settings
        parameters = Parameters(
            values,
            many=settings.values_max,
            many_with_rights=settings.values_max_high,
            has_rights=settings.high_limits,
        )
        try:
            check_form(parameters)
            check_action(parameters)
            parameters.integer("maxlag")
            if asked.maxlag is not None and asked.maxlag < 0:
                # Without lag, which is how people try what their program does about it.
                return lagging(asked.maxlag, 0, None, self._wiki_of(request))
            body = query(
                parameters,
                seen,
                result_bytes_max=settings.result_bytes_max,
                links_per_answer=settings.links_per_answer,
            )
        except ApiRefusal as refusal:
            return refusal.answer(self._wiki_of(request))
        return json_answer(body)


def _asked(request: Request, parameters: dict[str, str]) -> Asked:
    if request.path != API_PATH:
        named = rest.revision_asked(request)
        return Asked(request.domain, request.path, () if named is None else (named,), None)
    numbers = (as_integer(text) for text in split(parameters.get("revids", "")))
    revids = tuple(dict.fromkeys(number for number in numbers if number is not None))
    return Asked(request.domain, request.path, revids, as_integer(parameters.get("maxlag", "")))


def _is_descriptive(user_agent: str | None) -> bool:
    """Whether it says more than the library a program happens to use."""
    return bool(user_agent and user_agent.strip()) and not str(user_agent).strip().lower().startswith("python-")
