"""The revisions of a page in order, and which of them bring back an earlier content: identity reverts.

How this works: a revision is a revert if an earlier one of the page has the same SHA-1, and the one directly before it
has not. It undoes all revisions strictly between it and the first one with this SHA-1, but for those that have it, too.
A hidden SHA-1 is equal to none; such a revision can only be undone. Rows of a page: `r`ORDER is a revision, `i`ID the
order of a revision, `s`SHA-1 the order of the first one with it. ORDER sorts by time and number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headwater.jobs.rows import KeyRows

Revision = dict[str, Any]
FLAGS = (
    "revision_is_identity_reverted",
    "revision_first_identity_reverting_revision_id",
    "revision_seconds_to_identity_revert",
)


class PageHistory:
    """The revisions of one page. A revision has `rev_id`, `at_ms`, `sha1` (None: hidden) and its `row`."""

    def __init__(self, rows: KeyRows) -> None:
        self._rows = rows

    def find(self, rev_id: int) -> Revision | None:
        """A revision that is known."""
        name = f"i{rev_id}"
        return self._rows[f"r{self._rows[name]}"] if name in self._rows else None

    def add(self, revision: Revision) -> list[Revision]:
        """Add a revision that is not known; it and those that it changes."""
        order = _order(revision)
        last = self._rows.last_before("r", "s")
        revision["row"]["revision_is_identity_revert"] = None
        self._put(order, revision)
        self._rows[f"i{revision['rev_id']}"] = order
        if last is not None and order < last[1:]:
            changed = self._from_the_beginning()
        else:
            changed = list(self._appended(order, revision, None if last is None else self._rows[last]["sha1"]))
        return [revision_ for revision_ in changed if revision_["rev_id"] != revision["rev_id"]] + [self._at(order)]

    def change(self, revision: Revision) -> list[Revision]:
        """Store a known revision after a change of its row, or of whether its SHA-1 is hidden; those that changed."""
        order = _order(revision)
        before = self._at(order)
        self._put(order, revision)
        changed = [] if before["sha1"] == revision["sha1"] else self._from_the_beginning()
        return [other for other in changed if other["rev_id"] != revision["rev_id"]] + [self._at(order)]

    def _appended(self, order: str, revision: Revision, last_sha1: str | None) -> Iterator[Revision]:
        """The revisions that change when one is added at the end."""
        sha1 = revision["sha1"]
        if sha1 is None:
            return
        first = f"s{sha1}"
        if first not in self._rows:
            self._rows[first] = order
        elif last_sha1 != sha1:
            revision["row"]["revision_is_identity_revert"] = True
            self._put(order, revision)
            for name in self._rows.between(f"r{self._rows[first]}\0", f"r{order}"):
                undone = self._rows[name]
                if undone["sha1"] != sha1 and FLAGS[0] not in undone["row"]:
                    seconds = (revision["at_ms"] - undone["at_ms"]) // 1000
                    undone["row"] |= dict(zip(FLAGS, (True, revision["rev_id"], seconds), strict=True))
                    self._rows[name] = undone
                    yield undone

    def _from_the_beginning(self) -> list[Revision]:
        """Find all reverts again; the revisions whose rows are not as before."""
        names = self._rows.between("r", "s")
        before = {name: self._rows[name] for name in names}
        for name in self._rows.between("s", "t"):
            del self._rows[name]
        last_sha1 = None
        for name in names:
            revision = self._rows[name]
            revision["row"] = {key: value for key, value in revision["row"].items() if key not in FLAGS}
            revision["row"]["revision_is_identity_revert"] = None
            self._rows[name] = revision
            list(self._appended(name[1:], revision, last_sha1))
            last_sha1 = revision["sha1"]
        return [self._rows[name] for name in names if self._rows[name] != before[name]]

    def _at(self, order: str) -> Revision:
        revision: Revision = self._rows[f"r{order}"]
        return revision

    def _put(self, order: str, revision: Revision) -> None:
        self._rows[f"r{order}"] = revision


def _order(revision: Revision) -> str:
    return f"{revision['at_ms'] + 2**61:020}{revision['rev_id']:020}"
