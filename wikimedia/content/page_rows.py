"""Rows that are made of the newest text of each page: which appear, change and disappear with a change of the page.

How this works: for each page its rows are kept, one by one, and the version of the change they are from: time and
number of the revision, and time of the change. A change that is not newer is dropped. What a newer one changes of the
rows is passed on, a row each, with `changelog_kind`. A deleted page has no rows; its version stays for a week, so that
an older change that comes late does not bring them back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from headwater.jobs import Context, Dedupe, Each, PerKey, Transition
from headwater.times import time_ms

from . import pages

Row = dict[str, Any]
TOMBSTONE_TTL = "7d"
FORGET = "forget"
# Of the names of rows.
PREFIX = "r"


@dataclass(frozen=True)
class PageRows:
    """`rows` makes the rows of a page of an event with a visible text; None leaves them as they are.

    `key` names the fields that make a row of a page what it is. `hidden_keeps`: a hidden text leaves the rows as they
    are; otherwise it removes them. `on_change` gets all changes of an event at once.
    """

    name: str
    key: tuple[str, ...]
    rows: Callable[[Mapping[str, Any], pages.Page, Context], Iterable[Row] | None]
    hidden_keeps: bool = False
    on_change: Callable[[Mapping[str, Any], list[Row], Context], None] | None = None

    def steps(self) -> tuple[Each, PerKey, PerKey]:
        """Steps that pass on the changed rows of each event."""
        keyed = PerKey(self.name, pages.key, self.on_event, forgotten, keeps_rows=True, timers_emit=False)
        return Each("checked", checked), Dedupe().step("dedupe"), keyed

    def on_event(self, state: Any, event: dict[str, Any], context: Context) -> Transition:
        """The rows that a change of a page changes. `context.rows` may have others, whose names begin otherwise."""
        version = version_of(event)
        if state is not None and version <= state:
            return Transition(state, dropped="same_version" if version == state else "older_version")
        is_deleted = event["page_change_kind"] == "delete"
        made = self._made(event, is_deleted, context)
        if made is None:
            return Transition(version)
        assert context.rows is not None
        named = {self._named(row): row for row in made}
        about = {**pages.about(event), "rev_id": event["revision"]["rev_id"]}
        changes = [{**about, **change} for change in self._changes(context.rows, named)]
        if changes and self.on_change is not None:
            self.on_change(event, changes, context)
        if is_deleted:
            context.timer(FORGET, after=TOMBSTONE_TTL, fires_when_idle=False)
        else:
            context.cancel(FORGET)
        return Transition(version, events=changes)

    def _made(self, event: Mapping[str, Any], is_deleted: bool, context: Context) -> Iterable[Row] | None:
        """The rows that the page has from now on; None for those it has."""
        if is_deleted:
            return ()
        page = pages.newest(event)
        if page.text is None:
            return None if self.hidden_keeps else ()
        return self.rows(event, page, context)

    def _named(self, row: Row) -> str:
        key = json.dumps([row[name] for name in self.key])
        return PREFIX + hashlib.blake2b(key.encode(), digest_size=12).hexdigest()

    def _changes(self, kept: MutableMapping[str, Any], made: Mapping[str, Row]) -> list[Row]:
        """Replace the rows that are kept; what has changed, in order of the keys."""
        changes = []
        for name in [name for name in kept if name.startswith(PREFIX) and name not in made]:
            row = kept.pop(name)
            changes.append({"changelog_kind": "delete", **{part: row[part] for part in self.key}})
        for name, row in made.items():
            before = kept.get(name)
            if before != row:
                kept[name] = row
                changes.append({"changelog_kind": "insert" if before is None else "update", **row})
        return sorted(changes, key=lambda change: json.dumps([change[part] for part in self.key]))


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what a change of a page has, or has a time that is none."""
    event = pages.checked(event, context)
    version_of(event)
    return event


def version_of(event: Mapping[str, Any]) -> list[int]:
    """What orders the changes of a page. Raises InvalidInput."""
    revision = event["revision"]
    at = [_at_ms(text) for text in (revision["rev_dt"], event["dt"])]
    return [at[0], revision["rev_id"], at[1]]


def _at_ms(text: str) -> int:
    at = time_ms(text)
    if at is None:
        raise pages.InvalidInput(f"{text!r:.100} is not a time.")
    return at


def forgotten(state: Any, timer: str, context: Context) -> Transition:
    """What happens to a page that was deleted long ago."""
    return Transition(None)
