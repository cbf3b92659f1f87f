"""What the sections of pages are about: the topics of the pages that they link to, by a table of topics."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.jobs import Context, Job, ToStream, table

from ..content import pages
from ..content.bounded import Bounded
from ..content.page_rows import PageRows, Row

SECONDS_MAX = 5.0
ROWS = "mediawiki.section_topics.v1"
PAGES = "mediawiki.page_section_topics_change.v1"
MODEL = {"model_name": "section_topics", "model_version": "1.0.0"}
DIGITS = 6
SETTINGS = {
    # A topic is predicted of a page if at least this share of its resolved links is about it.
    "probability_min": 0.5,
}

find = Bounded(Path(__file__).parent.parent / "content" / "wikitext.py", "sections", seconds=SECONDS_MAX)


@table(
    source="mediawiki.title_topic.v1", key=("wiki_id", "title"), delete=lambda row: row["changelog_kind"] == "delete"
)
def title_topics(row: dict[str, Any]) -> dict[str, Any]:
    """The topics of pages, by title."""
    return {name: row[name] for name in ("item", "topics") if name in row}


def rows(event: Mapping[str, Any], page: pages.Page, context: Context) -> Iterator[Row]:
    """A row for each topic of each section; none of a redirect, and of other content than wikitext."""
    is_text = page.model == "wikitext" and event["page"].get("is_redirect") is not True
    may_redirect = not isinstance(event["page"].get("is_redirect"), bool)
    sections = find(text=page.text, may_redirect=may_redirect) if is_text else {}
    if page.model != "wikitext":
        context.metrics.counter("skipped_content_model")
    known = _topics_of(event["wiki_id"], {target for targets in sections.values() for target in targets}, context)
    made, whole, resolved_of_page = [], Counter[str](), 0
    unresolved = {}
    for name, targets in sections.items():
        resolved = [known[target] for target in targets if target in known]
        counted = Counter(topic for topics in resolved for topic in topics)
        made += [
            {"section": name, "topic": topic, "links": links, "score": round(links / len(resolved), DIGITS)}
            for topic, links in counted.items()
        ]
        unresolved[name] = len(targets) - len(resolved)
        whole, resolved_of_page = whole + counted, resolved_of_page + len(resolved)
    context.metrics.counter("links_unresolved", sum(unresolved.values()))
    probabilities = {topic: round(links / resolved_of_page, DIGITS) for topic, links in sorted(whole.items())}
    if is_text:
        context.emit(
            {
                **_about(event, "update"),
                "predicted_classification": {**MODEL, **_predicted(probabilities, context)},
                "level2_sections_distinct_link_targets": {name: sorted(set(found)) for name, found in sections.items()},
                "level2_sections_unresolved_links": unresolved,
            },
            to=PAGES,
        )
    return iter(made)


def _topics_of(wiki: str, targets: set[str], context: Context) -> dict[str, list[str]]:
    """Of the targets of links that the table has, as written: what they are about."""
    topics = context.table("title_topics")
    found = {target: topics.get((wiki, target)) for target in targets}
    return {target: row["topics"] for target, row in found.items() if row is not None}


def _predicted(probabilities: Mapping[str, float], context: Context) -> dict[str, Any]:
    likely = [topic for topic, share in probabilities.items() if share >= context.settings["probability_min"]]
    return {"predictions": likely, "probabilities": dict(probabilities)}


def _about(event: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {**pages.about(event), "rev_id": event["revision"]["rev_id"], "changelog_kind": kind}


def also(event: Mapping[str, Any], changes: list[Row], context: Context) -> None:
    """Say that there is nothing of a page any more."""
    if all(change["changelog_kind"] == "delete" for change in changes) and not _has_text(event):
        context.emit(_about(event, "delete"), to=PAGES)


def _has_text(event: Mapping[str, Any]) -> bool:
    is_shown = event["page_change_kind"] != "delete" and pages.newest(event).text is not None
    return is_shown and event["page"].get("is_redirect") is not True


section_topics = Job(
    "section_topics",
    ("mediawiki.page_content_change.v1",),
    steps=PageRows("rows", ("section", "topic"), rows, on_change=also).steps(),
    output=ToStream(ROWS, "1.0.0"),
    outputs=(ToStream(PAGES, "1.0.0"),),
    settings=SETTINGS,
    tables=("title_topics",),
    summary="What the sections of pages are about.",
)
