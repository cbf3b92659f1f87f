"""The pages of a wiki as people edit them: an edit makes a revision, as rows of a stand-in have it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from headwater.testing.mediawiki.rows import Revision
from headwater.testing.mediawiki.titles import Title
from headwater.times import ms_of, utc_seconds

FIRST_REVISION = 1_000


@dataclass(frozen=True, slots=True)
class Saved:
    """One edit. `before`: the revision it was made from, None for a new page. `at_ms`: epoch milliseconds."""

    revision: Revision
    before: Revision | None
    text: str
    text_before: str
    at_ms: int
    # What all events that an edit leads to have in common.
    request_id: str
    purge_id: str


class InventedWiki:
    """The pages of one wiki. Not for several threads. `clock`: seconds since the epoch."""

    def __init__(self, wiki_id: str, domain: str, *, clock: Callable[[], float] = time.time) -> None:
        self.wiki_id = wiki_id
        self.domain = domain
        self._clock = clock
        self._newest: dict[str, Revision] = {}
        self._texts: dict[str, str] = {}
        self._saved: list[Saved] = []
        self._users: dict[str, int] = {}

    @property
    def titles(self) -> list[str]:
        """The titles of all pages, in order."""
        return sorted(self._newest)

    @property
    def recent(self) -> list[Saved]:
        """All edits, oldest first."""
        return self._saved

    def text(self, title: str) -> str | None:
        """The source of a page now; None without one."""
        return self._texts.get(title)

    def save(self, title: Title, text: str, user: str, comment: str) -> Saved | None:
        """Save the text of a page, as a new revision; None if the page has it already.

        As MediaWiki does, spaces at the end of a text are left out.
        """
        text = text.rstrip()
        before = self._newest.get(title.text)
        if before is not None and self._texts[title.text] == text:
            return None
        at_ms = ms_of(self._clock())
        revision = Revision(
            domain=self.domain,
            wiki_id=self.wiki_id,
            page_id=len(self._newest) + 1 if before is None else before.page_id,
            title=title.text,
            ns=title.ns,
            rev_id=FIRST_REVISION + len(self._saved) + 1,
            parent_id=0 if before is None else before.rev_id,
            dt=utc_seconds(at_ms),
            user=user,
            userid=self._users.setdefault(user, len(self._users) + 1),
            comment=comment,
            content=text,
        )
        saved = Saved(
            revision, before, text, self._texts.get(title.text, ""), at_ms, str(uuid.uuid4()), str(uuid.uuid4())
        )
        self._newest[title.text] = revision
        self._texts[title.text] = text
        self._saved.append(saved)
        return saved
