"""Keeps pages as objects, which others combine: one of the page, and a node for each of its sections.

How this works: the HTML of a revision is asked for and divided into its sections. Of each object the hash of its
content is known, so that only what has changed is stored again. The objects of a page that is deleted or hidden are
removed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.errors import LookupNotFound, LookupRefused
from headwater.jobs import Await, Context, Dedupe, Each, Job, NotYet, PerKey, Retry, ToStream, Transition, table

from ..content import ages, knowledge, page_rows, pages
from ..content.bounded import Bounded

CHANGES, OBJECTS, STORED = "mediawiki.page_change.v1", "knowledge_store.object.v1", "knowledge_store.node_stored.v1"
# So long after a change a replica of the wiki may not have it.
LAG_SECONDS_MAX = 10
SECONDS_MAX = 20.0
HIDDEN_STATUS = 403
# Of the names of rows.
PREFIX = "o"

page_of = Bounded(Path(__file__).parent.parent / "content" / "html_sections.py", "page_of", seconds=SECONDS_MAX)


def checked(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The change of a page of wikitext in the namespaces that are kept; raises InvalidInput."""
    event = page_rows.checked(event, context)
    pages.field(event["meta"], "domain", str)
    model = pages.main_slot(event["revision"]).get("content_model", "wikitext")
    namespaces = {int(number) for number in context.settings["namespaces"].split()}
    is_kept = event["page"].get("namespace_id", 0) in namespaces and model == "wikitext"
    return {name: value for name, value in event.items() if name != "html"} if is_kept else None


async def with_html(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The change with the HTML of its revision; without, if nobody may see it, or it was deleted."""
    if event["page_change_kind"] == "delete" or event["revision"].get("is_content_visible") is False:
        return event
    address, domain, rev_id = context.settings["html"], event["meta"]["domain"], event["revision"]["rev_id"]
    headers = {} if "{domain}" in address else {"Host": domain}
    url = address.replace("{domain}", domain).replace("{rev_id}", str(rev_id))
    try:
        answer = await context.http.get(url, headers=headers, timeout="30s")
    except LookupNotFound as error:
        if ages.age_seconds(event, context) < LAG_SECONDS_MAX:
            raise NotYet(str(error)) from None
        raise
    except LookupRefused as error:
        if error.status != HIDDEN_STATUS:
            raise
        return event
    return {**event, "html": answer.text}


def with_objects(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The change with the objects of its HTML, in its place."""
    html = event.pop("html", None)
    return {**event, "objects": [] if html is None else knowledge.objects_of(event, page_of(html=html))}


def on_event(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """Pass on the objects that have changed, and those that are no more. Rows: the hashes of the others' contents."""
    version = page_rows.version_of(event)
    if state is not None and version <= state:
        return Transition(state, dropped="older_version")
    assert context.rows is not None
    about = {**pages.about(event), "rev_id": event["revision"]["rev_id"]}
    made = {PREFIX + one["object_id"]: one for one in event["objects"]}
    changes = []
    for name in [name for name in context.rows if name not in made]:
        gone = {"object_id": name.removeprefix(PREFIX), "type": context.rows.pop(name)[0]}
        changes.append({**about, "changelog_kind": "delete", **gone})
    for name, one in made.items():
        known, row = context.rows.get(name), [one["type"], one["content_hash"]]
        if known != row:
            context.rows[name] = row
            changes.append({**about, "changelog_kind": "insert" if known is None else "update", **one})
            _say(event, one, about, context)
    if event["page_change_kind"] == "delete":
        context.timer(page_rows.FORGET, after=page_rows.TOMBSTONE_TTL, fires_when_idle=False)
    else:
        context.cancel(page_rows.FORGET)
    return Transition(version, events=changes)


def _say(event: Mapping[str, Any], one: Mapping[str, Any], about: Mapping[str, Any], context: Context) -> None:
    """That an object was stored, without what is in it."""
    meta = {name: event["meta"][name] for name in ("domain", "request_id") if name in event["meta"]}
    stored = {name: one[name] for name in ("object_id", "type", "content_hash")}
    context.emit({"meta": meta, **about, **stored}, to=STORED)


knowledge_store = Job(
    "knowledge_store",
    (CHANGES,),
    steps=(
        Each("checked", checked),
        Await("with_html", with_html, concurrency=16, retry=Retry(within="60s", base="1s"), key=pages.key),
        Dedupe().step("dedupe"),
        Each("with_objects", with_objects),
        PerKey("objects", pages.key, on_event, page_rows.forgotten, keeps_rows=True, timers_emit=False),
    ),
    output=ToStream(OBJECTS, "1.0.0"),
    outputs=(ToStream(STORED, "1.0.0"),),
    # `namespaces`: numbers with spaces between.
    settings={"html": "https://{domain}/w/rest.php/v1/revision/{rev_id}/html", "namespaces": "0"},
    summary="Pages as objects: one of the page, and a node for each of its sections.",
)


def is_removed(change: dict[str, Any]) -> bool:
    return bool(change["changelog_kind"] == "delete")


@table(source=OBJECTS, key=("wiki_id", "object_id"), version=("rev_id", "dt"), delete=is_removed)
def knowledge_objects(change: dict[str, Any]) -> dict[str, Any]:
    """The objects that pages are kept as."""
    left_out = ("$schema", "meta", "changelog_kind", "wiki_id", "object_id")
    return {name: value for name, value in change.items() if name not in left_out}
