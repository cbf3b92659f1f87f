"""From events to requests: which rules are about an event, and what each of them sends.

How this works: each rule that is about an event makes an item of its own, and only then are the templates filled in, so
that a rule which needs a field that the event lacks fails alone: its failure is an error event, and the others run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headwater.errors import EventMalformed
from headwater.event import get_path
from headwater.jobs.rules.rule import Rule, rendered, scope_of
from headwater.jobs.steps import Context, Each

# A longer chain of causes is a loop that its addresses hide.
CHAIN_CHARS_MAX = 16_384


class RuleFailed(ValueError):
    """A rule cannot be applied to an event."""

    error_type = "RULE_FAILED"


class Requesting:
    """The steps of the job that makes requests of events."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._by_stream: dict[str, list[Rule]] = {}
        for rule in rules:
            for stream in rule.streams:
                self._by_stream.setdefault(stream, []).append(rule)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that any rule is about."""
        return tuple(self._by_stream)

    def before(self) -> Each:
        """The step that drops an event which is among its own causes."""
        return Each("causes", _not_its_own_cause)

    def after(self) -> tuple[Each, ...]:
        """The steps that make requests of what is left."""
        return (Each("rules", self._items), Each("requests", self._requests))

    def _items(self, event: Mapping[str, Any], context: Context) -> list[dict[str, Any]]:
        """An item for each rule that is about the event."""
        stream = context.stream or ""
        return [
            {"rule": rule.name, "stream": stream, "event": event}
            for rule in self._by_stream.get(stream, ())
            if rule.executions(event) is not None
        ]

    def _requests(self, item: Mapping[str, Any], context: Context) -> list[dict[str, Any]]:
        rule, event = self._rules[item["rule"]], item["event"]
        found = rule.executions(event)
        if found is None:
            return []
        executions, captured = found
        scope = scope_of(event, captured)
        try:
            if rule.sample is not None and not rule.sample.takes(scope):
                context.metrics.counter("events_not_in_sample")
                return []
            calls = [rendered(execution, scope) for execution in executions]
            keys = [limit.key.render(scope) for limit in rule.limits]
        except EventMalformed as error:
            raise RuleFailed(f"the rule {rule.name}: {error}") from None
        chain = chain_after(event, item["stream"])
        made = [
            {
                **item,
                "triggered_by": chain,
                "limit_keys": keys,
                "method": call.method,
                "uri": call.uri,
                "headers": dict(call.headers),
                **({} if call.body is None else {"body": call.body}),
            }
            for call in calls
        ]
        context.metrics.counter("requests", len(made))
        return made


def chain_after(event: Mapping[str, Any], stream: str) -> str:
    """The chain of causes of what an event leads to: the request, then each event that has a URI, with its stream.

    A comma in a URI is quoted, since commas divide the chain.
    """
    chain, uri = _chain_before(event), _uri(event)
    return f"{chain},{stream}:{uri.replace(',', '%2C')}" if uri else chain


def _not_its_own_cause(event: Mapping[str, Any], context: Context) -> Mapping[str, Any] | None:
    """The event; None if it is what led to itself."""
    chain, uri, stream = _chain_before(event), _uri(event), context.stream or ""
    own = {f"{stream}:{uri}", f"{stream}:{uri.replace(',', '%2C')}"} if uri else set()
    if own.isdisjoint(_links(chain)) and len(chain) <= CHAIN_CHARS_MAX:
        return event
    context.metrics.counter("loops")
    context.log.warning("An event of %s is among its own causes, and is dropped.", context.stream)
    return None


def _chain_before(event: Mapping[str, Any]) -> str:
    written = event.get("triggered_by")
    return written if isinstance(written, str) and written else f"req:{get_path(event, 'meta.request_id') or ''}"


def _uri(event: Mapping[str, Any]) -> str:
    uri = get_path(event, "meta.uri")
    return uri if isinstance(uri, str) else ""


def _links(chain: str) -> list[str]:
    """The parts of a chain. A part without a stream belongs to the one before: others do not quote commas."""
    links: list[str] = []
    for part in chain.split(","):
        if links and ":" not in part:
            links[-1] = f"{links[-1]},{part}"
        else:
            links.append(part)
    return links
