"""Changes of pages with the content of the revision, which producers do not send."""

from typing import Any

from headwater.jobs import Await, Context, Dedupe, Each, Job, Retry, ToStream

from ..content import ages, pages


async def with_content(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event with the content of each slot of its revision; without what is hidden, and as it is for a deletion."""
    revision = event["revision"]
    if event["page_change_kind"] == "delete" or revision.get("is_content_visible") is False:
        return event
    domain = pages.field(event["meta"], "domain", str)
    sha1 = revision.get("rev_sha1")
    found = await context.http.mediawiki.revision(
        domain, revision["rev_id"], age=ages.age_seconds(event, context), sha1=sha1 if isinstance(sha1, str) else None
    )
    slots = {role: dict(slot) for role, slot in (revision.get("content_slots") or {}).items()}
    for role, slot in found.slots.items():
        if slot.content is not None:
            known = slots.setdefault(role, _described(role, slot))
            known["content_body"] = slot.content
    return {**event, "revision": {**revision, "content_slots": slots}}


def _described(role: str, slot: Any) -> dict[str, Any]:
    """A slot that the event does not have, as far as the wiki describes it."""
    known = {"slot_role": role, "content_model": slot.content_model, "content_format": slot.content_format}
    return {name: value for name, value in known.items() if value is not None}


page_content_enrichment = Job(
    "page_content_enrichment",
    ("mediawiki.page_change.v1",),
    steps=(
        Each("checked", pages.checked),
        Await("with_content", with_content, concurrency=64, retry=Retry(within="60s", base="1s"), key=pages.key),
        Dedupe().step("dedupe"),
    ),
    output=ToStream("mediawiki.page_content_change.v1", "1.2.0"),
    summary="Changes of pages with the content of the revision.",
)
