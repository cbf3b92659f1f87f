"""What the wikis hold: revisions by id, page and title, entities and links, as they are visible at one moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, assert_never

from headwater.testing.mediawiki.rows import LINK_KINDS, Entity, PageLinks, Revision, Row
from headwater.testing.mediawiki.titles import STANDARD_PREFIXES, InvalidTitle, Title, normalize


class PageName(NamedTuple):
    """A page as answers name it; the order is that of lists of links."""

    ns: int
    page_id: int
    title: str


class Wiki:
    """All there is of one domain, whether visible or not."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.name = ""
        self.revisions: dict[int, Revision] = {}
        self.entities: dict[str, dict[int, Entity]] = defaultdict(dict)
        self.prefixes: dict[str, tuple[int, str]] = dict(STANDARD_PREFIXES)
        self.roles: set[str] = set()
        self.page_links: dict[int, PageLinks] = {}
        self.pages: dict[int, dict[int, Revision]] = defaultdict(dict)
        self._page_ids: dict[str, set[int]] = defaultdict(set)
        self._sources: dict[str, dict[str, list[PageName]]] | None = None

    def add(self, row: Row) -> None:
        """Hold the row, in place of an earlier one about the same revision, entity or page."""
        match row:
            case Revision():
                before = self.revisions.get(row.rev_id)
                if before is not None and before.page_id != row.page_id:
                    del self.pages[before.page_id][row.rev_id]
                self.name = row.wiki_id or self.name
                self.revisions[row.rev_id] = row
                self.pages[row.page_id][row.rev_id] = row
                self._page_ids[row.title].add(row.page_id)
                self.roles.update(row.slots or ())
                self._learn(row.title, row.ns or 0)
            case Entity():
                self.entities[row.entity][row.rev_id] = row
            case PageLinks():
                self.page_links[row.page_id] = row
                self._sources = None
            case _:
                assert_never(row)

    def _learn(self, title: str, ns: int) -> None:
        prefix, colon, _ = title.partition(":")
        if ns and colon:
            self.prefixes[prefix.lower()] = (ns, prefix)

    def page_ids(self, title: str) -> Iterable[int]:
        """The pages that have, or had, this title."""
        return sorted(self._page_ids.get(title, ()))

    def sources(self, kind: str, title: str) -> list[PageName]:
        """The pages that use `title`, which is normalized; `kind` is one of LINK_KINDS."""
        if self._sources is None:
            self._sources = self._turned_round()
        return self._sources[kind].get(title, [])

    def _turned_round(self) -> dict[str, dict[str, list[PageName]]]:
        found: dict[str, dict[str, list[PageName]]] = {kind: defaultdict(list) for kind in LINK_KINDS}
        for row in self.page_links.values():
            page = self.name_of(row)
            for kind in LINK_KINDS:
                for target in dict.fromkeys(self._target(text) for text in getattr(row, kind)):
                    found[kind][target].append(page)
        for by_title in found.values():
            for pages in by_title.values():
                pages.sort()
        return found

    def name_of(self, row: PageLinks) -> PageName:
        """The page whose links these are."""
        try:
            title = normalize(row.title, self.prefixes)
        except InvalidTitle:
            title = Title(0, row.title)
        return PageName(title.ns if row.ns is None else row.ns, row.page_id, title.text)

    def _target(self, text: str) -> str:
        try:
            return normalize(text, self.prefixes).text
        except InvalidTitle:
            return text


class Store:
    """Every wiki, by domain."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._first = list(rows)
        self._wikis: dict[str, Wiki] = {}
        self.reset()

    def add(self, rows: Iterable[Row]) -> None:
        """Hold further rows until the next reset."""
        for row in rows:
            wiki = self._wikis.get(row.domain)
            if wiki is None:
                wiki = self._wikis[row.domain] = Wiki(row.domain)
            wiki.add(row)

    def reset(self) -> None:
        """Hold what was there at first, and no more."""
        self._wikis = {}
        self.add(self._first)

    @property
    def domains(self) -> list[str]:
        """The wikis there are."""
        return sorted(self._wikis)

    def count(self) -> Mapping[str, int]:
        """How many revisions each wiki has."""
        return {domain: len(wiki.revisions) for domain, wiki in sorted(self._wikis.items())}

    def seen(self, domain: str, now: float, without: frozenset[int] = frozenset()) -> Seen:
        """The wiki as seen at `now` (seconds since the epoch), without these revisions; an unknown one is empty."""
        return Seen(self._wikis.get(domain) or Wiki(domain), now, without)


class Seen:
    """One wiki as a caller without rights sees it: deleted pages, and what replicas have not yet, is not there."""

    def __init__(self, wiki: Wiki, now: float, without: frozenset[int]) -> None:
        self.wiki = wiki
        self._now = now
        self._without = without
        self._latest: dict[int, Revision | None] = {}

    def _is_visible(self, row: Revision) -> bool:
        late = row.visible_after is not None and row.visible_after > self._now
        return not (late or row.page_deleted or row.rev_id in self._without)

    def revision(self, rev_id: int) -> Revision | None:
        """The revision, if it is visible."""
        row = self.wiki.revisions.get(rev_id)
        return row if row is not None and self._is_visible(row) else None

    def history(self, page_id: int) -> list[Revision]:
        """The visible revisions of a page, oldest first."""
        rows = [row for row in self.wiki.pages.get(page_id, {}).values() if self._is_visible(row)]
        return sorted(rows, key=lambda row: (row.dt, row.rev_id))

    def latest(self, page_id: int) -> Revision | None:
        """The visible revision that is shown as the page; None where there is no such page."""
        if page_id not in self._latest:
            visible = (row for row in self.wiki.pages.get(page_id, {}).values() if self._is_visible(row))
            self._latest[page_id] = max(visible, key=lambda row: (row.dt, row.rev_id), default=None)
        return self._latest[page_id]

    def page_named(self, title: str) -> Revision | None:
        """The latest revision of the page that has this title now; the title is normalized."""
        for page_id in self.wiki.page_ids(title):
            latest = self.latest(page_id)
            if latest is not None and latest.title == title:
                return latest
        return None

    def title(self, text: str) -> Title:
        """The title somebody means on this wiki. :raises InvalidTitle: no page can have it."""
        return normalize(text, self.wiki.prefixes)
