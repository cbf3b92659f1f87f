"""Writes the dump of a wiki, one file at a time, from a table of its revisions in order.

How this works: rows are read a few at a time, in order of page and revision. What is in memory is the page that is
read, up to the size of a file: a larger page is written as several files, each with some of its revisions. A file
begins where the one before it ends, which is all that has to be known to go on after an interruption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import dump_xml
from .dump_files import DumpFile, file_name

Row = dict[str, Any]
ROWS_MAX = 100
DIGITS = 16
# Behind the key of every revision of a page.
_LAST = "~"
_FORMATS = {"wikitext": "text/x-wiki", "css": "text/css", "javascript": "text/javascript", "json": "application/json"}


@dataclass(frozen=True)
class Settings:
    """Where files go, and how large they and the streams in them become, in bytes of XML."""

    folder: Path
    file_bytes_max: int
    stream_bytes_max: int
    pages_per_stream: int
    generator: str


@dataclass(frozen=True)
class Tables:
    """As a job reads them."""

    history: Any
    pages: Any
    namespaces: Any


@dataclass
class Written:
    """A file. `name` None: there were no more pages. `after`: the key it ends with; None: it was the last one.

    `of_page`: the page of which the next file has further revisions.
    """

    name: str | None = None
    after: list[str] | None = None
    of_page: int | None = None
    pages: int = 0
    revisions: int = 0
    bytes_written: int = 0
    missing: list[Row] = field(default_factory=list)


@dataclass
class _Page:
    """The page that is read: its revisions so far, and the key of the last one."""

    page_id: int
    title: str
    namespace: int
    redirect: str | None
    is_part: bool
    after: list[str]
    revisions: list[str] = field(default_factory=list)
    xml_bytes: int = 0
    first_rev: int = 0
    last_rev: int = 0
    # The revision read before the current one, whether or not it was written.
    previous: int = 0
    missing: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        xml = dump_xml.revision(row)
        self.revisions.append(xml)
        self.xml_bytes += len(xml)
        self.first_rev = self.first_rev or row["rev_id"]
        self.last_rev = row["rev_id"]


def key_of(wiki: str, page_id: int, rev_id: int) -> list[str]:
    """The key of a revision: in order of the numbers, which are of one length."""
    return [wiki, f"{page_id:0{DIGITS}}", f"{rev_id:0{DIGITS}}"]


def history_row(event: Mapping[str, Any]) -> Row:
    """A revision as the table keeps it, of a change of its page: without what is hidden."""
    page, revision = event["page"], event["revision"]
    visible = {part: revision.get(f"is_{part}_visible") is not False for part in ("content", "editor", "comment")}
    row: Row = {"page_id": page["page_id"], "rev_id": revision["rev_id"], "rev_dt": revision["rev_dt"]}
    row |= {f"is_{part}_visible": can_be_seen for part, can_be_seen in visible.items()}
    row |= {"parent_id": revision.get("rev_parent_id"), "is_minor": revision.get("is_minor_edit") is True}
    editor = revision.get("editor")
    if visible["editor"] and isinstance(editor, Mapping):
        row |= {"user": editor.get("user_text"), "user_id": editor.get("user_id")}
    if visible["comment"]:
        row["comment"] = revision.get("comment")
    if visible["content"]:
        row["sha1"] = revision.get("rev_sha1")
    slots = revision.get("content_slots") or {}
    roles = ["main", *sorted(role for role in slots if role != "main")]
    row["slots"] = [_slot(role, slots.get(role) or {}, revision, visible["content"]) for role in roles]
    redirect = page.get("redirect_page_link")
    if page.get("is_redirect") is True and isinstance(redirect, Mapping):
        row["redirect_to"] = redirect.get("page_title")
    return {name: value for name, value in row.items() if value is not None}


def _slot(role: str, slot: Mapping[str, Any], revision: Mapping[str, Any], visible: bool) -> Row:
    model = str(slot.get("content_model") or "wikitext")
    made = {
        "role": role,
        "model": model,
        "format": slot.get("content_format") or _FORMATS.get(model, "text/plain"),
        "origin": slot.get("origin_rev_id"),
        "size": slot.get("content_size") if "content_size" in slot or role != "main" else revision.get("rev_size"),
        "sha1": slot.get("content_sha1") if visible else None,
        "text": slot.get("content_body") if visible else None,
    }
    return {name: value for name, value in made.items() if value is not None}


class DumpWriter:
    """Writes files of one dump."""

    def __init__(self, wiki: str, date: str, settings: Settings, tables: Tables) -> None:
        self._wiki, self._date, self._settings = wiki, date, settings
        self._history, self._pages = tables.history, tables.pages
        site = [{**row, "namespace": key[1]} for key, row in tables.namespaces.scan(prefix=(wiki,))]
        self._header = dump_xml.header(site, wiki, settings.generator)

    def write(self, after: list[str] | None, of_page: int | None) -> Written:
        """The next file, behind the key `after`, which is in the page `of_page` if a part of that is written.

        The first one takes the place of all files of an earlier dump of this date.
        """
        settings, done = self._settings, Written()
        folder = settings.folder / self._wiki / self._date
        if after is None:
            for earlier in folder.glob(f"{self._wiki}-{self._date}-*.bz2"):
                earlier.unlink()
        file = DumpFile(folder, self._header, dump_xml.FOOTER, settings.pages_per_stream, settings.stream_bytes_max)
        try:
            self._fill(file, done, after, of_page)
        finally:
            file.abandon()
        return done

    def _fill(self, file: DumpFile, done: Written, after: list[str] | None, of_page: int | None) -> None:
        first: tuple[int, int] | None = None
        for page in self._pages_of(after, of_page):
            if file.pages and (page.is_part or file.xml_bytes + page.xml_bytes > self._settings.file_bytes_max):
                # It begins a file of its own: the next one.
                break
            if page.revisions:
                xml = dump_xml.page(page.title, page.namespace, page.page_id, page.redirect, page.revisions)
                file.add(page.page_id, page.title, xml, len(page.revisions))
                first = first or (page.page_id, page.first_rev)
                last = (page.page_id, page.last_rev)
                done.name = file_name(self._wiki, self._date, first, last, is_part=page.is_part)
            done.missing += page.missing
            done.after = page.after
            done.of_page = page.page_id if page.is_part else None
            if page.is_part:
                break
        else:
            done.after = done.of_page = None
        if done.name is not None:
            file.finish(done.name)
            done.pages, done.revisions, done.bytes_written = file.pages, file.revisions, file.bytes_written

    def _pages_of(self, after: list[str] | None, of_page: int | None) -> Iterator[_Page]:
        """The pages from there on, of each all revisions or, of a large one, as many as a file may have."""
        page: _Page | None = None
        for key, row in self._rows(after):
            if page is None or page.page_id != row["page_id"]:
                if page is not None:
                    yield page
                page = self._page(row, of_page)
            elif page.xml_bytes >= self._settings.file_bytes_max:
                page.is_part = True
                yield page
                about = page.page_id, page.title, page.namespace, page.redirect
                page = _Page(*about, is_part=True, after=page.after, previous=page.previous)
            self._add(page, row)
            page.after = key
        if page is not None:
            yield page

    def _rows(self, after: list[str] | None) -> Iterator[tuple[list[str], Row]]:
        """The revisions of pages that are not deleted, with their keys."""
        known: tuple[int, bool] = (-1, False)
        while rows := self._history.scan(prefix=(self._wiki,), after=after, rows_max=ROWS_MAX):
            for found, row in rows:
                after = list(found)
                if row["page_id"] != known[0]:
                    known = row["page_id"], self._pages.get((self._wiki, row["page_id"])) is not None
                    if not known[1]:
                        # Go on behind its last revision.
                        after = [self._wiki, found[1], _LAST]
                        break
                yield after, row

    def _page(self, row: Row, of_page: int | None) -> _Page:
        page_id = row["page_id"]
        now = self._pages.get((self._wiki, page_id)) or {}
        newest = self._history.get(key_of(self._wiki, page_id, now.get("rev_id", 0))) or {}
        title, namespace = str(now.get("page_title", "")).replace("_", " "), now.get("namespace_id") or 0
        is_part = of_page == page_id
        return _Page(page_id, title, namespace, newest.get("redirect_to"), is_part, after=[])

    def _add(self, page: _Page, row: Row) -> None:
        """Add a revision to the page, or to what is missing if its text is."""
        about = {"page_id": page.page_id, "page_title": page.title}
        parent = row.get("parent_id") or 0
        if parent not in (0, page.previous) and self._history.get(key_of(self._wiki, page.page_id, parent)) is None:
            page.missing.append({**about, "rev_id": parent, "reason": "not_announced"})
        page.previous = row["rev_id"]
        if row["is_content_visible"] and any("text" not in slot for slot in row["slots"]):
            page.missing.append({**about, "rev_id": row["rev_id"], "reason": "content_missing"})
            return
        page.add(row)


def is_date(text: str) -> bool:
    """Whether it can be part of the name of a folder and file: eight digits."""
    return re.fullmatch(r"[0-9]{8}", text) is not None


def is_wiki(text: str) -> bool:
    """Whether it is the name of a wiki's database, which can be that of a folder."""
    return re.fullmatch(r"[a-z0-9_]{1,64}", text) is not None
