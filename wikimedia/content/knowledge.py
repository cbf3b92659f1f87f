"""The objects that a page is kept as: one of the page, and a node for each of its parts, in the words of schema.org.

How this works: an object has an id that does not change with its content. That of a node is made of its headings, and
of how many parts before it have the same. An object is stored again only if the hash of its content is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]


def id_of(wiki_id: str, page_id: int, *path: Any) -> str:
    """The id of a page, or of a node of it: 32 characters of hexadecimal digits."""
    key = json.dumps([wiki_id, page_id, *path])
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def objects_of(event: Mapping[str, Any], page: Mapping[str, Any]) -> list[Object]:
    """The objects of a page (`html_sections.page_of`), the page first and then its nodes in order, each with its
    `content_hash`.
    """
    wiki_id, page_id = event["wiki_id"], event["page"]["page_id"]
    own_id, seen = id_of(wiki_id, page_id), dict[str, int]()
    nodes: list[Object] = []
    headings: list[tuple[int, str]] = []
    for part in page["parts"]:
        headings = [one for one in headings if one[0] < part["level"]]
        headings.append((part["level"], part["heading"]))
        path = [heading for _, heading in headings]
        number = seen[repr(path)] = seen.get(repr(path), -1) + 1
        node = {"name": part["heading"], "level": part["level"], "unsafe_html": part["html"], "is_part_of": own_id}
        nodes.append({"object_id": id_of(wiki_id, page_id, path, number), "type": "node", **node})
    whole = {
        "name": page["title"] or event["page"]["page_title"].replace("_", " "),
        "about": page["categories"],
        "counts": page["counts"],
        "has_part": [node["object_id"] for node in nodes],
    }
    if isinstance(url := event["meta"].get("uri"), str):
        whole["url"] = url
    made = [{"object_id": own_id, "type": "page", **whole}, *nodes]
    return [{**one, "content_hash": hash_of(one)} for one in made]


def hash_of(content: Object) -> str:
    """What is equal for objects with the same content."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
