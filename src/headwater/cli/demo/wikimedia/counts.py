"""What a demonstration that ends has counted, what it should have counted, and where the two differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from headwater.cli.demo.wikimedia.journeys import Journeys, Stored
from headwater.cli.demo.wikimedia.stations import (
    CONTENT,
    DOCUMENTS,
    HOURS,
    PAGE_CHANGES,
    PURGES,
    STORES,
    Station,
    stations,
)
from headwater.cli.demo.wikimedia.texts import Edit

DIFFERENCES_MAX = 20


@dataclass(slots=True)
class Expected:
    """The counts that follow from the edits alone. `newest`: the page and revision that the wiki has given each."""

    edits: int = 0
    changes: int = 0
    references: int = 0
    newest: dict[int, int] = field(default_factory=dict)
    rev_ids: list[int] = field(default_factory=list)

    def add(self, edit: Edit, page_id: int, rev_id: int) -> None:
        """An edit that the wiki has saved."""
        self.edits += 1
        self.changes += not edit.is_new
        self.references += edit.changes_references
        self.newest[page_id] = rev_id
        self.rev_ids.append(rev_id)

    def at(self, station: Station) -> int:
        """How many events a station should have."""
        return {"all": self.edits, "changes": self.changes, "references": self.references}[station.edits]


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the summary. `expected`: None where the count depends on what others have written."""

    name: str
    where: str
    job: str | None
    count: int
    expected: int | None
    p50_ms: int | None
    max_ms: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a demonstration that ends; no `differences` if everything agrees."""

    source: str
    edits: int
    pages: int
    seconds: float
    places: Sequence[Place]
    errors: Mapping[str, int]
    differences: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def station_places(journeys: Journeys, expected: Expected | None) -> list[Place]:
    """A line for each station: events, and how long they took. `expected`: None for edits of others."""
    found = []
    for station in stations(live=journeys.live):
        wanted = None if expected is None else expected.at(station)
        latencies = journeys.latencies_ms(station)
        count = journeys.events[station.stream]
        found.append(Place(station.title, station.stream, station.job, count, wanted, *_middle_and_most(latencies)))
    return found


def store_places(journeys: Journeys, stored: Stored, edits: int, pages: int) -> list[Place]:
    """A line for each store: its rows, and how long it took until they were there."""
    found = []
    for store in STORES:
        latencies = journeys.latencies_ms(store)
        count = len(stored.newest[store.name]) if store.newest else stored.lake.total()
        wanted = pages if store.newest else edits
        where = f"sink.{store.name}" if store.name != "current_pages" else store.name
        found.append(Place(store.title, where, None, count, wanted, *_middle_and_most(latencies)))
    return found


def _middle_and_most(latencies: Sequence[float]) -> tuple[int | None, int | None]:
    return (round(median(latencies)), round(max(latencies))) if latencies else (None, None)


def differences(
    journeys: Journeys, stored: Stored, expected: Expected, hours: Sequence[int], errors: Mapping[str, int]
) -> list[str]:
    """Where counts and revisions are not what follows from the edits; [] if all agree."""
    places = [
        *station_places(journeys, expected),
        *store_places(journeys, stored, expected.edits, len(expected.newest)),
    ]
    found = [
        f"{place.name}: {place.where} has {place.count}, should have {place.expected}"
        for place in places
        if place.count != place.expected
    ]
    if journeys.events[PURGES] != expected.edits:
        found.append(f"{PURGES} has {journeys.events[PURGES]} events, should have {expected.edits}")
    if sum(hours) != expected.edits:
        found.append(f"{HOURS} counts {sum(hours)} edits, should count {expected.edits}")
    for station in stations(live=False):
        lacking = sorted(set(expected.rev_ids) - journeys.arrived.get(station.stream, {}).keys())
        if station.edits == "all" and lacking:
            found.append(f"{station.title}: {station.stream} lacks the revision {lacking[0]}")
    found += [
        f"{store.title}: {store.name} has other revisions than the newest of each page"
        for store in STORES
        if store.newest and dict(stored.newest[store.name]) != expected.newest
    ]
    if stored.lake != Counter(expected.rev_ids):
        found.append("Lake: its rows are not one for each revision")
    found += [f"the job {job} has {count} error events" for job, count in errors.items() if count]
    return found[:DIFFERENCES_MAX]


def live_differences(journeys: Journeys, stored: Stored, posted: int, errors: Mapping[str, int]) -> list[str]:
    """What does not agree of edits of others: each is a change, and has its text or an error event; [] if all do."""
    counts = {
        PAGE_CHANGES: (journeys.events[PAGE_CHANGES], posted),
        CONTENT: (journeys.events[CONTENT] + errors.get("page_content_enrichment", 0), posted),
        DOCUMENTS: (journeys.events[DOCUMENTS] + errors.get("search_documents", 0), posted),
        "the lake": (stored.lake.total(), posted),
        "current_pages": (
            len(stored.newest["current_pages"]),
            len({saved.page_id for saved in journeys.saved.values()}),
        ),
    }
    return [f"{name} has {count}, should have {wanted}" for name, (count, wanted) in counts.items() if count != wanted]
