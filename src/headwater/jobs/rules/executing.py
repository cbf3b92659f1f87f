"""Sends the requests that rules have made, and decides what a failure of each means: retry, give up, or nothing.

How this works: a request that may succeed later is postponed. It becomes a row of the job's state with the time it is
due, which survives a restart, and an event in the retry stream of what it is about. Requests of a rule take turns in as
many lanes as may be sent at once; those for one address are in one lane, and follow one another.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from headwater.declaration import suggestion
from headwater.errors import AnswerInvalid, LookupRefused, LookupUnavailable
from headwater.jobs.outcomes import Postpone, Retry
from headwater.jobs.rules.repeats import now_ms
from headwater.jobs.rules.rule import Rule
from headwater.jobs.steps import Await, Context, Each

# For the step, beyond the longest time that a rule gives a request.
MARGIN_MS = 30_000
LANES_MAX = 10_000
FAILURES_KEPT_MAX = 100_000
REASON_CHARS_MAX = 1_000
# Statuses that are answers, whatever they mean.
_ANSWERS = range(400, 600)
_TEXTS = ("rule", "stream", "method", "uri", "triggered_by")


class NoRequest(ValueError):
    """The event is not a request of a rule."""

    error_type = "INVALID_INPUT"


class CallRefused(Exception):
    """A service refused the request for good."""

    error_type = "REJECTED"


class GivenUp(Exception):
    """A request failed each time."""

    error_type = "UNAVAILABLE"


class Executing:
    """The steps of the job that sends requests. `service`: its name, which retry events and streams have."""

    def __init__(self, service: str, rules: Sequence[Rule]) -> None:
        self._service = service
        self._rules = {rule.name: rule for rule in rules}
        self._failures = _Failures()

    @property
    def retry_streams(self) -> tuple[str, ...]:
        """The streams of retry events: one for each stream that any rule is about."""
        streams = dict.fromkeys(stream for rule in self._rules.values() for stream in rule.streams)
        return tuple(retry_stream(self._service, stream) for stream in streams)

    def steps(self) -> tuple[Each | Await, ...]:
        """Validate the request, then send it."""
        rules = self._rules.values()
        # How long a request waits, it says itself; these say that the job keeps what waits.
        parks = [max(1, rule.delay_ms(1)) / 1000 for rule in rules][:1]
        return (
            Each("checked", _checked),
            Await(
                "execute",
                self._execute,
                concurrency=min(LANES_MAX, sum(rule.concurrency for rule in rules)),
                retry=Retry(within=0, park=parks),
                timeout_ms=max(rule.timeout_ms for rule in rules) + MARGIN_MS,
                key=self._lane,
            ),
        )

    def _lane(self, request: Mapping[str, Any], context: Context) -> Any:
        rule = self._rules.get(request["rule"])
        lanes = 1 if rule is None else rule.concurrency
        return [request["rule"], zlib.crc32(request["uri"].encode("utf-8", "surrogatepass")) % lanes]

    async def _execute(self, request: Mapping[str, Any], context: Context) -> None:
        rule = self._rules.get(request["rule"])
        if rule is None:
            hint = suggestion(request["rule"], self._rules)
            raise CallRefused(f"There is no rule {request['rule']} any more, so its request is not sent. {hint}")
        now = now_ms(context)
        if any(self._is_limited(rule, request, number, now) for number in range(len(rule.limits))):
            context.metrics.counter("requests_limited")
            return
        status, reason = await self._sent(rule, request, context)
        if status is not None and (status < 400 or status in rule.ignore):
            context.metrics.counter("requests_ignored" if status in rule.ignore else "requests_succeeded")
            return
        context.metrics.counter("executions_failed")
        for number in range(len(rule.limits)):
            self._failures.add(_limit_key(rule, request, number), now)
        if status is not None and status not in rule.retry_on:
            raise CallRefused(f"the rule {rule.name}: {reason}")
        if context.attempt > rule.retries_max:
            raise GivenUp(f"the rule {rule.name}: {reason} Executions that failed: {context.attempt}.")
        self._retry(rule, request, status, reason, context)

    async def _sent(self, rule: Rule, request: Mapping[str, Any], context: Context) -> tuple[int | None, str]:
        """The status of the answer, None without one, and what to say of it. Raises CallRefused."""
        uri, headers = _addressed(request, context.settings.get("base_url", ""))
        body = request.get("body")
        options: dict[str, Any] = {} if body is None else {"data": body}
        try:
            answer = await context.http.request(
                request["method"],
                uri,
                headers={**headers, "X-Triggered-By": request["triggered_by"]},
                accept=_ANSWERS,
                attempts=1,
                timeout=rule.timeout_ms / 1000,
                **options,
            )
        except LookupUnavailable as error:
            return error.status, str(error)
        except (LookupRefused, AnswerInvalid) as error:
            raise CallRefused(f"the rule {rule.name}: {error}") from None
        return answer.status, f"{request['method']} {answer.url} answered {answer.status}."

    def _retry(self, rule: Rule, request: Mapping[str, Any], status: int | None, reason: str, context: Context) -> None:
        """Write the retry event, and postpone the request."""
        context.metrics.counter("retries")
        event = {
            "triggered_by": request["triggered_by"],
            "emitter_id": f"{self._service}#{rule.name}",
            "retries_left": rule.retries_max - context.attempt + 1,
            "original_event": request["event"],
            "reason": reason[:REASON_CHARS_MAX],
            **({} if status is None else {"error_status": status}),
        }
        context.emit(event, to=retry_stream(self._service, request["stream"]))
        raise Postpone(f"the rule {rule.name}: {reason}", after=rule.delay_ms(context.attempt) / 1000)

    def _is_limited(self, rule: Rule, request: Mapping[str, Any], number: int, now: int) -> bool:
        limit = rule.limits[number]
        failures = self._failures.since(_limit_key(rule, request, number), now - limit.per_ms)
        return failures >= limit.failures_max


class _Failures:
    """When requests failed, by key. In memory: how many of which keys fail is bounded, and a restart forgets it."""

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[str, ...], deque[int]] = OrderedDict()

    def add(self, key: tuple[str, ...], at_ms: int) -> None:
        times = self._times.setdefault(key, deque(maxlen=1_000))
        times.append(at_ms)
        self._times.move_to_end(key)
        if len(self._times) > FAILURES_KEPT_MAX:
            self._times.popitem(last=False)

    def since(self, key: tuple[str, ...], at_ms: int) -> int:
        """How many there were after this time."""
        return sum(1 for at in self._times.get(key, ()) if at > at_ms)


def retry_stream(service: str, stream: str) -> str:
    """The stream of retry events about a stream."""
    return f"{service}.retry.{stream}"


def _checked(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """The request; raises NoRequest for any other event."""
    for name in _TEXTS:
        if not isinstance(request.get(name), str):
            raise NoRequest(f"{name} is {request.get(name)!r:.100}, not a text: the event is no request of a rule.")
    headers = request.get("headers", {})
    if not isinstance(headers, Mapping) or not all(isinstance(value, str) for value in headers.values()):
        raise NoRequest("headers is not a mapping of texts.")
    if not isinstance(request.get("body", ""), str) or not isinstance(request.get("event"), Mapping):
        raise NoRequest("body is a text, and event an object: the event is no request of a rule.")
    if not isinstance(request.get("limit_keys", []), list):
        raise NoRequest("limit_keys is not a list.")
    return request


def _addressed(request: Mapping[str, Any], base_url: Any) -> tuple[str, dict[str, str]]:
    """Where to send it, and its headers. `base_url`: a service that is sent all requests, with the real host."""
    headers = dict(request.get("headers", {}))
    if not base_url:
        return request["uri"], headers
    parts = urlsplit(request["uri"])
    query = f"?{parts.query}" if parts.query else ""
    return f"{str(base_url).rstrip('/')}{parts.path or '/'}{query}", {**headers, "Host": parts.netloc}


def _limit_key(rule: Rule, request: Mapping[str, Any], number: int) -> tuple[str, ...]:
    keys = request.get("limit_keys", [])
    return rule.name, str(number), str(keys[number]) if number < len(keys) else ""
