"""Which pages depend on one that has changed, by an index of our own: each is an event, to be rendered again.

How this works: changes of links become rows, and rows the table `page_dependants`, by what links lead to. A change of a
page becomes a request, and that a walk along the table, 500 pages at a time; how far it has come is kept with the
event, so that a crash goes on from there. The titles of the pages are those of the table `current_pages`, as a page may
have been moved after it got the link. `page_dependencies` does the same by asking the wiki.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from headwater.jobs import Await, Context, Dedupe, Each, Job, Postpone, Retry, ToStream, table
from headwater.jobs.rules.requesting import chain_after

from ..content import dependants, pages

LINKS = "mediawiki.page-links-change"
ROWS = "dependency_tracking.link.v1"
REQUESTS, CONTINUE = "dependency_tracking.request.v1", "dependency_tracking.continue.v1"
TRANSCLUDES, BACKLINKS = "change-prop.transcludes.resource-change", "change-prop.backlinks.resource-change"
# Only the job itself writes it, into its state.
WALK = "walk"
# Tell also those that depend on the dependants; how far, and how many pages at most.
SETTINGS = {"transitive": False, "depth_max": 10, "pages_max": 1_000_000}


def rows(event: dict[str, Any], context: Context) -> Iterator[dict[str, Any]]:
    """A row for each internal link that a page has got or lost; raises InvalidInput."""
    pages.field(event, "database", str)
    pages.field(event, "page_title", str)
    pages.whole_numbers(event, "page_id", "rev_id")
    for name in ("added_links", "removed_links"):
        if not all(isinstance(link, Mapping) for link in event.get(name) or ()):
            raise pages.InvalidInput(f"{name} has something else than links.")
    about = {"wiki_id": event["database"], **{name: event[name] for name in ("page_id", "page_title", "rev_id")}}
    for row in dependants.link_rows(event):
        yield {"dt": event.get("dt") or event["meta"]["dt"], **about, **row}


dependency_links = Job(
    "dependency_links",
    (LINKS,),
    steps=(Dedupe().step("dedupe"), Each("rows", rows)),
    output=ToStream(ROWS, "1.0.0"),
    summary="Links of pages, by what they lead to.",
)


def is_removed(row: Mapping[str, Any]) -> bool:
    """Whether the page has the link no more."""
    return bool(row["changelog_kind"] == "delete")


@table(source=ROWS, key=("wiki_id", "target", "page_id"), version=("rev_id", "dt"), delete=is_removed)
def page_dependants(row: dict[str, Any]) -> dict[str, Any]:
    """Which pages lead to a page, or have it in them."""
    return {name: row[name] for name in ("page_id", "page_title", "rev_id")}


def checked(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The change of a page; None for one of visibility, after which the page is the same. Raises InvalidInput."""
    event = pages.checked(event, context)
    pages.field(event["meta"], "domain", str)
    return None if event["page_change_kind"] == "visibility_change" else event


def request(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Whom to tell of what: the addresses of the page, the one before a move first, and why."""
    prior = event.get("prior_state")
    before = prior.get("page") if isinstance(prior, Mapping) else None
    titles = [before.get("page_title") if isinstance(before, Mapping) else None, event["page"]["page_title"]]
    targets = list(dict.fromkeys(dependants.address(title) for title in titles if isinstance(title, str)))
    uri = event["meta"].get("uri")
    uri = uri if isinstance(uri, str) else f"https://{event['meta']['domain']}{dependants.encoded(targets[-1])}"
    signature = hashlib.sha1(uri.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    return {
        "meta": {"uri": uri},
        "dt": event["dt"],
        "wiki_id": event["wiki_id"],
        "page_id": event["page"]["page_id"],
        "targets": targets,
        "is_transcluded": event["page"].get("namespace_id") in dependants.TRANSCLUDED,
        "triggered_by": chain_after({**event, "meta": {**event["meta"], "uri": uri}}, str(context.stream)),
        "root_event": {"dt": event["dt"], "signature": signature},
    }


dependency_changes = Job(
    "dependency_changes",
    ("mediawiki.page_change.v1",),
    steps=(Each("checked", checked), Dedupe().step("dedupe"), Each("request", request)),
    output=ToStream(REQUESTS, "1.0.0"),
    summary="Changes of pages, each once, with the addresses by which others lead to the page.",
)


def asked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The request; raises InvalidInput for any other event."""
    for name, kind in (("wiki_id", str), ("targets", list), ("triggered_by", str), ("root_event", dict)):
        pages.field(event, name, kind)
    pages.field(event["meta"], "domain", str)
    pages.whole_numbers(event, "page_id")
    return {name: value for name, value in event.items() if name != WALK}


def of_page(event: Mapping[str, Any], context: Context) -> list[Any]:
    """Requests about one page follow one another."""
    return [event["wiki_id"], event["page_id"]]


async def told(event: dict[str, Any], context: Context) -> None:
    """Emit an event for each of the next dependants. Raises Postpone if there are more."""
    settings = context.settings
    walk = event.pop(WALK, None) or dependants.begun(event["targets"], event["page_id"])
    index = context.table("page_dependants")

    def scan(target: str, after: Any, rows_max: int) -> list[tuple[Any, Mapping[str, Any]]]:
        found: list[Any] = index.scan(prefix=(event["wiki_id"], target), after=after, rows_max=rows_max)
        return [(key, {**row, "page_title": _title(row, event["wiki_id"], context)}) for key, row in found]

    depth_max = settings["depth_max"] if settings["transitive"] else 1
    found = dependants.next_page(walk, scan, depth_max=depth_max, pages_max=settings["pages_max"])
    to, tag = (TRANSCLUDES, "transcludes") if event["is_transcluded"] else (BACKLINKS, "backlinks")
    common = {"tags": [tag], "triggered_by": event["triggered_by"], "root_event": event["root_event"]}
    domain = event["meta"]["domain"]
    for row in found:
        uri = f"https://{domain}{dependants.encoded(dependants.address(row['page_title']))}"
        context.emit({"meta": {"uri": uri, "domain": domain}, **common}, to=to)
    context.metrics.counter("dependants", len(found))
    if walk.get("cut"):
        context.metrics.counter("cut")
        context.log.warning("More than %s pages depend on %s.", settings["pages_max"], event["targets"][-1])
    if walk["left"]:
        more = {"original_event": event, "sequence_num": walk["sequence"], "emitter_id": "dependency_tracking"}
        more["continue"] = {"target": walk["left"][0][0], "pages": str(walk["count"])}
        context.emit({**more, "triggered_by": event["triggered_by"]}, to=CONTINUE)
        raise Postpone("There are more dependants.", after=0, event={**event, WALK: walk})


def _title(row: Mapping[str, Any], wiki: str, context: Context) -> str:
    """The title that the page has now; that which it had with the link, if it is not known."""
    current = context.table("current_pages").get((wiki, row["page_id"]))
    return str((current or row)["page_title"])


dependency_tracking = Job(
    "dependency_tracking",
    (REQUESTS,),
    steps=(
        Each("asked", asked),
        # While the table cannot be read, nothing more is.
        Await("told", told, concurrency=16, retry=Retry(within="10m", base="1s", park=["1m"]), key=of_page),
    ),
    outputs=tuple(ToStream(stream, "1.0.0") for stream in (TRANSCLUDES, BACKLINKS, CONTINUE)),
    settings=SETTINGS,
    summary="Which pages depend on one that has changed.",
)
