"""Calls of the Action API of a wiki: its address, its errors, its answers in several parts."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

from headwater.errors import AnswerInvalid, LookupNotFound, LookupRefused, LookupUnavailable
from headwater.lookups.client import HttpClient
from headwater.lookups.hosts import Host
from headwater.lookups.request import Options, Wanted, read_options
from headwater.lookups.response import Response
from headwater.retry_after import retry_after_seconds
from headwater.settings import MediaWikiConfig

# Errors that pass: the wiki is busy, or read-only for a while. All `internal_api_error_…` are like these.
TRANSIENT_CODES = frozenset({"maxlag", "ratelimited", "readonly"})
MISSING_CODES = frozenset({"nosuchrevid", "missingtitle", "invalidtitle", "nosuchpageid"})
_BUSY_CODES = frozenset({"maxlag", "ratelimited"})
# The most answers to one call; each has at least one more item than the one before.
PARTS_MAX = 1_000
NAMES_KEPT_MAX = 10_000
_NAME = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# No address of a machine and no name without a dot: domains come from events, which anybody may have sent.
_PUBLIC_DOMAIN = re.compile(rf"(?:{_NAME}\.)+(?=[a-z0-9-]*[a-z]){_NAME}\Z")
_ANY_DOMAIN = re.compile(rf"{_NAME}(?:\.{_NAME})*(?::[0-9]{{1,5}})?\Z")
_DOMAIN_CHARS_MAX = 253


class ActionApi:
    """The Action APIs of wikis, each known by its domain."""

    def __init__(
        self, client: HttpClient, settings: MediaWikiConfig, *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._settings = settings
        self._wall_clock = wall_clock
        self._per_domain = "{domain}" in settings.url
        self._names: dict[str, str] = {}

    def wanted(
        self, domain: str, params: Mapping[str, Any], *, key: Hashable = None, request_id: str | None = None
    ) -> Wanted:
        """The request for a query of a wiki. `key`: see `Wanted.key`. Raises LookupRefused for an invalid domain."""
        name = self._valid(domain)
        asked = {"action": "query", "format": "json", "formatversion": 2, **params}
        if self._settings.maxlag_seconds is not None:
            asked.setdefault("maxlag", self._settings.maxlag_seconds)
        headers = {} if self._per_domain else {"Host": name}
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        options: Options = {"params": asked, "headers": headers}
        made = read_options("GET", self._settings.url.replace("{domain}", name), options)
        return made if key is None else replace(made, key=key)

    def host(self, domain: str) -> Host:
        """The host that queries of a wiki go to. Raises LookupRefused for an invalid domain."""
        name = self._names.get(domain)
        if name is None:
            if len(self._names) >= NAMES_KEPT_MAX:
                self._names.clear()
            name = self._names[domain] = self.wanted(domain, {}).host
        return self._client.hosts.host(name)

    def _valid(self, domain: str) -> str:
        name = domain.lower() if isinstance(domain, str) else ""
        pattern = _PUBLIC_DOMAIN if self._per_domain else _ANY_DOMAIN
        if len(name) > _DOMAIN_CHARS_MAX or not pattern.match(name):
            raise LookupRefused(f"{str(domain)[:100]!r} is not the domain of a wiki.")
        return name

    async def answers(
        self, domain: str, params: Mapping[str, Any], wanted: Wanted, deadline: float
    ) -> AsyncIterator[dict[str, Any]]:
        """The parts of an answer, each once, until the wiki says that it is complete.

        Raises LookupUnavailable, with `back_off_seconds` if the wiki is busy; LookupNotFound, LookupRefused for its
        other errors; AnswerInvalid if it is not an answer.
        """
        seen: set[str] = set()
        for _ in range(PARTS_MAX):
            answer = await self._answer(wanted, deadline)
            yield answer
            more = answer.get("continue")
            if more is None:
                return
            if not isinstance(more, dict) or repr(more) in seen:
                raise self._invalid(wanted, "is continued with what it was continued with before")
            seen.add(repr(more))
            wanted = replace(self.wanted(domain, {**params, **more}), key=wanted.key)
        raise self._invalid(wanted, f"has more than {PARTS_MAX:,} parts")

    async def _answer(self, wanted: Wanted, deadline: float) -> dict[str, Any]:
        host = self._client.hosts.host(wanted.host)
        return await self._client.attempt(wanted, host, deadline, lambda response: self._read(response, wanted, host))

    def _read(self, response: Response, wanted: Wanted, host: Host) -> dict[str, Any]:
        if response.status == 204 or not response.bytes.strip():
            error = self._invalid(wanted, f"is empty ({response.status})")
            error.error_type = "NO_CONTENT" if response.status == 204 else "EMPTY_RESPONSE"
            raise error
        try:
            answer = response.json()
        except AnswerInvalid as error:
            raise self._invalid(wanted, "is not JSON") from error
        if not isinstance(answer, dict):
            raise self._invalid(wanted, "is not an object")
        failure = answer.get("error")
        if failure is None and isinstance(errors := answer.get("errors"), list) and errors:
            failure = errors[0]
        if failure is not None:
            raise self._error(failure, response, wanted, host)
        return answer

    def _error(self, failure: Any, response: Response, wanted: Wanted, host: Host) -> LookupUnavailable | LookupRefused:
        """The error that an answer with status 200 contains."""
        described = failure if isinstance(failure, dict) else {}
        code = str(described.get("code") or response.headers.get("MediaWiki-API-Error") or "unknown")[:100]
        text = str(described.get("info") or described.get("text") or "")[:300]
        message = f"{wanted.host} answered with the error {code}" + (f": {text}" if text else ".")
        if code in _BUSY_CODES:
            asked = retry_after_seconds(response.headers, self._wall_clock())
            return LookupUnavailable(message, back_off_seconds=host.pause(asked), status=response.status)
        if code in TRANSIENT_CODES or code.startswith("internal_api_error"):
            return LookupUnavailable(message, status=response.status)
        if code in MISSING_CODES:
            return LookupNotFound(message, status=response.status)
        return LookupRefused(message, status=response.status)

    @staticmethod
    def _invalid(wanted: Wanted, what: str) -> AnswerInvalid:
        return AnswerInvalid(f"The answer of {wanted.host} {what}.")
