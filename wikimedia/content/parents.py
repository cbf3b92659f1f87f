"""Asks a wiki for the revision that an edit was made from, where it is not the newest one the job has seen."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from headwater.errors import HeadwaterError, LookupUnavailable
from headwater.jobs import Await, Context
from headwater.lookups import Revision

from . import pages

PAGES_MAX = 100_000
TIMEOUT = "20s"
# After so many lookups without a connection the wiki is not asked for a while, so that a run does not wait for each.
UNREACHED_MAX = 3
PAUSE_SECONDS = 60.0


class Parents:
    """Which revision of each page was seen last in this run, so that only others are looked up.

    Nothing is wrong if that is forgotten: the parent is then looked up although the job has its text.
    """

    def __init__(self) -> None:
        self._run: Any = None
        self._seen: dict[tuple[str, int], tuple[int, str]] = {}
        # By domain: how many lookups in a row had no connection, and when the last one ended.
        self._unreached: dict[str, tuple[int, float]] = {}

    def step(self) -> Await:
        """The step that adds `parent` to an event, if it had to be looked up and could be."""
        return Await("parent", self._with_parent, concurrency=64, key=pages.key)

    async def _with_parent(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        if context.scope is not self._run:
            self._run, self._seen, self._unreached = context.scope, {}, {}
        page = event["wiki_id"], event["page"]["page_id"]
        seen = self._seen.pop(page, (0, ""))
        own = pages.newest(event)
        if own.rev_id >= seen[0]:
            self._seen[page] = own.rev_id, own.sha1
        else:
            self._seen[page] = seen
        if len(self._seen) > PAGES_MAX:
            del self._seen[next(iter(self._seen))]
        if event["page_change_kind"] == "delete":
            del self._seen[page]
        if event["page_change_kind"] not in pages.EDITS or own.text is None or self._is_seen(event, seen):
            return event
        found = await self._looked_up(event, context)
        return event if found is None else {**event, "parent": asdict(found)}

    def _is_seen(self, event: dict[str, Any], seen: tuple[int, str]) -> bool:
        """Whether the job has the text of the parent, or there is none."""
        parent_id, prior = pages.parent_of(event), pages.prior_revision(event)
        if parent_id <= 0 or parent_id == seen[0]:
            return True
        return prior.get("rev_id") == parent_id and bool(seen[1]) and pages.sha1_of(prior) == seen[1]

    async def _looked_up(self, event: dict[str, Any], context: Context) -> pages.Page | None:
        """The parent revision; None if the wiki does not have it, or cannot answer after several attempts."""
        domain = event["meta"].get("domain")
        if not isinstance(domain, str):
            return None
        failures, at = self._unreached.get(domain, (0, 0.0))
        if failures >= UNREACHED_MAX and time.monotonic() < at + PAUSE_SECONDS:
            return None
        try:
            found = await context.http.mediawiki.revision(domain, pages.parent_of(event), timeout=TIMEOUT)
        except HeadwaterError as error:
            if isinstance(error, LookupUnavailable) and not error.was_sent:
                self._unreached[domain] = self._unreached.get(domain, (0, 0.0))[0] + 1, time.monotonic()
            else:
                self._unreached.pop(domain, None)
            context.log.warning("The parent of revision %s is missing: %s", event["revision"]["rev_id"], error)
            return None
        self._unreached.pop(domain, None)
        return _page(found)


def _page(revision: Revision) -> pages.Page:
    main = revision.slots.get("main")
    hidden = main is None or main.content is None
    return pages.Page(revision.rev_id, revision.timestamp or "", "", None if main is None else main.content, "", hidden)
