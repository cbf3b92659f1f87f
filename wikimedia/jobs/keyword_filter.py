"""Comments and added texts that contain keywords."""

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition

from ..content import pages
from ..content.keywords import InvalidKeywords, Keywords, lists_of
from ..content.lines import line_diff

FIELDS = ("comment", "text")
FILE = Path(__file__).parent.parent / "keywords.yaml"
# How often the file is looked at for changes.
SECONDS = 1.0

_log = logging.getLogger("headwater.job.keyword_filter")


class Lists:
    """The lists of the file, as it is now. While it cannot be used, the last ones that could be are kept."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed_at = file.stat().st_mtime_ns
        self._looked_at = time.monotonic()
        self._lists = self._read()

    def current(self) -> Mapping[str, Keywords]:
        """Keywords by field."""
        if time.monotonic() - self._looked_at >= SECONDS:
            self._looked_at = time.monotonic()
            try:
                changed_at = self._file.stat().st_mtime_ns
                if changed_at != self._changed_at:
                    self._changed_at = changed_at
                    self._lists = self._read()
            except (OSError, InvalidKeywords) as error:
                _log.warning("%s cannot be used, the keywords stay as they were: %s", self._file.name, error)
        return self._lists

    def _read(self) -> Mapping[str, Keywords]:
        lists = lists_of(self._file.read_text(encoding="utf-8"))
        if unknown := lists.keys() - set(FIELDS):
            raise InvalidKeywords(
                f"{self._file.name}: {', '.join(sorted(unknown))}: the fields are {', '.join(FIELDS)}."
            )
        return lists


lists = Lists(FILE)


def checked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event; raises InvalidInput if it lacks what an event of its stream has."""
    if "wiki_id" in event:
        return pages.checked(event, context)
    pages.field(event, "wiki", str)
    return event


def key(event: Mapping[str, Any], context: Context) -> Any:
    """The page: its text is kept."""
    return pages.key(event, context) if "wiki_id" in event else [event["wiki"], event.get("title")]


def fields_of(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """The texts of an event in which keywords are searched for: each with its field and what it is about."""
    if "wiki_id" not in event:
        return Transition(None, events=list(_of_recent_change(event)))
    page = pages.Page(**state or {})
    compared = pages.compared(event, page)
    return Transition(pages.kept(event, page), events=[] if compared is None else list(_of_edit(event, compared)))


def _of_recent_change(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    comment, revision = event.get("comment"), event.get("revision")
    about = {"dt": event["meta"]["dt"], "wiki_id": event["wiki"]}
    if isinstance(title := event.get("title"), str):
        about["page_title"] = title
    if isinstance(revision, Mapping) and isinstance(revision.get("new"), int):
        about["rev_id"] = revision["new"]
    if isinstance(comment, str):
        yield _item(event, about, "comment", comment)


def _of_edit(event: Mapping[str, Any], compared: pages.Comparison) -> Iterator[dict[str, Any]]:
    about = {**pages.about(event), "rev_id": compared.rev_id}
    revision = event["revision"]
    comment = revision.get("comment")
    if revision.get("is_comment_visible") is not False and isinstance(comment, str):
        yield _item(event, about, "comment", comment)
    if compared.before is not None and compared.after is not None:
        yield _item(event, about, "text", "\n".join(line_diff(compared.before, compared.after).added))


def _item(event: Mapping[str, Any], about: Mapping[str, Any], field: str, text: str) -> dict[str, Any]:
    meta = event["meta"]
    known = {"event_id": str(meta.get("id", "")), "event_stream": str(meta.get("stream", ""))}
    return {**about, **known, "field": field, "text": text}


def matches(item: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The keywords in one text."""
    searched = lists.current().get(item["field"])
    found = None if searched is None else searched.find(item.pop("text"))
    return None if found is None else {**item, "keywords": found.keywords, "snippet": found.snippet}


keyword_filter = Job(
    "keyword_filter",
    ("mediawiki.page_content_change.v1", "mediawiki.recentchange"),
    steps=(
        Each("checked", checked),
        Dedupe().step("dedupe"),
        PerKey("fields", key, fields_of),
        Each("matches", matches),
    ),
    output=ToStream("mediawiki.keyword_match.v1", "1.0.0"),
    summary="Comments and added texts that contain keywords.",
)
