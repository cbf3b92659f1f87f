"""Sends the requests that rules have made, and decides what a failure of each means: retry, give up, or nothing.

How this works: a request that may succeed later is postponed. It becomes a row of the job's state with the time it is
due, which survives a restart, and an event in the retry stream of what it is about. Requests of a rule take turns in as
many lanes as may be sent at once; those for one address are in one lane, and follow one another. If a
rule is about what an answer lists (`for_each`), its request is postponed for each further page, too, with its progress.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from headwater.declaration import suggestion
from headwater.errors import AnswerInvalid, EventMalformed, LookupRefused, LookupUnavailable
from headwater.event import get_path
from headwater.jobs.outcomes import Postpone, Retry
from headwater.jobs.rules.for_each import AnswerUnusable, ForEach, Page, events_of, page_of, with_parameters
from headwater.jobs.rules.repeats import now_ms
from headwater.jobs.rules.rule import Rule
from headwater.jobs.steps import Await, Context, Each

# For the step, beyond the longest time that a rule gives a request.
MARGIN_MS = 30_000
LANES_MAX = 10_000
NO_CONTENT = 204
FAILURES_KEPT_MAX = 100_000
REASON_CHARS_MAX = 1_000
# Statuses that are answers, whatever they mean.
_ANSWERS = range(400, 600)
_TEXTS = ("rule", "stream", "method", "uri", "triggered_by")
# How far a request has got: only the job itself writes it, into its state.
PROGRESS = "progress"


class NoRequest(ValueError):
    """The event is not a request of a rule."""

    error_type = "INVALID_INPUT"


class CallRefused(Exception):
    """A service refused the request for good."""

    error_type = "REJECTED"


class GivenUp(Exception):
    """A request failed each time."""

    error_type = "UNAVAILABLE"


class Sent(NamedTuple):
    """What became of one request: the status of the answer, None without one, what to say of it, and what it lists."""

    status: int | None
    reason: str
    page: Page | None = None
    is_retriable: bool = False


class Progress(NamedTuple):
    """How many pages of a request are done, after how many attempts, and the parameters of the next one."""

    pages: int = 0
    attempts: int = 0
    parameters: Mapping[str, str] = MappingProxyType({})


class Executing:
    """The steps of the job that sends requests. `service`: its name, which retry events and streams have."""

    def __init__(self, service: str, rules: Sequence[Rule]) -> None:
        self._service = service
        self._rules = {rule.name: rule for rule in rules}
        self._failures = _Failures()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The streams of retries, one for each that any rule is about; of what answers list, and of further pages."""
        rules = self._rules.values()
        found = [retry_stream(self._service, stream) for rule in rules for stream in rule.streams]
        for rule in rules:
            if rule.for_each is not None:
                found.append(rule.for_each.stream)
                if rule.for_each.next:
                    found += [continue_stream(self._service, stream) for stream in rule.streams]
        return tuple(dict.fromkeys(found))

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
        progress = Progress(**request.get(PROGRESS, {}))
        sent = await self._sent(rule, request, progress, context)
        is_ignored = sent.status in rule.ignore
        if not sent.is_retriable and sent.status is not None and (sent.status < 400 or is_ignored):
            context.metrics.counter("requests_ignored" if is_ignored else "requests_succeeded")
            if rule.for_each is not None and sent.page is not None and not is_ignored:
                self._found(rule.for_each, sent.page, request, progress, context)
            return
        context.metrics.counter("executions_failed")
        for number in range(len(rule.limits)):
            self._failures.add(_limit_key(rule, request, number), now)
        if sent.status is not None and sent.status not in rule.retry_on and not sent.is_retriable:
            raise CallRefused(f"the rule {rule.name}: {sent.reason}")
        failures = context.attempt - progress.attempts
        if failures > rule.retries_max:
            raise GivenUp(f"the rule {rule.name}: {sent.reason} Executions that failed: {failures}.")
        self._retry(rule, request, sent, failures, context)

    async def _sent(self, rule: Rule, request: Mapping[str, Any], progress: Progress, context: Context) -> Sent:
        """Send the request, for its next page. Raises CallRefused."""
        uri, headers = _addressed(request, context.settings.get("base_url", ""))
        body = request.get("body")
        options: dict[str, Any] = {} if body is None else {"data": body}
        try:
            answer = await context.http.request(
                request["method"],
                with_parameters(uri, progress.parameters),
                headers={**headers, "X-Triggered-By": request["triggered_by"]},
                accept=_ANSWERS,
                attempts=1,
                timeout=rule.timeout_ms / 1000,
                **options,
            )
            said = f"{request['method']} {answer.url}"
            if rule.for_each is None or answer.status == NO_CONTENT or answer.status >= 300:
                return Sent(answer.status, f"{said} answered {answer.status}.")
            return Sent(answer.status, said, page_of(rule.for_each, answer.json(), progress.parameters))
        except LookupUnavailable as error:
            return Sent(error.status, str(error))
        except (LookupRefused, AnswerInvalid) as error:
            raise CallRefused(f"the rule {rule.name}: {error}") from None
        except AnswerUnusable as error:
            if error.is_final:
                raise CallRefused(f"the rule {rule.name}: {said}: {error}.") from None
            return Sent(answer.status, f"{said}: {error}.", is_retriable=True)

    def _found(
        self, each: ForEach, page: Page, request: Mapping[str, Any], progress: Progress, context: Context
    ) -> None:
        """Write the event of each item; then postpone the request, if there is another page."""
        rule = request["rule"]
        try:
            for event in events_of(each, page, request):
                context.emit(event, to=each.stream)
        except EventMalformed as error:
            raise CallRefused(f"the rule {rule}: an item of the answer: {error}") from None
        context.metrics.counter("items", len(page.items))
        if not page.parameters:
            return
        uri, pages = get_path(request["event"], "meta.uri"), progress.pages + 1
        event = {
            **({"meta": {"uri": uri}} if isinstance(uri, str) else {}),
            "triggered_by": request["triggered_by"],
            "emitter_id": f"{self._service}#{rule}",
            "original_event": request["event"],
            "continue": page.parameters,
            "sequence_num": pages,
        }
        context.emit(event, to=continue_stream(self._service, request["stream"]))
        after = Progress(pages, context.attempt, page.parameters)._asdict()
        raise Postpone(f"the rule {rule}: there is another page.", after=0, event={**request, PROGRESS: after})

    def _retry(self, rule: Rule, request: Mapping[str, Any], sent: Sent, failures: int, context: Context) -> None:
        """Write the retry event, and postpone the request."""
        context.metrics.counter("retries")
        event = {
            "triggered_by": request["triggered_by"],
            "emitter_id": f"{self._service}#{rule.name}",
            "retries_left": rule.retries_max - failures + 1,
            "original_event": request["event"],
            "reason": sent.reason[:REASON_CHARS_MAX],
            **({} if sent.status is None else {"error_status": sent.status}),
        }
        context.emit(event, to=retry_stream(self._service, request["stream"]))
        raise Postpone(f"the rule {rule.name}: {sent.reason}", after=rule.delay_ms(failures) / 1000)

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


def continue_stream(service: str, stream: str) -> str:
    """The stream of events that say that there are further pages of what a request about a stream lists."""
    return f"{service}.continue.{stream}"


def _checked(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """The request; raises NoRequest for any other event."""
    request = {name: value for name, value in request.items() if name != PROGRESS}
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
