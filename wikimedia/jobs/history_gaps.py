"""The history of what wikis keep no history of: links and properties of pages, tags, names and groups, preferences.

How this works: each event says what has changed; what is so since when becomes a span, which is passed on once more
when it ends. The table `spans` has them all: what was so at a time is the rows with `valid_from` at or before it, and
`valid_to` after it. README.md says what producers have to announce.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from headwater.event import get_path
from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition, table

from ..content import pages
from ..content.spans import Facts, Moment, applied

LINKS, PROPERTIES = "mediawiki.page-links-change", "mediawiki.page-properties-change"
TAGS, USERS, PREFERENCES = "mediawiki.revision-tags-change", "mediawiki.user_change.dev0", "eventlogging_PrefUpdate"
SPANS = "mediawiki.history_span.v1"
Said = tuple[str, str, int, list[Facts]]


def links(event: dict[str, Any]) -> Said:
    """Links of a page, those out of the wiki apart."""
    pages.whole_numbers(event, "page_id", "rev_id")
    found: dict[tuple[str, str], list[str]] = {}
    for name in ("added_links", "removed_links"):
        for link in event.get(name) or ():
            kind = "external_link" if pages.field(link, "external", bool) else "link"
            found.setdefault((name, kind), []).append(pages.field(link, "link", str))
    made = [
        Facts(
            kind, dict.fromkeys(found.get(("added_links", kind), ()), ""), tuple(found.get(("removed_links", kind), ()))
        )
        for kind in ("external_link", "link")
    ]
    return event["database"], f"page:{event['page_id']}", event["rev_id"], made


def properties(event: dict[str, Any]) -> Said:
    """Properties of a page, whose values may change."""
    pages.whole_numbers(event, "page_id", "rev_id")
    added = {name: str(value) for name, value in (event.get("added_properties") or {}).items()}
    facts = Facts("property", added, tuple(event.get("removed_properties") or ()), replaces=True)
    return event["database"], f"page:{event['page_id']}", event["rev_id"], [facts]


def tags(event: dict[str, Any]) -> Said:
    """All tags of a revision."""
    pages.whole_numbers(event, "rev_id")
    whole = dict.fromkeys(pages.field(event, "tags", list), "")
    return event["database"], f"revision:{event['rev_id']}", 0, [Facts("tag", whole, is_whole=True)]


def users(event: dict[str, Any]) -> Said:
    """The name and all groups of an account."""
    user = pages.field(event, "user", dict)
    pages.whole_numbers(user, "user_id")
    made = [Facts("name", {"name": pages.field(user, "user_text", str)}, replaces=True)]
    if isinstance(user.get("groups"), list):
        made.append(Facts("group", dict.fromkeys(map(str, user["groups"]), ""), is_whole=True))
    return event["wiki_id"], f"user:{user['user_id']}", 0, made


def preferences(event: dict[str, Any]) -> Said:
    """One preference of an account; that it is the default is a value as well."""
    said = pages.field(event, "event", dict)
    pages.whole_numbers(said, "userId")
    value = {pages.field(said, "property", str): pages.field(said, "value", str)}
    return str(event.get("wiki") or ""), f"user:{said['userId']}", 0, [Facts("preference", value, replaces=True)]


READERS: Mapping[str, Callable[[dict[str, Any]], Said]] = {
    LINKS: links,
    PROPERTIES: properties,
    TAGS: tags,
    USERS: users,
    PREFERENCES: preferences,
}


def read(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The entity, and what is said of it; raises InvalidInput."""
    if context.stream in (LINKS, PROPERTIES, TAGS):
        pages.field(event, "database", str)
    elif context.stream == USERS:
        pages.field(event, "wiki_id", str)
    wiki, entity, number, facts = READERS[str(context.stream)](event)
    dt = event.get("dt") or get_path(event, "meta.dt")
    if not isinstance(dt, str):
        raise pages.InvalidInput("The event has no time, neither dt nor meta.dt.")
    made = [asdict(one) for one in facts]
    return {"meta": event["meta"], "wiki_id": wiki, "entity": entity, "number": number, "dt": dt, "facts": made}


def entity(event: Mapping[str, Any], context: Context) -> list[str]:
    """Wiki and entity, and of which stream: their events are in order with one another, not with others."""
    return [str(context.stream), event["wiki_id"], event["entity"]]


def spanned(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """State: number and time of the newest event; rows: what is so now."""
    assert context.rows is not None
    newest = [event["number"], context.event_time_ms]
    if state is not None and newest < state:
        context.metrics.counter("inconsistent.out_of_order")
        return Transition(state, dropped="out_of_order")
    inconsistent: list[str] = []
    at = Moment(event["dt"], event["number"])
    common = {"dt": event["dt"], "wiki_id": event["wiki_id"], "entity": event["entity"]}
    made = [
        {**common, **span}
        for facts in event["facts"]
        for span in applied(Facts(**facts), at, context.rows, inconsistent)
    ]
    for why in inconsistent:
        context.metrics.counter(f"inconsistent.{why}")
    return Transition(newest, events=made)


history_gaps = Job(
    "history_gaps",
    tuple(READERS),
    steps=(Dedupe().step("dedupe"), Each("read", read), PerKey("spans", entity, spanned, keeps_rows=True)),
    output=ToStream(SPANS, "1.0.0"),
    summary="Since when and until when things that wikis keep no history of were so.",
)


@table(source=SPANS, key=("wiki_id", "entity", "kind", "name", "valid_from", "from_number"), version="version")
def spans(span: dict[str, Any]) -> dict[str, Any]:
    """What was so in wikis since when, and until when."""
    return {name: span[name] for name in ("value", "valid_to", "to_number", "version") if name in span}
