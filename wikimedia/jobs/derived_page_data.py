"""The links, templates, categories, images and properties of pages, as rows, and as the older streams of changes."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.jobs import Context, Job, ToStream, table

from ..content import pages
from ..content.bounded import Bounded
from ..content.page_rows import PageRows, Row

SECONDS_MAX = 5.0
ROWS = "mediawiki.page_data.v1"
LINKS = "mediawiki.page-links-change"
PROPERTIES = "mediawiki.page-properties-change"
# What is in front of a title that a page of this kind of link leads to. Names of categories and images have theirs.
INTERNAL = {"pagelinks": "", "templatelinks": "Template:", "categorylinks": "", "imagelinks": ""}
# Words of the wiki itself, which are written like templates.
_FUNCTION = re.compile(r"#|[A-Z]+\s*:")

find = Bounded(Path(__file__).parent.parent / "content" / "wikitext.py", "page_data", seconds=SECONDS_MAX)


def rows(event: Mapping[str, Any], page: pages.Page, context: Context) -> Iterator[Row] | None:
    """One for each thing that the page has. Other content than wikitext has none."""
    if page.model != "wikitext":
        context.metrics.counter("skipped_content_model")
        return iter(())
    language = str(event["meta"].get("domain", "")).partition(".")[0]
    found = find(text=page.text, language=language)
    return (
        {"kind": kind, "name": name, **({"value": value} if kind == "page_props" else {})}
        for kind, values in found.items()
        for name, value in values.items()
    )


def also(event: Mapping[str, Any], changes: list[Row], context: Context) -> None:
    """The change in the words of the older streams."""
    page, revision = event["page"], event["revision"]
    about = {"dt": event["dt"], "database": event["wiki_id"], "page_id": page["page_id"], "rev_id": revision["rev_id"]}
    about["page_title"] = page["page_title"].replace(" ", "_")
    for name, given in (("page_namespace", "namespace_id"), ("page_is_redirect", "is_redirect")):
        if page.get(given) is not None:
            about[name] = page[given]
    of_links = [change for change in changes if change["kind"] != "page_props"]
    links = {
        "added_links": [_link(change) for change in of_links if change["changelog_kind"] == "insert"],
        "removed_links": [_link(change) for change in of_links if change["changelog_kind"] == "delete"],
    }
    if any(links.values()):
        context.emit({**about, **{name: values for name, values in links.items() if values}}, to=LINKS)
    properties = [change for change in changes if change["kind"] == "page_props"]
    added = {change["name"]: change["value"] for change in properties if change["changelog_kind"] != "delete"}
    removed = {change["name"]: "" for change in properties if change["changelog_kind"] == "delete"}
    changed = {
        name: values for name, values in (("added_properties", added), ("removed_properties", removed)) if values
    }
    if changed:
        context.emit({**about, **changed}, to=PROPERTIES)


def _link(change: Row) -> dict[str, Any]:
    prefix = INTERNAL.get(change["kind"])
    if prefix is None:
        return {"link": change["name"], "external": True}
    title = change["name"].removeprefix(":").strip().replace(" ", "_")
    is_whole = change["kind"] != "templatelinks" or ":" in title
    return {"link": f"/wiki/{'' if is_whole else prefix}{title}", "external": False}


derived_page_data = Job(
    "derived_page_data",
    ("mediawiki.page_content_change.v1",),
    steps=PageRows("rows", ("kind", "name"), rows, hidden_keeps=True, on_change=also).steps(),
    output=ToStream(ROWS, "1.0.0"),
    outputs=(ToStream(LINKS, "1.0.0"), ToStream(PROPERTIES, "1.0.0")),
    summary="Links, templates, categories, images and properties of pages.",
)


def is_removed(change: Row) -> bool:
    return bool(change["changelog_kind"] == "delete")


@table(source=ROWS, key=("wiki_id", "page_id", "kind", "name"), version=("rev_id", "dt"), delete=is_removed)
def page_data(change: Row) -> Row:
    """What each page has now: of links, templates, categories, images and properties."""
    return {name: change[name] for name in ("page_title", "rev_id", "value") if name in change}
