"""Reads rules from YAML, with errors that name file, line and the nearest known key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.connectors.templates import parsed_values
from headwater.declaration import Declaration, KeyPath, read_declaration
from headwater.errors import ConfigInvalid
from headwater.jobs.durations import DURATION_MS_MAX
from headwater.jobs.rules.conditions import Expected, Match, expected_of
from headwater.jobs.rules.for_each import ForEach
from headwater.jobs.rules.rule import Case, Execution, Limit, Rule, Sample
from headwater.jobs.rules.written import WrittenRule

KEYS = (
    *("topic", "topics", "stream", "streams", "match", "match_not", "cases", "exec", "sample", "retry_on", "ignore"),
    *("retry_delay", "retry_factor", "retry_limit", "concurrency", "limiters", "timeout", "for_each"),
)
STREAM_KEYS = ("topic", "topics", "stream", "streams")
CASE_KEYS = ("match", "match_not", "exec")
EXEC_KEYS = ("method", "uri", "headers", "body")
LIMIT_KEYS = ("key", "errors", "per")
EACH_KEYS = ("items", "stream", "uri", "tags", "continue")
RULES_MAX = 1_000
RETRIES_MAX = 20
CONCURRENCY_MAX = 1_000
ERRORS_MAX = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_METHOD = re.compile(r"[A-Za-z]{1,20}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_STATUS = re.compile(r"[1-5][0-9x]{2}")


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a file. Raises ConfigInvalid."""
    return rules_of(read_declaration(path, file=path.name))


def rules_of(source: Declaration) -> tuple[Rule, ...]:
    """The rules of a declaration that has nothing else. Raises ConfigInvalid."""
    if not isinstance(source.value, Mapping):
        raise source.refusal((), "the file has `rules:`, a mapping of names to rules.")
    source.refuse_unknown_keys((), source.value, ("rules",))
    written = source.value.get("rules")
    if not isinstance(written, Mapping) or not written:
        raise source.refusal(("rules",), "`rules` is a mapping of names to rules.")
    if len(written) > RULES_MAX:
        raise source.refusal(("rules",), f"there are {len(written)} rules, more than {RULES_MAX}.")
    return tuple(_RuleReader(source, name).rule() for name in written)


class _RuleReader(WrittenRule):
    """Reads one rule."""

    def rule(self) -> Rule:
        written = self.source.value["rules"][self.name]
        if _NAME.fullmatch(self.name) is None:
            raise self.refused((), "the name of a rule has letters, digits, '_', '-' and '.', up to 100.")
        self.written = self.mapping((), written)
        self.source.refuse_unknown_keys(self.path, written, KEYS)
        delay_ms = self.duration(("retry_delay",), "60s")
        factor = self.number("retry_factor", 6.0, 1.0, 1_000.0)
        retries = int(self.whole("retry_limit", 2, 0, RETRIES_MAX))
        if delay_ms * factor ** max(0, retries - 1) > DURATION_MS_MAX:
            raise self.refused(("retry_factor",), "the last retry would be more than 100 years later.")
        return Rule(
            self.name,
            self._streams(),
            self._match(("match",)),
            self._matches_not(()),
            self._cases(),
            self._sample(),
            self._statuses("retry_on", ["5xx"]),
            self._statuses("ignore", [412]),
            tuple(self._limits()),
            delay_ms,
            factor,
            retries,
            self.whole("concurrency", 30, 1, CONCURRENCY_MAX),
            self.duration(("timeout",), "60s", at_least_ms=1),
            self._for_each(),
        )

    def _streams(self) -> tuple[str, ...]:
        named = [key for key in STREAM_KEYS if key in self.written]
        if len(named) != 1:
            what = f"both `{named[0]}` and `{named[1]}`" if named else "no stream"
            raise self.refused(
                tuple(named[1:2]), f"the rule has {what}.", "Write `stream: NAME` or `streams: [NAME, …]`."
            )
        value = self.written[named[0]]
        streams = [value] if isinstance(value, str) else value
        if not isinstance(streams, list) or not streams or not all(isinstance(one, str) and one for one in streams):
            raise self.refused((named[0],), f"`{named[0]}` is the name of a stream, or a list of names.")
        return tuple(dict.fromkeys(streams))

    def _cases(self) -> tuple[Case, ...]:
        if ("cases" in self.written) is ("exec" in self.written):
            raise self.refused((), "a rule has either `exec` or `cases`.", "Write `exec: {method: GET, uri: …}`.")
        if "exec" in self.written:
            return (Case(Match(), (), self._executions(("exec",))),)
        cases = self.written["cases"]
        if not isinstance(cases, list) or not cases:
            raise self.refused(("cases",), "`cases` is a list of mappings with `match` and `exec`.")
        made = []
        for index, written in enumerate(cases):
            at: KeyPath = ("cases", index)
            self.source.refuse_unknown_keys((*self.path, *at), self.mapping(at, written), CASE_KEYS)
            if "exec" not in written:
                raise self.refused(at, "the case has no `exec`.")
            made.append(Case(self._match((*at, "match")), self._matches_not(at), self._executions((*at, "exec"))))
        return tuple(made)

    def _match(self, at: KeyPath) -> Match:
        written = self.at(at)
        return Match() if written is None else Match(tuple(self._fields(at, self.mapping(at, written), "")))

    def _matches_not(self, at: KeyPath) -> tuple[Match, ...]:
        at = (*at, "match_not")
        written = self.at(at)
        if not isinstance(written, list):
            return () if written is None else (self._match(at),)
        return tuple(self._match((*at, index)) for index in range(len(written)))

    def _fields(self, at: KeyPath, written: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Expected]]:
        if not written:
            raise self.refused(at, "a match without fields would hold for every event.", "Leave it out.")
        for key, value in written.items():
            path = f"{prefix}{key}"
            if not all(path.split(".")):
                raise self.refused((*at, key), f"{path!r} is not the dotted path of a field.")
            if isinstance(value, Mapping):
                yield from self._fields((*at, key), value, f"{path}.")
                continue
            try:
                yield path, expected_of(value)
            except re.error as error:
                raise self.refused((*at, key), f"{value!r:.200} is no regular expression: {error}.") from None
            except ValueError as error:
                raise self.refused((*at, key), f"{path}: {error}.") from None

    def _executions(self, at: KeyPath) -> tuple[Execution, ...]:
        written = self.at(at)
        if not isinstance(written, list):
            return (self._execution(at, written),)
        if not written:
            raise self.refused(at, "`exec` has no request.")
        return tuple(self._execution((*at, index), one) for index, one in enumerate(written))

    def _execution(self, at: KeyPath, written: Any) -> Execution:
        self.source.refuse_unknown_keys((*self.path, *at), self.mapping(at, written), EXEC_KEYS)
        method = written.get("method", "GET")
        if not isinstance(method, str) or _METHOD.fullmatch(method) is None:
            raise self.refused((*at, "method"), f"{method!r} is no method of HTTP.", "Such as GET, POST or PURGE.")
        if not isinstance(written.get("uri"), str) or not written["uri"]:
            raise self.refused((*at, "uri"), "`uri` is the address of a service, with fields in braces.")
        uri = self.address((*at, "uri"), written["uri"])
        headers = self.mapping((*at, "headers"), written.get("headers", {}))
        made = {}
        for name, value in headers.items():
            if _HEADER.fullmatch(name) is None:
                raise self.refused((*at, "headers", name), f"{name!r} is no name of a header.")
            made[name] = self.template((*at, "headers", name), value)
        try:
            body = None if written.get("body") is None else parsed_values(written["body"])
        except ConfigInvalid as error:
            raise self.refused((*at, "body"), error.detail, error.hint) from None
        return Execution(method.upper(), uri, made, body)

    def _for_each(self) -> ForEach | None:
        written = self.at(("for_each",))
        if written is None:
            return None
        at: KeyPath = ("for_each",)
        self.source.refuse_unknown_keys((*self.path, *at), self.mapping(at, written), EACH_KEYS)
        for key in ("items", "stream", "uri"):
            if not isinstance(written.get(key), str) or not written[key]:
                hint = "Such as {items: query.pages, stream: changes, uri: 'https://{meta.domain}/{item.id}'}."
                raise self.refused((*at, key), f"`for_each` has no `{key}`, a text.", hint)
        following = written.get("continue", "")
        for path in [written["items"], *(following.values() if isinstance(following, Mapping) else [following])]:
            if not isinstance(path, str) or (path and not all(path.split("."))):
                raise self.refused(at, f"{path!r:.100} is not the dotted path of a field of an answer.")
        tags = written.get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise self.refused((*at, "tags"), "`tags` is a list of texts.")
        uri = self.address((*at, "uri"), written["uri"])
        return ForEach(tuple(written["items"].split(".")), written["stream"], uri, tuple(tags), following)

    def _sample(self) -> Sample | None:
        written = self.at(("sample",))
        if written is None:
            return None
        rate: Any = written
        text: Any = "{meta.id}"
        if isinstance(written, Mapping):
            self.source.refuse_unknown_keys((*self.path, "sample"), written, ("rate", "hash_template"))
            rate, text = written.get("rate"), written.get("hash_template", text)
        if type(rate) not in (int, float) or not 0 <= rate <= 1:
            raise self.refused(("sample",), f"`sample` is a share from 0 to 1, not {rate!r:.100}.")
        return Sample(float(rate), self.template(("sample", "hash_template"), text))

    def _statuses(self, key: str, default: list[Any]) -> frozenset[int]:
        written = self.written.get(key, default)
        at: KeyPath = (key,)
        if isinstance(written, Mapping):
            # As rules of other engines write it: `ignore: {status: [412]}`.
            self.source.refuse_unknown_keys((*self.path, key), written, ("status",))
            written, at = written.get("status", []), (key, "status")
        patterns = written if isinstance(written, list) else [written]
        made: set[int] = set()
        for one in patterns:
            text = str(one)
            if isinstance(one, bool) or _STATUS.fullmatch(text) is None:
                raise self.refused(at, f"{one!r:.100} is no status.", "Such as 503, or 5xx for all from 500 to 599.")
            pattern = re.compile(text.replace("x", "[0-9]"))
            made |= {status for status in range(100, 600) if pattern.fullmatch(str(status))}
        return frozenset(made)

    def _limits(self) -> Iterator[Limit]:
        written = self.at(("limiters",)) or []
        if not isinstance(written, list):
            raise self.refused(("limiters",), "`limiters` is a list of mappings with `key`, `errors` and `per`.")
        for index, one in enumerate(written):
            at: KeyPath = ("limiters", index)
            self.source.refuse_unknown_keys((*self.path, *at), self.mapping(at, one), LIMIT_KEYS)
            if missing := [key for key in LIMIT_KEYS if one.get(key) is None]:
                hint = 'Such as {key: "{meta.uri}", errors: 10, per: 1h}.'
                raise self.refused(at, f"the limiter has no `{missing[0]}`.", hint)
            errors = one["errors"]
            if type(errors) is not int or not 1 <= errors <= ERRORS_MAX:
                message = f"`errors` is a whole number from 1 to {ERRORS_MAX:,}, not {errors!r:.100}."
                raise self.refused((*at, "errors"), message)
            key = self.template((*at, "key"), one["key"])
            yield Limit(key, errors, self.duration((*at, "per"), "1h", at_least_ms=1))
