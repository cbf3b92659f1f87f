"""Lookups in wikis for jobs, `ctx.http.mediawiki`: revisions by id, in batches, and any other query."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headwater.backoff import Backoff
from headwater.errors import AnswerInvalid, LookupNotFound, LookupNotYet, LookupRefused, LookupUnavailable
from headwater.lookups.cache import Cache
from headwater.lookups.client import RETRY_SECONDS_MAX, HttpClient
from headwater.lookups.mediawiki.api import ActionApi
from headwater.lookups.mediawiki.batches import Asked, Found, RevisionBatches
from headwater.lookups.mediawiki.revision import Revision
from headwater.lookups.mediawiki.sha1 import base16, revision_sha1
from headwater.lookups.request import Duration, seconds_of
from headwater.settings import MediaWikiConfig

# What is asked about a revision unless a lookup says otherwise.
PROPS = ("ids", "timestamp", "size", "sha1", "contentmodel", "content", "slotsize", "slotsha1")
_REV_ID_MAX = 2**63 - 1


class MediaWiki:
    """The Action API of wikis. `domain` is that of a wiki, such as `en.wikipedia.org` (an event's `meta.domain`)."""

    def __init__(self, client: HttpClient, settings: MediaWikiConfig, *, over_history: bool = False) -> None:
        """`over_history`: an age of 0 does not mean that an event is young."""
        self._over_history = over_history
        self._client = client
        self._settings = settings
        self._api = ActionApi(client, settings)
        self._batches = RevisionBatches(client, self._api, settings)
        self._cache: Cache[Found] = Cache(client.settings.cache_bytes_max, client.now, _kept_bytes)

    async def revision(
        self,
        domain: str,
        rev_id: int,
        *,
        age: float | None = None,
        props: Sequence[str] = PROPS,
        sha1: str | None = None,
        cache: Duration = 0,
        timeout: Duration | None = None,
    ) -> Revision:
        """One revision with its slots; lookups at the same time share a request.

        `age`: seconds since the event (`ctx.age`), by which an unknown revision is not there yet or does not exist.
        `props`: as `rvprop`. `sha1`: what the revision must have, in base 36, as in events, or 16. `cache`: for how
        long the answer may be used again. Hidden content is not an error: see `Revision`.

        Raises LookupNotYet, LookupNotFound; LookupUnavailable if the wiki cannot answer now or cannot load the content;
        AnswerInvalid if its content does not have its SHA-1, or `sha1`; LookupRefused for other errors.
        """
        if type(rev_id) is not int or not 0 < rev_id <= _REV_ID_MAX:
            raise LookupRefused(f"{rev_id!r} is not the id of a revision.")
        deadline = self._client.deadline(None if timeout is None else seconds_of("timeout", timeout))
        found = await self._found(Asked(domain, "|".join(props), "*"), rev_id, deadline, seconds_of("cache", cache))
        if found is None:
            if self._is_young(age):
                raise LookupNotYet(f"{domain} does not have revision {rev_id} yet.")
            raise LookupNotFound(f"{domain} has no revision {rev_id}, or its page was deleted.")
        if sha1 is not None:
            _check_sha1(found, sha1, domain)
        return found

    async def revisions(
        self, domain: str, rev_ids: Iterable[int], *, props: Sequence[str] = PROPS, timeout: Duration | None = None
    ) -> dict[int, Revision | None]:
        """Several revisions by id, None for those that the wiki does not have; raises as `revision` does."""
        ids = list(dict.fromkeys(rev_ids))
        found = await asyncio.gather(
            *(self.revision(domain, rev_id, props=props, timeout=timeout) for rev_id in ids), return_exceptions=True
        )
        results: dict[int, Revision | None] = {}
        for rev_id, one in zip(ids, found, strict=True):
            if isinstance(one, LookupNotFound):
                results[rev_id] = None
            elif isinstance(one, BaseException):
                raise one
            else:
                results[rev_id] = one
        return results

    async def query(
        self, domain: str, params: Mapping[str, Any], *, timeout: Duration | None = None, parts_max: int = 100
    ) -> list[dict[str, Any]]:
        """The answers to any other `action=query`, with those that continue it, at most `parts_max`.

        Raises LookupUnavailable, LookupNotFound, LookupRefused or AnswerInvalid.
        """
        deadline = self._client.deadline(None if timeout is None else seconds_of("timeout", timeout))
        wanted = self._api.wanted(domain, params)
        host = self._api.host(domain)
        attempts = self._client.settings.attempts_max
        backoff = Backoff(self._client.settings.retry_first_seconds, RETRY_SECONDS_MAX)
        if not host.retries.may_send(wanted.key):
            raise self._client.withheld(wanted.request.shown, host)
        while True:
            answers = []
            try:
                async for answer in self._api.answers(domain, params, wanted, deadline):
                    answers.append(answer)
                    if len(answers) >= parts_max:
                        break
                return answers
            except (LookupUnavailable, AnswerInvalid) as error:
                if isinstance(error, LookupUnavailable) and error.back_off_seconds:
                    if not host.may_be_asked_before(deadline):
                        raise
                    continue
                attempts -= 1
                pause = backoff.next_pause()
                if attempts < 1 or self._client.now() + pause >= deadline or not host.retries.may_send(wanted.key):
                    raise
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """End all lookups."""
        await self._batches.close()

    def _is_young(self, age: float | None) -> bool:
        """Whether replicas may not have yet what happened `age` seconds ago."""
        if age is None or (self._over_history and age <= 0):
            return False
        return age < self._settings.missing_age_seconds

    async def _found(self, asked: Asked, rev_id: int, deadline: float, cache_seconds: float) -> Found:
        if not cache_seconds:
            return await self._batches.look_up(asked, rev_id, deadline)
        return await self._cache.get(
            (asked, rev_id), cache_seconds, lambda: self._batches.look_up(asked, rev_id, deadline)
        )


def _check_sha1(revision: Revision, sha1: str, domain: str) -> None:
    """Raise AnswerInvalid if the revision has another SHA-1 than its event says."""
    wanted = base16(sha1)
    of_slots = {role: slot.sha1 for role, slot in revision.slots.items() if slot.sha1}
    complete = of_slots and len(of_slots) == len(revision.slots)
    have = revision.sha1 or (revision_sha1(of_slots) if complete else None)
    if have is not None and have != wanted:
        raise AnswerInvalid(
            f"Revision {revision.rev_id} of {domain} has the SHA-1 {have}, but its event says {wanted} (base 16)."
        )


def _kept_bytes(found: Found) -> int | None:
    """The size of a revision in the cache; None if it must not be kept: there is none yet."""
    if found is None:
        return None
    return 2_048 + sum(len(slot.content or "") * 2 for slot in found.slots.values())
