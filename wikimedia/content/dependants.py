"""Which pages have to be told of a change: an index of links by what they lead to, and a walk along it in pages.

How this works: the walk is data: the targets that are left, each with the row after which it continues, so that it can
stop after any page and go on later. What it has told is remembered where pages can be reached in several ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

PAGE = 500
INTERNAL = "/wiki/"
# Namespaces whose pages are part of those that name them: templates, modules, files.
TRANSCLUDED = frozenset((10, 828, 6))

# (target, key after which it continues, rows at most) → (key, row) in order.
Scan = Callable[[str, Any, int], list[tuple[Any, Mapping[str, Any]]]]


def address(title: str) -> str:
    """Where a link to a page leads: `/wiki/Title_with_underscores`."""
    return INTERNAL + title.strip().replace(" ", "_")


def encoded(link: str) -> str:
    """The address as a part of a URI, written as wikis write it."""
    return quote(link, safe="/:;@$!*(),~", errors="surrogatepass")


def target_of(link: Mapping[str, Any]) -> str | None:
    """Where an internal link leads, without its section; None for an external one."""
    text = link.get("link")
    if link.get("external") is not False or not isinstance(text, str) or not text.startswith(INTERNAL):
        return None
    return address(unquote(text[len(INTERNAL) :].partition("#")[0]))


def link_rows(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of the index that a change of links makes and removes. What is added and removed at once is there."""
    found = {
        name: {target for link in event.get(name) or () if (target := target_of(link)) is not None}
        for name in ("added_links", "removed_links")
    }
    for kind, targets in (
        ("insert", found["added_links"]),
        ("delete", found["removed_links"] - found["added_links"]),
    ):
        for target in sorted(targets):
            yield {"changelog_kind": kind, "target": target}


def begun(targets: list[str], page_id: int) -> dict[str, Any]:
    """The walk from a page with these addresses."""
    return {"left": [[target, None, 1] for target in targets], "told": [page_id], "count": 0, "sequence": 0}


def next_page(walk: dict[str, Any], scan: Scan, *, depth_max: int, pages_max: int) -> list[dict[str, Any]]:
    """The next pages to tell, at most `PAGE`; the walk has then come so far, and is over when nothing is `left`.

    `depth_max`: 1 for direct dependants. `pages_max`: of the whole walk; the rest is in `cut`.
    """
    found: list[dict[str, Any]] = []
    told = set(walk["told"])
    while walk["left"] and len(found) < PAGE:
        target, after, depth = walk["left"][0]
        asked = PAGE - len(found)
        rows = scan(target, after, asked)
        for _, row in rows:
            if row["page_id"] in told:
                continue
            told.add(row["page_id"])
            found.append(dict(row))
            if depth < depth_max:
                walk["left"].append([address(row["page_title"]), None, depth + 1])
        if len(rows) < asked:
            walk["left"].pop(0)
        else:
            walk["left"][0] = [target, list(rows[-1][0]), depth]
    room = pages_max - walk["count"]
    if len(found) >= room and (walk["left"] or len(found) > room):
        walk["cut"], walk["left"] = True, []
    found = found[:room]
    # Along one target no page comes twice.
    if depth_max > 1 or len(walk["left"]) > 1 or (walk["left"] and len(walk["told"]) > 1):
        walk["told"] = sorted(told)
    walk["count"] += len(found)
    walk["sequence"] += 1
    return found
