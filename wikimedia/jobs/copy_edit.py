"""Words of articles that look misspelt, as rows that disappear when they are corrected."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from headwater.jobs import Context, Job, ToStream, table

from ..content import pages
from ..content.bounded import Bounded
from ..content.page_rows import PageRows, Row

SECONDS_MAX = 10.0
TEXT_BYTES_MAX = 200_000
FINDINGS = "copy_edit.findings.v1"
ARTICLES = 0
# The language of a wiki is the first part of its domain, but for these.
LANGUAGES = {"simple": "en"}
SETTINGS = {
    # Words that no dictionary has and that are right, with spaces between them.
    "words": "",
    "suggested_words_max": 50,
}

find = Bounded(Path(__file__).parent.parent / "content" / "spelling.py", "spelling", seconds=SECONDS_MAX)


def rows(event: Mapping[str, Any], page: pages.Page, context: Context) -> Iterable[Row] | None:
    """A row for each word that the dictionary lacks; None for a change that is no edit. Only articles have rows."""
    if event["page"].get("namespace_id", ARTICLES) != ARTICLES or page.model != "wikitext":
        context.metrics.counter("skipped_no_article")
        return ()
    if event["page_change_kind"] not in ("create", "edit"):
        return None
    text = str(page.text)
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) > TEXT_BYTES_MAX:
        context.metrics.counter("texts_cut")
        text = encoded[:TEXT_BYTES_MAX].decode("utf-8", "ignore")
    first = str(event["meta"].get("domain", "")).partition(".")[0]
    found = find(
        text=text,
        language=LANGUAGES.get(first, first),
        known=context.settings["words"].split(),
        suggested_max=context.settings["suggested_words_max"],
    )
    if not found["supported"]:
        context.metrics.counter("language_not_supported")
    findings: list[Row] = found["findings"]
    return findings


copy_edit = Job(
    "copy_edit",
    ("mediawiki.page_content_change.v1",),
    steps=PageRows("findings", ("word",), rows).steps(),
    output=ToStream(FINDINGS, "1.0.0"),
    settings=SETTINGS,
    summary="Words of articles that look misspelt.",
)


def is_removed(row: dict[str, Any]) -> bool:
    return bool(row["changelog_kind"] == "delete")


@table(source=FINDINGS, key=("wiki_id", "page_id", "word"), version=("rev_id", "dt"), delete=is_removed)
def copy_edit_findings(row: dict[str, Any]) -> dict[str, Any]:
    """The words of each page that look misspelt now."""
    names = ("page_title", "rev_id", "count", "offset", "sentence", "suggestions")
    return {name: row[name] for name in names if name in row}
