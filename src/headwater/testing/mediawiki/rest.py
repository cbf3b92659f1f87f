"""The other endpoints of a wiki: `/w/rest.php/v1/revision/…`, its HTML, and entities as Turtle."""

from __future__ import annotations

import html
import re
import urllib.parse
from typing import Any

from headwater.testing.mediawiki.exchange import Answer, Request, html_error, json_answer, phrase
from headwater.testing.mediawiki.parameters import as_integer
from headwater.testing.mediawiki.rows import Revision, sha1_hex
from headwater.testing.mediawiki.store import Seen

REVISION_PATH = re.compile(r"/w/rest\.php/v1/revision/(?P<id>[^/]+)(?P<html>/html)?\Z")
ENTITY_PATH = re.compile(r"/wiki/Special:EntityData/(?P<entity>[A-Za-z][0-9]+)\.ttl\Z")
TURTLE = "text/turtle; charset=utf-8"
HTML = "text/html; charset=utf-8"


def revision_asked(request: Request) -> int | None:
    """The revision that a path of these endpoints, or its query, names."""
    found = REVISION_PATH.match(request.path)
    if found:
        return as_integer(found["id"])
    return _parameter(request, "revision") if ENTITY_PATH.match(request.path) else None


def _parameter(request: Request, name: str) -> int | None:
    values = urllib.parse.parse_qs(request.query).get(name)
    return as_integer(values[-1]) if values else None


def revision_answer(request: Request, seen: Seen) -> Answer:
    """A revision as JSON or HTML; 400 where the id is no number, 403 for what is hidden, 404 for what is not found."""
    found = REVISION_PATH.match(request.path)
    if found is None:
        return _error(404, "rest-no-match", "The requested relative path did not match any known handler")
    rev_id = as_integer(found["id"])
    if rev_id is None:
        return _error(400, "parameter-validation-failed", f'Invalid value "{found["id"]}" for the parameter "id"')
    row = seen.revision(rev_id)
    if row is None:
        return _error(404, "rest-nonexistent-revision", f"The specified revision ({rev_id}) does not exist")
    if row.texthidden:
        text = f"User does not have rights to read revision ({rev_id})"
        return _error(403, "rest-permission-denied-revision", text)
    content = _main_content(row)
    if content is None:
        return _error(404, "rest-nonexistent-revision", f"The content of revision ({rev_id}) cannot be loaded")
    latest = seen.latest(row.page_id) or row
    if found["html"]:
        etag = f'"{rev_id}/{sha1_hex(row.sha1 or "0")[:16]}"'
        return Answer(200, {"Content-Type": HTML, "ETag": etag}, _html(row, latest.title, content, seen).encode())
    return json_answer(_revision(row, latest.title, content))


def _main_content(row: Revision) -> str | None:
    main = (row.slots or {}).get("main")
    return main.content if main is not None else None


def _revision(row: Revision, title: str, content: str) -> dict[str, Any]:
    main = (row.slots or {}).get("main")
    user = None
    if not row.userhidden and row.user is not None:
        user = {"id": row.userid or None, "name": row.user}
    return {
        "id": row.rev_id,
        "size": row.size or 0,
        "minor": row.minor,
        "timestamp": row.dt,
        "content_model": main.contentmodel if main is not None else "wikitext",
        "page": {"id": row.page_id, "key": title.replace(" ", "_"), "title": title},
        "user": user,
        "comment": None if row.commenthidden else row.comment,
        "source": content,
    }


def _html(row: Revision, title: str, content: str, seen: Seen) -> str:
    """The row's own HTML, or a page that shows the source as it is: the stand-in parses no wikitext."""
    if row.html is not None:
        return row.html
    about = f"https://{seen.wiki.domain}/wiki/Special:Redirect/revision/{row.rev_id}"
    shown = html.escape(title, quote=False)
    source = html.escape(content, quote=False)
    head = f"<head><title>{shown}</title></head>"
    return f'<!DOCTYPE html>\n<html about="{about}">{head}<body><pre>{source}</pre></body></html>\n'


def entity_answer(request: Request, seen: Seen) -> Answer:
    """An entity as Turtle: the revision asked for, else the latest; 404 where there is none, 204 without content."""
    found = ENTITY_PATH.match(request.path)
    revisions = seen.wiki.entities.get(found["entity"].upper(), {}) if found else {}
    asked = _parameter(request, "revision")
    row = revisions.get(asked if asked is not None else max(revisions, default=0))
    if row is None:
        return html_error(404, "No entity was found under this id.")
    if row.turtle is None:
        return Answer(204, {})
    return Answer(200, {"Content-Type": TURTLE}, row.turtle.encode())


def _error(status: int, key: str, message: str) -> Answer:
    body = {
        "errorKey": key,
        "httpCode": status,
        "httpReason": phrase(status),
        "messageTranslations": {"en": message},
    }
    return json_answer(body, status)
