"""`action=query` of the Action API: modules, continuation and warnings put together into one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headwater.testing.mediawiki.exchange import ApiRefusal
from headwater.testing.mediawiki.links import LIST_PARAMETERS, LISTS, listed, transcluded_in
from headwater.testing.mediawiki.page_set import page_set
from headwater.testing.mediawiki.parameters import Parameters, unserved
from headwater.testing.mediawiki.revisions import Part, revisions_of
from headwater.testing.mediawiki.store import Seen
from headwater.testing.mediawiki.titles import NAMESPACES

PROPS = ("revisions", "transcludedin")
METAS = ("siteinfo",)
SITE_PROPERTIES = ("general", "namespaces")
_SERVED_MAIN = ("action", "format", "formatversion", "maxlag", "prop", "list", "meta", "siprop", "continue")
_SERVED_PAGES = ("titles", "pageids", "revids", "rvprop", "rvslots", "rvlimit", "rvdir", "rvcontinue")
_SERVED_LINKS = tuple(f"{prefix}{name}" for prefix in ("bl", "iu") for name in LIST_PARAMETERS)
_WITHOUT_EFFECT = ("utf8", "ascii", "uselang", "smaxage", "maxage", "origin", "crossorigin")
SERVED = frozenset(
    (*_SERVED_MAIN, *_SERVED_PAGES, *_SERVED_LINKS, "tilimit", "ticontinue", "tinamespace", *_WITHOUT_EFFECT)
)
# Parameters of real wikis that would change the answer: to ignore one would serve something else than was asked for.
_OF_MAIN = ("assert", "assertuser", "callback", "curtimestamp", "errorformat", "requestid", "responselanginfo")
_OF_QUERY = ("converttitles", "export", "exportnowrap", "generator", "indexpageids", "iwurl", "redirects", "servedby")
_OF_RANGES = ("rvstart", "rvend", "rvstartid", "rvendid", "rvuser", "rvexcludeuser", "rvtag")
_OF_CONTENT = ("rvsection", "rvparse", "rvexpandtemplates", "rvgeneratexml", "rvcontentformat")
_OF_DIFFS = ("rvdiffto", "rvdifftotext", "rvdifftotextpst")
_OF_LISTS = ("bldir", "blfilterredir", "blredirect", "iudir", "iufilterredir", "iuredirect", "tiprop", "tishow")
_OF_SITE = ("sifilteriw", "siinlanguagecode", "sinumberingroup", "sishowalldb")
UNSERVED = frozenset((*_OF_MAIN, *_OF_QUERY, *_OF_RANGES, *_OF_CONTENT, *_OF_DIFFS, *_OF_LISTS, *_OF_SITE))


def check_form(parameters: Parameters) -> None:
    """The one form that is served, and no parameter that would need something else.

    :raises ApiRefusal: it is another.
    """
    if parameters.text("format") != "json" or parameters.text("formatversion") != "2":
        form = "&".join(f"{name}={parameters.text(name) or ''}" for name in ("format", "formatversion"))
        raise unserved(f"the form {form}", "ask for format=json&formatversion=2")
    for name in sorted(parameters.names()):
        if name in UNSERVED or name.startswith(("rvcontentformat-", "g")):
            raise unserved(f'the parameter "{name}"', "leave it out")
    unknown = sorted(set(parameters.names()) - SERVED)
    if unknown:
        kind = "parameters" if len(unknown) > 1 else "parameter"
        parameters.warn("main", f"Unrecognized {kind}: {', '.join(unknown)}.")


def query(parameters: Parameters, seen: Seen, *, result_bytes_max: int, links_per_answer: int) -> dict[str, Any]:
    """The body of the answer.

    :raises ApiRefusal: parameters that are wrong or do not go together.
    """
    props = parameters.known("prop", "", PROPS, module="query")
    lists = parameters.known("list", "", tuple(LISTS), module="query")
    metas = parameters.known("meta", "", METAS, module="query")
    pages = page_set(parameters, seen)
    found: dict[str, Any] = {"normalized": pages.normalized, "badrevids": pages.badrevids, "pages": pages.entries()}
    found = {name: value for name, value in found.items() if value}
    of_props: dict[str, str | None] = {}
    if "revisions" in props:
        part = revisions_of(parameters, pages, seen, result_bytes_max=result_bytes_max)
        of_props["rvcontinue"] = part.continue_at
        _give(found.get("pages", ()), part)
    if "transcludedin" in props:
        of_props["ticontinue"] = transcluded_in(found.get("pages", ()), parameters, seen, links_per_answer)
    of_lists: dict[str, str | None] = {}
    for name in lists:
        found[name], of_lists[f"{LISTS[name].prefix}continue"] = listed(LISTS[name], parameters, seen, links_per_answer)
    if metas:
        found |= site_info(parameters, seen)
    return _body(found, _given(of_props), _given(of_lists), parameters)


def _give(entries: Sequence[dict[str, Any]], part: Part) -> None:
    for entry in entries:
        if entry.get("pageid") in part.by_page:
            entry["revisions"] = part.by_page[entry["pageid"]]


def _given(places: dict[str, str | None]) -> dict[str, str]:
    return {name: place for name, place in places.items() if place is not None}


def _body(
    found: dict[str, Any], of_props: dict[str, str], of_lists: dict[str, str], parameters: Parameters
) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if not of_props:
        body["batchcomplete"] = True
    if of_props or of_lists:
        body["continue"] = {**of_props, **of_lists, "continue": "||" if of_props else "-||"}
    if parameters.warnings:
        body["warnings"] = {module: {"warnings": "\n".join(texts)} for module, texts in parameters.warnings.items()}
    if found:
        body["query"] = found
    return body


def site_info(parameters: Parameters, seen: Seen) -> dict[str, Any]:
    """What `meta=siteinfo` says of the wiki."""
    asked = parameters.known("siprop", "general", SITE_PROPERTIES, module="siteinfo")
    domain = seen.wiki.domain
    found: dict[str, Any] = {}
    if "general" in asked:
        found["general"] = {
            "mainpage": "Main Page",
            "base": f"https://{domain}/wiki/Main_Page",
            "sitename": domain,
            "lang": domain.partition(".")[0],
            "case": "first-letter",
            "server": f"//{domain}",
            "servername": domain,
            "wikiid": seen.wiki.name,
            "articlepath": "/wiki/$1",
            "scriptpath": "/w",
            "script": "/w/index.php",
        }
    if "namespaces" in asked:
        own = dict(seen.wiki.prefixes.values())
        found["namespaces"] = {
            str(number): _namespace(number, canonical, own.get(number, canonical))
            for number, canonical in NAMESPACES.items()
        }
    return found


def _namespace(number: int, canonical: str, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": number, "case": "first-letter", "name": name}
    if canonical:
        entry["canonical"] = canonical
    return {**entry, "content": number == 0}


def check_action(parameters: Parameters) -> None:
    """:raises ApiRefusal: the action is another than `query`."""
    if not parameters.text("action"):
        raise ApiRefusal("missingparam", 'The "action" parameter must be set.')
    parameters.choice("action", ("query",))
