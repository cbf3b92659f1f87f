"""Addresses with fields of an event in them: whatever a field has, the request goes where the rule says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from headwater.connectors.templates import Field, Template
from headwater.errors import EventMalformed

# A field that is written into an address as it is, because it is a part of one already.
RAW = "+"
# A field that is the title of a page of a wiki: there are no spaces in titles of addresses.
TITLE = "title:"


def field_of(path: str) -> tuple[str, str]:
    """How a field is to be written, RAW, TITLE or "", and the path in the event."""
    mark = next((mark for mark in (RAW, TITLE) if path.startswith(mark)), "")
    return mark, path.removeprefix(mark)


def address(template: Template, scope: Mapping[str, Any]) -> str:
    """Fields are quoted, so that they cannot become more than a part of a path or a query.

    Raises EventMalformed for an absent field, and for one that would lead to another place.
    """
    made = ""
    for part in template.parts:
        if isinstance(part, Field):
            mark, path = field_of(part.path)
            text = Template(path, (Field(path),)).render(scope)
            if text in (".", "..") and made.endswith("/"):
                raise EventMalformed(f"{path} is {text!r}, which would lead to another place in the address.")
            if mark == TITLE:
                text = text.replace(" ", "_")
            # Where an address begins, the field is the address.
            is_raw = mark == RAW or not made
            made += text if is_raw else quote(text, safe="", errors="surrogatepass")
        else:
            made += part
    return made
