"""The demo's own arithmetic: what the platform should have counted, computed independently, and where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.cli.demo.edits import Sample
from headwater.connectors.tables import TableView

WINDOWS_TABLE = "edits_per_minute"
PAGES_TABLE = "most_edited_pages"
# What the sink of the stream fills, where its driver is installed.
EDITS_TABLE = "demo_edit"
DIFFERENCES_MAX = 10

Row = tuple[Any, ...]


@dataclass(slots=True)
class Expected:
    """The counts that follow from the samples posted so far."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    windows: dict[Row, list[int]] = field(default_factory=dict)
    pages: Counter[Row] = field(default_factory=Counter)
    titles_by_wiki: dict[str, list[str]] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        if sample.refused_as is not None:
            self.refused[sample.refused_as] += 1
            return
        event = sample.event
        self.accepted += 1
        # The minute of an edit starts at its event time with the seconds cut off: 2026-01-31T12:00:00Z.
        window = self.windows.setdefault((event["dt"][:16] + ":00Z", event["wiki"]), [0, 0, 0])
        window[0] += 1
        window[1] += event["bot"]
        window[2] += event["bytes"]
        self.pages[event["wiki"], event["title"]] += 1
        self.titles_by_wiki.setdefault(event["wiki"], []).append(event["title"])

    def table_differences(self, views: Sequence[TableView]) -> list[str]:
        """The rows in which the jobs' tables differ from our own counts; [] if they agree."""
        windows = {key: tuple(figures) for key, figures in self.windows.items()}
        pages = {key: (edits,) for key, edits in self.pages.items()}
        return [
            *_differences(WINDOWS_TABLE, windows, _rows(views, WINDOWS_TABLE, 2, ("edits", "bot_edits", "bytes"))),
            *_differences(PAGES_TABLE, pages, _rows(views, PAGES_TABLE, 2, ("edits",))),
        ]

    def edits_differences(self, views: Sequence[TableView]) -> list[str]:
        """Whether the table of the stream's sink has a row for each accepted edit."""
        rows = next((view.rows_total for view in views if view.name == EDITS_TABLE), 0)
        return [] if rows == self.accepted else [f"{EDITS_TABLE} has {rows} rows, should have {self.accepted}"]

    def stream_differences(self, events: Sequence[Mapping[str, Any]]) -> list[str]:
        """Whether a stream, read back, has every accepted edit once, and those of each wiki in the order of posting."""
        read: dict[str, list[str]] = {}
        for event in events:
            read.setdefault(event["wiki"], []).append(event["title"])
        return [
            _order_difference(wiki, read.get(wiki, []), self.titles_by_wiki.get(wiki, []))
            for wiki in sorted({*read, *self.titles_by_wiki})
            if read.get(wiki) != self.titles_by_wiki.get(wiki)
        ]

    def tally_differences(self, accepted: int, refused: Mapping[str, int]) -> list[str]:
        """Whether the intake accepted what it should have, and refused the rest for the right reasons."""
        found = []
        if accepted != self.accepted:
            found.append(f"{accepted} events were accepted, {self.accepted} should have been")
        found.extend(
            f"{refused.get(code, 0)} were refused as {code}, {self.refused[code]} should have been"
            for code in sorted({*refused, *self.refused})
            if refused.get(code, 0) != self.refused[code]
        )
        return found


def _order_difference(wiki: str, read: Sequence[str], posted: Sequence[str]) -> str:
    if sorted(read) == sorted(posted):
        return f"{wiki}: the {len(posted)} edits came back in another order"
    return f"{wiki}: {len(read)} edits came back, {len(posted)} were posted"


def _rows(views: Sequence[TableView], name: str, key_columns: int, figures: Sequence[str]) -> dict[Row, Row]:
    view = next((view for view in views if view.name == name), None)
    if view is None:
        return {}
    places = [view.columns.index(figure) for figure in figures]
    return {tuple(row[:key_columns]): tuple(row[place] for place in places) for row in view.rows}


def _differences(table: str, expected: Mapping[Row, Row], actual: Mapping[Row, Row]) -> list[str]:
    found = [
        f"{table} {' '.join(map(str, key))}: {actual.get(key, 'no row')}, should be {expected.get(key, 'no row')}"
        for key in sorted({*expected, *actual})
        if expected.get(key) != actual.get(key)
    ]
    left = len(found) - DIFFERENCES_MAX
    return found[:DIFFERENCES_MAX] + ([f"{table}: {left} more rows differ"] if left > 0 else [])
