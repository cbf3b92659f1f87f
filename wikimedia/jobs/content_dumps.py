"""Dumps of wikis: a table of all revisions with their content, and files of XML that are written of it on request.

The table has the revisions of deleted pages, too, in case they are restored: its stream is not public.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.jobs import Await, Context, Dedupe, Each, Job, Postpone, Retry, ToStream, table

from ..content import pages
from ..content.dumps import DumpWriter, Settings, Tables, Written, history_row, is_date, is_wiki, key_of
from ..content.page_rows import checked as checked_change

CHANGES = "mediawiki.page_content_change.v1"
HISTORY = "mediawiki.content_history.v1"
REQUESTS = "content_dumps.request.v1"
FILES = "content_dumps.file.v1"
RECONCILE = "content_history_reconcile.v1"
# How far a request has got: only the job itself writes it, into its state.
PROGRESS = "$progress"
SETTINGS = {
    "folder": "",
    # Of XML, before it is compressed.
    "file_bytes_max": 512_000_000,
    "stream_bytes_max": 4_000_000,
    "pages_per_stream": 100,
    "generator": "Headwater",
}
TIMEOUT_MS = 3_600_000


def revision_of(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The revision of a change as it is now; None for a deletion, which does not say."""
    if event["page_change_kind"] == "delete":
        return None
    return {"dt": event["dt"], "wiki_id": event["wiki_id"], **history_row(event)}


content_revisions = Job(
    "content_revisions",
    (CHANGES,),
    steps=(Each("checked", checked_change), Dedupe().step("dedupe"), Each("revision", revision_of)),
    output=ToStream(HISTORY, "1.0.0"),
    summary="Every revision with its content, as it may be seen since a change of it.",
)


def revision_key(row: Mapping[str, Any]) -> list[str]:
    return key_of(row["wiki_id"], row["page_id"], row["rev_id"])


@table(source=HISTORY, key=revision_key)
def content_history(row: dict[str, Any]) -> dict[str, Any]:
    """Every revision with its content, as it may be seen now."""
    return {name: value for name, value in row.items() if name not in ("$schema", "meta")}


@table(source="mediawiki.site_namespace.v1", key=("dbname", "namespace"))
def site_namespaces(row: dict[str, Any]) -> dict[str, Any]:
    """The namespaces of wikis, each with what is known of its wiki."""
    return {name: value for name, value in row.items() if name not in ("$schema", "meta", "dt", "dbname", "namespace")}


def checked(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """The request; raises InvalidInput if it cannot be the name of a dump."""
    if PROGRESS in request:
        raise pages.InvalidInput(f"{PROGRESS} is written by the job.")
    if not is_wiki(pages.field(request, "wiki_id", str)):
        raise pages.InvalidInput(f"wiki_id is {request['wiki_id']!r:.100}; it has to be the name of a wiki's database.")
    if not is_date(pages.field(request, "dump_date", str)):
        raise pages.InvalidInput(f"dump_date is {request['dump_date']!r:.100}; it has to be like 20260131.")
    return request


def lane(request: Mapping[str, Any], context: Context) -> list[str]:
    """The dump: its files follow one another."""
    return [request["wiki_id"], request["dump_date"]]


async def written(request: dict[str, Any], context: Context) -> None:
    """Write the next file and say so; with the last one, that the dump has ended."""
    about = {name: request[name] for name in ("dt", "wiki_id", "dump_date") if name in request}
    progress = request.get(PROGRESS) or {"files": 0, "pages": 0, "revisions": 0, "missing": 0}
    file = await asyncio.to_thread(_next_file, request, progress, context)
    for missing in file.missing:
        context.emit({**about, **missing}, to=RECONCILE)
    totals = {
        "files": progress["files"] + (file.name is not None),
        "pages": progress["pages"] + file.pages,
        "revisions": progress["revisions"] + file.revisions,
        "missing": progress["missing"] + len(file.missing),
    }
    state: dict[str, Any] = {**about, **totals, "status": "file", "bytes": file.bytes_written}
    if file.name is not None:
        state["file"] = f"{file.name}.xml.bz2"
    if file.after is None:
        return context.emit({**state, "status": "incomplete" if totals["missing"] else "complete"}, to=FILES)
    context.emit(state, to=FILES)
    after = {**totals, "after": file.after, "of_page": file.of_page}
    raise Postpone(f"{file.name or 'no file'}: there are further pages.", after=0, event={**request, PROGRESS: after})


def _next_file(request: Mapping[str, Any], progress: Mapping[str, Any], context: Context) -> Written:
    settings = context.settings
    if not settings["folder"]:
        raise pages.InvalidInput("content_dumps has no `folder` to write to; set it in headwater.yaml, or by --set.")
    limits = Settings(
        Path(settings["folder"]),
        settings["file_bytes_max"],
        settings["stream_bytes_max"],
        settings["pages_per_stream"],
        settings["generator"],
    )
    tables = Tables(context.table("content_history"), context.table("current_pages"), context.table("site_namespaces"))
    writer = DumpWriter(request["wiki_id"], request["dump_date"], limits, tables)
    return writer.write(progress.get("after"), progress.get("of_page"))


# A request that comes twice writes the same files again: none has to be remembered.
content_dumps = Job(
    "content_dumps",
    (REQUESTS,),
    steps=(
        Each("checked", checked),
        Await(
            "written", written, concurrency=2, retry=Retry(within=0, park="1m,10m,1h"), timeout_ms=TIMEOUT_MS, key=lane
        ),
    ),
    outputs=(ToStream(FILES, "1.0.0"), ToStream(RECONCILE, "1.0.0")),
    settings=SETTINGS,
    tables=("content_history", "current_pages", "site_namespaces"),
    summary="Writes dumps of wikis as files of XML.",
)
