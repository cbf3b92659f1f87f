"""`prop=revisions` of the Action API: what is shown of a revision, and how many of them one answer has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.testing.mediawiki.exchange import ApiRefusal
from headwater.testing.mediawiki.page_set import PageSet
from headwater.testing.mediawiki.parameters import Parameters, position
from headwater.testing.mediawiki.rows import Revision, Slot, sha1_hex
from headwater.testing.mediawiki.store import Seen

PROPERTIES = (
    "ids",
    "flags",
    "timestamp",
    "user",
    "userid",
    "size",
    "slotsize",
    "sha1",
    "slotsha1",
    "contentmodel",
    "comment",
    "content",
    "tags",
    "roles",
)
PROPERTIES_DEFAULT = "ids|timestamp|flags|comment|user"
ROLES = ("main", "mediainfo")
REVISIONS_MAX = 500
_OF_SLOTS = frozenset({"content", "contentmodel", "slotsize", "slotsha1"})


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a revision was asked for. `roles` of None is the old form, without slots."""

    properties: frozenset[str]
    roles: tuple[str, ...] | None
    every_role: bool

    def has(self, *names: str) -> bool:
        """Whether any of these properties was asked for."""
        return not self.properties.isdisjoint(names)


@dataclass(frozen=True, slots=True)
class Part:
    """The revisions of one answer, by page, and where the next answer begins; None at the end."""

    by_page: dict[int, list[dict[str, Any]]]
    continue_at: str | None = None


def revisions_of(parameters: Parameters, pages: PageSet, seen: Seen, *, result_bytes_max: int) -> Part:
    """The revisions asked for by id, of one page, or the latest of several pages.

    :raises ApiRefusal: parameters that are wrong or do not go together.
    """
    shown = _shown(parameters, seen)
    lists = [name for name in ("rvlimit", "rvdir") if parameters.has(name)]
    lists = [name for name in lists if name != "rvdir" or parameters.text(name) == "newer"]
    direction = parameters.choice("rvdir", ("newer", "older"), "older")
    names = ", ".join(f'"{name}"' for name in lists)
    if pages.revisions is not None and lists:
        raise ApiRefusal("invalidparammix", f'The "revids" parameter may not be used with the list options ({names}).')
    if lists and len(pages.good) > 1:
        what = '"titles" or "pageids" was used to supply multiple pages'
        raise ApiRefusal("invalidparammix", f"{what}, but the {names} parameter may only be used on a single page.")
    most = parameters.most if shown.has("content") else REVISIONS_MAX
    limit = parameters.limit("rvlimit", most, module="revisions") if lists else max(most, REVISIONS_MAX)
    rows = _positioned(pages, seen, direction if lists else None)
    start = position(parameters.text("rvcontinue"), 1 if pages.revisions is not None else 2)
    if start is not None:
        is_older = bool(lists) and direction == "older"
        rows = [(at, row) for at, row in rows if (at <= start if is_older else at >= start)]
    return _part(rows, shown, limit, result_bytes_max, parameters)


def _positioned(pages: PageSet, seen: Seen, direction: str | None) -> list[tuple[tuple[int, ...], Revision]]:
    """The revisions to list with their positions, in order; `direction`: whole histories, else what was asked for."""
    rows: list[tuple[tuple[int, ...], Revision]]
    if pages.revisions is not None:
        rows = [((row.rev_id,), row) for row in pages.revisions]
    elif direction is not None:
        rows = [(_moment(row), row) for page in pages.good for row in seen.history(page)]
    else:
        rows = [((row.page_id, row.rev_id), row) for row in pages.good.values()]
    return sorted(rows, key=lambda one: one[0], reverse=direction == "older")


def _shown(parameters: Parameters, seen: Seen) -> Shown:
    properties = parameters.known("rvprop", PROPERTIES_DEFAULT, PROPERTIES, module="revisions")
    if not parameters.has("rvslots"):
        return Shown(frozenset(properties), None, every_role=False)
    every = "*" in parameters.several("rvslots")
    roles = parameters.known("rvslots", "", (*ROLES, *seen.wiki.roles), module="revisions")
    return Shown(frozenset(properties), tuple(roles), every)


def _moment(row: Revision) -> tuple[int, ...]:
    """The position of a revision in the history of its page, as `rvcontinue` has it."""
    return int("".join(letter for letter in row.dt if letter.isdigit())), row.rev_id


def _part(
    rows: Sequence[tuple[tuple[int, ...], Revision]],
    shown: Shown,
    limit: int,
    result_bytes_max: int,
    parameters: Parameters,
) -> Part:
    by_page: dict[int, list[dict[str, Any]]] = {}
    used = 0
    for number, (at, row) in enumerate(rows):
        continue_at = "|".join(map(str, at))
        if number == limit:
            return Part(by_page, continue_at)
        item = revision_item(row, shown)
        used += value_bytes(item)
        # The first is always sent, however large: a client that follows `continue` would never come to an end.
        if used > result_bytes_max and number:
            limit_text = f"would otherwise be larger than the limit of {result_bytes_max:,} bytes"
            parameters.warn("result", f"This result was truncated because it {limit_text}.")
            return Part(by_page, continue_at)
        by_page.setdefault(row.page_id, []).append(item)
    return Part(by_page)


def value_bytes(value: Any) -> int:
    """The size MediaWiki takes a value for: its texts and numbers, without keys and punctuation."""
    if isinstance(value, dict):
        return sum(map(value_bytes, value.values()))
    if isinstance(value, list):
        return sum(map(value_bytes, value))
    return len(value.encode("utf-8", "replace")) if isinstance(value, str) else len(str(value))


def revision_item(row: Revision, shown: Shown) -> dict[str, Any]:
    """The revision as an answer has it, in the order of the API's keys.

    What is hidden is left out and marked as hidden. Booleans that are false are absent, except `minor`.
    """
    item = _facts(row, shown)
    if row.slots is None and shown.has("roles", *_OF_SLOTS):
        item["slotsmissing"] = True
    if row.slots is not None and shown.has("roles"):
        item["roles"] = _sorted_roles(row.slots) or ["main"]
    if row.slots is not None and shown.has(*_OF_SLOTS):
        item |= _slots(row, row.slots, shown)
    if shown.has("comment"):
        item |= {"commenthidden": True} if row.commenthidden else {"comment": row.comment or ""}
    if shown.has("tags"):
        item["tags"] = row.tags
    if row.suppressed and _is_hidden(row, shown):
        item["suppressed"] = True
    return item


def _facts(row: Revision, shown: Shown) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if shown.has("ids"):
        item |= {"revid": row.rev_id, "parentid": row.parent_id}
    if shown.has("flags"):
        item["minor"] = row.minor
    if shown.has("user", "userid"):
        item |= _user(row, shown)
    if shown.has("timestamp"):
        item["timestamp"] = row.dt
    if shown.has("size"):
        item["size"] = row.size or 0
    if shown.has("sha1"):
        item |= {"sha1hidden": True} if row.texthidden else {"sha1": sha1_hex(row.sha1 or "")}
    return item


def _is_hidden(row: Revision, shown: Shown) -> bool:
    """Whether anything that was asked for is hidden."""
    text = row.texthidden and shown.has("sha1", "slotsha1", "content")
    user = row.userhidden and shown.has("user", "userid")
    return text or user or (row.commenthidden and shown.has("comment"))


def _user(row: Revision, shown: Shown) -> dict[str, Any]:
    # Public data leave out some editors without saying that they are hidden.
    if row.userhidden or row.user is None:
        return {"userhidden": True}
    user: dict[str, Any] = {"user": row.user} if shown.has("user") else {}
    if not row.userid:
        user["anon"] = True
    if shown.has("userid"):
        user["userid"] = row.userid
    return user


def _sorted_roles(roles: Iterable[str]) -> list[str]:
    return sorted(roles, key=lambda role: (role != "main", role))


def _slots(row: Revision, slots: dict[str, Slot | None], shown: Shown) -> dict[str, Any]:
    if row.texthidden and not slots:
        # Rows of hidden revisions have nothing of their slots, which every revision has.
        slots = {"main": Slot()}
    if shown.roles is None:
        main = slots.get("main")
        return {"textmissing": True} if main is None else _slot(main, row, shown, flat=True)
    roles = [role for role in _sorted_roles(slots) if shown.every_role or role in shown.roles]
    return {"slots": {role: _slot_or_missing(slots[role], row, shown) for role in roles}}


def _slot_or_missing(slot: Slot | None, row: Revision, shown: Shown) -> dict[str, Any]:
    return {"missing": True} if slot is None else _slot(slot, row, shown, flat=False)


def _slot(slot: Slot, row: Revision, shown: Shown, *, flat: bool) -> dict[str, Any]:
    """A slot as an answer has it; `flat`: its keys are next to those of the revision, which keep their values."""
    item: dict[str, Any] = {}
    if shown.has("slotsize") and not (flat and shown.has("size")):
        item["size"] = slot.size or 0
    if shown.has("slotsha1") and not (flat and shown.has("sha1")):
        item |= {"sha1hidden": True} if row.texthidden else {"sha1": sha1_hex(slot.sha1 or "")}
    if shown.has("contentmodel"):
        item["contentmodel"] = slot.contentmodel
    if shown.has("content"):
        if row.texthidden:
            item["texthidden"] = True
        elif slot.content is None:
            item["textmissing"] = True
        else:
            names = ("contentformat", "contentmodel") if flat else ("contentmodel", "contentformat")
            item |= {name: getattr(slot, name) for name in names}
            item["content"] = slot.content
    return item
