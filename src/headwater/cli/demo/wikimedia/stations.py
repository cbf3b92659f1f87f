"""The stations of an edit: the streams it comes to, the jobs that bring it there, and the stores it is kept in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

# Which edits come there: all, those of a page that was there before, or those that change references.
Edits = Literal["all", "changes", "references"]

ACTIONS = "mediawiki.wiki_action.v1"
PURGES = "resource-purge"
OUTCOMES = "cache_purge.outcome.v1"
DOCUMENTS = "mediawiki.search_document.v1"
RECENT_CHANGES = "mediawiki.recentchange"
HOURS = "mediawiki.hourly_edits.v1"
PAGE_CHANGES = "mediawiki.page_change.v1"
CONTENT = "mediawiki.page_content_change.v1"


@dataclass(frozen=True, slots=True)
class Station:
    """`rev_id`: the dotted path of the revision in its events; empty where `event_id` names the purge instead.

    `job`: None where the wiki itself posts the events. `live`: whether also edits of Wikimedia's wikis come there.
    """

    title: str
    says: str
    stream: str
    job: str | None
    rev_id: str
    edits: Edits = "all"
    live: bool = True

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


STATIONS = (
    Station("Wiki", "The wiki says what it has done", ACTIONS, None, "revision.rev_id", live=False),
    Station("Recent changes", "As the wiki lists them", RECENT_CHANGES, None, "revision.new", live=False),
    Station("Page change", "What changed, without content", PAGE_CHANGES, "page_change_producer", "revision.rev_id"),
    Station(
        "Enrichment",
        "The text, asked of the wiki",
        CONTENT,
        "page_content_enrichment",
        "revision.rev_id",
    ),
    Station("Diff", "What changed, line by line", "research.revision_diff.v1", "revision_diff", "rev_id"),
    Station(
        "References",
        "Those added and removed",
        "mediawiki.page_references_change.v1",
        "reference_changes",
        "rev_id",
        "references",
    ),
    Station("Edit types", "Elements of the page that changed", "mediawiki.page_edit_types.v1", "edit_types", "rev_id"),
    Station(
        "Score",
        "A stand-in says how likely a revert is: a rule of thumb, no model",
        "mediawiki.page_revert_risk_prediction_change.v1",
        "page_predictions",
        "revision.rev_id",
        "changes",
    ),
    Station(
        "Search update", "What the search index has to do", "mediawiki.search_update.v1", "search_update", "rev_id"
    ),
    Station("Search document", "The same with the text", DOCUMENTS, "search_documents", "rev_id"),
    Station("Cache purge", "The cache of the wiki forgets the page", OUTCOMES, "cache_purge", "", live=False),
)
# The jobs of the demo besides: what they keep are tables and counts.
KEPT_JOBS = ("current_pages", "hourly_edits")
# The files of the project's jobs that run in the demo.
JOB_FILES = frozenset({station.job for station in STATIONS if station.job} | set(KEPT_JOBS))


@dataclass(frozen=True, slots=True)
class Store:
    """Where something of each edit is kept; `stream` is what fills it. `newest`: of each page only the newest."""

    name: str
    title: str
    says: str
    stream: str
    newest: bool

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


INDEX = Store("search_index", "Search index", "A row with the text of the page", DOCUMENTS, True)
LAKE = Store("edits", "Lake", "A row in a file of the lake", PAGE_CHANGES, False)
TABLE = Store("current_pages", "Table of pages", "The page as it is now", PAGE_CHANGES, True)
STORES = (INDEX, LAKE, TABLE)


def stations(*, live: bool) -> tuple[Station, ...]:
    """All of them, or those of edits of Wikimedia's wikis."""
    return tuple(station for station in STATIONS if station.live or not live)


def described(*, live: bool) -> Mapping[str, Any]:
    """Stations and stores, for the page."""
    return {
        "stations": [station.as_json() for station in stations(live=live)],
        "stores": [store.as_json() for store in STORES],
        "begins": PAGE_CHANGES if live else ACTIONS,
        "purges": None if live else PURGES,
        "outcomes": OUTCOMES,
    }
