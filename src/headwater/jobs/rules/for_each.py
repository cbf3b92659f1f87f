"""What a rule makes of an answer that lists resources: an event for each of them, and the request for the next page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlsplit, urlunsplit

from headwater.connectors.templates import Template
from headwater.event import get_path
from headwater.jobs.rules.addresses import address

# Every member of an object, in the path of the items.
ANY = "*"
ITEMS_MAX = 10_000


class AnswerUnusable(Exception):
    """The answer has not what the rule needs. `is_final`: the same request would not be answered otherwise."""

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class ForEach:
    """The resources that an answer lists at `items`, a path, each of which becomes an event of `stream`.

    `uri`: of the resource, with fields of the event and of the item. `next`: the path of the object with the parameters
    of the request for the next page; or parameters, each with the path of its value.
    """

    items: tuple[str, ...]
    stream: str
    uri: Template
    tags: tuple[str, ...] = ()
    next: str | Mapping[str, str] = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The items of one answer, and the parameters of the request for the next one; none after the last."""

    items: Sequence[Any]
    parameters: Mapping[str, str]


def page_of(each: ForEach, answer: Any, asked: Mapping[str, str]) -> Page:
    """What an answer lists; `asked`: the parameters of its page. Raises AnswerUnusable."""
    if not isinstance(answer, Mapping):
        raise AnswerUnusable("the answer is no JSON object", is_final=True)
    if error := answer.get("error"):
        # As MediaWiki answers, with the status 200, while it has no time.
        said = ": ".join(str(error[name]) for name in ("code", "info") if name in error) if _is_object(error) else error
        raise AnswerUnusable(f"the answer is the error {said!s:.300}", is_final=False)
    items: list[Any] = []
    for item in _at(answer, each.items):
        items.append(item)
        if len(items) > ITEMS_MAX:
            raise AnswerUnusable(f"the answer has more than {ITEMS_MAX:,} items", is_final=True)
    parameters = _parameters(each, answer)
    if parameters and parameters == asked:
        raise AnswerUnusable("the next page is the same page again", is_final=True)
    return Page(items, parameters)


def events_of(each: ForEach, page: Page, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The event of each resource. Raises EventMalformed if an item lacks a field of its address."""
    event = request["event"]
    root = root_event(event, request["stream"])
    for item in page.items:
        uri = address(each.uri, {**event, "item": item})
        domain = urlsplit(uri).hostname
        yield {
            "meta": {"uri": uri, **({"domain": domain} if domain else {})},
            "triggered_by": request["triggered_by"],
            **({"tags": list(each.tags)} if each.tags else {}),
            **({"root_event": root} if root else {}),
        }


def root_event(event: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """The event at the beginning of the chain: the event itself, if it does not name another one."""
    known = event.get("root_event")
    if isinstance(known, Mapping):
        return dict(known)
    uri, at = get_path(event, "meta.uri"), get_path(event, "meta.dt")
    if not isinstance(uri, str) or not isinstance(at, str):
        return {}
    about = f"{stream}:{uri}".encode("utf-8", "surrogatepass")
    return {"dt": at, "signature": hashlib.sha1(about, usedforsecurity=False).hexdigest()}


def with_parameters(uri: str, parameters: Mapping[str, str]) -> str:
    """The address with these parameters of the query, instead of those that it has by their names."""
    if not parameters:
        return uri
    parts = urlsplit(uri)
    names = {quote_plus(name) for name in parameters}
    pairs = [pair for pair in parts.query.split("&") if pair and pair.partition("=")[0] not in names]
    pairs += [f"{quote_plus(name)}={quote_plus(value)}" for name, value in parameters.items()]
    return urlunsplit(parts._replace(query="&".join(pairs)))


def _parameters(each: ForEach, answer: Mapping[str, Any]) -> dict[str, str]:
    if isinstance(each.next, str):
        found = get_path(answer, each.next) if each.next else None
        found = found if isinstance(found, Mapping) else {}
    else:
        found = {name: get_path(answer, path) for name, path in each.next.items()}
    return {
        str(name): value if isinstance(value, str) else str(value)
        for name, value in found.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


def _at(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """What is at the end of the path; each element of an array on the way, and in the end, is one."""
    if isinstance(value, list):
        for element in value:
            yield from _at(element, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, Mapping):
        name, *rest = path
        for member in value.values() if name == ANY else (value.get(name),):
            yield from _at(member, rest)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)
