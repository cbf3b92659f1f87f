"""What a wiki answers about a revision, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Slot:
    """The content of one role of a revision. `content` is None if it is hidden, or was not asked for.

    `size` is the wiki's own count, which need not be the length of `content`. `sha1` is in base 16.
    """

    content: str | None = None
    content_model: str | None = None
    content_format: str | None = None
    size: int | None = None
    sha1: str | None = None
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision, as far as it was asked for; what was not is None or empty. `sha1` is in base 16.

    What is hidden from the public is absent, and marked: `is_text_hidden`, `is_user_hidden`, `is_comment_hidden`;
    `is_suppressed`: also from administrators. `raw` is the answer about this revision.
    """

    rev_id: int
    parent_id: int | None = None
    page_id: int | None = None
    namespace: int | None = None
    title: str | None = None
    timestamp: str | None = None
    user: str | None = None
    user_id: int | None = None
    comment: str | None = None
    tags: Sequence[str] = ()
    is_minor: bool = False
    size: int | None = None
    sha1: str | None = None
    slots: Mapping[str, Slot] = field(default_factory=_nothing)
    is_text_hidden: bool = False
    is_user_hidden: bool = False
    is_comment_hidden: bool = False
    is_suppressed: bool = False
    raw: Mapping[str, Any] = field(default_factory=_nothing, repr=False, compare=False)

    @property
    def content(self) -> str | None:
        """The content of the main slot; None if it is hidden."""
        main = self.slots.get("main")
        return None if main is None else main.content


def read_revision(page: Mapping[str, Any], raw: Mapping[str, Any]) -> Revision:
    """The revision of an answer of the Action API (`formatversion=2`). Raises KeyError, TypeError for another form."""
    slots = {role: _slot(slot) for role, slot in (raw.get("slots") or {}).items()}
    return Revision(
        rev_id=_whole(raw["revid"]),
        parent_id=raw.get("parentid"),
        page_id=page.get("pageid"),
        namespace=page.get("ns"),
        title=page.get("title"),
        timestamp=raw.get("timestamp"),
        user=raw.get("user"),
        user_id=raw.get("userid"),
        comment=raw.get("comment"),
        tags=tuple(raw.get("tags") or ()),
        is_minor=bool(raw.get("minor")),
        size=raw.get("size"),
        sha1=raw.get("sha1"),
        slots=MappingProxyType(slots),
        is_text_hidden=any(slot.is_hidden for slot in slots.values()) or bool(raw.get("texthidden")),
        is_user_hidden=bool(raw.get("userhidden")),
        is_comment_hidden=bool(raw.get("commenthidden")),
        is_suppressed=bool(raw.get("suppressed")),
        raw=raw,
    )


def unloaded(raw: Mapping[str, Any]) -> str | None:
    """Why the wiki could not load a content of this revision, which is not hidden; None if it could."""
    if raw.get("slotsmissing"):
        return "its slots cannot be read"
    for role, slot in (raw.get("slots") or {}).items():
        if slot.get("missing"):
            return f"its slot {role} has no record"
        if slot.get("textmissing"):
            return f"the content of its slot {role} cannot be loaded"
    return None


def _slot(raw: Mapping[str, Any]) -> Slot:
    return Slot(
        content=raw.get("content"),
        content_model=raw.get("contentmodel"),
        content_format=raw.get("contentformat"),
        size=raw.get("size"),
        sha1=raw.get("sha1"),
        is_hidden=bool(raw.get("texthidden") or raw.get("sha1hidden")),
    )


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"a revision has the id {value!r}")
    return value
