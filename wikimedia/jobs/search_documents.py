"""Documents of a search index with the text of their page, which the updates of an index do not have."""

from typing import Any

from headwater.jobs import Await, Context, Dedupe, Each, Job, Retry, ToStream

from ..content import ages, pages

SOURCE = "mediawiki.search_update.v1"
# What removes a document needs no text.
REMOVING = frozenset(("PAGE_DELETE", "REDIRECT_UPDATE"))


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what an update has."""
    pages.field(event, "change_type", str)
    pages.field(event, "wiki_id", str)
    pages.whole_numbers(event, "page_id", "rev_id")
    return event


async def with_text(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The update with the text of its revision, without it if it is hidden; as it is if it removes a document."""
    if event["change_type"] in REMOVING:
        return event
    domain = pages.field(event["meta"], "domain", str)
    found = await context.http.mediawiki.revision(domain, event["rev_id"], age=ages.age_seconds(event, context))
    slot = found.slots.get("main")
    if slot is None or slot.content is None:
        return event
    return {**event, "text": slot.content, "text_bytes": len(slot.content.encode())}


def key(event: dict[str, Any], context: Context) -> list[Any]:
    """Wiki and page: the updates of a page keep their order."""
    return [event["wiki_id"], event["page_id"]]


search_documents = Job(
    "search_documents",
    (SOURCE,),
    steps=(
        Each("checked", checked),
        Await("with_text", with_text, concurrency=64, retry=Retry(within="60s", base="1s"), key=key),
        Dedupe().step("dedupe"),
    ),
    output=ToStream("mediawiki.search_document.v1", "1.0.0"),
    summary="Documents of a search index with the text of their page.",
)
