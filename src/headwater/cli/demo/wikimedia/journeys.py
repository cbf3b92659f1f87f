"""The journeys of edits: when each came to each station and into each store, and how long after it was saved.

How this works: the events of all stations are read from the platform, as any client reads them, and are distinguished
by the revision that they name. An event about a purge names no revision: it has the request of its edit, and its
outcome names it. The stores are looked into while something is still to come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.cli.demo.wikimedia.stations import (
    ACTIONS,
    OUTCOMES,
    PAGE_CHANGES,
    PURGES,
    STATIONS,
    STORES,
    Station,
    Store,
)
from headwater.event import get_path
from headwater.times import time_ms


@dataclass(frozen=True, slots=True)
class Saved:
    """An edit as the wiki announced it. `at_ms`: epoch milliseconds."""

    rev_id: int
    page_id: int
    title: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What the stores have: of each page the revision, by store, and the revisions in the lake, with their rows."""

    newest: Mapping[str, Mapping[int, int]]
    lake: Counter[int]


@dataclass(slots=True)
class Journeys:
    """Everything that has arrived. Times are epoch milliseconds.

    `live`: the edits are Wikimedia's, which begin as changes of pages.
    """

    live: bool = False
    saved: dict[int, Saved] = field(default_factory=dict)
    # Stream, or name of a store → revision → when it came there first.
    arrived: dict[str, dict[int, float]] = field(default_factory=dict)
    # Stream → all events that arrived, also such as came twice.
    events: Counter[str] = field(default_factory=Counter)
    _requests: dict[str, int] = field(default_factory=dict)
    _purges: dict[str, str] = field(default_factory=dict)
    # Outcomes of purges whose edit is not known yet.
    _outcomes: dict[str, float] = field(default_factory=dict)

    def take(self, event: Mapping[str, Any], now_ms: float) -> int | None:
        """Note an event of a station; the revision that it is about, if that is known."""
        stream = get_path(event, "meta.stream")
        if not isinstance(stream, str):
            return None
        self.events[stream] += 1
        if stream == PURGES:
            self._purges[str(get_path(event, "meta.id"))] = str(get_path(event, "meta.request_id"))
            self._match_outcomes()
            return None
        if stream == OUTCOMES:
            self._outcomes[str(event.get("event_id"))] = now_ms
            self._match_outcomes()
            return None
        station = next((one for one in STATIONS if one.stream == stream), None)
        rev_id = None if station is None else get_path(event, station.rev_id)
        if not isinstance(rev_id, int):
            return None
        if stream == (PAGE_CHANGES if self.live else ACTIONS):
            self._save(event, rev_id)
        self._arrive(stream, rev_id, now_ms)
        return rev_id

    def look(self, stored: Stored, now_ms: float) -> None:
        """Note what is in the stores now."""
        for saved in self.saved.values():
            for store in STORES:
                held = stored.newest[store.name].get(saved.page_id, 0) if store.newest else 0
                if (held >= saved.rev_id) if store.newest else saved.rev_id in stored.lake:
                    self._arrive(store.name, saved.rev_id, now_ms)

    def latencies_ms(self, place: Station | Store) -> list[float]:
        """How long after it was saved each edit came there, in no order."""
        name = place.stream if isinstance(place, Station) else place.name
        found = self.arrived.get(name, {})
        return [max(0.0, at - self.saved[rev_id].at_ms) for rev_id, at in found.items() if rev_id in self.saved]

    def is_stored(self, rev_ids: Iterable[int]) -> bool:
        """Whether these revisions are in every store."""
        wanted = set(rev_ids)
        return all(wanted <= self.arrived.get(store.name, {}).keys() for store in STORES)

    def waits_for_stores(self) -> bool:
        """Whether an edit is not in every store yet."""
        return not self.is_stored(self.saved)

    def _save(self, event: Mapping[str, Any], rev_id: int) -> None:
        at_ms = time_ms(event["dt"])
        assert at_ms is not None, "the intake has checked it"
        page = event["page"]
        self.saved[rev_id] = Saved(rev_id, page["page_id"], page["page_title"], at_ms)
        self._requests[str(get_path(event, "meta.request_id"))] = rev_id
        self._match_outcomes()

    def _match_outcomes(self) -> None:
        for event_id in list(self._outcomes):
            rev_id = self._requests.get(self._purges.get(event_id, ""))
            if rev_id is not None:
                self._arrive(OUTCOMES, rev_id, self._outcomes.pop(event_id))

    def _arrive(self, place: str, rev_id: int, now_ms: float) -> None:
        self.arrived.setdefault(place, {}).setdefault(rev_id, now_ms)
