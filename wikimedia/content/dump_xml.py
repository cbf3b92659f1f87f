"""Pages with their revisions as MediaWiki exports them: XML of the version 0.11."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

VERSION = "0.11"
_NAMESPACE = f"http://www.mediawiki.org/xml/export-{VERSION}/"
_HIDDEN = ' deleted="deleted" />\n'
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")
# Characters that no XML has, in whatever way they are written.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def header(namespaces: Sequence[Mapping[str, Any]], wiki: str, generator: str) -> str:
    """What is in front of the pages. `namespaces`: those of the wiki, each with what is known of the wiki."""
    site: Mapping[str, Any] = namespaces[0] if namespaces else {}
    lines = [
        f'<mediawiki xmlns="{_NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{_NAMESPACE} {_NAMESPACE.removesuffix("/")}.xsd" version="{VERSION}" '
        f"xml:lang={_quoted(_language(site))}>",
        "  <siteinfo>",
        f"    <sitename>{_text(site.get('sitename') or wiki)}</sitename>",
        f"    <dbname>{_text(wiki)}</dbname>",
        f"    <base>{_text(site.get('home_page') or '')}</base>",
        f"    <generator>{_text(generator)}</generator>",
        f"    <case>{_text(site.get('case_setting') or 'first-letter')}</case>",
        "    <namespaces>",
        *(f"      {_namespace(one)}" for one in sorted(namespaces, key=lambda one: int(one["namespace"]))),
        "    </namespaces>",
        "  </siteinfo>",
    ]
    return "".join(f"{line}\n" for line in lines)


FOOTER = "</mediawiki>\n"


def page(title: str, namespace: int, page_id: int, redirect: str | None, revisions: Iterable[str]) -> str:
    """A page with revisions that `revision` has made. `title` has its namespace; `redirect`: where it leads."""
    return "".join(
        (
            f"  <page>\n    <title>{_text(title)}</title>\n    <ns>{namespace}</ns>\n    <id>{page_id}</id>\n",
            "" if redirect is None else f"    <redirect title={_quoted(redirect)} />\n",
            *revisions,
            "  </page>\n",
        )
    )


def revision(row: Mapping[str, Any]) -> str:
    """A revision in the form of the table `content_history`; what is hidden is not in it."""
    return "".join(_revision(row))


def _revision(row: Mapping[str, Any]) -> Iterator[str]:
    yield f"    <revision>\n      <id>{row['rev_id']}</id>\n"
    if row.get("parent_id"):
        yield f"      <parentid>{row['parent_id']}</parentid>\n"
    yield f"      <timestamp>{_text(row['rev_dt'])}</timestamp>\n"
    yield from _contributor(row)
    if row.get("is_minor"):
        yield "      <minor />\n"
    if not row["is_comment_visible"]:
        yield f"      <comment{_HIDDEN}"
    elif row.get("comment"):
        yield f"      <comment>{_text(row['comment'])}</comment>\n"
    visible = row["is_content_visible"]
    main, *others = row["slots"]
    yield from _slot(main, row["rev_id"], "      ", visible)
    for slot in others:
        yield f"      <content>\n        <role>{_text(slot['role'])}</role>\n"
        yield from _slot(slot, row["rev_id"], "        ", visible)
        yield "      </content>\n"
    yield f"      <sha1>{_text(row['sha1'])}</sha1>\n" if visible and row.get("sha1") else "      <sha1 />\n"
    yield "    </revision>\n"


def _contributor(row: Mapping[str, Any]) -> Iterator[str]:
    user = row.get("user")
    if not row["is_editor_visible"] or not user:
        yield f"      <contributor{_HIDDEN}"
        return
    yield "      <contributor>\n"
    if row.get("user_id") or not _is_address(user):
        yield f"        <username>{_text(user)}</username>\n        <id>{row.get('user_id') or 0}</id>\n"
    else:
        yield f"        <ip>{_text(user)}</ip>\n"
    yield "      </contributor>\n"


def _slot(slot: Mapping[str, Any], rev_id: int, indent: str, visible: bool) -> Iterator[str]:
    yield f"{indent}<origin>{slot.get('origin') or rev_id}</origin>\n"
    yield f"{indent}<model>{_text(slot['model'])}</model>\n{indent}<format>{_text(slot['format'])}</format>\n"
    size, body = slot.get("size"), slot.get("text")
    if not visible or body is None:
        yield f'{indent}<text bytes="{-1 if size is None else size}"{_HIDDEN}'
        return
    size = len(body.encode("utf-8", "surrogatepass")) if size is None else size
    sha1 = f" sha1={_quoted(slot['sha1'])}" if slot.get("sha1") else ""
    yield f'{indent}<text bytes="{size}"{sha1}'
    yield f' xml:space="preserve">{_text(body)}</text>\n' if body else " />\n"


def _namespace(row: Mapping[str, Any]) -> str:
    name = row.get("namespace_localized_name") or ""
    start = f'<namespace key="{row["namespace"]}" case={_quoted(row.get("namespace_case_setting") or "first-letter")}'
    return f"{start}>{_text(name)}</namespace>" if name else f"{start} />"


def _language(site: Mapping[str, Any]) -> str:
    """The language of a wiki; English where its own is the name of a project, such as commons."""
    language = str(site.get("language"))
    return language if _LANGUAGE.fullmatch(language) else "en"


def _is_address(user: str) -> bool:
    try:
        ipaddress.ip_address(user)
    except ValueError:
        return False
    return True


def _text(text: Any) -> str:
    # A carriage return that is not escaped would be read as a line feed.
    return escape(_NO_XML.sub("\ufffd", str(text)), {"\r": "&#13;"})


def _quoted(text: Any) -> str:
    return quoteattr(_NO_XML.sub("\ufffd", str(text)))
