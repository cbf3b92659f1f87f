"""SHA-1 as MediaWiki writes it: in base 36 in its events and database, in base 16 in its web API."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

BASE36_CHARS = 31
BASE16_CHARS = 40
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_BITS = 160
_BASE16 = re.compile(r"[0-9a-f]{40}\Z")
_BASE36 = re.compile(r"[0-9a-z]{31}\Z")


def base36(sha1: str) -> str:
    """A SHA-1 in base 36, 31 characters, of one in base 16, 40 characters."""
    number, digits = int(sha1, 16), []
    while number:
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits)).rjust(BASE36_CHARS, "0")


def base16(sha1: str) -> str:
    """A SHA-1 in base 16 of one in base 36 or 16, recognised by their length. Raises ValueError if it is neither."""
    text = sha1.lower()
    if _BASE16.match(text):
        return text
    if _BASE36.match(text) and (number := int(text, 36)).bit_length() <= _BITS:
        return f"{number:040x}"
    raise ValueError(f"{sha1[:60]!r} is not a SHA-1 in base 36 (31 characters) or base 16 (40 characters)")


def sha1_of(content: str) -> str:
    """The SHA-1 of a content, in base 16."""
    return hashlib.sha1(content.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def revision_sha1(slots: Mapping[str, str]) -> str:
    """The SHA-1 of a revision, in base 16, of those of its slots by role: of one slot it is the same."""
    combined = ""
    for role in sorted(slots):
        of_slot = base36(slots[role])
        combined = base36(sha1_of(combined + of_slot)) if combined else of_slot
    return base16(combined)
