"""Wikitext as people read it: paragraphs, headings, links and numbered references; all else as it is."""

from __future__ import annotations

import html
import re

_REFERENCE = re.compile(r"&lt;ref(?: [^&]*?)?&gt;(.*?)&lt;/ref&gt;", re.DOTALL)
_LINK = re.compile(r"\[\[([^\]|]+)(?:\|([^\]]+))?\]\]")
_BOLD = re.compile(r"'''(.+?)'''")
_ITALIC = re.compile(r"''(.+?)''")
_HEADING = re.compile(r"(={2,5})\s*(.+?)\s*\1$")
_FIELD = re.compile(r"\|\s*(\w+)\s*=\s*([^|}]*)")


def rendered(text: str) -> str:
    """The text as HTML; nothing in it is HTML of its own."""
    references: list[str] = []

    def numbered(found: re.Match[str]) -> str:
        references.append(_citation(found[1]))
        return f"<sup>[{len(references)}]</sup>"

    escaped = _REFERENCE.sub(numbered, html.escape(text, quote=False))
    blocks = [_block(block.strip()) for block in re.split(r"\n\s*\n|\n(?==)|(?<==)\n", escaped) if block.strip()]
    listed = "".join(f"<li>{reference}</li>" for reference in references)
    return "\n".join(blocks).replace("{{reflist}}", f"<ol>{listed}</ol>" if listed else "")


def _block(block: str) -> str:
    heading = _HEADING.match(block)
    if heading is not None:
        level = min(len(heading[1]), 5)
        return f"<h{level}>{_inline(heading[2])}</h{level}>"
    return block if block == "{{reflist}}" else f"<p>{_inline(block)}</p>"


def _inline(text: str) -> str:
    text = _LINK.sub(lambda found: f"<span class='link'>{found[2] or found[1]}</span>", text)
    return _ITALIC.sub(r"<i>\1</i>", _BOLD.sub(r"<b>\1</b>", text))


def _citation(text: str) -> str:
    """A reference, of a template its fields."""
    fields = [value.strip() for _, value in _FIELD.findall(text)] if text.startswith("{{") else []
    return ", ".join(fields) or text
