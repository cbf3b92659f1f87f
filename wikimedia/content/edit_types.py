"""Which elements an edit added, removed or changed: wikitext by mwedittypes, items of Wikidata by statement."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import mwparserfromhell
from mwedittypes import SimpleEditTypes, utils
from mwedittypes.tokenizer import NON_WHITESPACE_LANGUAGES


class InvalidEntity(ValueError):
    """The text of an entity of Wikidata is not what Wikidata writes."""

    error_type = "INVALID_INPUT"


class NoDifference(ValueError):
    """The library found no difference between texts that differ."""

    error_type = "NO_DIFFERENCE"


def edit_types(before: str, after: str, model: str, language: str) -> dict[str, Any]:
    """`edit_types`, element → action → number, and the links, images and templates the edit added.

    `model` is the content model of both texts, `language` that of the wiki. Raises NoDifference for texts that differ
    without an element that does, and InvalidEntity.
    """
    if model == "wikitext":
        return _of_wikitext(before, after, language)
    return {"edit_types": _of_entities(_entity(before), _entity(after))}


def _of_wikitext(before: str, after: str, language: str) -> dict[str, Any]:
    known = language if _has_lists(language) else "en"
    found = SimpleEditTypes("wikitext", before, after, lang=known).get_diff()
    counted = {element: actions for element, actions in (found or {}).items() if actions}
    if not counted and before != after:
        raise NoDifference("mwedittypes found no difference between texts that differ")
    old, new = _parts(before, known), _parts(after, known)
    return {"edit_types": counted, **{f"{kind}_added": sorted((new[kind] - old[kind]).elements()) for kind in new}}


def _has_lists(language: str) -> bool:
    return language in utils.MEDIA_ALIASES or language in utils.CAT_ALIASES or language in NON_WHITESPACE_LANGUAGES


def _parts(text: str, language: str) -> dict[str, Counter[str]]:
    """The targets of links and images and the names of templates, as often as they occur."""
    parsed = mwparserfromhell.parse(text, skip_style_tags=True)
    parts: dict[str, Counter[str]] = {"links": Counter(), "images": Counter(), "templates": Counter()}
    for link in parsed.ifilter_wikilinks():
        kind = {"Media": "images", "Wikilink": "links"}.get(utils.simple_node_class(link, language))
        if kind is not None:
            parts[kind][str(link.title).strip()] += 1
    for template in parsed.ifilter_templates():
        parts["templates"][str(template.name).strip()] += 1
    return parts


_Elements = dict[tuple[str, ...], Any]


def _of_entities(before: Any, after: Any) -> dict[str, dict[str, int]]:
    old, new = dict(_elements(before)), dict(_elements(after))
    counted: dict[str, Counter[str]] = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            action = "insert"
        elif name not in new:
            action = "remove"
        elif old[name] != new[name]:
            action = "change"
        else:
            continue
        counted.setdefault(name[0], Counter())[action] += 1
    return {element: dict(actions) for element, actions in counted.items()}


def _elements(entity: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each element that can change alone, by a name that stays the same: for a statement its id."""
    for element, part in (("Label", "labels"), ("Description", "descriptions"), ("Sitelink", "sitelinks")):
        for name, value in _members(entity, part):
            yield (element, name), value
    for language, aliases in _members(entity, "aliases"):
        for alias in _list_of(aliases, f"aliases.{language}"):
            yield ("Alias", language, json.dumps(alias, sort_keys=True)), alias
    for group, statements in _members(entity, "claims"):
        for statement in _list_of(statements, f"claims.{group}"):
            if not isinstance(statement, dict):
                raise InvalidEntity(f"claims.{group} has {statement!r:.100}; a statement is an object")
            yield ("Statement", str(statement.get("id") or (group, json.dumps(statement, sort_keys=True)))), statement


def _members(entity: Any, part: str) -> list[tuple[str, Any]]:
    members = entity.get(part) or {}
    if part == "claims":
        members = members or entity.get("statements") or {}
    # An empty mapping is written as an empty list there.
    if not isinstance(members, dict):
        raise InvalidEntity(f"{part} is {members!r:.100}; it is an object")
    return list(members.items())


def _list_of(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidEntity(f"{name} is {value!r:.100}; it is a list")
    return value


def _entity(text: str) -> Any:
    try:
        entity = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise InvalidEntity(f"an entity is JSON, and this text is not: {error}") from None
    if not isinstance(entity, dict):
        raise InvalidEntity(f"an entity is a JSON object, not {type(entity).__name__}")
    return entity
