"""The pages a query is about: found by ids of revisions or pages or by title, with all that was not found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from headwater.testing.mediawiki.exchange import ApiRefusal
from headwater.testing.mediawiki.parameters import Parameters
from headwater.testing.mediawiki.rows import Revision
from headwater.testing.mediawiki.store import Seen
from headwater.testing.mediawiki.titles import InvalidTitle

SOURCES = ("titles", "pageids", "revids")


@dataclass(slots=True)
class PageSet:
    """`good` holds each page with its latest revision.

    `revisions` are those asked for by id; None if pages were asked for. `absent` are the
    entries of what was not found, as an answer has them.
    """

    good: dict[int, Revision] = field(default_factory=dict)
    revisions: list[Revision] | None = None
    normalized: list[dict[str, Any]] = field(default_factory=list)
    badrevids: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: list[dict[str, Any]] = field(default_factory=list)

    def entries(self) -> list[dict[str, Any]]:
        """The pages as an answer has them: first what was not found, then pages by id."""
        found = sorted(self.good.items())
        return [
            *self.absent,
            *({"pageid": page_id, "ns": row.ns, "title": row.title} for page_id, row in found),
        ]


def page_set(parameters: Parameters, seen: Seen) -> PageSet:
    """The pages that `titles`, `pageids` or `revids` name.

    :raises ApiRefusal: `multisource`, `badinteger`, `toomanyvalues`.
    """
    given = [name for name in SOURCES if parameters.text(name)]
    if len(given) > 1:
        raise ApiRefusal("multisource", f'Cannot use "{given[1]}" at the same time as "{given[0]}".')
    pages = PageSet()
    if "titles" in given:
        _by_title(parameters, seen, pages)
    elif "pageids" in given:
        for page_id in parameters.integers("pageids"):
            latest = seen.latest(page_id)
            if latest is None:
                pages.absent.append({"pageid": page_id, "missing": True})
            else:
                pages.good[page_id] = latest
    elif "revids" in given:
        _by_revision(parameters, seen, pages)
    pages.good = dict(sorted(pages.good.items()))
    return pages


def _by_title(parameters: Parameters, seen: Seen, pages: PageSet) -> None:
    missing: dict[str, dict[str, Any]] = {}
    invalid: dict[str, dict[str, Any]] = {}
    for text in dict.fromkeys(parameters.several("titles")):
        try:
            title = seen.title(text)
        except InvalidTitle as error:
            invalid[text] = {"title": text, "invalidreason": str(error), "invalid": True}
            continue
        if title.text != text:
            pages.normalized.append({"fromencoded": False, "from": text, "to": title.text})
        latest = seen.page_named(title.text)
        if latest is None:
            missing[title.text] = {"ns": title.ns, "title": title.text, "missing": True}
        else:
            pages.good[latest.page_id] = latest
    pages.absent += [*missing.values(), *invalid.values()]


def _by_revision(parameters: Parameters, seen: Seen, pages: PageSet) -> None:
    pages.revisions = []
    for rev_id in parameters.integers("revids"):
        row = seen.revision(rev_id)
        latest = seen.latest(row.page_id) if row is not None else None
        if row is None or latest is None:
            pages.badrevids[str(rev_id)] = {"revid": rev_id, "missing": True}
        else:
            pages.revisions.append(row)
            pages.good[row.page_id] = latest
