"""Looks up revisions of wikis in batches, and one by one where a batch fails.

How this works: lookups of the same wiki wait a few milliseconds for each other and become one request, for up to 50
revisions; while as many requests are in flight as are allowed, further lookups gather in the next batch. When a wiki is
busy, the batch waits and is sent again. When a batch fails in another way, or an answer lacks some of its revisions,
these are asked for one by one, since one of them may be the cause; each has the attempts that any request has. A
revision that failed alone is asked for in other batches than those that did not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headwater.backoff import Backoff
from headwater.errors import AnswerInvalid, HeadwaterError, LookupRefused, LookupUnavailable
from headwater.lookups.client import RETRY_SECONDS_MAX, HttpClient
from headwater.lookups.mediawiki.api import ActionApi
from headwater.lookups.mediawiki.revision import Revision, read_revision, unloaded
from headwater.lookups.mediawiki.sha1 import sha1_of
from headwater.settings import MediaWikiConfig

# How often a batch waits for a busy wiki before its revisions are asked for one by one.
BUSY_MAX = 3
# The share of its time that a batch may use before its revisions are asked for one by one.
BATCH_SHARE = 0.6
# How often an answer that cannot be used is asked for.
INVALID_ATTEMPTS_MAX = 2

Found = Revision | None
"""A revision; None: the wiki has none with this id, or does not show it."""


class Asked(NamedTuple):
    """What lookups have in common that can share a request."""

    domain: str
    props: str
    slots: str


# Of the lookups that share a request: what they ask, and whether each failed before.
_Kind = tuple[Asked, bool]


@dataclass(slots=True)
class _Lookup:
    rev_id: int
    deadline: float
    result: asyncio.Future[Found]
    waiting: int = 0


@dataclass(slots=True)
class _Wiki:
    """The lookups of one kind that are not sent yet, and those in flight."""

    lookups: dict[int, _Lookup] = field(default_factory=dict)
    pending: list[_Lookup] = field(default_factory=list)
    in_flight: int = 0
    timer: asyncio.TimerHandle | None = None


class RevisionBatches:
    """Lookups of revisions. Belongs to one event loop."""

    def __init__(self, client: HttpClient, api: ActionApi, settings: MediaWikiConfig) -> None:
        self._client = client
        self._api = api
        self._settings = settings
        self._wikis: dict[_Kind, _Wiki] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def look_up(self, asked: Asked, rev_id: int, deadline: float) -> Found:
        """One revision, with others that are asked for at the same time.

        Raises LookupUnavailable, LookupRefused or AnswerInvalid.
        """
        kind = (asked, self._api.host(asked.domain).retries.has_failed((asked, rev_id)))
        wiki = self._wikis.get(kind)
        if wiki is None:
            wiki = self._wikis[kind] = _Wiki()
        lookup = wiki.lookups.get(rev_id)
        if lookup is None:
            lookup = _Lookup(rev_id, deadline, asyncio.get_running_loop().create_future())
            wiki.lookups[rev_id] = lookup
            wiki.pending.append(lookup)
            self._send_soon(kind, wiki)
        lookup.waiting += 1
        try:
            # Also while it waits for other batches.
            async with asyncio.timeout(deadline - self._client.now()):
                return await asyncio.shield(lookup.result)
        except TimeoutError:
            raise LookupUnavailable(
                f"{asked.domain} had no answer about revision {rev_id} in time.", back_off_seconds=1.0
            ) from None
        finally:
            lookup.waiting -= 1
            if not lookup.waiting and not lookup.result.done():
                # Nobody wants it any more; it may still be part of a request.
                lookup.result.cancel()
                self._forget(kind, lookup)

    async def close(self) -> None:
        """End all lookups."""
        for wiki in self._wikis.values():
            if wiki.timer is not None:
                wiki.timer.cancel()
            for lookup in wiki.lookups.values():
                lookup.result.cancel()
        self._wikis.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send_soon(self, kind: _Kind, wiki: _Wiki) -> None:
        if wiki.in_flight >= self._settings.requests_per_wiki_max or not wiki.pending:
            return
        if len(wiki.pending) >= self._settings.revisions_per_request_max:
            self._send(kind, wiki)
        elif wiki.timer is None:
            loop = asyncio.get_running_loop()
            wiki.timer = loop.call_later(self._settings.batch_wait_ms / 1000, self._send, kind, wiki)

    def _send(self, kind: _Kind, wiki: _Wiki) -> None:
        """Send the next batch, if one is waiting and another request is allowed."""
        if wiki.timer is not None:
            wiki.timer.cancel()
            wiki.timer = None
        if wiki.in_flight >= self._settings.requests_per_wiki_max:
            return
        most = self._settings.revisions_per_request_max
        batch, wiki.pending = wiki.pending[:most], wiki.pending[most:]
        batch = [lookup for lookup in batch if not lookup.result.done()]
        if batch:
            wiki.in_flight += 1
            task = asyncio.get_running_loop().create_task(self._look_up_batch(kind, wiki, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._send_soon(kind, wiki)

    async def _look_up_batch(self, kind: _Kind, wiki: _Wiki, batch: list[_Lookup]) -> None:
        try:
            failure = await self._ask_together(kind, batch) if len(batch) > 1 else None
            left = [lookup for lookup in batch if not lookup.result.done()]
            if left:
                await asyncio.gather(*(self._ask_alone(kind, lookup, failure) for lookup in left))
        except Exception as error:  # a mistake in here must not leave anybody waiting
            for lookup in batch:
                if not lookup.result.done():
                    lookup.result.set_exception(error)
        finally:
            for lookup in batch:
                self._forget(kind, lookup)
            wiki.in_flight -= 1
            self._send_soon(kind, wiki)
            if not wiki.lookups and not wiki.in_flight and wiki.timer is None:
                self._wikis.pop(kind, None)

    def _forget(self, kind: _Kind, lookup: _Lookup) -> None:
        wiki = self._wikis.get(kind)
        if wiki is not None and wiki.lookups.get(lookup.rev_id) is lookup:
            del wiki.lookups[lookup.rev_id]

    async def _ask_together(self, kind: _Kind, batch: list[_Lookup]) -> HeadwaterError | None:
        """Ask for all of them in one request, which settles those that it answers; why it does not for the others."""
        asked, has_failed = kind
        host = self._api.host(asked.domain)
        if has_failed and not host.retries.may_retry():
            return self._client.withheld(f"{len(batch)} revisions of {asked.domain}", host)
        now = self._client.now()
        until = now + (min(lookup.deadline for lookup in batch) - now) * BATCH_SHARE
        failure: HeadwaterError | None = None
        for _ in range(BUSY_MAX):
            try:
                await self._ask(asked, batch, until)
                if has_failed:
                    host.retries.give_back()
                return None
            except LookupUnavailable as error:
                failure = error
                if not error.back_off_seconds:
                    break
            except LookupRefused as error:
                failure = error
                break
        return failure

    async def _ask_alone(self, kind: _Kind, lookup: _Lookup, failure: HeadwaterError | None) -> None:
        """Ask for one revision as often as is allowed, and settle it. `failure`: of the batch that it was in."""
        asked, has_failed = kind
        attempts, invalid = self._client.settings.attempts_max - (failure is not None), INVALID_ATTEMPTS_MAX
        backoff = Backoff(self._client.settings.retry_first_seconds, RETRY_SECONDS_MAX)
        host, key = self._api.host(asked.domain), (asked, lookup.rev_id)
        # After a batch it is no retry: without batches it would have been sent anyway.
        may_send = (failure is not None and not has_failed) or host.retries.may_send(key)
        while not lookup.result.done():
            if not may_send:
                lookup.result.set_exception(
                    failure or self._client.withheld(f"Revision {lookup.rev_id} of {asked.domain}", host)
                )
                return
            try:
                await self._ask(asked, [lookup], lookup.deadline)
                host.retries.succeeded(key)
                return
            except (LookupUnavailable, AnswerInvalid) as error:
                failure = error
                if isinstance(error, LookupUnavailable) and error.back_off_seconds:
                    if not host.may_be_asked_before(lookup.deadline):
                        break
                    continue
                host.retries.failed(key)
                attempts -= 1
                invalid -= isinstance(error, AnswerInvalid)
                pause = backoff.next_pause()
                if attempts < 1 or invalid < 1 or self._client.now() + pause >= lookup.deadline:
                    break
                await asyncio.sleep(pause)
                may_send = host.retries.may_send(key)
            except LookupRefused as error:
                failure = error
                break
        if not lookup.result.done() and failure is not None:
            lookup.result.set_exception(failure)

    async def _ask(self, asked: Asked, lookups: list[_Lookup], deadline: float) -> None:
        """Send one request, and settle each lookup that its answer is about. Raises if that is not each of them."""
        by_id = {lookup.rev_id: lookup for lookup in lookups}
        params = {
            "prop": "revisions",
            "revids": "|".join(map(str, by_id)),
            "rvprop": asked.props,
            "rvslots": asked.slots,
        }
        # The retries of each revision are counted here, not those of the request.
        wanted = self._api.wanted(asked.domain, params, key=(asked, tuple(by_id)))
        host, unusable = self._api.host(asked.domain), None
        async for answer in self._api.answers(asked.domain, params, wanted, deadline):
            for rev_id, found in _found(answer, wanted.host):
                lookup = by_id.get(rev_id)
                if isinstance(found, HeadwaterError):
                    unusable = found
                elif lookup is not None and not lookup.result.done():
                    if len(by_id) > 1:
                        host.retries.forget((asked, rev_id))
                    lookup.result.set_result(found)
        if any(not lookup.result.done() for lookup in lookups):
            raise unusable or AnswerInvalid(f"The answer of {wanted.host} lacks revisions that were asked for.")


def _found(answer: dict[str, Any], host: str) -> Iterable[tuple[int, Found | HeadwaterError]]:
    """Each revision that a part of an answer is about."""
    query = answer.get("query") or {}
    try:
        for rev_id in query.get("badrevids") or {}:
            yield int(rev_id), None
        for page in query.get("pages") or ():
            for raw in page.get("revisions") or ():
                revision = read_revision(page, raw)
                yield revision.rev_id, _usable(revision, host)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnswerInvalid(f"The answer of {host} has another form than the Action API's.") from error


def _usable(revision: Revision, host: str) -> Revision | HeadwaterError:
    """The revision, or why it cannot be used."""
    reason = unloaded(revision.raw)
    if reason is not None:
        return LookupUnavailable(f"{host} has revision {revision.rev_id}, but {reason}.")
    for role, slot in revision.slots.items():
        if slot.content is not None and slot.sha1 and sha1_of(slot.content) != slot.sha1:
            return AnswerInvalid(
                f"The content of revision {revision.rev_id} of {host}, slot {role}, has another SHA-1 than its slot."
            )
    return revision
